package loader

import (
	"context"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
)

// peekAll reads ids and marks the events whose id came before: in events, among those
// that before says are being written, or in what the warehouse holds. It appends to
// found, one for each event.
//
// New ids go into the filter here, before they are loaded: whoever finds them there asks
// for the truth.
func (l *Loader) peekAll(ctx context.Context, found []peeked, events []tidegate.Event, before [][]fingerprint) ([]peeked, error) {
	doubt := make(map[fingerprint]bool) // ids that may have come before, and whether they did
	var ask []fingerprint
	for i := range events {
		ev := &events[i]
		var p peeked
		p.id, p.kind, p.err = shape.Peek(ev)
		if p.count = p.err == nil && ev.Refusal == "" && l.poison[ev.Offset] == ""; p.count {
			p.print, l.scratch = fingerprintOf(l.scratch, ev.Source, p.id)
			if _, asked := doubt[p.print]; !asked && l.filter.perhaps(p.print) {
				doubt[p.print] = false
				ask = append(ask, p.print)
			}
			l.filter = l.filter.add(p.print)
		}
		found = append(found, p)
	}
	if len(ask) == 0 {
		return found, nil
	}
	known, err := l.known(ctx, ask)
	if err != nil {
		return nil, err
	}
	for p := range known {
		doubt[p] = true
	}
	for _, prints := range before {
		for _, p := range prints {
			if _, asked := doubt[p]; asked {
				doubt[p] = true
			}
		}
	}
	for i := range found {
		p := &found[i]
		if seen, asked := doubt[p.print]; p.count && asked {
			p.again = seen
			doubt[p.print] = true
		}
	}
	return found, nil
}
