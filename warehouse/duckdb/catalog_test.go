package duckdb_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// TestFileNamedLikeASchema: the name of the file takes no name away from
// schemas, and its characters do no harm.
func TestFileNamedLikeASchema(t *testing.T) {
	t.Parallel()
	schema := tidegate.Schema{{Name: "id", Type: tidegate.Type{Kind: tidegate.Int}}}
	for _, file := range []string{"warehouse.duckdb", "web", "main.db", "memory.duckdb", "temp.duckdb", "_tidegate.duckdb", "it's; DROP.duckdb", `"q".duckdb`, "päth.x.y"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), file)
			for round := range int64(2) { // and once more after the file was closed
				w := openAt(t, path)
				for _, name := range []string{"warehouse", "web", "Memory", "päth"} {
					table := warehouse.Table{Schema: name, Name: "t"}
					if _, err := w.Ensure(context.Background(), table, schema); err != nil {
						t.Fatal(err)
					}
					l := warehouse.Load{ID: string(rune('a' + round)), Table: table, Key: []string{"id"}}
					if _, err := w.Load(context.Background(), l, tidegate.Rows(schema, tidegate.Row{round})); err != nil {
						t.Fatal(err)
					}
					var want []tidegate.Row
					for i := range round + 1 {
						want = append(want, tidegate.Row{i})
					}
					if d := cmp.Diff(want, all(t, w, `SELECT id FROM "`+name+`".t ORDER BY id`)); d != "" {
						t.Error(d)
					}
				}
				if err := w.Checkpoint(context.Background()); err != nil {
					t.Error(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
