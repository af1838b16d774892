package evolve_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/postgres"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

var servers pgtest.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	servers.Stop()
	if err := goleak.Find(); err != nil && code == 0 {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

func at() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// tape is a journal in memory.
type tape struct {
	mu     sync.Mutex
	frames []journal.Entry
	next   tidegate.Offset
	read   int
	grown  chan struct{}
}

func newTape() *tape { return &tape{grown: make(chan struct{})} }

func (tp *tape) add(events ...string) tidegate.Offset {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	e := envelope.Envelope{Source: "web", ReceivedAt: at().Add(time.Duration(len(tp.frames)) * time.Second), RequestIP: "203.0.113.7"}
	for _, body := range events {
		e.Events = append(e.Events, envelope.Event{Body: []byte(body)})
	}
	tp.frames = append(tp.frames, journal.Entry{First: tp.next, Events: len(events), AppendedAt: at(), Payload: envelope.Append(nil, &e)})
	tp.next.Position += int64(len(events))
	close(tp.grown)
	tp.grown = make(chan struct{})
	return tp.next
}

func (tp *tape) TryNext() (journal.Entry, bool, error) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if tp.read == len(tp.frames) {
		return journal.Entry{}, false, nil
	}
	tp.read++
	return tp.frames[tp.read-1], true, nil
}

func (tp *tape) Next(ctx context.Context) (journal.Entry, error) {
	for {
		tp.mu.Lock()
		grown := tp.grown
		tp.mu.Unlock()
		if e, ok, err := tp.TryNext(); ok || err != nil {
			return e, err
		}
		select {
		case <-ctx.Done():
			return journal.Entry{}, ctx.Err()
		case <-grown:
		}
	}
}

func (tp *tape) Seek(offset tidegate.Offset) error {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if tp.read = slices.IndexFunc(tp.frames, func(e journal.Entry) bool { return e.First.Position+int64(e.Events) > offset.Position }); tp.read < 0 {
		tp.read = len(tp.frames)
	}
	return nil
}

func (tp *tape) Commit(context.Context, tidegate.Offset) error { return nil }

// engines are the warehouses that can widen.
func engines() map[string]func(testing.TB) evolve.Warehouse {
	return map[string]func(testing.TB) evolve.Warehouse{
		"duckdb": func(tb testing.TB) evolve.Warehouse {
			tb.Helper()
			w, err := duckdb.Open(tb.Context(), duckdb.Options{Path: filepath.Join(tb.TempDir(), "w.duckdb"), MemoryLimit: "1GB", Log: slog.New(slog.DiscardHandler), Now: time.Now})
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(func() { closed(tb, w) })
			return w
		},
		"postgres": func(tb testing.TB) evolve.Warehouse {
			tb.Helper()
			s := servers.Get(tb, warehousetest.Missing)
			w, err := postgres.Open(tb.Context(), postgres.Config{Host: s.Host, Port: s.Port, Database: s.Database(tb), User: pgtest.Superuser, MaxConnections: 10},
				warehouse.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now})
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(func() { closed(tb, w) })
			return w.(evolve.Warehouse)
		},
	}
}

func closed(tb testing.TB, c io.Closer) {
	tb.Helper()
	if err := c.Close(); err != nil {
		tb.Error(err)
	}
}

// start runs a loader until the test ends.
func start(t *testing.T, tp *tape, wh evolve.Warehouse, rules *shape.Rules) *loader.Loader {
	t.Helper()
	l, err := loader.New(loader.Options{
		Reader: tp, Warehouse: wh, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return at().Add(time.Hour) },
		Linger: time.Millisecond, MaxBackoff: time.Millisecond, Shape: shape.Options{RulesOf: func(string) *shape.Rules { return rules }},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

func wait(t *testing.T, l *loader.Loader, upTo tidegate.Offset) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Wait(ctx, upTo); err != nil {
		t.Fatalf("%v (last fault: %+v)", err, l.Stats().Fault)
	}
}

var books = evolve.Log{Schema: "_tidegate"}

// lines are the rows of a query, with numbers and times in one way of writing.
func lines(t *testing.T, wh warehouse.Warehouse, sql string) []string {
	t.Helper()
	rows, err := wh.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer closed(t, rows)
	var all []string
	for {
		row, err := rows.Next(t.Context())
		if errors.Is(err, io.EOF) {
			slices.Sort(all)
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for i, c := range rows.Schema() {
			if row[i] != nil && c.Name != "_tidegate_load_id" && c.Name != "uuid_ts" {
				fmt.Fprintf(&b, "%s=%s ", c.Name, canonical(row[i]))
			}
		}
		all = append(all, strings.TrimSpace(b.String()))
	}
}

func canonical(v any) string {
	text := fmt.Sprint(v)
	switch v := v.(type) {
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case tidegate.JSONText:
		var parsed any
		d := json.NewDecoder(strings.NewReader(string(v)))
		d.UseNumber()
		if d.Decode(&parsed) != nil {
			return "not JSON: " + text
		}
		if o, ok := parsed.(map[string]any); ok {
			sorted, err := json.Marshal(o)
			if err != nil {
				panic(err)
			}
			return string(sorted)
		}
		text = fmt.Sprint(parsed)
	}
	if r, ok := new(big.Rat).SetString(text); ok && !strings.Contains(text, "/") {
		return r.RatString()
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC().Format(time.RFC3339Nano)
		}
	}
	return text
}

// tables are all rows of the source's tables.
func tables(t *testing.T, wh evolve.Warehouse) map[string][]string {
	t.Helper()
	states, err := evolve.Survey(t.Context(), wh, []string{"web"}, "")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for _, s := range states {
		names := make([]string, len(s.Columns))
		for i, c := range s.Columns {
			names[i] = fmt.Sprintf("%q", c.Name)
		}
		slices.Sort(names)
		all[s.Table] = lines(t, wh, fmt.Sprintf("SELECT %s FROM web.%q", strings.Join(names, ", "), s.Table))
	}
	return all
}

// widenAll accepts every proposal.
func widenAll(t *testing.T, l *loader.Loader, wh evolve.Warehouse) (backfilled int64) {
	t.Helper()
	states, err := evolve.Survey(t.Context(), wh, []string{"web"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		for _, c := range s.Conflicts {
			if c.Proposal == "" {
				continue
			}
			err := l.Between(t.Context(), func(ctx context.Context) error {
				done, err := books.Widen(ctx, wh, evolve.Request{Table: warehouse.Table{Schema: s.Schema, Name: s.Table}, Column: c.Column, By: "ada", At: at()})
				if err == nil && (done.NewType != c.Proposal || done.Values != c.Values || done.Left != 0) {
					t.Errorf("%s.%s: proposed %+v, done %+v", s.Table, c.Column, c, done)
				}
				backfilled += done.Backfilled
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return backfilled
}

// drawEvents are events whose properties change their types.
func drawEvents(random *rand.Rand, n int) []string {
	values := []string{
		"9007199254740993", "2.5", "0.125", "-7", "1", "10", "true", "123456789012345678901234567890", "false", `"text"`, `"7"`, `"2026-01-02"`, `"2026-01-02T03:04:05.678Z"`,
		`[1,"two"]`, `{"deep":"x"}`, `"ünïcödé 🎉 \"quoted\""`, "0.1", "12345678901234567890",
	}
	var list []string
	for i := range n {
		var members []string
		for _, name := range []string{"a", "b", "c", "cart"} {
			if random.IntN(3) > 0 {
				// Some columns have few types, so that they end as numbers. In the others no
				// whole number may be one that a double rounds: a column that was a float
				// before it became a string has it in _unmapped.
				of := values[5:]
				if name == "a" {
					of = values[:5]
				} else if name == "b" {
					of = values[4:8]
				}
				members = append(members, fmt.Sprintf("%q:%s", name, of[random.IntN(len(of))]))
			}
		}
		properties := "{" + strings.Join(members, ",") + "}"
		if random.IntN(2) == 0 {
			list = append(list, fmt.Sprintf(`{"type":"identify","messageId":"m%d","userId":"u%d","traits":%s}`, i, random.IntN(4), properties))
		} else {
			list = append(list, fmt.Sprintf(`{"type":"track","event":"E","messageId":"m%d","userId":"u","properties":%s,"context":%s}`, i, properties, properties))
		}
	}
	return list
}

// TestWidenedIsAsIfItHadAlwaysBeen: after every proposal is accepted, the tables are those
// that the same events make in a warehouse whose columns had those types from the start,
// and so are the rows that come later.
func TestWidenedIsAsIfItHadAlwaysBeen(t *testing.T) {
	t.Parallel()
	histories := 2
	if os.Getenv(warehousetest.LongEnv) != "" {
		histories = 500
	}
	for name, open := range engines() {
		for _, profile := range []shape.Profile{shape.RudderStack, shape.Segment, shape.Native} {
			t.Run(strings.TrimSuffix(name+" "+string(profile), " "), func(t *testing.T) {
				t.Parallel()
				backfilled := int64(0)
				for seed := range uint64(histories) {
					backfilled += history(t, open, &shape.Rules{
						Profile: profile, JSONPaths: []string{"track.properties.cart"}, HotColumns: []string{"properties.a", "traits.a", "properties.b", "traits.c", "context.c"},
					}, seed)
				}
				if backfilled == 0 {
					t.Error("nothing was ever backfilled: the test proves nothing")
				}
			})
		}
	}
}

func history(t *testing.T, open func(testing.TB) evolve.Warehouse, rules *shape.Rules, seed uint64) int64 {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	events := drawEvents(random, 60)
	wh, tp := open(t), newTape()
	l := start(t, tp, wh, rules)
	tp.add(events[:20]...)
	wait(t, l, tp.add(events[20:40]...))
	backfilled := widenAll(t, l, wh)
	wait(t, l, tp.add(events[40:]...))
	backfilled += widenAll(t, l, wh)

	types, err := evolve.Survey(t.Context(), wh, []string{"web"}, "")
	if err != nil {
		t.Fatal(err)
	}
	other := open(t)
	for _, s := range types {
		var columns tidegate.Schema
		for _, c := range s.Columns {
			typ, err := evolve.ParseType(c.Type)
			if err != nil {
				t.Fatal(err)
			}
			columns = append(columns, tidegate.Column{Name: c.Name, Type: typ})
		}
		if _, err := other.Ensure(t.Context(), warehouse.Table{Schema: s.Schema, Name: s.Table}, columns); err != nil {
			t.Fatal(err)
		}
	}
	again := newTape()
	k := start(t, again, other, rules)
	again.add(events[:20]...)
	again.add(events[20:40]...)
	wait(t, k, again.add(events[40:]...))
	if diff := cmp.Diff(tables(t, other), tables(t, wh)); diff != "" {
		t.Fatalf("history %d: tables differ (-as if always +widened):\n%s", seed, diff)
	}
	if !slices.ContainsFunc(lines(t, wh, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'web'"), func(line string) bool { return strings.Contains(line, "discards") }) {
		return backfilled
	}
	discards := "SELECT count(*) AS n FROM web.tidegate_discards WHERE reason IN ('type_conflict', 'needs_widening')"
	if got := lines(t, wh, discards); got[0] != "n=0" {
		t.Fatalf("history %d: %s discards are left", seed, got)
	}
	return backfilled
}
