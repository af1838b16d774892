package clickhouse_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestTablesOfAViewAreFoundToo: a load of what a view reads changes the view.
func TestTablesOfAViewAreFoundToo(t *testing.T) {
	t.Parallel()
	w := open(t, config(server(t)))
	defer w.Close()
	for _, name := range []string{"t", "gone"} {
		if _, err := w.Ensure(t.Context(), warehouse.Table{Schema: "looks", Name: name}, columns("n", tidegate.Int)); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{
		"CREATE VIEW looks.v AS SELECT n FROM looks.t",
		"CREATE VIEW looks.`w w` AS SELECT n + 1 AS m FROM looks.v",
		"CREATE MATERIALIZED VIEW looks.kept ENGINE = MergeTree ORDER BY tuple() AS SELECT n FROM looks.gone",
		"CREATE VIEW looks.dangling AS SELECT n FROM looks.gone",
		"DROP TABLE looks.gone",
	} {
		if _, err := w.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	at := func(names ...string) (list []warehouse.Table) {
		for _, name := range names {
			list = append(list, warehouse.Table{Schema: "looks", Name: name})
		}
		return list
	}
	for sql, want := range map[string][]warehouse.Table{
		"SELECT * FROM looks.v":                        at("t", "v"),
		"SELECT max(m) FROM looks.`w w` WHERE m > 1":   at("t", "v", "w w"),
		"SELECT n FROM looks.kept":                     at("kept"),
		"WITH v AS (SELECT 1 AS n) SELECT n FROM v":    nil,
		"SELECT (SELECT max(n) FROM looks.t) AS upper": at("t"),
	} {
		got, err := w.TablesOf(t.Context(), sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", sql, d)
		}
	}
}

// TestFewValues: texts that are known to have few values are made so that the server keeps
// each value once, in a new table and as a new column, and are read as the texts they are.
func TestFewValues(t *testing.T) {
	t.Parallel()
	w := open(t, config(server(t)))
	defer w.Close()
	table := warehouse.Table{Schema: "few", Name: "t"}
	schema := columns("id", tidegate.String, "library", tidegate.String, "n", tidegate.Int, "zone", tidegate.String)
	for _, i := range []int{1, 2, 3} {
		schema[i].Cardinality = tidegate.FewValues
	}
	for _, upTo := range []int{3, 4} {
		if _, err := w.Ensure(t.Context(), table, schema[:upTo]); err != nil {
			t.Fatal(err)
		}
	}
	rows := []tidegate.Row{{"a", "js", int64(1), nil}, {"b", nil, int64(2), "UTC"}, {"c", "js", int64(3), ""}}
	if _, err := w.Load(t.Context(), warehouse.Load{ID: "one", Table: table}, tidegate.Rows(schema, rows...)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rows, warehousetest.Rows(t, w, "SELECT * FROM few.t ORDER BY id")); d != "" {
		t.Errorf("(-loaded +read):\n%s", d)
	}
	want := []tidegate.Row{{"id", "Nullable(String)"}, {"library", "LowCardinality(Nullable(String))"}, {"n", "Nullable(Int64)"}, {"zone", "LowCardinality(Nullable(String))"}}
	if d := cmp.Diff(want, warehousetest.Rows(t, w, "SELECT name, type FROM system.columns WHERE database = 'few' AND table = 't' ORDER BY position")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
