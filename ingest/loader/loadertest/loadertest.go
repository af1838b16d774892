// Package loadertest carries the same events into any warehouse and tells what its event
// tables then hold, so that the tests of adapters can compare their engine with another.
//
// It decides nothing about what is right: two warehouses agree or they do not. A Tape is
// safe for concurrent use; everything else belongs to one test.
package loadertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Tape is a journal in memory. Its source is web.
type Tape struct {
	mu     sync.Mutex
	frames []journal.Entry
	next   tidegate.Offset
	at     int
	grown  chan struct{}
	source string
}

func arrived() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// NewTape records events, as many in a request as perRequest says.
func NewTape(events []string, perRequest int) *Tape {
	tp := &Tape{grown: make(chan struct{}), source: "web"}
	for part := range slices.Chunk(events, perRequest) {
		tp.Add(part...)
	}
	return tp
}

// Add records one more request, and returns the offset behind it.
func (tp *Tape) Add(events ...string) tidegate.Offset {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	e := envelope.Envelope{Source: tp.source, ReceivedAt: arrived().Add(time.Duration(len(tp.frames)) * time.Second), RequestIP: "203.0.113.7"}
	for _, body := range events {
		e.Events = append(e.Events, envelope.Event{Body: []byte(body)})
	}
	tp.frames = append(tp.frames, journal.Entry{First: tp.next, Events: len(events), AppendedAt: arrived(), Payload: envelope.Append(nil, &e)})
	tp.next.Position += int64(len(events))
	close(tp.grown)
	tp.grown = make(chan struct{})
	return tp.next
}

// TryNext returns the next frame if there is one.
func (tp *Tape) TryNext() (journal.Entry, bool, error) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if tp.at == len(tp.frames) {
		return journal.Entry{}, false, nil
	}
	tp.at++
	return tp.frames[tp.at-1], true, nil
}

// Next returns the next frame, or waits until ctx ends.
func (tp *Tape) Next(ctx context.Context) (journal.Entry, error) {
	for {
		tp.mu.Lock()
		grown := tp.grown
		tp.mu.Unlock()
		if e, ok, _ := tp.TryNext(); ok {
			return e, nil
		}
		select {
		case <-ctx.Done():
			return journal.Entry{}, ctx.Err()
		case <-grown:
		}
	}
}

// Seek goes to the frame that holds offset.
func (tp *Tape) Seek(offset tidegate.Offset) error {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.at = slices.IndexFunc(tp.frames, func(e journal.Entry) bool { return e.First.Position+int64(e.Events) > offset.Position })
	if tp.at < 0 {
		tp.at = len(tp.frames)
	}
	return nil
}

const ofTape = "a tape"

// Mark says that a place is of a tape.
func (tp *Tape) Mark(tidegate.Offset) string { return ofTape }

// Fits refuses what no tape has marked.
func (tp *Tape) Fits(mark string) error {
	if mark != "" && mark != ofTape {
		return fmt.Errorf("the warehouse gives the mark %q back as %q", ofTape, mark)
	}
	return nil
}

// Commit is told how far nothing is needed any more.
func (tp *Tape) Commit(context.Context, tidegate.Offset) error { return nil }

// Committed returns the beginning: nothing of a tape goes.
func (tp *Tape) Committed() tidegate.Offset { return tidegate.Offset{} }

// Load loads all of tp into w, at most maxEvents at a time. It fails tb when that takes
// longer than five minutes.
func Load(t testing.TB, tp *Tape, w loader.Warehouse, maxEvents int) {
	t.Helper()
	load(t, tp, w, maxEvents, "")
}

// Rejoins proves that the cursor's mark is kept, adopted where an earlier version left none,
// and set by the repair. open opens the same warehouse, which is empty, again and again.
func Rejoins(t *testing.T, open func() loader.Warehouse) {
	t.Helper()
	list := Events(40)
	lives := func(use func(loader.Warehouse)) {
		t.Helper()
		w := open()
		defer func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}()
		use(w)
	}
	cursor := func(w loader.Warehouse, position int64, mark string) {
		t.Helper()
		if at, marked, err := loader.Cursor(t.Context(), w); err != nil || at.Position != position || marked != mark {
			t.Errorf("the cursor is %s, marked %q, want %d and %q: %v", at, marked, position, mark, err)
		}
	}
	lives(func(w loader.Warehouse) {
		Load(t, NewTape(list, 10), w, 20)
		cursor(w, 40, ofTape)
		if _, err := w.Exec(t.Context(), "ALTER TABLE _tidegate.cursor DROP COLUMN journal"); err != nil {
			t.Fatal(err)
		}
	})
	var want map[string][]string
	lives(func(w loader.Warehouse) {
		cursor(w, 40, "") // as an earlier version left it
		Load(t, NewTape(list, 10), w, 20)
		cursor(w, 40, ofTape)
		want = Everything(t, w)
		if err := loader.SetCursor(t.Context(), w, tidegate.Offset{Position: 10}, "another tape"); err != nil {
			t.Fatal(err)
		}
		cursor(w, 10, "another tape")
		if err := loader.SetCursor(t.Context(), w, tidegate.Offset{Position: 10}, ofTape); err != nil {
			t.Fatal(err)
		}
	})
	lives(func(w loader.Warehouse) {
		cursor(w, 10, ofTape)
		Load(t, NewTape(list, 10), w, 20)
		cursor(w, 40, ofTape)
		for name, rows := range Everything(t, w) {
			if len(rows) != len(want[name]) && !strings.Contains(name, "dead_letters") { // those have no ids to go by
				t.Errorf("%s has %d rows, and had %d before events were read again", name, len(rows), len(want[name]))
			}
		}
	})
}

func load(t testing.TB, tp *Tape, w loader.Warehouse, maxEvents int, books string) {
	t.Helper()
	l, err := loader.New(loader.Options{
		Reader: tp, Warehouse: w, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return arrived().Add(time.Hour) },
		Linger: time.Millisecond, MaxBackoff: time.Millisecond, MaxEvents: maxEvents, Books: books,
		Shape: shape.Options{Reserved: reserved, MaxName: 63}, // the strictest of all, so that names are equal: they are not the question
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

// reserved says whether any engine reserves word.
func reserved(word string) bool {
	return sqltext.Postgres().Reserved(word) || sqltext.BigQuery().Reserved(word) || sqltext.ClickHouse().Reserved(word) || sqltext.Snowflake().Reserved(word) || sqltext.Redshift().Reserved(word)
}

// Events are of every type, with properties that change their types and names that need
// quoting; the same n gives the same events.
func Events(n int) []string {
	random := rand.New(rand.NewPCG(3, 5))
	values := []any{1, -7, 2.5, "text", "", true, nil, "2026-01-02T03:04:05.678Z", []any{1, "two"}, map[string]any{"deep": map[string]any{"er": "x"}}, "ünïcödé 🎉", 1e300, 9007199254740993.0}
	names := []string{"total", "Order Id", "select", "user", "ctid", "hash", "currency code", strings.Repeat("long ", 20), strings.Repeat("long ", 20) + "er", "Total"}
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

// Sales are n events of ordinary size for benchmarks.
func Sales(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"type":"track","event":"Order Completed","messageId":"m%d","userId":"user %d","properties":{"total":%d.5,"currency":"EUR","items":%d}}`, i, i%100, i/100, i%100)
	}
	return list
}

// Everything returns the columns and the rows of all event tables, sorted and without
// what depends on how the stream was cut.
func Everything(t testing.TB, w loader.Warehouse) map[string][]string {
	t.Helper()
	lister, ok := w.(warehouse.Lister)
	if !ok {
		t.Fatal("the warehouse lists no tables")
	}
	dialect, ok := sqltext.Find(w.Dialect())
	if !ok {
		t.Fatalf("no dialect is called %q", w.Dialect())
	}
	tables, err := lister.Tables(t.Context())
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
		name, err := dialect.Table(table.Schema, table.Name)
		if err != nil {
			t.Fatal(err)
		}
		lines := []string{}
		rows, err := w.Query(t.Context(), string("SELECT * FROM "+name))
		if err != nil {
			t.Fatal(err)
		}
		for {
			row, err := rows.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line(schema, row))
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(lines)
		all[table.Name] = lines
	}
	return all
}

// Forget deletes two of the people of Events from w, as a deletion of personal data does,
// and returns what the hourly books then say that each table was given.
func Forget(t testing.TB, w privacy.Warehouse) map[string]int64 {
	t.Helper()
	eraser := &privacy.Eraser{Warehouse: w, Schema: "web", People: []privacy.Person{{Kind: privacy.UserID, ID: "user 1"}, {Kind: privacy.UserID, ID: "user 2"}}, Now: arrived}
	var receipt privacy.Receipt
	if err := eraser.Erase(t.Context(), &receipt); err != nil {
		t.Fatal(err)
	}
	found := int64(0)
	for _, p := range receipt.Places {
		found += p.Found
		if p.Left != 0 || p.Deleted != p.Found {
			t.Errorf("after the deletion: %+v", p)
		}
	}
	if found == 0 {
		t.Error("the deletion found nothing")
	}
	d, ok := sqltext.Find(w.Dialect())
	if !ok {
		t.Fatalf("no dialect is called %q", w.Dialect())
	}
	books, err := loader.ReadHourlyRows(t.Context(), w, d, loader.Period{From: arrived().Add(-24 * time.Hour), To: arrived().Add(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int64{}
	for _, b := range books {
		rows[b.Schema+"."+b.Table+" "+b.Hour.UTC().Format(time.RFC3339)] += b.Rows
	}
	return rows
}

// Places counts the rows of tracks by the hour in which they came, and adds up their places
// in the journal, in each engine's own words.
func Places(t testing.TB, w loader.Warehouse) map[int64][2]int64 {
	t.Helper()
	d, ok := sqltext.Find(w.Dialect())
	if !ok {
		t.Fatalf("no dialect is called %q", w.Dialect())
	}
	table, err := d.Table("web", "tracks")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := w.Query(t.Context(), string("SELECT "+d.Hour("received_at")+" AS h, count(*) AS n, max("+d.Place(shape.OffsetColumn)+") AS p FROM "+table+" GROUP BY 1"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}()
	all := map[int64][2]int64{}
	for {
		row, err := rows.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		h, isInt := row[0].(int64)
		n, isCount := row[1].(int64)
		p, isPlace := row[2].(int64)
		if !isInt || !isCount || !isPlace {
			t.Fatalf("hour, count and place are %T, %T, %T", row[0], row[1], row[2])
		}
		all[h] = [2]int64{n, p}
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
