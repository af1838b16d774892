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
			asked, shared := 0, "" // shared is enable_parallel_hash when it was asked last
			w.store = beforeComparing{w.store, func(ctx context.Context, tx warehouse.Tx, _ string) error {
				asked++
				if err := one(ctx, tx, "SELECT current_setting('enable_parallel_hash')", nil, &shared); err != nil {
					return err
				}
				if asked <= refusals {
					return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.memory", Message: "could not resize shared memory segment"}
				}
				return nil
			}}
			w.open()
			s, err := w.l.Plan(w.ctx, w.request(w.newRun()))
			if refusals > 1 {
				if tidegate.FaultOf(err).Code != "warehouse.memory" || asked != 2 {
					t.Fatalf("asked %d times: %v", asked, err)
				}
				return
			}
			if err != nil || s.Read != 40 || s.Unchanged != 39 || s.Changed != 1 {
				t.Fatalf("%+v, %v", s, err)
			}
			if shared != "off" {
				t.Errorf("the workers shared a table again: enable_parallel_hash was %q", shared)
			}
		})
	}
}

// beforeComparing calls before ahead of each statement that compares, in its transaction;
// an error stands for the server's.
type beforeComparing struct {
	warehouse.Execer
	before func(ctx context.Context, tx warehouse.Tx, sql string) error
}

func (b beforeComparing) Begin(ctx context.Context) (warehouse.Tx, error) {
	tx, err := b.Execer.Begin(ctx)
	return comparingTx{Tx: tx, before: b.before}, err
}

type comparingTx struct {
	warehouse.Tx
	before func(ctx context.Context, tx warehouse.Tx, sql string) error
}

func (t comparingTx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if strings.HasPrefix(sql, "CREATE TEMP TABLE "+string(openTable)) {
		if err := t.before(ctx, t.Tx, sql); err != nil {
			return 0, err
		}
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
	plan := "" // as it is when workers cost nothing
	w.store = beforeComparing{w.store, func(ctx context.Context, tx warehouse.Tx, sql string) error {
		free := "SELECT set_config('min_parallel_table_scan_size', '0', true), set_config('parallel_setup_cost', '0', true), set_config('max_parallel_workers_per_gather', '2', true)"
		if err := warehouse.Each(ctx, tx, free, nil, func(tidegate.Row) error { return nil }); err != nil {
			return err
		}
		plan = ""
		return warehouse.Each(ctx, tx, "EXPLAIN "+sql, nil, func(row tidegate.Row) error {
			line, _ := row[0].(string)
			plan += line + "\n"
			return nil
		})
	}}
	w.open()
	w.run()
	gather, join := strings.Index(plan, "Gather"), strings.Index(plan, "Anti Join")
	if gather < 0 || join < gather {
		t.Errorf("the join is not the workers':\n%s", plan)
	}
}
