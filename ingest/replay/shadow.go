package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/live"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
)

// ShadowOptions say what is loaded into a schema beside the live ones.
type ShadowOptions struct {
	Journal   Journal
	Warehouse loader.Warehouse
	Hidden    live.Hidden
	Judge     judge.Judge
	Refusal   func(body []byte) string
	Shape     shape.Options
	Log       *slog.Logger
	Now       func() time.Time

	Schema string // where to
	Source string // of the events; their judges see this name
	Range  Range
	Filter *live.Filter
	// Only are the positions wanted; nil: all.
	Only map[int64]bool
}

// Shadow loads the range into the schema by a loader of its own, whose place, ids and
// counts are in the schema too: it goes on where it was when it is called again. passed
// is called with the place as it moves on.
func Shadow(ctx context.Context, o ShadowOptions, counts *Totals, passed func(tidegate.Offset)) error {
	from := o.Range.From
	reader, err := o.Journal.OpenAt(from)
	if err != nil {
		return fmt.Errorf("opening the journal at %s: %w", from, err)
	}
	r := &shadowReader{reader: reader, o: o, counts: counts}
	l, err := loader.New(loader.Options{
		Reader: r, Warehouse: bare{o.Warehouse}, Log: o.Log, Now: o.Now, Books: o.Schema, Begin: from, Shape: o.Shape,
		Judge: renamed{o.Judge, o.Source, o.Schema},
	})
	if err != nil {
		return errors.Join(err, reader.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { defer cancel(); return l.Run(ctx) })
	waited := watch(ctx, l, o.Range, passed)
	cancel()
	err = group.Wait()
	return errors.Join(err, waited, reader.Close())
}

// watch waits until l has loaded the range, in steps that can be told.
func watch(ctx context.Context, l *loader.Loader, of Range, passed func(tidegate.Offset)) error {
	const step = 50_000
	for at := of.From.Position; at < of.To.Position; {
		at = min(at+step, of.To.Position)
		next := tidegate.Offset{Position: at}
		if err := l.Wait(ctx, next); err != nil {
			return err
		}
		passed(next)
	}
	return nil
}

// bare hides what only one loader may use: recoveries are told to the live one.
type bare struct{ loader.Warehouse }

// shadowReader reads a range of the journal for a shadow's loader: events carry the
// shadow's name as their source, and those that are not wanted say nothing any more.
// Offsets stay as they are.
type shadowReader struct {
	reader  *journal.Reader
	o       ShadowOptions
	counts  *Totals
	payload []byte
}

// Next implements loader.Reader. At the end of the range it waits for ctx.
func (r *shadowReader) Next(ctx context.Context) (journal.Entry, error) {
	e, ok, err := r.TryNext()
	if ok || err != nil {
		return e, err
	}
	<-ctx.Done()
	return journal.Entry{}, ctx.Err()
}

// TryNext implements loader.Reader.
func (r *shadowReader) TryNext() (journal.Entry, bool, error) {
	if r.reader.Position().Position >= r.o.Range.To.Position {
		return journal.Entry{}, false, nil
	}
	e, ok, err := r.reader.TryNext()
	if !ok || err != nil || e.First.Position >= r.o.Range.To.Position {
		return journal.Entry{}, false, err
	}
	e.Payload, err = r.rewrite(e)
	return e, err == nil, err
}

func (r *shadowReader) rewrite(e journal.Entry) ([]byte, error) {
	events, err := envelope.Decode(nil, e.Payload, e.First)
	if err != nil {
		return nil, fmt.Errorf("decoding frame %s: %w", e.First, err)
	}
	var out envelope.Envelope
	for i := range events {
		ev := &events[i]
		if i == 0 || out.RequestIP == "" { // an event that is withheld shares nothing
			out = envelope.Envelope{
				Source: r.o.Schema, ReceivedAt: ev.ReceivedAt, SentAt: ev.SentAt, RequestIP: ev.RequestIP,
				Context: ev.Context, Integrations: ev.Integrations, Events: out.Events,
			}
		}
		kept := envelope.Event{Type: ev.Type, MessageID: ev.MessageID, Refusal: tidegate.RefusedSuppressed, Body: []byte("{}")}
		if r.wants(ev) {
			kept.Refusal, kept.Body = "", ev.Body
			if ev.Refusal != "" {
				kept.Refusal = r.o.Refusal(ev.Body)
			}
		}
		out.Events = append(out.Events, kept)
	}
	r.payload = envelope.Append(r.payload[:0], &out)
	return r.payload, nil
}

func (r *shadowReader) wants(ev *tidegate.Event) bool {
	at := ev.Offset.Position
	if at < r.o.Range.From.Position || at >= r.o.Range.To.Position {
		return false
	}
	r.counts.Read++
	if ev.Source != r.o.Source || tidegate.Withheld(ev.Refusal) || ev.Replayed || r.o.Only != nil && !r.o.Only[at] {
		return false
	}
	if r.o.Hidden != nil && r.o.Hidden.Out(ev) {
		r.counts.Hidden++
		return false
	}
	facts := live.FactsOf(ev)
	if r.o.Filter != nil && !r.o.Filter.Wants(ev, facts) {
		return false
	}
	r.counts.want(ev.Source, facts.Type)
	return true
}

// Seek implements loader.Reader.
func (r *shadowReader) Seek(offset tidegate.Offset) error { return r.reader.Seek(offset) }

// Mark implements loader.Reader.
func (r *shadowReader) Mark(next tidegate.Offset) string { return r.reader.Mark(next) }

// Fits implements loader.Reader.
func (r *shadowReader) Fits(mark string) error { return r.reader.Fits(mark) }

// Commit implements loader.Reader. The journal is not the shadow's to trim.
func (r *shadowReader) Commit(context.Context, tidegate.Offset) error { return nil }

// Committed implements loader.Reader.
func (r *shadowReader) Committed() tidegate.Offset { return tidegate.Offset{} }

// renamed asks judges by the name that they know an event's source by.
type renamed struct {
	judge          judge.Judge
	source, schema string
}

// Judge implements judge.Judge.
func (r renamed) Judge(ctx context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	if r.judge == nil {
		return nil
	}
	asked := make([]judge.Item, len(items))
	events := make([]tidegate.Event, len(items))
	for i, it := range items {
		events[i] = *it.Event
		events[i].Source = r.source
		asked[i] = judge.Item{Event: &events[i], ID: it.ID, Type: it.Type}
	}
	if err := r.judge.Judge(ctx, asked, verdicts); err != nil {
		return err
	}
	for i := range verdicts {
		if verdicts[i].Route != "" {
			verdicts[i].Route = r.schema + "_" + verdicts[i].Route
		}
	}
	return nil
}

// Free says whether schema may become a shadow: nothing is in it, or the shadow that
// began there.
func Free(ctx context.Context, wh warehouse.Warehouse, schema string, again bool) error {
	lister, ok := wh.(warehouse.Lister)
	if !ok || again {
		return nil
	}
	tables, err := lister.Tables(ctx)
	if err != nil {
		return fmt.Errorf("listing the tables: %w", err)
	}
	for _, t := range tables {
		if t.Schema == schema {
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "replay.conflict", Subject: "schema " + schema, Message: "there are tables in the schema already, such as " + t.String(),
				Hint: "name a schema that does not exist, or drop this one first",
			}
		}
	}
	return nil
}
