// Package teller counts what the journal took, per source and hour, by reading the
// journal itself: it asks neither the surface that appended nor the loader that
// loads, so that its count can be held against theirs (Invariant 2).
//
//	journal ─▶ head of each frame ─▶ counts in memory ─▶ Books: counts and place, in one transaction
//	                                                      └▶ the journal may trim up to there
//
// Invariants: an event is counted exactly once however the process ends, because
// the counts and the place up to which they reach are stored together; an hour is
// that of the server's clock when the request came in.
//
// It does not decode events, knows nothing of what becomes of them and writes no
// warehouse. Run owns no goroutine; Accepted and Wait may be called from anywhere
// while it works.
package teller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/internal/grumble"
	"github.com/tidegate/tidegate/internal/retry"
)

// Key is what events are counted by.
type Key struct {
	Source string
	Hour   time.Time // its first moment, UTC
}

// Books keep the counts. control/store's workspace is one.
type Books interface {
	// TellerPlace returns up to where events are counted; found is false before
	// anything was.
	TellerPlace(ctx context.Context) (next int64, found bool, err error)
	// AddAccepted adds counts and moves the place to next, in one transaction.
	AddAccepted(ctx context.Context, next int64, counts map[Key]int64) error
	// Accepted returns the counts of the hours with from ≤ hour < to, of one source or all.
	Accepted(ctx context.Context, source string, from, to time.Time) (map[Key]int64, error)
}

// Reader is the teller's place in the journal; *journal.Reader is one.
type Reader interface {
	Next(ctx context.Context) (journal.Entry, error)
	Seek(offset tidegate.Offset) error
	Commit(ctx context.Context, next tidegate.Offset) error
	Committed() tidegate.Offset
}

// Options are what a Teller needs; all are required but Every.
type Options struct {
	Reader Reader
	Books  Books
	Log    *slog.Logger
	Now    func() time.Time
	// Every is how often counts are stored: 5 seconds when 0.
	Every time.Duration
}

// maxFrames are counted in memory before they are stored, whatever the time.
const maxFrames = 100_000

// Teller counts. Make one with New, call Open once and then Run.
type Teller struct {
	o Options

	mu       sync.Mutex
	counts   map[Key]int64 // not stored yet
	next     int64         // counted up to here
	stored   int64
	frames   int
	advanced chan struct{} // closed when next moves; nil while nobody waits
}

// New returns a Teller that has counted nothing.
func New(o Options) *Teller {
	if o.Every <= 0 {
		o.Every = 5 * time.Second
	}
	return &Teller{o: o, counts: map[Key]int64{}}
}

// Open finds the place where counting goes on: begin, where nothing was counted
// yet. From then on the place is stored, so that a loader that begins its own books
// at begin and this count speak of the same events.
func (t *Teller) Open(ctx context.Context, begin tidegate.Offset) error {
	next, found, err := t.o.Books.TellerPlace(ctx)
	if err == nil && !found {
		next = begin.Position
		err = t.o.Books.AddAccepted(ctx, next, nil)
	}
	if err != nil {
		return fmt.Errorf("finding where to go on counting: %w", err)
	}
	err = t.o.Reader.Seek(tidegate.Offset{Position: next})
	if errors.Is(err, journal.ErrTrimmed) || errors.Is(err, journal.ErrAhead) {
		// This journal is not the one that was counted. The counts stay as they are, so
		// that the hours in question show a gap; what comes from now on is counted.
		t.o.Log.Error("the count of accepted events does not fit the journal; it goes on with what the journal has", "counted_to", next, "error", err)
		next, err = t.o.Reader.Committed().Position, nil
	}
	if err != nil {
		return fmt.Errorf("going to offset %d of the journal: %w", next, err)
	}
	t.next, t.stored = next, next
	return nil
}

// Run counts until ctx ends, then stores what it has. It returns an error only when
// the journal cannot be read.
func (t *Teller) Run(ctx context.Context) error {
	failures, told := 0, grumble.Log{}
	for ctx.Err() == nil {
		if err := t.round(ctx); err != nil {
			return err
		}
		err := t.store(context.WithoutCancel(ctx))
		if err == nil {
			failures = 0
			told.Over(ctx, t.o.Log, t.o.Now(), "the counts of accepted events are stored again")
			continue
		}
		failures++
		told.About(ctx, t.o.Log, t.o.Now(), "storing the counts of accepted events failed and is tried again", err)
		_ = retry.Wait(ctx, min(time.Duration(failures)*time.Second, 30*time.Second)) // ctx is looked at next
	}
	return nil
}

// round counts for as long as counts may stay in memory.
func (t *Teller) round(ctx context.Context) error {
	until, stop := context.WithTimeout(ctx, t.o.Every)
	defer stop()
	for t.pending() < maxFrames {
		e, err := t.o.Reader.Next(until)
		if err != nil && until.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the journal to count it: %w", err)
		}
		head, err := envelope.ReadHead(e.Payload)
		if err != nil { // the loader stops at such a frame, loudly
			t.o.Log.Error("a frame of the journal cannot be counted", "offset", e.First.String(), "error", err)
		}
		t.count(e, head)
	}
	return nil
}

func (t *Teller) pending() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.frames
}

func (t *Teller) count(e journal.Entry, head envelope.Head) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[Key{head.Source, head.ReceivedAt.Truncate(time.Hour)}] += int64(e.Events)
	t.next = e.First.Position + int64(e.Events)
	t.frames++
	if t.advanced != nil {
		close(t.advanced)
		t.advanced = nil
	}
}

// store keeps what was counted. Only this goroutine changes counts meanwhile.
func (t *Teller) store(ctx context.Context) error {
	t.mu.Lock()
	counts, next, stored := maps.Clone(t.counts), t.next, t.stored
	t.mu.Unlock()
	if next == stored {
		return nil
	}
	// mu is held so that nobody adds what is stored to what is in memory twice.
	t.mu.Lock()
	err := t.o.Books.AddAccepted(ctx, next, counts)
	if err == nil {
		clear(t.counts)
		t.stored, t.frames = next, 0
	}
	t.mu.Unlock()
	if err != nil {
		return err
	}
	if err := t.o.Reader.Commit(ctx, tidegate.Offset{Position: next}); err != nil {
		return fmt.Errorf("telling the journal that everything below %d is counted: %w", next, err)
	}
	return nil
}

// Accepted returns how many events came in the hours with from ≤ hour < to, and up to
// where the journal is counted.
func (t *Teller) Accepted(ctx context.Context, source string, from, to time.Time) (map[Key]int64, tidegate.Offset, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := tidegate.Offset{Position: t.next}
	all, err := t.o.Books.Accepted(ctx, source, from, to)
	if err != nil {
		return nil, next, fmt.Errorf("reading the counts of accepted events: %w", err)
	}
	for k, n := range t.counts {
		if (source == "" || k.Source == source) && !k.Hour.Before(from) && k.Hour.Before(to) {
			all[k] += n
		}
	}
	return all, next, nil
}

// Wait returns when every event below offset is counted.
func (t *Teller) Wait(ctx context.Context, offset tidegate.Offset) error {
	for {
		advanced := t.behind(offset)
		if advanced == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for offset %s to be counted: %w", offset, ctx.Err())
		case <-advanced:
		}
	}
}

// behind returns a channel that is closed when there may be more counted, nil when
// every event below offset is.
func (t *Teller) behind(offset tidegate.Offset) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next >= offset.Position {
		return nil
	}
	if t.advanced == nil {
		t.advanced = make(chan struct{})
	}
	return t.advanced
}
