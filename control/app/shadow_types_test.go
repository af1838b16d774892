package app_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/ingest/replay"
	"github.com/tidegate/tidegate/warehouse"
)

// TestShadowsOfOtherTypes: a column that became a text on one side and did not on the other shows a change where the
// values differ and nowhere else, in every kind of warehouse: each writes a float as a text in its own way.
func TestShadowsOfOtherTypes(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"duckdb", "postgres", "clickhouse", "bigquery", "redshift", "snowflake"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && kind != "duckdb" {
				t.Skip("in short tests")
			}
			config := map[string]any{"memory_limit": "300MB", "threads": 1}
			if start := everywhere[kind]; start != nil {
				config = start(t)
			}
			raw, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			p := &project.Project{Warehouse: project.Warehouse{Kind: kind, Config: raw}, Sources: []tidegate.Source{{Name: "web"}}}
			w, err := app.OpenNamed(t.Context(), p, t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			compareTypes(t, w)
		})
	}
}

// spelled are numbers as an event may write them.
var spelled = []struct {
	value   float64
	written string
}{
	{1e20, "1e20"},
	{1e20, "1E+20"},
	{1e20, "100000000000000000000"},
	{1.5, "1.50"},
	{3, "3"},
	{3, "3.0"},
	{0.1, "0.1"},
	{-2.5e-7, "-0.00000025"},
	{-2.5e-7, "-2.5e-7"},
	{1e15, "1000000000000000"},
	{123456789012345680000, "123456789012345678901"},
	{0.30000000000000004, "0.30000000000000004"},
	{-0.5, "-0.5"},
}

func compareTypes(t *testing.T, w loader.Warehouse) {
	t.Helper()
	column := func(name string, k tidegate.Kind) tidegate.Column {
		return tidegate.Column{Name: name, Type: tidegate.Type{Kind: k}}
	}
	head := tidegate.Schema{column("id", tidegate.String), column(shape.OffsetColumn, tidegate.String)}
	schema := func(f, n, d tidegate.Kind) tidegate.Schema {
		return append(head[:2:2], column("f", f), column("n", n), column("done", d))
	}
	live, shadow := warehouse.Table{Schema: "web", Name: "sold"}, warehouse.Table{Schema: "try_it", Name: "sold"}
	load := func(id string, table warehouse.Table, s tidegate.Schema, rows []tidegate.Row) {
		t.Helper()
		if _, err := w.Ensure(t.Context(), table, s); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Load(t.Context(), warehouse.Load{ID: id, Table: table}, tidegate.Rows(s, rows...)); err != nil {
			t.Fatal(err)
		}
	}
	row := func(i int, prefix string, f, n, done any) tidegate.Row {
		return tidegate.Row{fmt.Sprint(prefix, i), fmt.Sprintf("0:%d", i), f, n, done}
	}
	var narrow, wide, all []tidegate.Row
	for i, s := range spelled {
		narrow = append(narrow, row(i, "a", s.value, int64(i), i%2 == 0))
		wide = append(wide, row(i, "b", s.written, fmt.Sprint(i), fmt.Sprint(i%2 == 0)))
		all = append(all, row(i, "a", s.value, int64(i), i%2 == 0), row(i, "b", s.value, int64(i), i%2 == 0))
	}
	// The live columns were narrow once, and the engine made texts of what they held; then others came.
	load("narrow", live, schema(tidegate.Float, tidegate.Int, tidegate.Bool), narrow)
	load("wide", live, schema(tidegate.String, tidegate.String, tidegate.String), append(wide, row(90, "c", "1.25", "9007199254740993", "true"), row(91, "c", "none", "1e3", nil)))
	load("shadow", shadow, schema(tidegate.Float, tidegate.Int, tidegate.Bool), append(all, row(90, "c", 1.26, int64(9007199254740992), true), row(91, "c", 1.0, int64(1000), nil)))
	diffs, err := replay.Compare(t.Context(), w, "web", "try_it", replay.Range{To: tidegate.Offset{Position: 100}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(diffs) != 1 {
		t.Fatalf("got %+v", diffs)
	}
	d := diffs[0]
	if d.Same != int64(2*len(spelled)) || d.Changed != 2 || d.Added != 0 || *d.Missing != 0 {
		t.Errorf("got %+v", d)
	}
	if diff := cmp.Diff(map[string]int64{"f": 2, "n": 1}, d.Columns); diff != "" {
		t.Errorf("columns: %s in %+v", diff, d.Sample)
	}
	for _, s := range d.Sample {
		if _, ok := s.Fields["done"]; ok || s.What != "changed" || len(s.Fields["f"]) == 0 {
			t.Errorf("the sample tells %+v", s)
		}
	}
}
