package ledger

import (
	"context"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// TestPlanWithScarceMemory: a server whose workers find no room for a shared table
// compares without one, and one that still finds none ends the plan.
func TestPlanWithScarceMemory(t *testing.T) {
	t.Parallel()
	for name, refusals := range map[string]int{"once": 1, "always": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, inPostgres)
			w.exec("CREATE TABLE people AS SELECT i AS id, 'p' || i || '@x.io' AS email, CAST(i AS integer) AS age FROM generate_series(1::bigint, 40) AS t(i)")
			w.run()
			w.exec("UPDATE people SET age = 0 WHERE id = 7")
			crowded := &crowded{Execer: w.store, refusals: refusals}
			w.store = crowded
			w.open()
			s, err := w.l.Plan(w.ctx, w.request(w.newRun()))
			if refusals > 1 {
				if tidegate.FaultOf(err).Code != "warehouse.memory" || crowded.asked != 2 {
					t.Fatalf("asked %d times: %v", crowded.asked, err)
				}
				return
			}
			if err != nil || s.Read != 40 || s.Unchanged != 39 || s.Changed != 1 {
				t.Fatalf("%+v, %v", s, err)
			}
			if crowded.shared != "off" {
				t.Errorf("the workers shared a table again: enable_parallel_hash was %q", crowded.shared)
			}
		})
	}
}

// crowded is a server without room for what is compared, the first times.
type crowded struct {
	warehouse.Execer
	refusals, asked int
	shared          string // enable_parallel_hash when it was asked last
}

func (c *crowded) Begin(ctx context.Context) (warehouse.Tx, error) {
	tx, err := c.Execer.Begin(ctx)
	return &crowdedTx{Tx: tx, c: c}, err
}

type crowdedTx struct {
	warehouse.Tx
	c *crowded
}

func (t *crowdedTx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if !strings.HasPrefix(sql, "CREATE TEMP TABLE "+string(openTable)) {
		return t.Tx.Exec(ctx, sql, args...)
	}
	t.c.asked++
	if err := one(ctx, t.Tx, "SELECT current_setting('enable_parallel_hash')", nil, &t.c.shared); err != nil {
		return 0, err
	}
	if t.c.asked <= t.c.refusals {
		return 0, &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.memory", Message: "could not resize shared memory segment"}
	}
	return t.Tx.Exec(ctx, sql, args...)
}

// TestWorkersTakePartInTheJoin: nothing in the statement that compares keeps the engine from handing all of it to its workers.
func TestWorkersTakePartInTheJoin(t *testing.T) {
	t.Parallel()
	w := newWorldAt(t, inPostgres)
	w.exec("CREATE TABLE people AS SELECT i AS id, 'p' || i || '@x.io' AS email, CAST(i AS integer) AS age FROM generate_series(1::bigint, 3000) AS t(i)")
	w.run()
	w.exec("UPDATE people SET age = 0 WHERE id = 7")
	w.exec("ANALYZE")
	told := &explained{Execer: w.store}
	w.store = told
	w.open()
	w.run()
	gather, join := strings.Index(told.plan, "Gather"), strings.Index(told.plan, "Anti Join")
	if gather < 0 || join < gather {
		t.Errorf("the join is not the workers':\n%s", told.plan)
	}
}

// explained asks how the engine compares when workers cost nothing.
type explained struct {
	warehouse.Execer
	plan string
}

func (e *explained) Begin(ctx context.Context) (warehouse.Tx, error) {
	tx, err := e.Execer.Begin(ctx)
	return &explainedTx{Tx: tx, e: e}, err
}

type explainedTx struct {
	warehouse.Tx
	e *explained
}

func (t *explainedTx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if !strings.HasPrefix(sql, "CREATE TEMP TABLE "+string(openTable)) {
		return t.Tx.Exec(ctx, sql, args...)
	}
	free := "SELECT set_config('min_parallel_table_scan_size', '0', true), set_config('parallel_setup_cost', '0', true), set_config('max_parallel_workers_per_gather', '2', true)"
	for _, ask := range []string{free, "EXPLAIN " + sql} {
		t.e.plan = ""
		err := warehouse.Each(ctx, t.Tx, ask, nil, func(row tidegate.Row) error {
			line, _ := row[0].(string)
			t.e.plan += line + "\n"
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return t.Tx.Exec(ctx, sql, args...)
}
