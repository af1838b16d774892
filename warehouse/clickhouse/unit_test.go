package clickhouse_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

func columns(pairs ...any) tidegate.Schema {
	var s tidegate.Schema
	for i := 0; i < len(pairs); i += 2 {
		s = append(s, tidegate.Column{Name: pairs[i].(string), Type: tidegate.Type{Kind: pairs[i+1].(tidegate.Kind)}})
	}
	return s
}

// world is three tables of one schema and a unit that changes all of them.
type world struct{ schema string }

func (x world) table(name string) warehouse.Table {
	return warehouse.Table{Schema: x.schema, Name: name}
}

func (x world) columns() tidegate.Schema {
	return columns("id", tidegate.Int, "v", tidegate.String)
}

// prepare fills the tables as they are before the unit.
func (x world) prepare(t *testing.T, w warehouse.Warehouse) {
	t.Helper()
	for _, name := range []string{"events", "users", "list"} {
		if _, err := w.Ensure(t.Context(), x.table(name), x.columns()); err != nil {
			t.Fatal(err)
		}
		var key []string
		if name == "users" {
			key = []string{"id"}
		}
		l := warehouse.Load{ID: "before", Table: x.table(name), Key: key}
		if _, err := w.Load(t.Context(), l, tidegate.Rows(x.columns(), tidegate.Row{int64(1), "before"})); err != nil {
			t.Fatal(err)
		}
	}
}

// unit gathers everything: rows, rows by key, and a statement with rows after it.
func (x world) unit(t *testing.T, w *clickhouse.Warehouse) warehouse.Tx {
	t.Helper()
	tx, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	load := func(id, table string, key []string, rows ...tidegate.Row) {
		t.Helper()
		if _, err := tx.Load(t.Context(), warehouse.Load{ID: id, Table: x.table(table), Key: key}, tidegate.Rows(x.columns(), rows...)); err != nil {
			t.Fatal(err)
		}
	}
	load("unit 1", "events", nil, tidegate.Row{int64(2), "new"}, tidegate.Row{int64(3), "new"})
	load("unit 1", "users", []string{"id"}, tidegate.Row{int64(1), "after"}, tidegate.Row{int64(2), "after"})
	if _, err := tx.Exec(t.Context(), fmt.Sprintf("DELETE FROM %s.list WHERE v = $1", x.schema), "before"); err != nil {
		t.Fatal(err)
	}
	load("unit 1", "list", nil, tidegate.Row{int64(7), "after"})
	load("unit 2", "events", nil, tidegate.Row{int64(4), "new"})
	return tx
}

// state is what the tables hold, without merging anything away but the users.
func (x world) state(t *testing.T, w warehouse.Warehouse) []string {
	t.Helper()
	var all []string
	for _, name := range []string{"events", "list", "users"} {
		final := " SETTINGS final = 0"
		if name == "users" {
			final = ""
		}
		for _, row := range warehousetest.Rows(t, w, fmt.Sprintf("SELECT id, v FROM %s.%s ORDER BY id%s", x.schema, name, final)) {
			all = append(all, fmt.Sprint(name, " ", row[0], " ", row[1]))
		}
	}
	return all
}

var (
	stateBefore = []string{"events 1 before", "list 1 before", "users 1 before"}
	stateAfter  = []string{"events 1 before", "events 2 new", "events 3 new", "events 4 new", "list 7 after", "users 1 after", "users 2 after"}
)

// TestUnitCutShort ends the life of a process at each request of a commit, just
// before and just after the server has it. What comes after it finds all of the unit or
// nothing, and who does the unit again when nothing is there has done it once.
func TestUnitCutShort(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := between(t, s)
	through := config(s)
	through.Port = p.port
	requests := wholeCommit(t, through, p)
	if requests < 8 {
		t.Fatalf("a commit is %d requests: not every step was seen", requests)
	}
	ends := map[string]int{}
	step := 1
	if testing.Short() {
		step = 4
	}
	for at := 1; at <= requests; at += step {
		for _, cut := range []fate{cutBefore, cutAfter} {
			x := world{fmt.Sprintf("cut_%d_%d", at, cut)}
			p.plan(nil)
			w := openSoon(t, through)
			x.prepare(t, w)
			tx := x.unit(t, w)
			p.plan(func(n int) fate { // from here on nothing gets through
				switch {
				case n < at:
					return pass
				case n == at:
					return cut
				}
				return cutBefore
			})
			err := tx.Commit()
			if err == nil {
				t.Fatalf("%s: the commit was cut short and says that it is done", x.schema)
			}
			if f := tidegate.FaultOf(err); f.Action != tidegate.Retry {
				t.Errorf("%s: %v: %v", x.schema, f.Action, err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			next := open(t, config(s)) // another process
			again, err := next.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Rollback(); err != nil {
				t.Error(err)
			}
			state := x.state(t, next)
			if cmp.Equal(state, stateBefore) {
				ends["nothing"]++
				if err := x.unit(t, next).Commit(); err != nil {
					t.Fatal(err)
				}
				state = x.state(t, next)
			} else {
				ends["all"]++
			}
			if d := cmp.Diff(stateAfter, state); d != "" {
				t.Errorf("%s: %s", x.schema, d)
			}
			// The loads are known, whoever did them.
			if n, err := next.Load(t.Context(), warehouse.Load{ID: "unit 2", Table: x.table("events")}, tidegate.Rows(x.columns(), tidegate.Row{int64(4), "new"})); n != 0 || err != nil {
				t.Errorf("%s: a load of the unit was done again: %d, %v", x.schema, n, err)
			}
			if left := warehousetest.Rows(t, next, "SELECT count() FROM _tidegate.units"); left[0][0] != int64(0) {
				t.Errorf("%s: %v steps are left in the books", x.schema, left[0][0])
			}
			if err := next.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if ends["nothing"] != 1 || ends["all"] == 0 {
		t.Errorf("got %v: only a cut before the books have the unit may leave nothing", ends)
	}
}

// wholeCommit commits a unit that nobody disturbs and returns how many requests that takes.
func wholeCommit(t *testing.T, cfg clickhouse.Config, p *proxy) int {
	t.Helper()
	x := world{"whole"}
	w := open(t, cfg)
	defer w.Close()
	x.prepare(t, w)
	tx := x.unit(t, w)
	p.plan(nil)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	requests := p.count()
	if d := cmp.Diff(stateAfter, x.state(t, w)); d != "" {
		t.Fatal(d)
	}
	return requests
}

// TestLoadCutShort: a single load whose answer is lost is done once, by the
// adapter's own repetition, and by its caller's when that was given up too.
func TestLoadCutShort(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := between(t, s)
	cfg := config(s)
	cfg.Port = p.port
	w := openSoon(t, cfg)
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	schema := columns("n", tidegate.Int)
	if _, err := w.Ensure(t.Context(), table, schema); err != nil {
		t.Fatal(err)
	}
	load := func(id string) error {
		_, err := w.Load(t.Context(), warehouse.Load{ID: id, Table: table}, tidegate.Rows(schema, tidegate.Row{int64(1)}, tidegate.Row{int64(2)}))
		return err
	}
	p.plan(nil)
	if err := load("first"); err != nil {
		t.Fatal(err)
	}
	requests := p.count()
	loads := 1
	for at := 1; at <= requests; at++ {
		for _, cut := range []fate{cutBefore, cutAfter} {
			for _, lasting := range []bool{false, true} {
				id := fmt.Sprint("load ", at, cut, lasting)
				p.plan(func(n int) fate {
					if n == at || lasting && n > at {
						return cut
					}
					return pass
				})
				err := load(id)
				p.plan(nil)
				if err != nil {
					if f := tidegate.FaultOf(err); f.Action != tidegate.Retry {
						t.Errorf("%s: %v: %v", id, f.Action, err)
					}
					if err = load(id); err != nil {
						t.Fatal(err)
					}
				}
				loads++
				if got := warehousetest.Rows(t, w, "SELECT count() FROM s.t"); got[0][0] != int64(2*loads) {
					t.Fatalf("%s: %v rows after %d loads of two", id, got[0][0], loads)
				}
			}
		}
	}
}

// TestServerKilled kills the server while nothing is going on and in a unit's life:
// what was loaded is there, and a unit in the books is brought to its end.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := between(t, s)
	cfg := config(s)
	cfg.Port = p.port
	x := world{"killed"}
	w := openSoon(t, cfg)
	defer w.Close()
	x.prepare(t, w)
	tx := x.unit(t, w)
	p.plan(func(n int) fate {
		if n < 4 {
			return pass
		}
		return cutBefore
	})
	if err := tx.Commit(); err == nil {
		t.Fatal("the commit was cut short and says that it is done")
	}
	s.Kill(t)
	p.plan(nil)
	begun, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := begun.Rollback(); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(stateAfter, x.state(t, w)); d != "" {
		t.Error(d)
	}
}

// TestWideningCutShort ends the life of a process at each request of a commit that widens a
// column and writes its table. What comes after it finds all of it or nothing.
func TestWideningCutShort(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := between(t, s)
	through := config(s)
	through.Port = p.port
	at := time.Date(2026, 11, 21, 3, 4, 5, 600_000_000, time.UTC)
	// prepare makes a table of times, and a unit that makes them JSON texts and deletes one by its text.
	prepare := func(schema string) (*clickhouse.Warehouse, warehouse.Table, warehouse.Tx) {
		w, table := openSoon(t, through), warehouse.Table{Schema: schema, Name: "times"}
		s := columns("id", tidegate.Int, "v", tidegate.Timestamp)
		if _, err := w.Ensure(t.Context(), table, s); err != nil {
			t.Fatal(err)
		}
		rows := tidegate.Rows(s, tidegate.Row{int64(1), at}, tidegate.Row{int64(2), at.Add(time.Hour)}, tidegate.Row{int64(3), nil})
		if _, err := w.Load(t.Context(), warehouse.Load{ID: "times", Table: table}, rows); err != nil {
			t.Fatal(err)
		}
		tx, err := w.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		widener, ok := tx.(warehouse.Widener)
		if !ok {
			t.Fatal("a unit does not widen")
		}
		if err := widener.Widen(t.Context(), table, tidegate.Column{Name: "v", Type: tidegate.Type{Kind: tidegate.JSON}}); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "DELETE FROM "+schema+".times WHERE v = $1", `"2026-11-21T04:04:05.600000Z"`); err != nil {
			t.Fatal(err)
		}
		return w, table, tx
	}
	first, _, tx := prepare("whole")
	p.plan(nil)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	requests := p.count()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if requests < 12 {
		t.Fatalf("a commit is %d requests: not every step was seen", requests)
	}
	before := []tidegate.Row{{int64(1), at}, {int64(2), at.Add(time.Hour)}, {int64(3), nil}}
	after := []tidegate.Row{{int64(1), tidegate.JSONText(`"2026-11-21T03:04:05.600000Z"`)}, {int64(3), nil}}
	ends := map[bool]int{}
	step := 3
	if os.Getenv(warehousetest.LongEnv) != "" {
		step = 1
	}
	for n := 1; n <= requests; n += step {
		for _, cut := range []fate{cutBefore, cutAfter} {
			p.plan(nil)
			w, table, tx := prepare(fmt.Sprintf("cut_%d_%d", n, cut))
			p.plan(func(at int) fate { // from here on nothing gets through
				switch {
				case at < n:
					return pass
				case at == n:
					return cut
				}
				return cutBefore
			})
			if err := tx.Commit(); err == nil {
				t.Fatalf("%s: the commit was cut short and says that it is done", table)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			next := open(t, config(s)) // another process
			again, err := next.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Rollback(); err != nil {
				t.Error(err)
			}
			schema, err := next.Describe(t.Context(), table)
			if err != nil {
				t.Fatal(err)
			}
			done := schema[1].Type.Kind == tidegate.JSON
			want := before
			if done {
				want = after
			}
			if d := cmp.Diff(want, warehousetest.Rows(t, next, "SELECT id, v FROM "+table.Schema+".times ORDER BY id")); d != "" || len(schema) != 2 {
				t.Errorf("%s: %v %s", table, schema, d)
			}
			ends[done]++
			if err := next.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if ends[true] == 0 || ends[false] == 0 {
		t.Errorf("ends seen: %v; both must come about", ends)
	}
}

// TestStatementOfManyBlocks: an INSERT … SELECT in a unit has a name, as all inserts do, and yet all of its
// blocks arrive.
func TestStatementOfManyBlocks(t *testing.T) {
	t.Parallel()
	w := open(t, config(server(t)))
	defer w.Close()
	for _, name := range []string{"from", "into"} {
		if _, err := w.Ensure(t.Context(), warehouse.Table{Schema: "blocks", Name: name}, columns("n", tidegate.Int)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // parts, which are read side by side
		if _, err := w.Exec(t.Context(), "INSERT INTO blocks.from SELECT 7 FROM numbers(300000)"); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "INSERT INTO blocks.into SELECT n FROM blocks.from"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := warehousetest.Rows(t, w, "SELECT count() FROM blocks.into")[0][0]; got != int64(900_000) {
		t.Errorf("%v of 900000 rows arrived", got)
	}
}
