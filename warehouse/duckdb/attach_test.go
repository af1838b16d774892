package duckdb_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

// configured opens a warehouse as the project would.
func configured(t *testing.T, dir string, cfg map[string]any) (*duckdb.Warehouse, error) {
	t.Helper()
	kind := duckdb.Kind()
	into := kind.NewConfig()
	raw, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := config.DecodeJSON("", raw, into); err != nil {
		t.Fatal(err)
	}
	opened, err := kind.Open(context.Background(), into, warehouse.Env{Dir: dir, Now: time.Now})
	if err != nil {
		return nil, err
	}
	wh := opened.(*duckdb.Warehouse)
	t.Cleanup(func() {
		if err := wh.Close(); err != nil {
			t.Error(err)
		}
	})
	return wh, nil
}

// TestOtherFiles reads another database and a folder of Parquet, and nothing else.
func TestOtherFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	schema := tidegate.Schema{{Name: "id", Type: tidegate.Type{Kind: tidegate.Int}}}
	other := openAt(t, filepath.Join(dir, "it's.duckdb"))
	customers := warehouse.Table{Schema: "crm", Name: "customers"}
	if _, err := other.Ensure(t.Context(), customers, schema); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Load(t.Context(), warehouse.Load{ID: "a", Table: customers}, tidegate.Rows(schema, tidegate.Row{int64(7)})); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	lake := filepath.Join(dir, "lake")
	if err := os.Mkdir(lake, 0o700); err != nil {
		t.Fatal(err)
	}
	writeParquet(t, filepath.Join(lake, "orders.parquet"), 1, 2, 3)
	writeParquet(t, filepath.Join(dir, "secret.parquet"), 9)

	wh, err := configured(t, dir, map[string]any{"attach": []any{map[string]any{"name": "old", "path": "it's.duckdb"}}, "read_dirs": []any{"lake"}})
	if err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string][]tidegate.Row{
		"SELECT id FROM old.crm.customers":                                         {{int64(7)}},
		"SELECT sum(id)::BIGINT FROM read_parquet('" + lake + "/*.parquet')":       {{int64(6)}},
		"SELECT count(*) FROM '" + lake + "/orders.parquet'":                       {{int64(3)}},
		"SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'x'": {{int64(0)}},
	} {
		if d := cmp.Diff(want, all(t, wh, sql)); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
	for _, sql := range []string{
		"SELECT * FROM read_parquet('" + dir + "/secret.parquet')",
		"SELECT * FROM read_parquet('" + lake + "/../secret.parquet')",
		"SELECT * FROM read_text('/etc/hostname')",
		"COPY (SELECT 1) TO '" + lake + "/made.parquet'",
	} {
		if rows, err := wh.Query(t.Context(), sql); err == nil {
			_, err = rows.Next(t.Context())
			if closed := rows.Close(); err == nil && closed == nil {
				t.Errorf("%s was answered", sql)
			}
		} else if f := tidegate.FaultOf(err); strings.Contains(f.Message, "Permission Error") && !strings.Contains(f.Hint, "read_dirs") {
			t.Errorf("%s: the hint %q does not say how files are allowed", sql, f.Hint)
		}
	}
	if _, err := wh.Exec(t.Context(), "INSERT INTO old.crm.customers VALUES (8)"); err == nil {
		t.Error("an attached file was written")
	}
	tables, err := wh.Tables(t.Context())
	if err != nil || slices.Contains(tables, customers) {
		t.Errorf("the tables of another file are listed as the warehouse's own: %v, %v", tables, err)
	}
	if _, err := wh.Describe(t.Context(), customers); err == nil {
		t.Error("a table of another file was described as the warehouse's own")
	}
}

func TestOtherFilesThatAreNotThere(t *testing.T) {
	t.Parallel()
	for subject, cfg := range map[string]map[string]any{
		"attached file old": {"attach": []any{map[string]any{"name": "old", "path": "nowhere.duckdb"}}},
		"read_dirs[0]":      {"read_dirs": []any{"nowhere"}},
	} {
		_, err := configured(t, t.TempDir(), cfg)
		if f := tidegate.FaultOf(err); f == nil || f.Action != tidegate.Halt || f.Subject != subject || f.Hint == "" || !strings.Contains(f.Message, "nowhere") {
			t.Errorf("%s: %v", subject, err)
		}
	}
}

func writeParquet(t *testing.T, path string, ids ...int64) {
	t.Helper()
	b := array.NewInt64Builder(memory.DefaultAllocator)
	b.AppendValues(ids, nil)
	column := b.NewArray()
	defer column.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	record := array.NewRecordBatch(schema, []arrow.Array{column}, int64(len(ids)))
	defer record.Release()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(schema, f, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err == nil {
		err = w.Write(record)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
