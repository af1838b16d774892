package loadertest

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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Widens holds a warehouse to what `tidegate schema widen` promises: what comes of it is
// what a warehouse has whose columns had their types from the start; nothing has changed
// where it fails; no event is lost or twice under a loader that is busy. open gives an
// empty warehouse, which it closes when the test that it was given ends.
func Widens(t *testing.T, open func(testing.TB) evolve.Warehouse) {
	t.Helper()
	for i, profile := range []shape.Profile{shape.RudderStack, shape.Segment, shape.Native} {
		t.Run("as if it had always been: "+string(profile), func(t *testing.T) {
			t.Parallel()
			if testing.Short() && profile != shape.Native {
				t.Skip("in short tests")
			}
			alwaysBeen(t, open, profile, uint64(i%2))
		})
	}
	t.Run("all or nothing", func(t *testing.T) { t.Parallel(); allOrNothing(t, open) })
	t.Run("while events come", func(t *testing.T) { t.Parallel(); whileEventsCome(t, open) })
}

// histories are more when this is set.
const longEnv = "TIDEGATE_LONG"

func widened() time.Time { return arrived().Add(2 * time.Hour) }

// Start runs a loader of tp until the test ends.
func Start(t *testing.T, tp *Tape, wh evolve.Warehouse, rules *shape.Rules) *loader.Loader {
	t.Helper()
	l, err := loader.New(loader.Options{
		Reader: tp, Warehouse: wh, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return arrived().Add(time.Hour) },
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

// Wait waits until everything before upTo is loaded.
func Wait(t *testing.T, l *loader.Loader, upTo tidegate.Offset) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := l.Wait(ctx, upTo); err != nil {
		t.Fatalf("%v (last fault: %+v)", err, l.Stats().Fault)
	}
}

var books = evolve.Log{Schema: loader.BooksSchema, Unbook: loader.Unbook}

// quoted is the name of a table of the source, or of the books, in the words of wh.
func quoted(t *testing.T, wh evolve.Warehouse, schema, name string) string {
	t.Helper()
	q, err := speaks(t, wh).Table(schema, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(q)
}

func speaks(t *testing.T, wh evolve.Warehouse) sqltext.Dialect {
	t.Helper()
	d, ok := sqltext.Find(wh.Dialect())
	if !ok {
		t.Fatalf("no dialect is called %q", wh.Dialect())
	}
	return d
}

// canonicalLines are the rows of a query, with numbers and times in one way of writing.
func canonicalLines(t *testing.T, wh warehouse.Warehouse, sql string) []string {
	t.Helper()
	rows, err := wh.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}()
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
		var cells []string
		for i, c := range rows.Schema() {
			if row[i] != nil && c.Name != "_tidegate_load_id" && c.Name != "uuid_ts" {
				cells = append(cells, c.Name+"="+canonical(row[i]))
			}
		}
		slices.Sort(cells)
		all = append(all, strings.Join(cells, " "))
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

// eventTables are all rows of the source's tables.
func eventTables(t *testing.T, wh evolve.Warehouse) map[string][]string {
	t.Helper()
	states, err := evolve.Survey(t.Context(), wh, []string{"web"}, "")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for _, s := range states {
		all[s.Table] = canonicalLines(t, wh, "SELECT * FROM "+quoted(t, wh, s.Schema, s.Table))
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
				done, err := books.Widen(ctx, wh, evolve.Request{Table: warehouse.Table{Schema: s.Schema, Name: s.Table}, Column: c.Column, By: "ada", At: widened()})
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

func alwaysBeen(t *testing.T, open func(testing.TB) evolve.Warehouse, profile shape.Profile, first uint64) {
	t.Helper()
	histories := uint64(1)
	if os.Getenv(longEnv) != "" {
		histories = 500
	}
	backfilled := int64(0)
	for seed := first; seed < first+histories; seed++ {
		backfilled += widenHistory(t, open, &shape.Rules{
			Profile: profile, JSONPaths: []string{"track.properties.cart"}, HotColumns: []string{"properties.a", "traits.a", "properties.b", "traits.c", "context.c"},
		}, seed)
	}
	if backfilled == 0 {
		t.Error("nothing was ever backfilled: the test proves nothing")
	}
}

// widenHistory: after every proposal is accepted, the tables are those that the same events
// make in a warehouse whose columns had those types from the start, and so are the rows
// that come later.
func widenHistory(t *testing.T, open func(testing.TB) evolve.Warehouse, rules *shape.Rules, seed uint64) int64 {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	events := drawEvents(random, 60)
	wh, tp := open(t), NewTape(nil, 1)
	l := Start(t, tp, wh, rules)
	tp.Add(events[:20]...)
	Wait(t, l, tp.Add(events[20:40]...))
	backfilled := widenAll(t, l, wh)
	Wait(t, l, tp.Add(events[40:]...))
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
	again := NewTape(nil, 1)
	k := Start(t, again, other, rules)
	again.Add(events[:20]...)
	again.Add(events[20:40]...)
	Wait(t, k, again.Add(events[40:]...))
	if diff := cmp.Diff(eventTables(t, other), eventTables(t, wh)); diff != "" {
		t.Fatalf("history %d: tables differ (-as if always +widened):\n%s", seed, diff)
	}
	if !hasTable(t, wh, shape.DiscardsTable) {
		return backfilled
	}
	discards := "SELECT count(*) AS n FROM " + quoted(t, wh, "web", shape.DiscardsTable) + " WHERE reason IN ('type_conflict', 'needs_widening')"
	if got := canonicalLines(t, wh, discards); got[0] != "n=0" {
		t.Fatalf("history %d: %s discards are left", seed, got)
	}
	booked := canonicalLines(t, wh, "SELECT sum(rows) AS n FROM "+quoted(t, wh, loader.BooksSchema, "hourly_rows")+" WHERE table_schema = 'web' AND table_name = '"+shape.DiscardsTable+"'")
	held := canonicalLines(t, wh, "SELECT count(*) AS n FROM "+quoted(t, wh, "web", shape.DiscardsTable))
	if diff := cmp.Diff(held, booked); diff != "" {
		t.Fatalf("history %d: the books of the discards (-rows +booked):\n%s", seed, diff)
	}
	return backfilled
}

func hasTable(t *testing.T, wh evolve.Warehouse, name string) bool {
	t.Helper()
	_, err := wh.Describe(t.Context(), warehouse.Table{Schema: "web", Name: name})
	if err != nil && !errors.Is(err, warehouse.ErrNoTable) {
		t.Fatal(err)
	}
	return err == nil
}
