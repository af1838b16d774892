package evolve_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/warehouse"
)

var errPlanted = errors.New("planted")

// failing is a warehouse whose n-th change inside a transaction fails.
type failing struct {
	evolve.Warehouse
	left int
}

func (f *failing) pass() error {
	f.left--
	if f.left == 0 {
		return errPlanted
	}
	return nil
}

func (f *failing) Begin(ctx context.Context) (warehouse.Tx, error) {
	tx, err := f.Warehouse.Begin(ctx)
	return &failingTx{tx, f}, err
}

type failingTx struct {
	warehouse.Tx
	f *failing
}

func (tx *failingTx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := tx.f.pass(); err != nil {
		return 0, err
	}
	return tx.Tx.Exec(ctx, sql, args...)
}

func (tx *failingTx) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := tx.f.pass(); err != nil {
		return 0, err
	}
	return tx.Tx.Load(ctx, l, rows)
}

func (tx *failingTx) Widen(ctx context.Context, t warehouse.Table, c tidegate.Column) error {
	if err := tx.f.pass(); err != nil {
		return err
	}
	return tx.Tx.(warehouse.Widener).Widen(ctx, t, c)
}

func (tx *failingTx) Commit() error {
	if err := tx.f.pass(); err != nil {
		return errors.Join(err, tx.Tx.Rollback())
	}
	return tx.Tx.Commit()
}

// TestWideningIsAllOrNothing: wherever it fails, nothing has changed, and the next try does it all.
func TestWideningIsAllOrNothing(t *testing.T) {
	t.Parallel()
	for name, open := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wh, tp := open(t), newTape()
			l := start(t, tp, wh, nil)
			wait(t, l, tp.add(
				`{"type":"identify","messageId":"m0","userId":"u","traits":{"plan":1}}`,
				`{"type":"identify","messageId":"m1","userId":"u","traits":{"plan":"pro"}}`,
				`{"type":"identify","messageId":"m2","userId":"v","traits":{"plan":2.5}}`,
				`{"type":"identify","messageId":"m3","userId":"v","traits":{"name":"x"}}`,
			))
			snapshot := func() map[string][]string {
				all := tables(t, wh)
				all["discards"] = lines(t, wh, "SELECT * FROM web.tidegate_discards")
				all["history"] = lines(t, wh, "SELECT * FROM _tidegate.schema_history")
				return all
			}
			before := snapshot()
			request := evolve.Request{Table: warehouse.Table{Schema: "web", Name: "users"}, Column: "Plan", By: "ada", At: at().Add(2 * time.Hour)}
			var done evolve.WidenResult
			for n := 1; ; n++ {
				if n > 30 {
					t.Fatal("it never ends")
				}
				err := l.Between(t.Context(), func(ctx context.Context) (err error) {
					done, err = books.Widen(ctx, &failing{wh, n}, request)
					return err
				})
				if err == nil {
					break
				}
				if !errors.Is(err, errPlanted) {
					t.Fatal(err)
				}
				if diff := cmp.Diff(before, snapshot()); diff != "" {
					t.Fatalf("failure %d left something behind:\n%s", n, diff)
				}
			}
			want := evolve.WidenResult{Schema: "web", Table: "identifies", Column: "plan", OldType: "int", NewType: "string", Values: 2, Backfilled: 2, Users: 2, Done: true}
			if diff := cmp.Diff(want, done); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"id=u plan=pro", "id=v plan=5/2"}, lines(t, wh, "SELECT id, plan FROM web.users")); diff != "" {
				t.Error(diff)
			}
			list, err := books.History(t.Context(), wh, "web", "users", 1)
			if err != nil {
				t.Fatal(err)
			}
			told := evolve.ColumnChange{At: request.At, Schema: "web", Table: "users", Column: "plan", Change: "widened", OldType: "int", NewType: "string", By: "ada", Backfilled: 2}
			if diff := cmp.Diff([]evolve.ColumnChange{told}, list); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWhatCannotBeWidened: requests that would lose something, or name nothing, are refused.
func TestWhatCannotBeWidened(t *testing.T) {
	t.Parallel()
	wh, tp := engines()["duckdb"](t), newTape()
	l := start(t, tp, wh, nil)
	wait(t, l, tp.add(`{"type":"track","event":"E","messageId":"m0","userId":"u","properties":{"n":9007199254740993,"s":"x"}}`))
	for _, c := range []struct {
		table, column string
		to            tidegate.Kind
		code          string
	}{
		{"e", "s", tidegate.Int, "warehouse.narrows"},
		{"e", "n", tidegate.Float, "schema.rounds"},
		{"e", "received_at", tidegate.String, "schema.own_column"},
		{"e", "none", tidegate.String, "column.not_found"},
		{"none", "s", tidegate.String, "table.not_found"},
	} {
		_, err := books.Widen(t.Context(), wh, evolve.Request{Table: warehouse.Table{Schema: "web", Name: c.table}, Column: c.column, To: tidegate.Type{Kind: c.to}, At: at()})
		if f := tidegate.FaultOf(err); f == nil || f.Code != c.code {
			t.Errorf("%s.%s to %s: %v, want %s", c.table, c.column, c.to, err, c.code)
		}
	}
	plan, err := evolve.Plan(t.Context(), wh, evolve.Request{Table: warehouse.Table{Schema: "web", Name: "e"}, Column: "n", To: tidegate.Type{Kind: tidegate.JSON}})
	if want := (evolve.WidenResult{Schema: "web", Table: "e", Column: "n", OldType: "int", NewType: "json"}); err != nil || plan != want {
		t.Errorf("%+v, %v", plan, err)
	}
}

// TestWideningWhileEventsCome: no event is lost or twice when columns are widened under a
// loader that is busy.
func TestWideningWhileEventsCome(t *testing.T) {
	t.Parallel()
	for name, open := range engines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wh, tp := open(t), newTape()
			l := start(t, tp, wh, nil)
			const events = 300
			sent := make(chan tidegate.Offset)
			go func() {
				var end tidegate.Offset
				for i := range events {
					value := [...]string{"1", "2.5", `"text"`}[min(i/100, 2)]
					end = tp.add(fmt.Sprintf(`{"type":"track","event":"E","messageId":"m%d","userId":"u","properties":{"v":%s}}`, i, value))
				}
				sent <- end
			}()
			wait(t, l, tidegate.Offset{Position: 150})
			widenAll(t, l, wh)
			wait(t, l, <-sent)
			widenAll(t, l, wh)
			if got := lines(t, wh, "SELECT count(*) AS n, count(DISTINCT id) AS d, count(v) AS v FROM web.e"); got[0] != "n=300 d=300 v=300" {
				t.Error(got)
			}
		})
	}
}
