package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/live"
	"github.com/tidegate/tidegate/warehouse"
)

// Live is the name of the place where events belong.
const Live = "live"

// Appender makes events durable; the hub's journal is one.
type Appender interface {
	Append(ctx context.Context, payload []byte, events int) (tidegate.Offset, error)
}

// Journal is what is read; *journal.Journal is one.
type Journal interface {
	OpenAt(offset tidegate.Offset) (*journal.Reader, error)
	Stats() journal.Stats
}

// Warehouse is where dead letters are.
type Warehouse interface {
	warehouse.Warehouse
	warehouse.Execer
}

// Range is what of the journal is replayed: From ≤ offset < To.
type Range struct{ From, To tidegate.Offset }

// Totals is what a replay has done, or would do.
type Totals struct {
	Read     int64 `json:"read" doc:"Events looked at."`
	Wanted   int64 `json:"wanted" doc:"Events that are replayed."`
	Hidden   int64 `json:"hidden" doc:"Events of people of whom nothing is kept."`
	Dead     int64 `json:"dead" doc:"Of the wanted ones, dead letters."`
	Rebuilt  int64 `json:"rebuilt" doc:"Dead letters whose events the journal no longer holds: made anew of what the warehouse kept, without the address of the request."`
	Resolved int64 `json:"resolved" doc:"Dead letters that are none any more."`
	// Sources is Wanted by source and type.
	Sources map[string]map[string]int64 `json:"sources,omitempty"`
}

func (c *Totals) want(source, kind string) {
	c.Wanted++
	if c.Sources == nil {
		c.Sources = map[string]map[string]int64{}
	}
	if c.Sources[source] == nil {
		c.Sources[source] = map[string]int64{}
	}
	if kind == "" {
		kind = "unknown"
	}
	c.Sources[source][kind]++
}

// chunkEvents and chunkBytes bound what is in memory.
const (
	chunkEvents = 2000
	chunkBytes  = 8 << 20
)

// item is one event to replay, with memory of its own.
type item struct {
	ev   tidegate.Event
	id   string
	dead bool // it is a dead letter now
}

// frames reads the wanted events of a range of the journal, frame by frame.
type frames struct {
	reader *journal.Reader
	filter *live.Filter
	hidden live.Hidden
	to     tidegate.Offset
	from   tidegate.Offset
	counts *Totals
}

// next appends the wanted events of the next frame to items, and returns the offset
// after it; io.EOF at the end of the range.
func (f *frames) next(items []item) (_ []item, next tidegate.Offset, bytes int, err error) {
	entry, ok, err := f.reader.TryNext()
	if err != nil {
		return items, next, 0, fmt.Errorf("reading the journal: %w", err)
	}
	if !ok || entry.First.Position >= f.to.Position {
		return items, next, 0, io.EOF
	}
	payload, err := envelope.AppendPlain(nil, entry.Payload) // memory of its own
	if err != nil {
		return items, next, 0, fmt.Errorf("unpacking frame %s: %w", entry.First, err)
	}
	events, err := envelope.Decode(nil, payload, entry.First)
	if err != nil {
		return items, next, 0, fmt.Errorf("decoding frame %s: %w", entry.First, err)
	}
	for i := range events {
		ev := events[i]
		if ev.Offset.Position < f.from.Position || ev.Offset.Position >= f.to.Position {
			continue
		}
		f.counts.Read++
		if tidegate.Withheld(ev.Refusal) || ev.Replayed { // the copy of an event that was loaded before it was made
			continue
		}
		if f.hidden != nil && f.hidden.Out(&ev) {
			f.counts.Hidden++
			continue
		}
		facts := live.FactsOf(&ev)
		if f.filter != nil && !f.filter.Wants(&ev, facts) {
			continue
		}
		f.counts.want(ev.Source, facts.Type)
		items = append(items, item{ev: ev, id: facts.ID})
	}
	next = tidegate.Offset{Partition: entry.First.Partition, Position: min(entry.First.Position+int64(entry.Events), f.to.Position)}
	return items, next, len(payload), nil
}

// Count says what a replay would do and does nothing. deadOf returns which of a
// chunk's events are dead letters.
func (r *Replayer) Count(ctx context.Context, what What) (Totals, error) {
	var counts Totals
	err := r.chunks(ctx, what, tidegate.Offset{}, &counts, func(items []item, _ tidegate.Offset) error {
		for i := range items {
			if items[i].dead {
				counts.Dead++
			}
		}
		return nil
	})
	return counts, err
}

// Coverage says from when on the journal still holds events.
type Coverage struct {
	Oldest tidegate.Offset
	// Since is when the first of them was received; zero when there is none.
	Since time.Time
}

// Covers reads how far back the journal goes.
func Covers(j Journal) (Coverage, error) {
	c := Coverage{Oldest: j.Stats().Oldest}
	reader, err := j.OpenAt(c.Oldest)
	if err != nil {
		return c, fmt.Errorf("looking how far back the journal goes: %w", err)
	}
	entry, ok, err := reader.TryNext()
	if err == nil && ok {
		var head envelope.Head
		if head, err = envelope.ReadHead(entry.Payload); err == nil {
			c.Since = head.ReceivedAt
		}
	}
	if err = errors.Join(err, reader.Close()); err != nil {
		return c, fmt.Errorf("looking how far back the journal goes: %w", err)
	}
	return c, nil
}
