package loadertest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/shape"
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

// allOrNothing: wherever a widening fails, nothing has changed, and the next try does it all.
func allOrNothing(t *testing.T, open func(testing.TB) evolve.Warehouse) {
	t.Helper()
	wh, tp := open(t), NewTape(nil, 1)
	l := Start(t, tp, wh, nil)
	Wait(t, l, tp.Add(
		`{"type":"identify","messageId":"m0","userId":"u","traits":{"plan":1}}`,
		`{"type":"identify","messageId":"m1","userId":"u","traits":{"plan":"pro"}}`,
		`{"type":"identify","messageId":"m2","userId":"v","traits":{"plan":2.5}}`,
		`{"type":"identify","messageId":"m3","userId":"v","traits":{"name":"x"}}`,
	))
	snapshot := func() map[string][]string {
		all := eventTables(t, wh)
		all["discards"] = canonicalLines(t, wh, "SELECT * FROM "+quoted(t, wh, "web", shape.DiscardsTable))
		all["history"] = canonicalLines(t, wh, "SELECT * FROM "+quoted(t, wh, books.Schema, "schema_history"))
		return all
	}
	before := snapshot()
	request := evolve.Request{Table: warehouse.Table{Schema: "web", Name: "users"}, Column: "Plan", By: "ada", At: widened()}
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
	if diff := cmp.Diff([]string{"id=u plan=pro", "id=v plan=5/2"}, canonicalLines(t, wh, "SELECT id, plan FROM "+quoted(t, wh, "web", "users"))); diff != "" {
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
}

// whileEventsCome: no event is lost or twice when columns are widened under a loader that is busy.
func whileEventsCome(t *testing.T, open func(testing.TB) evolve.Warehouse) {
	t.Helper()
	wh, tp := open(t), NewTape(nil, 1)
	l := Start(t, tp, wh, nil)
	const events = 300
	sent := make(chan tidegate.Offset)
	go func() {
		var end tidegate.Offset
		for i := range events {
			value := [...]string{"1", "2.5", `"text"`}[min(i/100, 2)]
			end = tp.Add(fmt.Sprintf(`{"type":"track","event":"E","messageId":"m%d","userId":"u","properties":{"v":%s}}`, i, value))
		}
		sent <- end
	}()
	Wait(t, l, tidegate.Offset{Position: 150})
	widenAll(t, l, wh)
	Wait(t, l, <-sent)
	widenAll(t, l, wh)
	got := canonicalLines(t, wh, "SELECT count(*) AS n, count(DISTINCT id) AS d, count(v) AS v FROM "+quoted(t, wh, "web", "e"))
	if diff := cmp.Diff([]string{"d=300 n=300 v=300"}, got); diff != "" {
		t.Error(diff)
	}
}
