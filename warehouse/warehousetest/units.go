package warehousetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// checkUnits: where there are no transactions, what Begin gives is all or none
// and in its order, and others see nothing of it before its end.
func checkUnits(t *testing.T, b *bench) {
	t.Helper()
	if !b.Units {
		t.Skip("the engine has transactions")
	}
	one, two := warehouse.Table{Schema: "unit", Name: "one"}, warehouse.Table{Schema: "unit", Name: "two"}
	s := columns("n", tidegate.Int, "v", tidegate.String)
	b.ensure(t, one, s)
	b.ensure(t, two, s)
	has := func(table warehouse.Table, want ...tidegate.Row) {
		t.Helper()
		if d := cmp.Diff(want, Rows(t, b.w, b.selectAll(t, table, "n", "v"))); d != "" {
			t.Errorf("table %s: %s", table, d)
		}
	}
	load := func(tx warehouse.Tx, id string, table warehouse.Table, key []string, want int64, rows ...tidegate.Row) {
		t.Helper()
		if n, err := tx.Load(t.Context(), warehouse.Load{ID: id, Table: table, Key: key}, tidegate.Rows(s, rows...)); n != want || err != nil {
			t.Fatalf("load %s: %d, %v", id, n, err)
		}
	}
	tx := b.begin(t)
	load(tx, "a", one, nil, 1, tidegate.Row{int64(1), "one"})
	load(tx, "a", one, nil, 0, tidegate.Row{int64(1), "one"})
	load(tx, "a", two, []string{"n"}, 1, tidegate.Row{int64(1), "old"}, tidegate.Row{int64(1), "two"})
	if _, err := tx.Ensure(t.Context(), one, columns("more", tidegate.Int)); err != nil {
		t.Errorf("adding a column after a load: %v", err)
	}
	load(tx, "b", two, []string{"n"}, 1, tidegate.Row{int64(1), "three"})
	has(one)
	has(two)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	has(one, tidegate.Row{int64(1), "one"})
	has(two, tidegate.Row{int64(1), "three"})
	if _, err := tx.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("the unit works after its end")
	}
	if err := tx.Rollback(); err != nil {
		t.Errorf("rollback after commit: %v", err)
	}

	again := b.begin(t)
	load(again, "a", one, nil, 0, tidegate.Row{int64(1), "one"})
	load(again, "c", one, nil, 1, tidegate.Row{int64(2), "lost"})
	name, err := b.Dialect.Table(two.Schema, two.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Exec(t.Context(), string("DELETE FROM "+name+" WHERE true")); err != nil {
		t.Fatal(err)
	}
	if err := again.Rollback(); err != nil {
		t.Fatal(err)
	}
	has(one, tidegate.Row{int64(1), "one"})
	has(two, tidegate.Row{int64(1), "three"})

	last := b.begin(t)
	if _, err := last.Exec(t.Context(), string("DELETE FROM "+name+" WHERE n = "+b.Dialect.Placeholder(1)), 1); err != nil {
		t.Fatal(err)
	}
	load(last, "d", two, []string{"n"}, 1, tidegate.Row{int64(5), "after"})
	if err := last.Commit(); err != nil {
		t.Fatal(err)
	}
	has(two, tidegate.Row{int64(5), "after"})

	failed := b.begin(t)
	load(failed, "e", one, nil, 1, tidegate.Row{int64(9), "lost"})
	if _, err := failed.Query(t.Context(), "SELECT nope"); err == nil {
		t.Fatal("a broken query was taken")
	}
	if err := failed.Commit(); err == nil {
		t.Error("a unit in which a call failed was committed")
	}
	has(one, tidegate.Row{int64(1), "one"})
	ended := b.begin(t)
	if _, err := ended.Exec(t.Context(), "COMMIT"); err == nil {
		t.Error("COMMIT was taken as a statement")
	}
}
