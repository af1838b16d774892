package forward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/judge"
)

var errKilled = errors.New("the process is gone")

// log is a journal that any number of readers read, over any number of lives.
type log struct {
	mu      sync.Mutex
	frames  []journal.Entry
	end     int64
	changed chan struct{}
}

func newLog() *log { return &log{changed: make(chan struct{})} }

func (l *log) append(source string, received time.Time, bodies ...string) {
	e := envelope.Envelope{Source: source, ReceivedAt: received}
	for _, b := range bodies {
		e.Events = append(e.Events, envelope.Event{Body: []byte(b)})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames = append(l.frames, journal.Entry{First: tidegate.Offset{Position: l.end}, Events: len(bodies), AppendedAt: received, Payload: envelope.Append(nil, &e)})
	l.end += int64(len(bodies))
	close(l.changed)
	l.changed = make(chan struct{})
}

// cursor is the durable cursor of one forward, which outlives its readers.
type cursor struct {
	mu       sync.Mutex
	position int64
	commits  int
	onCommit func(next int64)
}

type reader struct {
	log    *log
	cursor *cursor
	at     int
	killed func() bool
}

func (c *cursor) at() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.position
}

func openReader(l *log, c *cursor, killed func() bool) *reader {
	r := &reader{log: l, cursor: c, killed: killed}
	for r.at < len(l.frames) && l.frames[r.at].First.Position+int64(l.frames[r.at].Events) <= c.at() {
		r.at++
	}
	return r
}

func (r *reader) TryNext() (journal.Entry, bool, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if r.at >= len(r.log.frames) {
		return journal.Entry{}, false, nil
	}
	r.at++
	return r.log.frames[r.at-1], true, nil
}

func (r *reader) Next(ctx context.Context) (journal.Entry, error) {
	for {
		r.log.mu.Lock()
		changed := r.log.changed
		r.log.mu.Unlock()
		if e, ok, err := r.TryNext(); ok || err != nil {
			return e, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return journal.Entry{}, ctx.Err()
		}
	}
}

func (r *reader) Committed() tidegate.Offset {
	r.cursor.mu.Lock()
	defer r.cursor.mu.Unlock()
	return tidegate.Offset{Position: r.cursor.position}
}

func (r *reader) Commit(_ context.Context, next tidegate.Offset) error {
	if r.killed() {
		return errKilled
	}
	r.cursor.mu.Lock()
	defer r.cursor.mu.Unlock()
	if r.cursor.onCommit != nil {
		r.cursor.onCommit(next.Position)
	}
	r.cursor.position = next.Position
	r.cursor.commits++
	return nil
}

func (r *reader) Close() error { return nil }

// shelf is a Store that remembers, and can be away.
type shelf struct {
	mu      sync.Mutex
	letters map[int64]Letter
	fail    func() error
	removed int
}

func newShelf() *shelf { return &shelf{letters: map[int64]Letter{}} }

func (s *shelf) failing() error {
	if s.fail == nil {
		return nil
	}
	return s.fail()
}

func (s *shelf) Put(_ context.Context, letters []Letter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return err
	}
	for _, l := range letters {
		if len(l.Event) == 0 {
			panic(fmt.Sprintf("the letter at %d has no event", l.Position))
		}
		l.Event, l.Lanes = slices.Clone(l.Event), slices.Clone(l.Lanes)
		s.letters[l.Position] = l
	}
	return nil
}

func (s *shelf) Remove(_ context.Context, positions []int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return err
	}
	for _, p := range positions {
		if !s.letters[p].Dead {
			delete(s.letters, p)
			s.removed++
		}
	}
	return nil
}

func (s *shelf) Waiting(context.Context) ([]Letter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return nil, err
	}
	var list []Letter
	for _, p := range slices.Sorted(maps.Keys(s.letters)) {
		if l := s.letters[p]; !l.Dead {
			l.Event = nil
			list = append(list, l)
		}
	}
	return list, nil
}

func (s *shelf) Get(_ context.Context, positions []int64) ([]Letter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return nil, err
	}
	var list []Letter
	for _, p := range positions {
		if l, ok := s.letters[p]; ok {
			list = append(list, l)
		}
	}
	return list, nil
}

func (s *shelf) Prune(_ context.Context, keep int64, before time.Time) (n int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var dead []Letter
	for _, l := range s.letters {
		if l.Dead {
			dead = append(dead, l)
		}
	}
	slices.SortFunc(dead, func(a, b Letter) int { return a.DiedAt.Compare(b.DiedAt) })
	for i, l := range dead {
		if l.DiedAt.Before(before) || int64(len(dead)-i) > keep {
			delete(s.letters, l.Position)
			n++
		}
	}
	return n, nil
}

func (s *shelf) Count(context.Context) (c Counts, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.letters {
		if l.Dead {
			c.Dead++
		} else {
			c.Waiting++
		}
	}
	return c, nil
}

// plainMapper sends the message id, the user and a number of every event.
type plainMapper struct{ byUser bool }

func (m plainMapper) Wants(e *View) (bool, *tidegate.Fault) {
	return e.Cell("properties.skip") != true, nil
}

func (m plainMapper) Map(e *View) (Mapped, *tidegate.Fault) {
	if e.Cell("properties.bad") == true {
		return Mapped{}, &tidegate.Fault{Action: tidegate.Reject, Code: "mapping.value", Message: "it cannot be mapped"}
	}
	id := e.Cell("messageId")
	if m.byUser {
		id = e.Cell("userId")
	}
	key, err := json.Marshal([]any{id})
	if err != nil {
		panic(err)
	}
	return Mapped{Record: tidegate.Record{"id": e.Cell("messageId"), "user": e.Cell("userId"), "n": e.Cell("properties.n")}, Key: tidegate.Key(key), Identifier: id}, nil
}

// free are quotas without limits.
type free struct{}

func (free) Take(context.Context, string) (time.Duration, error)       { return 0, nil }
func (free) Declare(context.Context, string, destinations.Limit) error { return nil }
func (free) Learn(context.Context, string, error) error                { return nil }

// sink is a destination that does as it is told.
type sink struct {
	object destinations.Object
	write  func(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error)
}

func (s *sink) Objects(context.Context) ([]destinations.Object, error) {
	return []destinations.Object{s.object}, nil
}

func (s *sink) Write(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	return s.write(ctx, b)
}

func (s *sink) Close() error { return nil }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func delivered(n int) []destinations.Outcome {
	list := make([]destinations.Outcome, n)
	for i := range list {
		list[i].Disposition = destinations.Delivered
	}
	return list
}

// dropBad is a judge that leaves out what cannot be mapped, and says nothing.
type dropBad struct{}

func (dropBad) Judge(_ context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	for i := range items {
		if bytes.Contains(items[i].Event.Body, []byte(`"bad":true`)) {
			verdicts[i].Fate = judge.Drop
		}
	}
	return nil
}
