package loader

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/internal/retry"
)

// errUnreadable is wrapped when a frame that verifies is no envelope.
var errUnreadable = errors.New("a frame of the journal cannot be read")

// errStale says that the warehouse is not as the loader remembers it.
var errStale = errors.New("the warehouse has changed")

// batch is the events between two commits. Its memory is used again.
type batch struct {
	events   []tidegate.Event
	found    []peeked        // what is known of each
	verdicts []judge.Verdict // what was decided about each; empty when nobody judges
	next     tidegate.Offset // after the last event
	bytes    int
	oldest   time.Time // when the first frame was appended
	chunks   [][]byte  // memory of the payloads
	used     int       // chunks in use
	unpacker envelope.Unpacker
}

const chunkBytes = 1 << 20

// clear empties the batch. It keeps about as much memory as was used, so that a
// backlog once worked off does not stay in memory.
func (b *batch) clear() {
	kept := b.chunks[:0]
	for i, c := range b.chunks {
		if cap(c) == chunkBytes && i <= b.used {
			kept = append(kept, c[:0])
		}
	}
	clear(b.chunks[len(kept):])
	b.chunks = kept
	clear(b.events)
	clear(b.verdicts)
	if cap(b.events) > 4*len(b.events)+1024 {
		b.events, b.found, b.verdicts = nil, nil, nil
	}
	b.events, b.verdicts = b.events[:0], b.verdicts[:0]
	b.bytes, b.used = 0, 0
	b.oldest = time.Time{}
}

// offset is the place of event i, or what follows the last.
func (b *batch) offset(i int) tidegate.Offset {
	if i < len(b.events) {
		return b.events[i].Offset
	}
	return b.next
}

// keep copies payload, unpacked, into the batch's memory.
func (b *batch) keep(payload []byte) ([]byte, error) {
	size, err := envelope.PlainSize(payload)
	if err != nil {
		return nil, err
	}
	for {
		if b.used == len(b.chunks) {
			b.chunks = append(b.chunks, make([]byte, 0, max(chunkBytes, size)))
		}
		if c := b.chunks[b.used]; size <= cap(c)-len(c) {
			whole, err := b.unpacker.Append(c, payload)
			if err != nil {
				return nil, err
			}
			b.chunks[b.used] = whole
			return whole[len(c):len(whole):len(whole)], nil
		}
		b.used++
	}
}

// add decodes the frame and appends its events from position on.
func (b *batch) add(e journal.Entry, position int64) error {
	from := len(b.events)
	events := b.events
	payload, err := b.keep(e.Payload)
	if err == nil {
		events, err = envelope.Decode(events, payload, e.First)
	}
	if err == nil && len(events)-from != e.Events {
		err = fmt.Errorf("%w: %d events instead of %d", envelope.ErrFormat, len(events)-from, e.Events)
	}
	if err != nil {
		b.events = events[:from]
		return fmt.Errorf("%w: %w", errUnreadable, &tidegate.Fault{
			Action: tidegate.Halt, Code: "journal.unreadable_frame", Subject: "offset " + e.First.String(),
			Message: "the frame verifies but holds no events that this version can read",
			Hint:    "Run the version that wrote the journal, or newer. Nothing was loaded beyond this offset and nothing is lost.", Err: err,
		})
	}
	// A cursor may stand inside a frame when a refused batch was halved.
	drop := from
	for drop < len(events) && events[drop].Offset.Position < position {
		drop++
	}
	b.events = append(events[:from], events[drop:]...)
	b.next = tidegate.Offset{Partition: e.First.Partition, Position: e.First.Position + int64(e.Events)}
	b.bytes += len(payload)
	if b.oldest.IsZero() {
		b.oldest = e.AppendedAt
	}
	return nil
}

// collect fills b: it waits for a first frame, then takes what comes within
// Linger, up to the limits. It returns with an empty batch when a checkpoint is due
// or the warehouse recovered.
func (l *Loader) collect(ctx context.Context, b *batch) error {
	b.clear()
	l.setPending(time.Time{})
	wait, cancel := l.interruptible(ctx)
	defer cancel()
	first := wait
	if at, ok := l.checkpoint.at(); ok {
		until, stop := context.WithTimeout(wait, max(0, at.Sub(l.opts.Now())))
		defer stop()
		first = until
	}
	if err := l.take(first, b); err != nil || len(b.events) == 0 {
		return l.woken(ctx, b, wait.Err() != nil, first.Err() != nil, err)
	}
	l.setPending(b.oldest)
	linger, stop := context.WithTimeout(wait, l.opts.Linger)
	defer stop()
	for {
		if err := l.takeAll(b); err != nil || l.full(b) {
			return err
		}
		if err := l.take(linger, b); err != nil {
			return l.woken(ctx, b, wait.Err() != nil, linger.Err() != nil, err)
		}
	}
}

func (l *Loader) full(b *batch) bool {
	return len(b.events) >= l.opts.MaxEvents || b.bytes >= l.opts.MaxBytes
}

// takeAll takes the frames that are there, up to the limits.
func (l *Loader) takeAll(b *batch) error {
	for !l.full(b) {
		e, ok, err := l.opts.Reader.TryNext()
		if err != nil {
			return fmt.Errorf("reading the journal: %w", err)
		}
		if !ok {
			return nil
		}
		if err := l.accept(b, e); err != nil {
			return err
		}
	}
	return nil
}

// take waits for one frame.
func (l *Loader) take(ctx context.Context, b *batch) error {
	e, err := l.opts.Reader.Next(ctx)
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	return l.accept(b, e)
}

func (l *Loader) accept(b *batch, e journal.Entry) error {
	if gap := e.First.Position - l.reading.Position; gap > 0 {
		// The journal reported why when it found the damage; here it is counted so
		// that the numbers add up.
		l.opts.Log.Error("the journal has no events between the cursor and its next frame", "from", l.reading.Position, "to", e.First.Position)
		l.mu.Lock()
		l.stats.Gaps += gap
		l.mu.Unlock()
	}
	if err := b.add(e, l.reading.Position); err != nil {
		return err
	}
	l.reading = b.next
	return nil
}

// woken turns the end of one of our own waits into no error: interrupted when the
// warehouse recovered, over when the time was up.
func (l *Loader) woken(ctx context.Context, b *batch, interrupted, over bool, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case interrupted: // what is held belongs to the past
		b.clear()
		return nil
	case over && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
		return nil
	}
	return err
}

// interruptible returns a context that a recovery of the warehouse ends.
func (l *Loader) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	wait, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.interrupt = cancel
	if l.recovered || len(l.visits) > 0 {
		cancel()
	}
	return wait, func() {
		l.mu.Lock()
		l.interrupt = nil
		l.mu.Unlock()
		cancel()
	}
}

func (l *Loader) setPending(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = t
}

// rest waits before the next attempt, longer with every failure.
func (l *Loader) rest(ctx context.Context, attempt int) {
	_ = retry.Wait(ctx, retry.Backoff{Cap: l.opts.MaxBackoff}.Delay(attempt, rand.Float64)) // Run looks at ctx next
}
