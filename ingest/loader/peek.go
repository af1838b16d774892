package loader

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
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
		p.id, p.kind, p.err = l.peeker.Peek(ev)
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

// examined is events with what was found out and decided about each.
type examined struct {
	events   []tidegate.Event
	found    []peeked
	verdicts []judge.Verdict // empty: all are kept
}

// from leaves out the first n.
func (e examined) from(n int) examined {
	e.events, e.found = e.events[n:], e.found[n:]
	if len(e.verdicts) > 0 {
		e.verdicts = e.verdicts[n:]
	}
	return e
}

// verdict is what was decided about event i.
func (e examined) verdict(i int) judge.Verdict {
	if len(e.verdicts) == 0 {
		return judge.Verdict{}
	}
	return e.verdicts[i]
}

// judgeAll asks about the events that would be loaded, and appends to verdicts one for
// each event. Repeats are not judged again: what the first of them became counts.
func (l *Loader) judgeAll(ctx context.Context, verdicts []judge.Verdict, events []tidegate.Event, found []peeked) ([]judge.Verdict, error) {
	if l.opts.Judge == nil {
		return verdicts, nil
	}
	items := make([]judge.Item, 0, len(events))
	at := make([]int, 0, len(events))
	for i := range events {
		if p := &found[i]; p.count && !p.again {
			items = append(items, judge.Item{Event: &events[i], ID: p.id, Type: p.kind})
			at = append(at, i)
		}
	}
	said := make([]judge.Verdict, len(items))
	if err := l.opts.Judge.Judge(ctx, items, said); err != nil {
		return nil, fmt.Errorf("judging %d events: %w", len(items), err)
	}
	for range events {
		verdicts = append(verdicts, judge.Verdict{})
	}
	for k, i := range at {
		verdicts[i] = said[k]
		if said[k].Event != nil { // the event may have become one of another type
			if _, kind, err := shape.Peek(said[k].Event); err == nil {
				found[i].kind = kind
			}
		}
	}
	return verdicts, nil
}
