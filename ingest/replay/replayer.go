package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/live"
)

// Options are what a Replayer needs; all are required but Hidden.
type Options struct {
	Journal   Journal
	Append    Appender
	Warehouse Warehouse
	Hidden    live.Hidden
	// Loaded waits until everything below an offset is loaded.
	Loaded func(ctx context.Context, below tidegate.Offset) error
	// Refusal judges the body of an event that was refused once more: the code of
	// its refusal, empty when it is accepted now.
	Refusal func(body []byte) string
	// Schema names the schema of a source's tables.
	Schema func(source string) string
}

// Replayer replays into the tables where events belong.
type Replayer struct{ o Options }

// New returns a Replayer.
func New(o Options) *Replayer { return &Replayer{o: o} }

// What says which events are replayed.
type What struct {
	Range  Range
	Filter *live.Filter
	// Dead: dead letters only, of these sources; Code is one of theirs or empty.
	Dead    bool
	Code    string
	Sources []string
}

// Live replays what from the place next on, which is the zero Offset at first, and
// calls done after each chunk with the place after it.
func (r *Replayer) Live(ctx context.Context, what What, next tidegate.Offset, counts *Totals, done func(next tidegate.Offset) error) error {
	return r.chunks(ctx, what, next, counts, func(items []item, next tidegate.Offset) error {
		if err := r.replay(ctx, items, counts); err != nil {
			return err
		}
		return done(next)
	})
}

// chunks calls use for every chunk, with the place after it.
func (r *Replayer) chunks(ctx context.Context, what What, next tidegate.Offset, counts *Totals, use func([]item, tidegate.Offset) error) error {
	if what.Dead {
		return r.deadChunks(ctx, what, next, counts, use)
	}
	from := what.Range.From
	if next.Position > from.Position {
		from = next
	}
	reader, err := r.o.Journal.OpenAt(from)
	if err != nil {
		return fmt.Errorf("opening the journal at %s: %w", from, err)
	}
	f := frames{reader: reader, filter: what.Filter, hidden: r.o.Hidden, from: from, to: what.Range.To, counts: counts}
	return errors.Join(r.journalChunks(ctx, &f, use), reader.Close())
}

func (r *Replayer) journalChunks(ctx context.Context, f *frames, use func([]item, tidegate.Offset) error) error {
	var items []item
	var bytes int
	var at tidegate.Offset
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		more, next, size, err := f.next(items)
		items, bytes = more, bytes+size
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return err
		}
		if !end {
			at = next
		}
		if !end && len(items) < chunkEvents && bytes < chunkBytes {
			continue
		}
		if at.Position > 0 {
			items = distinct(items)
			if err := r.markDead(ctx, items); err != nil {
				return err
			}
			if err := use(items, at); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
		items, bytes = nil, 0
	}
}

// distinct leaves out events whose id came before: of equals the first counts.
func distinct(items []item) []item {
	type key struct{ source, id string }
	seen := make(map[key]bool, len(items))
	return slices.DeleteFunc(items, func(it item) bool {
		k := key{it.ev.Source, it.id}
		again := seen[k]
		seen[k] = true
		return again
	})
}

// replay appends a chunk, waits for the loader, and takes away the dead letters that
// it has replayed.
func (r *Replayer) replay(ctx context.Context, items []item, counts *Totals) error {
	if len(items) == 0 {
		return nil
	}
	var end tidegate.Offset
	fresh := map[string]bool{} // offsets of the copies
	var dead []item
	for from := 0; from < len(items); {
		to := from + 1
		for to < len(items) && together(&items[from], &items[to]) {
			to++
		}
		first, err := r.append(ctx, items[from:to])
		if err != nil {
			return err
		}
		for i := range items[from:to] {
			if it := items[from+i]; it.dead {
				dead = append(dead, it)
				fresh[tidegate.Offset{Partition: first.Partition, Position: first.Position + int64(i)}.String()] = true
			}
		}
		end = tidegate.Offset{Partition: first.Partition, Position: first.Position + int64(to-from)}
		from = to
	}
	if err := r.o.Loaded(ctx, end); err != nil {
		return err
	}
	resolved, err := r.bury(ctx, dead, fresh)
	counts.Dead += int64(len(dead))
	counts.Resolved += resolved
	return err
}

// together says whether two events may share a frame.
func together(a, b *item) bool {
	x, y := &a.ev, &b.ev
	return x.Source == y.Source && x.ReceivedAt.Equal(y.ReceivedAt) && x.SentAt == y.SentAt && x.RequestIP == y.RequestIP && a.dead == b.dead &&
		string(x.Context) == string(y.Context) && string(x.Integrations) == string(y.Integrations)
}

// append appends events that share what a frame shares. They keep their ids: one
// that had none but of its offset takes it along.
func (r *Replayer) append(ctx context.Context, items []item) (tidegate.Offset, error) {
	ev := &items[0].ev
	e := envelope.Envelope{
		Source: ev.Source, ReceivedAt: ev.ReceivedAt, SentAt: ev.SentAt, RequestIP: ev.RequestIP,
		Context: ev.Context, Integrations: ev.Integrations, Replayed: !items[0].dead,
	}
	for i := range items {
		it := &items[i]
		copied := envelope.Event{Type: it.ev.Type, MessageID: it.ev.MessageID, Refusal: it.ev.Refusal, Body: it.ev.Body}
		if copied.MessageID == "" {
			copied.MessageID = it.id
		}
		if copied.Refusal != "" {
			copied.Refusal = r.o.Refusal(it.ev.Body)
		}
		e.Events = append(e.Events, copied)
	}
	first, err := r.o.Append.Append(ctx, new(envelope.Packer).Pack(&e), len(e.Events))
	if err != nil {
		return first, fmt.Errorf("appending %d replayed events: %w", len(e.Events), err)
	}
	return first, nil
}

var _ Journal = (*journal.Journal)(nil)
