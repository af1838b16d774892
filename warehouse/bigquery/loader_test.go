package bigquery_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// tape is a journal in memory, whole from the beginning.
type tape struct {
	frames []journal.Entry
	next   tidegate.Offset

	mu sync.Mutex
	at int
}

func arrived() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func (tp *tape) add(source string, events ...string) {
	e := envelope.Envelope{Source: source, ReceivedAt: arrived().Add(time.Duration(len(tp.frames)) * time.Second), RequestIP: "203.0.113.7"}
	for _, body := range events {
		e.Events = append(e.Events, envelope.Event{Body: []byte(body)})
	}
	tp.frames = append(tp.frames, journal.Entry{First: tp.next, Events: len(events), AppendedAt: arrived(), Payload: envelope.Append(nil, &e)})
	tp.next.Position += int64(len(events))
}

func (tp *tape) TryNext() (journal.Entry, bool, error) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if tp.at == len(tp.frames) {
		return journal.Entry{}, false, nil
	}
	tp.at++
	return tp.frames[tp.at-1], true, nil
}

func (tp *tape) Next(ctx context.Context) (journal.Entry, error) {
	if e, ok, _ := tp.TryNext(); ok {
		return e, nil
	}
	<-ctx.Done()
	return journal.Entry{}, ctx.Err()
}

func (tp *tape) Seek(offset tidegate.Offset) error {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.at = slices.IndexFunc(tp.frames, func(e journal.Entry) bool { return e.First.Position+int64(e.Events) > offset.Position })
	if tp.at < 0 {
		tp.at = len(tp.frames)
	}
	return nil
}

func (tp *tape) Commit(context.Context, tidegate.Offset) error { return nil }

// loadTape loads all of tp into w.
func loadTape(t testing.TB, tp *tape, w loader.Warehouse, maxEvents int) {
	t.Helper()
	l, err := loader.New(loader.Options{
		Reader: tp, Warehouse: w, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return arrived().Add(time.Hour) },
		Linger: time.Millisecond, MaxBackoff: time.Millisecond, MaxEvents: maxEvents,
		Shape: shape.Options{Reserved: sqltext.BigQuery().Reserved, MaxName: sqltext.BigQuery().MaxName()}, // of both: names are not the question
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	wait, stop := context.WithTimeout(ctx, 5*time.Minute)
	defer stop()
	if err := l.Wait(wait, tp.next); err != nil {
		t.Fatalf("%v (last fault: %+v)", err, l.Stats().Fault)
	}
	if stats := l.Stats(); stats.Dead != 0 {
		t.Errorf("%d events became dead letters", stats.Dead)
	}
}

// eventsOf are of every type, with properties that change their types and names that need quoting.
func eventsOf(n int) []string {
	random := rand.New(rand.NewPCG(3, 5))
	values := []any{1, -7, 2.5, "text", "", true, nil, "2026-01-02T03:04:05.678Z", []any{1, "two"}, map[string]any{"deep": map[string]any{"er": "x"}}, "ünïcödé 🎉", 1e300, 9007199254740993.0}
	names := []string{"total", "Order Id", "select", "user", "hash", "currency code", strings.Repeat("long ", 20), strings.Repeat("long ", 20) + "er", "Total"}
	kinds := []string{"track", "track", "track", "identify", "page", "screen", "group", "alias"}
	var list []string
	for i := range n {
		properties := map[string]any{}
		for range random.IntN(4) {
			properties[names[random.IntN(len(names))]] = values[random.IntN(len(values))]
		}
		kind := kinds[random.IntN(len(kinds))]
		user := fmt.Sprintf("user %d", random.IntN(40))
		e := map[string]any{"type": kind, "messageId": fmt.Sprint("m", random.IntN(n)), "userId": user, "context": map[string]any{"ip": "203.0.113.9", "os": map[string]any{"name": "x"}}}
		switch kind {
		case "track":
			e["event"], e["properties"] = []string{"Order Completed", "users", "1st \"quoted\"", "Signed Up"}[random.IntN(4)], properties
		case "identify", "group":
			e["traits"], e["groupId"] = properties, "g1"
		case "alias":
			e["previousId"] = fmt.Sprint("old", i)
		default:
			e["name"], e["properties"] = "Home", properties
		}
		body, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		list = append(list, string(body))
	}
	return list
}

// TestEventTablesAreThoseOfDuckDB loads the same events into both, into BigQuery
// through answers that are lost, refused and late, and compares every table,
// column by column and row by row.
func TestEventTablesAreThoseOfDuckDB(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	big := open(t, cfg)
	duck, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), MemoryLimit: "500MB", Threads: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	var calls, lost atomic.Int64
	s.Intercept(func(bqtest.Call) *bqtest.Answer {
		switch n := calls.Add(1); {
		case n%23 == 0:
			lost.Add(1)
			return &bqtest.Answer{Lose: true}
		case n%37 == 0:
			return &bqtest.Answer{Status: http.StatusServiceUnavailable, Reason: "backendError", Message: "Visibility check was unavailable. Please retry."}
		}
		return nil
	})
	list := eventsOf(600)
	for _, w := range []loader.Warehouse{big, duck} {
		tp := &tape{}
		for i := 0; i < len(list); i += 10 {
			tp.add("web", list[i:min(len(list), i+10)]...)
		}
		loadTape(t, tp, w, 200)
		loadTape(t, tp, w, 200) // a second loader finds everything loaded
	}
	s.Intercept(nil)
	want, got := everything(t, duck), everything(t, big)
	if len(got) < 20 {
		t.Errorf("only %d tables", len(got)/2)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-duckdb +bigquery: %s", d)
	}
	if lost.Load() < 5 {
		t.Errorf("only %d answers were lost", lost.Load())
	}
}

// everything returns the columns and the rows of all event tables.
func everything(t *testing.T, w loader.Warehouse) map[string][]string {
	t.Helper()
	tables, err := w.(warehouse.Lister).Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, table := range tables {
		if table.Schema != "web" {
			continue
		}
		schema, err := w.Describe(t.Context(), table)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range schema {
			all[table.Name+" columns"] = append(all[table.Name+" columns"], c.Name+" "+c.Type.String())
		}
		dialect, ok := sqltext.Find(w.Dialect())
		if !ok {
			t.Fatal(w.Dialect())
		}
		name, err := dialect.Table(table.Schema, table.Name)
		if err != nil {
			t.Fatal(err)
		}
		lines := []string{}
		for _, row := range rowsOf(t, w, string("SELECT * FROM "+name)) {
			lines = append(lines, line(schema, row))
		}
		slices.Sort(lines)
		all[table.Name] = lines
	}
	return all
}

// line is a row without what depends on how the stream was cut.
func line(schema tidegate.Schema, row tidegate.Row) string {
	var cells []string
	for i, c := range schema {
		v := row[i]
		switch n := v.(type) {
		case time.Time:
			v = n.Format(time.RFC3339Nano)
		case tidegate.JSONText:
			var document any
			if err := json.Unmarshal([]byte(n), &document); err != nil {
				panic(err)
			}
			v, _ = json.Marshal(document)
			v = string(v.([]byte))
		}
		if v != nil && c.Name != "_tidegate_load_id" && c.Name != "uuid_ts" {
			cells = append(cells, fmt.Sprintf("%s=%v", c.Name, v))
		}
	}
	slices.Sort(cells)
	return strings.Join(cells, " ")
}
