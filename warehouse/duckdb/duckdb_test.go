package duckdb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

func open(tb testing.TB) *duckdb.Warehouse {
	tb.Helper()
	return openAt(tb, filepath.Join(tb.TempDir(), "w.duckdb"))
}

func openAt(tb testing.TB, path string) *duckdb.Warehouse {
	tb.Helper()
	w, err := duckdb.Open(context.Background(), duckdb.Options{Path: path, MemoryLimit: "1GB", Threads: 2, Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.Close(); err != nil {
			tb.Errorf("closing: %v", err)
		}
	})
	return w
}

// all reads a result to its end.
func all(tb testing.TB, q interface {
	Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error)
}, sql string, args ...any,
) []tidegate.Row {
	tb.Helper()
	r, err := q.Query(context.Background(), sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	defer r.Close()
	var rows []tidegate.Row
	for {
		row, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			tb.Fatalf("%s: %v", sql, err)
		}
		rows = append(rows, append(tidegate.Row{}, row...))
	}
}

// TestANewFileIsNobodyElses: people's data is not for everybody who is on the machine.
func TestANewFileIsNobodyElses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.duckdb")
	openAt(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestLoadAndQuery(t *testing.T) {
	t.Parallel()
	w := open(t)
	ctx := context.Background()
	table := warehouse.Table{Schema: "web", Name: "tracks"}
	schema := tidegate.Schema{
		{Name: "id", Type: tidegate.Type{Kind: tidegate.String}},
		{Name: "n", Type: tidegate.Type{Kind: tidegate.Int}},
		{Name: "amount", Type: tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}},
	}
	if _, err := w.Ensure(ctx, table, schema); err != nil {
		t.Fatal(err)
	}
	rows := []tidegate.Row{
		{"a", int64(1), tidegate.DecimalText("12.5")},
		{"b is a string longer than twelve", int64(2), nil},
		{"a", int64(3), tidegate.DecimalText("-0.000000001")},
	}
	n, err := w.Load(ctx, warehouse.Load{ID: "one", Table: table, Key: []string{"id"}}, tidegate.Rows(schema, rows...))
	if err != nil || n != 2 {
		t.Fatalf("got %d, %v", n, err)
	}
	n, err = w.Load(ctx, warehouse.Load{ID: "one", Table: table, Key: []string{"id"}}, tidegate.Rows(schema, rows...))
	if err != nil || n != 0 {
		t.Fatalf("again: got %d, %v", n, err)
	}
	want := []tidegate.Row{rows[2], rows[1]}
	if d := cmp.Diff(want, all(t, w, "SELECT * FROM web.tracks ORDER BY id")); d != "" {
		t.Error(d)
	}
}

// failsAt is a query whose row n is an error.
func failsAt(n int) string {
	return fmt.Sprintf("SELECT CASE WHEN range = %d THEN error('boom') ELSE 'x' END AS x FROM range(2000000)", n)
}

func TestQueryReportsAnErrorInTheMiddle(t *testing.T) {
	t.Parallel()
	w := open(t)
	r, err := w.Query(context.Background(), failsAt(1_500_000))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := 0; ; n++ {
		_, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			t.Fatalf("the result ended after %d rows as if it were whole", n)
		}
		if err != nil {
			if n == 0 {
				t.Error("no row came before the error: the result does not stream")
			}
			break
		}
	}
}
