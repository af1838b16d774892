package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/warehouse"
)

// books know, per source, how many events the journal took. With what the
// loader counted in the warehouse that tells what waits, without reading the
// journal again. books are the journal's face towards ingest.
type books struct {
	journal *journal.Journal
	start   tidegate.Offset // the journal's end when this process opened it

	mu sync.RWMutex // of the map; what it holds is counted without
	// taken is, per source, the events that were read before this process (by
	// the warehouse's count), those that waited at its start, and those appended since.
	taken map[string]*atomic.Int64
}

// newBooks counts from now on; open adds what came before.
func newBooks(j *journal.Journal) *books {
	return &books{journal: j, start: j.Durable(), taken: map[string]*atomic.Int64{}}
}

// open adds what the warehouse counted before this process and what waited at
// its start beyond the loader's place.
func (b *books) open(ctx context.Context, wh warehouse.Warehouse, committed tidegate.Offset) error {
	counts, from, mark, err := loaded(ctx, wh, committed)
	if err != nil {
		return fmt.Errorf("counting what waits: %w", err)
	}
	if b.journal.Fits(mark) != nil { // then nothing of this journal is loaded, wherever that place is in it
		from = b.journal.Stats().Oldest
	}
	before := map[string]int64{}
	for _, c := range counts {
		before[c.Source] = c.Accepted
	}
	if err := b.countWaiting(ctx, from, before); err != nil {
		return fmt.Errorf("counting what waits: %w", err)
	}
	for source, n := range before {
		b.of([]byte(source)).Add(n)
	}
	return nil
}

// loaded reads the counts and the cursor that belong to them, with its mark; an empty
// warehouse has neither, and then the loader begins where the journal says.
func loaded(ctx context.Context, wh warehouse.Warehouse, from tidegate.Offset) (counts []loader.Counts, _ tidegate.Offset, mark string, err error) {
	schema, err := wh.Describe(ctx, warehouse.Table{Schema: "_tidegate", Name: "cursor"})
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil, from, "", nil
	} else if err != nil {
		return nil, from, "", err
	}
	of := "journal"
	if schema.Index(of) < 0 {
		of = "''" // no loader of this version was here yet
	}
	rows, err := wh.Query(ctx, "SELECT next_position, "+of+" FROM _tidegate.cursor AS c WHERE c.partition = 0 ORDER BY 1 DESC")
	if err != nil {
		return nil, from, "", err
	}
	row, err := rows.Next(ctx)
	if position, ok := at(row); ok {
		from.Position = position
		mark, _ = row[1].(string)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, rows.Close()); err != nil {
		return nil, from, "", err
	}
	counts, err = loader.ReadCounts(ctx, wh)
	return counts, from, mark, err
}

func at(row tidegate.Row) (int64, bool) {
	if len(row) == 0 {
		return 0, false
	}
	n, ok := row[0].(int64)
	return n, ok
}

// countWaiting adds the events between the loader's place and the start of this process.
func (b *books) countWaiting(ctx context.Context, from tidegate.Offset, into map[string]int64) error {
	if b.start.Position <= from.Position {
		return nil
	}
	r, err := b.journal.OpenAt(from)
	if errors.Is(err, journal.ErrTrimmed) || errors.Is(err, journal.ErrAhead) {
		return nil // the loader tells of it
	} else if err != nil {
		return err
	}
	return errors.Join(b.count(ctx, r, from, into), r.Close())
}

// count reads no event, which a start with a long backlog would wait for: a frame tells how
// many it has, all of one source.
func (b *books) count(ctx context.Context, r *journal.Reader, from tidegate.Offset, into map[string]int64) error {
	for {
		entry, ok, err := r.TryNext()
		if err != nil {
			return err
		}
		if !ok || entry.First.Position >= b.start.Position {
			return nil
		}
		source, err := envelope.Source(entry.Payload)
		if err != nil {
			return err
		}
		into[string(source)] += int64(entry.Events) - max(from.Position-entry.First.Position, 0)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Append appends to the journal and counts what it took.
func (b *books) Append(ctx context.Context, payload []byte, events int) (tidegate.Offset, error) {
	first, err := b.journal.Append(ctx, payload, events)
	if err != nil {
		return first, err
	}
	if source, err := envelope.Source(payload); err == nil { // our own payload
		b.of(source).Add(int64(events))
	}
	return first, nil
}

// of returns the count of a source, for every request: nothing is allocated but the first time.
func (b *books) of(source []byte) *atomic.Int64 {
	b.mu.RLock()
	n := b.taken[string(source)]
	b.mu.RUnlock()
	if n != nil {
		return n
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n = b.taken[string(source)]; n == nil {
		n = &atomic.Int64{}
		b.taken[string(source)] = n
	}
	return n
}

// waiting is what the journal took and c does not count yet. An event can be
// loaded a moment before it is counted here; then nothing waits.
func (b *books) waiting(c loader.Counts) int64 {
	return max(b.of([]byte(c.Source)).Load()-c.Accepted, 0)
}
