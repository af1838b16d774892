package teller

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is books that remember, and fail as often as they are told.
type memory struct {
	mu     sync.Mutex
	next   int64
	found  bool
	counts map[Key]int64
	fail   int
}

func (m *memory) TellerPlace(context.Context) (int64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.next, m.found, nil
}

func (m *memory) AddAccepted(_ context.Context, next int64, counts map[Key]int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail > 0 && m.found {
		m.fail--
		return errors.New("planted")
	}
	m.next, m.found = next, true
	for k, n := range counts {
		m.counts[k] += n
	}
	return nil
}

func (m *memory) Accepted(context.Context, string, time.Time, time.Time) (map[Key]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.counts), nil
}

func TestEveryEventIsCountedOnce(t *testing.T) {
	t.Parallel()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(t.TempDir(), "journal"), Now: time.Now, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	hour := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	appendTo := func(source string, at time.Time, n int) tidegate.Offset {
		e := envelope.Envelope{Source: source, ReceivedAt: at}
		for range n {
			e.Events = append(e.Events, envelope.Event{Body: []byte(`{}`)})
		}
		first, err := j.Append(t.Context(), envelope.Append(nil, &e), n)
		if err != nil {
			t.Fatal(err)
		}
		return tidegate.Offset{Position: first.Position + int64(n)}
	}
	books := &memory{counts: map[Key]int64{}, fail: 1}
	appendTo("old", hour, 7) // before counting began
	begin := j.Durable()
	for life := range 3 { // each is ended and begun again
		reader, err := j.Reader("teller")
		if err != nil {
			t.Fatal(err)
		}
		teller := New(Options{Reader: reader, Books: books, Log: slog.New(slog.DiscardHandler), Now: time.Now, Every: time.Millisecond})
		if err := teller.Open(t.Context(), begin); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- teller.Run(ctx) }()
		appendTo("web", hour.Add(59*time.Minute), 2)
		end := appendTo("web", hour.Add(time.Hour), 3+life)
		if err := teller.Wait(t.Context(), end); err != nil {
			t.Fatal(err)
		}
		got, next, err := teller.Accepted(t.Context(), "", hour, hour.Add(2*time.Hour))
		if err != nil || next != end || got[Key{"web", hour}] != int64(2*(life+1)) {
			t.Errorf("life %d: %v up to %s, %v", life, got, next, err)
		}
		cancel()
		if err := errors.Join(<-done, reader.Close()); err != nil {
			t.Fatal(err)
		}
	}
	want := map[Key]int64{{"web", hour}: 6, {"web", hour.Add(time.Hour)}: 12}
	if diff := cmp.Diff(want, books.counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}
