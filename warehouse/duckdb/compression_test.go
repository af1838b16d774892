package duckdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// TestToldCompression loads columns of which it is told how their values repeat, with
// texts that the methods cannot hold among them, in files of the oldest format and of the
// newest, which refuses the methods.
func TestToldCompression(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"v0.10.0", "v1.2.0", "latest"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "w.duckdb")
			makeFile(t, path, format)
			w := openAt(t, path)
			ctx := context.Background()
			table := warehouse.Table{Schema: "web", Name: "tracks"}
			text := tidegate.Type{Kind: tidegate.String}
			schema := tidegate.Schema{
				{Name: "id", Type: text, Cardinality: tidegate.UniqueValues},
				{Name: "library", Type: text, Cardinality: tidegate.FewValues},
				{Name: "n", Type: tidegate.Type{Kind: tidegate.Int}, Cardinality: tidegate.FewValues},
				{Name: "zone", Type: text, Cardinality: tidegate.FewValues},
			}
			if _, err := w.Ensure(ctx, table, schema[:3]); err != nil {
				t.Fatal(err)
			}
			have, err := w.Ensure(ctx, table, schema) // zone is added
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range have {
				if c.Cardinality != tidegate.UnknownCardinality {
					t.Errorf("column %s is described with a cardinality", c.Name)
				}
			}
			const n = 130_000 // more than a group of rows
			want := make([]tidegate.Row, n)
			for i := range want {
				want[i] = tidegate.Row{fmt.Sprintf("%07d-%x", i, i*i), fmt.Sprint("library ", i%3), int64(i), fmt.Sprint("zone ", i%40)}
				switch i % 1000 {
				case 7:
					want[i][1], want[i][3] = nil, ""
				case 11:
					want[i][3] = fmt.Sprint("a zone of its own ", i)
				}
			}
			// Longer than a block, and nearly one.
			for _, size := range []int{4000, 5000, 200_000, 262_000, 3_000_000} {
				want[size%n] = tidegate.Row{fmt.Sprintf("%07d-%s", size%n, strings.Repeat("ä", size/2)), strings.Repeat("l", size), int64(size % n), strings.Repeat("z", size)}
			}
			for at := 0; at < n; at += 50_000 {
				rows := tidegate.Rows(schema, want[at:min(at+50_000, n)]...)
				if _, err := w.Load(ctx, warehouse.Load{ID: fmt.Sprint(at), Table: table}, rows); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			again := openAt(t, path)
			if d := cmp.Diff(want, all(t, again, "SELECT * FROM web.tracks ORDER BY n")); d != "" {
				t.Errorf("other rows (-loaded +read), the first 2,000 letters:\n%.2000s", d)
			}
			stored := map[string][]string{}
			for _, row := range all(t, again, `SELECT DISTINCT column_name, compression FROM pragma_storage_info('web.tracks')
				WHERE segment_type = 'VARCHAR' ORDER BY ALL`) {
				stored[row[0].(string)] = append(stored[row[0].(string)], row[1].(string))
			}
			for column, method := range map[string]string{"id": "FSST", "library": "Dictionary", "zone": "Dictionary"} {
				if format == "latest" {
					method = "DICT_FSST"
				}
				if !slices.Contains(stored[column], method) {
					t.Errorf("column %s is stored as %v, not %s", column, stored[column], method)
				}
			}
		})
	}
}

// makeFile makes an empty file of a storage format with the engine's own driver.
func makeFile(t *testing.T, path, format string) {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		"ATTACH '" + path + "' AS w (STORAGE_VERSION '" + format + "')",
		"CREATE TABLE w.probe AS SELECT 1 AS a",
		"DETACH w",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}
