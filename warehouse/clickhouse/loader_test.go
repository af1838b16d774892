package clickhouse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
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
		Shape: shape.Options{Reserved: sqltext.Postgres().Reserved, MaxName: sqltext.Postgres().MaxName()}, // of both: names are not the question
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
	wait, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	if err := l.Wait(wait, tp.next); err != nil {
		t.Fatalf("%v (last fault: %+v)", err, l.Stats().Fault)
	}
	if stats := l.Stats(); stats.Dead != 0 {
		t.Errorf("%d events became dead letters", stats.Dead)
	}
}

// events are of every type, with properties that change their types and names that need quoting.
func events(n int) []string {
	random := rand.New(rand.NewPCG(3, 5))
	values := []any{1, -7, 2.5, "text", "", true, nil, "2026-01-02T03:04:05.678Z", []any{1, "two"}, map[string]any{"deep": map[string]any{"er": "x"}}, "ünïcödé 🎉", 1e300, 9007199254740993.0}
	names := []string{"total", "Order Id", "select", "user", "ctid", "currency code", strings.Repeat("long ", 20), strings.Repeat("long ", 20) + "er", "Total"}
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

// TestEventTablesAreThoseOfDuckDB loads the same events into both and compares
// every table, column by column and row by row; once over a good connection, and once over
// one that breaks before or after every few requests.
func TestEventTablesAreThoseOfDuckDB(t *testing.T) {
	t.Parallel()
	list := events(700)
	tapeOf := func() *tape {
		tp := &tape{}
		for i := 0; i < len(list); i += 10 {
			tp.add("web", list[i:min(len(list), i+10)]...)
		}
		return tp
	}
	duck, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), MemoryLimit: "500MB", Threads: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	loadTape(t, tapeOf(), duck, 350)
	want := everything(t, duck)
	if len(want) < 20 {
		t.Errorf("only %d tables", len(want)/2)
	}
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken %t", broken), func(t *testing.T) {
			if broken && testing.Short() {
				t.Skip("in short tests")
			}
			s := server(t)
			cfg := config(s)
			if broken {
				p := between(t, s)
				cfg.Port = p.port
				random := rand.New(rand.NewPCG(11, 13))
				p.plan(func(int) fate {
					return []fate{cutBefore, cutAfter, pass, pass, pass, pass, pass, pass, pass, pass, pass, pass, pass, pass}[random.IntN(14)]
				})
			}
			w := openSoon(t, cfg)
			defer w.Close()
			loadTape(t, tapeOf(), w, 350)
			loadTape(t, tapeOf(), w, 350) // a second loader finds everything loaded
			direct := open(t, config(s))
			defer direct.Close()
			if d := cmp.Diff(want, everything(t, direct)); d != "" {
				t.Errorf("-duckdb +clickhouse: %s", d)
			}
			if left := rowsOf(t, direct, "SELECT count() FROM _tidegate.units"); left[0][0] != int64(0) {
				t.Errorf("%v steps of units are left in the books", left[0][0])
			}
			twice := rowsOf(t, direct, "SELECT count() - uniqExact(id) FROM web.tracks SETTINGS final = 0")
			if twice[0][0] != int64(0) {
				t.Errorf("%v rows are there twice beneath the merge", twice[0][0])
			}
		})
	}
}

type lister interface {
	warehouse.Warehouse
	warehouse.Lister
}

// everything returns the columns and the rows of all event tables.
func everything(t *testing.T, w lister) map[string][]string {
	t.Helper()
	tables, err := w.Tables(t.Context())
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
		name, err := sqltext.ClickHouse().Table(table.Schema, table.Name)
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

// BenchmarkEvents carries events from the journal's frames into event tables.
func BenchmarkEvents(b *testing.B) {
	for range b.N {
		b.StopTimer()
		w := open(b, config(server(b)))
		tp := &tape{}
		list := make([]string, 100)
		for i := range 200 {
			for j := range list {
				list[j] = fmt.Sprintf(`{"type":"track","event":"Order Completed","messageId":"m%d","userId":"user %d","properties":{"total":%d.5,"currency":"EUR","items":%d}}`, i*100+j, j, i, j)
			}
			tp.add("web", list...)
		}
		b.StartTimer()
		loadTape(b, tp, w, 20_480)
		b.StopTimer()
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(20_000*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
