package live

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/judge"
)

// Frames is a place in the journal; *journal.Reader is one.
type Frames interface {
	Next(ctx context.Context) (journal.Entry, error)
	TryNext() (journal.Entry, bool, error)
}

// Hidden says of which events nothing may be shown; privacy.Set is one.
type Hidden interface {
	Out(ev *tidegate.Event) bool
}

// Reading reads events from some offset on.
type Reading struct {
	Frames Frames
	Filter *Filter
	Hidden Hidden // nil: all may be shown
	// From is the first offset wanted; the frames may begin before it.
	From tidegate.Offset
	// Until is where it ends; the zero Offset: where the journal does.
	Until tidegate.Offset
	// Judge is asked about what the filter wants; nil: nobody decides.
	Judge judge.Judge

	events []tidegate.Event
}

// Shown is one wanted event. Its event is valid until the next call.
type Shown struct {
	Event   *tidegate.Event // as the journal holds it
	Facts   Facts
	Verdict judge.Verdict
}

// Next calls show for the wanted events of the next frame and returns the offset
// after it. With follow it waits for a frame; without, the journal's end is io.EOF.
func (r *Reading) Next(ctx context.Context, follow bool, show func(Shown) error) (next tidegate.Offset, err error) {
	entry, err := r.frame(ctx, follow)
	if err != nil {
		return tidegate.Offset{}, err
	}
	next = tidegate.Offset{Partition: entry.First.Partition, Position: entry.First.Position + int64(entry.Events)}
	if r.events, err = envelope.Decode(r.events[:0], entry.Payload, entry.First); err != nil {
		return next, fmt.Errorf("decoding frame %s: %w", entry.First, err)
	}
	var wanted []Shown
	for i := range r.events {
		ev := &r.events[i]
		if ev.Offset.Position < r.From.Position || r.Until.Position > 0 && ev.Offset.Position >= r.Until.Position || r.Hidden != nil && r.Hidden.Out(ev) {
			continue
		}
		facts := FactsOf(ev)
		if r.Filter == nil || r.Filter.Wants(ev, facts) {
			wanted = append(wanted, Shown{Event: ev, Facts: facts})
		}
	}
	if err := r.judge(ctx, wanted); err != nil {
		return next, err
	}
	for _, s := range wanted {
		if err := show(s); err != nil {
			return next, err
		}
	}
	return next, nil
}

func (r *Reading) frame(ctx context.Context, follow bool) (journal.Entry, error) {
	if follow {
		return r.Frames.Next(ctx)
	}
	entry, ok, err := r.Frames.TryNext()
	if err == nil && (!ok || r.Until.Position > 0 && entry.First.Position >= r.Until.Position) {
		return entry, io.EOF
	}
	return entry, err
}

func (r *Reading) judge(ctx context.Context, wanted []Shown) error {
	if r.Judge == nil {
		return nil
	}
	var items []judge.Item
	var at []int
	for i, s := range wanted {
		if s.Event.Refusal == "" && s.Facts.Type != "" {
			items = append(items, judge.Item{Event: s.Event, ID: s.Facts.ID, Type: tidegate.EventType(s.Facts.Type)})
			at = append(at, i)
		}
	}
	said := make([]judge.Verdict, len(items))
	if err := r.Judge.Judge(ctx, items, said); err != nil {
		return fmt.Errorf("judging %d events: %w", len(items), err)
	}
	for k, i := range at {
		wanted[i].Verdict = said[k]
	}
	return nil
}

// All reads frames until the journal's end, or with follow until ctx ends, and calls
// passed after each with the offset after it. An error of show or passed ends it.
func (r *Reading) All(ctx context.Context, follow bool, show func(Shown) error, passed func(tidegate.Offset) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		next, err := r.Next(ctx, follow, show)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if passed != nil {
			if err := passed(next); err != nil {
				return err
			}
		}
	}
}
