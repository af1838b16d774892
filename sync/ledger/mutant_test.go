package ledger

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/warehouse"
)

// TestPlantedBugs: the property suite must fail over every ledger whose SQL has
// one of these bugs; a survivor means that the suite proves less than it says.
func TestPlantedBugs(t *testing.T) {
	t.Parallel()
	for _, bug := range []struct{ name, old, new, place string }{
		{"what is not delivered takes over the fingerprint", "WHERE x.done AND x.key_hash = \"_tidegate\".\"crm__ledger\"", "WHERE x.key_hash = \"_tidegate\".\"crm__ledger\"", inDuckDB},
		{"a failed key stays acked", "SET acked = false", "SET acked = true", inDuckDB},
		{"a rejected payload counts as confirmed", "WHERE x.done AND x.op <> 'removed'", "WHERE x.op <> 'removed'", inDuckDB},
		{"removed keys are kept", "WHERE x.done AND x.op <> 'removed'", "WHERE x.done", inDuckDB},
		{"intended without an answer is no doubt", "SELECT CAST($1 AS VARCHAR), p.ordinal, 'in_doubt'", "SELECT CAST($1 AS VARCHAR), p.ordinal, 'delivered'", inDuckDB},
		{"doubts are forgotten with the next failure", "coalesce(a.doubted, false) OR l.disposition = 'in_doubt' AS still_doubted", "l.disposition = 'in_doubt' AS still_doubted", inDuckDB},
		{"absent keys are not looked for", "FULL JOIN (SELECT key_hash", "LEFT JOIN (SELECT key_hash", inDuckDB},
		{"a key that failed pairs as if it were acked", "CASE WHEN acked THEN fingerprint END AS j", "fingerprint AS j", inDuckDB},
		{"twins of one key are sent", "s.key_hash IS NOT NULL AND s.model_rows <= 1", "s.key_hash IS NOT NULL", inDuckDB},
		{"hidden twins are not seen", "SELECT count(*) FROM (SELECT key_hash, key_check FROM tidegate_scratch", "SELECT 0 * count(*) FROM (SELECT key_hash, key_check FROM tidegate_scratch", inDuckDB},
		{"a healed key keeps its attempt", "p.op IN ('same', 'forget') AND p.key_hash = \"_tidegate\".\"crm__attempts\".key_hash", "p.op IN ('never') AND p.key_hash = \"_tidegate\".\"crm__attempts\".key_hash", inDuckDB},
		{"attempts are not kept", "p.ordinal = x.ordinal WHERE NOT x.done", "p.ordinal = x.ordinal WHERE false", inDuckDB},
		{"PostgreSQL looks for no removed key", "(SELECT other FROM tidegate_other)", "(SELECT false FROM tidegate_other)", inPostgres},
		{"PostgreSQL looks for no key that failed", " AND NOT n.acked UNION ALL", " AND false UNION ALL", inPostgres},
		{"PostgreSQL forgets what failed and is gone", " OR k.failed <> ", " OR k.failed < 0 AND k.failed <> ", inPostgres},
	} {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			fired := false
			plant := func(store engineUnderTest) warehouse.Execer {
				return &mutant{Execer: store, old: bug.old, new: bug.new, fired: &fired}
			}
			for _, property := range []func(testing.TB){
				func(tb testing.TB) { goesBack(tb, bug.place, plant) },
				func(tb testing.TB) { naiveDiff(tb, bug.place, 0, 2, plant) },
				func(tb testing.TB) { converges(tb, bug.place, 1000, 3, plant) },
			} {
				if killed(t, property) {
					if !fired {
						t.Fatal("the suite failed and the bug was not even there")
					}
					return
				}
			}
			t.Errorf("the bug survived (it was there: %t)", fired)
		})
	}
}

// goesBack tells of a key in doubt, a key that heals and a key that fails, each
// with a model that returns to what was confirmed.
func goesBack(tb testing.TB, place string, plant func(engineUnderTest) warehouse.Execer) {
	tb.Helper()
	w := newWorldAt(tb, place)
	if plant != nil {
		w.store = plant(w.wh)
		w.open()
	}
	w.exec("CREATE TABLE people AS SELECT * FROM (VALUES (1, 'a@x.io', 10), (2, 'b@x.io', 20)) AS v(id, email, age)")
	w.run()
	one := func(age int, with func(Planned) *Result) []Planned {
		w.exec("UPDATE people SET age = $1 WHERE id = 1", age)
		id, _ := w.plan()
		all := w.changes(id)
		w.deliver(id, with)
		w.finish(id)
		return all
	}
	rejected := outcome(destinations.Rejected, time.Time{})
	one(11, func(Planned) *Result { return nil })
	if all := one(10, delivered); len(all) != 1 || all[0].Op != tidegate.Changed {
		tb.Fatalf("the doubt was not resolved: %+v", all)
	}
	one(12, rejected)
	if all := one(10, delivered); len(all) != 0 {
		tb.Fatalf("what is as confirmed was planned: %+v", all)
	}
	if size, err := w.l.Size(w.ctx); err != nil || size != (Size{Confirmed: 2}) {
		tb.Fatalf("%v: %+v is left", err, size)
	}
	one(13, rejected)
	if all := one(13, delivered); len(all) != 0 {
		tb.Fatalf("what was rejected for good was planned: %+v", all)
	}
	if all := one(14, delivered); len(all) != 1 || all[0].Before["age"] != int64(10) || all[0].Attempts != 1 {
		tb.Fatalf("%+v", all)
	}
	if all := one(14, delivered); len(all) != 0 {
		tb.Fatalf("it does not come to rest: %+v", all)
	}
}

func TestModelGoesBack(t *testing.T) {
	t.Parallel()
	for _, place := range placements() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			goesBack(t, place, nil)
		})
	}
}

// killed runs a property against tb and says whether it failed.
func killed(t *testing.T, property func(tb testing.TB)) bool {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		property(r)
	}()
	<-done
	return r.failed
}

// recorder is a test that fails in silence.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Error(...any)          { r.failed = true }
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Fatal(...any)          { r.failed = true; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }

// mutant is a store that executes other SQL than it is told.
type mutant struct {
	warehouse.Execer
	old, new string
	fired    *bool
}

func (m *mutant) Begin(ctx context.Context) (warehouse.Tx, error) {
	tx, err := m.Execer.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &mutantTx{Tx: tx, m: m}, nil
}

func (m *mutant) change(sql string) string {
	if !strings.Contains(sql, m.old) {
		return sql
	}
	*m.fired = true
	return strings.ReplaceAll(sql, m.old, m.new)
}

type mutantTx struct {
	warehouse.Tx
	m *mutant
}

func (t *mutantTx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	return t.Tx.Exec(ctx, t.m.change(sql), args...)
}

func (t *mutantTx) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	return t.Tx.Query(ctx, t.m.change(sql), args...)
}

// AppendArrow implements warehouse.ArrowTx.
func (t *mutantTx) AppendArrow(ctx context.Context, table warehouse.Table, rdr array.RecordReader) (int64, error) {
	into, ok := t.Tx.(warehouse.ArrowTx)
	if !ok {
		return 0, fmt.Errorf("appending to %s: not built in", table)
	}
	return into.AppendArrow(ctx, table, rdr)
}
