package loader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ Reader = (*journal.Reader)(nil)

func epoch() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// tape is a journal in memory that remembers what its reader did.
type tape struct {
	mu        sync.Mutex
	frames    []journal.Entry
	next      tidegate.Offset
	grown     chan struct{}
	committed []tidegate.Offset
}

func newTape() *tape { return &tape{grown: make(chan struct{})} }

// add appends one frame with the events.
func (tp *tape) add(source string, received time.Time, events ...string) tidegate.Offset {
	e := envelope.Envelope{Source: source, ReceivedAt: received, RequestIP: "203.0.113.7"}
	for _, body := range events {
		ev := envelope.Event{Body: []byte(body)}
		if refusal, rest, ok := strings.Cut(body, "!!"); ok {
			ev.Refusal, ev.Body = refusal, []byte(rest)
		}
		e.Events = append(e.Events, ev)
	}
	return tp.addRaw(envelope.Append(nil, &e), len(events))
}

func (tp *tape) addRaw(payload []byte, events int) tidegate.Offset {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.frames = append(tp.frames, journal.Entry{First: tp.next, Events: events, AppendedAt: epoch(), Payload: payload})
	tp.next.Position += int64(events)
	close(tp.grown)
	tp.grown = make(chan struct{})
	return tp.next
}

func (tp *tape) head() tidegate.Offset {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return tp.next
}

// reader returns a new place in the tape; the payload it hands out is its own
// buffer, used again for the next.
func (tp *tape) reader() *tapeReader { return &tapeReader{tape: tp} }

type tapeReader struct {
	tape   *tape
	at     int
	buffer []byte
}

func (r *tapeReader) TryNext() (journal.Entry, bool, error) {
	r.tape.mu.Lock()
	defer r.tape.mu.Unlock()
	if r.at >= len(r.tape.frames) {
		return journal.Entry{}, false, nil
	}
	e := r.tape.frames[r.at]
	r.at++
	for i := range r.buffer {
		r.buffer[i] = 'X' // whoever kept the last payload sees it
	}
	r.buffer = append(r.buffer[:0], e.Payload...)
	e.Payload = r.buffer
	return e, true, nil
}

func (r *tapeReader) Next(ctx context.Context) (journal.Entry, error) {
	for {
		r.tape.mu.Lock()
		grown := r.tape.grown
		r.tape.mu.Unlock()
		if e, ok, err := r.TryNext(); ok || err != nil {
			return e, err
		}
		select {
		case <-ctx.Done():
			return journal.Entry{}, ctx.Err()
		case <-grown:
		}
	}
}

func (r *tapeReader) Seek(offset tidegate.Offset) error {
	r.tape.mu.Lock()
	defer r.tape.mu.Unlock()
	r.at = 0
	for r.at < len(r.tape.frames) {
		f := r.tape.frames[r.at]
		if f.First.Position+int64(f.Events) > offset.Position {
			break
		}
		r.at++
	}
	return nil
}

func (r *tapeReader) Mark(next tidegate.Offset) string { return "tape at " + next.String() }

func (r *tapeReader) Fits(string) error { return nil }

func (r *tapeReader) Commit(_ context.Context, next tidegate.Offset) error {
	r.tape.mu.Lock()
	defer r.tape.mu.Unlock()
	r.tape.committed = append(r.tape.committed, next)
	return nil
}

func (r *tapeReader) Committed() tidegate.Offset {
	r.tape.mu.Lock()
	defer r.tape.mu.Unlock()
	if n := len(r.tape.committed); n > 0 {
		return r.tape.committed[n-1]
	}
	return tidegate.Offset{}
}

func openDuck(tb testing.TB, path string) duck {
	tb.Helper()
	wh, err := duckdb.Open(tb.Context(), duckdb.Options{Path: path, MemoryLimit: "1GB", Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := wh.Close(); err != nil {
			tb.Error(err)
		}
	})
	return duck{wh}
}

func tempDuck(tb testing.TB) duck {
	tb.Helper()
	return openDuck(tb, filepath.Join(tb.TempDir(), "w.duckdb"))
}

func options(tp *tape, wh Warehouse) Options {
	return Options{
		Reader: tp.reader(), Warehouse: wh, Log: slog.New(slog.DiscardHandler), Head: tp.head,
		Now: func() time.Time { return epoch().Add(time.Hour) }, Linger: time.Millisecond, MaxBackoff: time.Millisecond,
	}
}

// loadAll runs a loader until everything on the tape is loaded.
func loadAll(tb testing.TB, o Options, upTo tidegate.Offset) *Loader {
	tb.Helper()
	l, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	stop := run(tb, l)
	defer stop()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	if err := l.Wait(ctx, upTo); err != nil {
		tb.Fatalf("%v (last fault: %+v)", err, l.Stats().Fault)
	}
	return l
}

// run starts l; the function it returns stops it and waits.
func run(tb testing.TB, l *Loader) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Run: %v", err)
		}
	}
}

// table returns the rows of a query as lines, without what depends on how the
// stream was cut.
func table(tb testing.TB, wh warehouse.Warehouse, sql string, args ...any) []string {
	tb.Helper()
	rows, err := wh.Query(tb.Context(), sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	var lines []string
	err = tidegate.EachRow(tb.Context(), rows, func(row tidegate.Row) error {
		var b strings.Builder
		for i, c := range rows.Schema() {
			if row[i] == nil || c.Name == "_tidegate_load_id" || c.Name == "uuid_ts" || c.Name == "_tidegate_offset" || c.Name == "journal_offset" {
				continue
			}
			v := row[i]
			if at, ok := v.(time.Time); ok {
				v = at.Format(time.RFC3339Nano)
			}
			fmt.Fprintf(&b, "%s=%v ", c.Name, v)
		}
		lines = append(lines, strings.TrimSpace(b.String()))
		return nil
	})
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return lines
}

// everything returns all rows of all tables of a source, and their columns.
func everything(tb testing.TB, wh duck, source string) map[string][]string {
	tb.Helper()
	all := make(map[string][]string)
	tables, err := wh.Tables(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	for _, t := range tables {
		if t.Schema != source {
			continue
		}
		all[t.Name] = table(tb, wh, fmt.Sprintf("SELECT * FROM %q.%q ORDER BY ALL", t.Schema, t.Name))
		schema, err := wh.Describe(tb.Context(), t)
		if err != nil {
			tb.Fatal(err)
		}
		for _, c := range schema {
			all[t.Name+" columns"] = append(all[t.Name+" columns"], c.Name+" "+c.Type.String())
		}
	}
	return all
}

func track(event, id, user string, properties map[string]any) string {
	b, err := json.Marshal(map[string]any{"type": "track", "event": event, "messageId": id, "userId": user, "properties": properties})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func identify(id, user string, traits map[string]any) string {
	b, err := json.Marshal(map[string]any{"type": "identify", "messageId": id, "userId": user, "traits": traits})
	if err != nil {
		panic(err)
	}
	return string(b)
}

var errPlanted = errors.New("planted")
