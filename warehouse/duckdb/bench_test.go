package duckdb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the engine's own driver, to stand beside

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// benchRows is one load: the loader writes loads of about this size when it is busy.
const benchRows = 100_000

func benchSchema() tidegate.Schema {
	return tidegate.Schema{
		{Name: "id", Type: tidegate.Type{Kind: tidegate.Int}},
		{Name: "message", Type: tidegate.Type{Kind: tidegate.String}},
		{Name: "name", Type: tidegate.Type{Kind: tidegate.String}},
		{Name: "at", Type: tidegate.Type{Kind: tidegate.Timestamp}},
		{Name: "amount", Type: tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}},
		{Name: "ok", Type: tidegate.Type{Kind: tidegate.Bool}},
	}
}

// benchReader makes the rows of one load without holding them.
type benchReader struct {
	row  tidegate.Row
	next int
}

func (r *benchReader) Schema() tidegate.Schema { return benchSchema() }
func (r *benchReader) Close() error            { return nil }

func (r *benchReader) Next(context.Context) (tidegate.Row, error) {
	if r.next == benchRows {
		return nil, io.EOF
	}
	r.row = append(r.row[:0], int64(r.next), "ajs-next-1795229697309-b812cc77", "Product Viewed", time.UnixMicro(int64(r.next)), tidegate.DecimalText("59.9"), r.next%2 == 0)
	r.next++
	return r.row, nil
}

func benchLoad(b *testing.B, l warehouse.Load) {
	b.Helper()
	w := open(b)
	l.Table = warehouse.Table{Schema: "bench", Name: "t"}
	if _, err := w.Ensure(b.Context(), l.Table, benchSchema()); err != nil {
		b.Fatal(err)
	}
	round := 0
	for b.Loop() {
		round++
		l.ID = fmt.Sprint(round)
		if n, err := w.Load(b.Context(), l, &benchReader{}); err != nil || n != benchRows {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(benchRows*b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkLoadReplace replaces every row of the table each time.
func BenchmarkLoadReplace(b *testing.B) { benchLoad(b, warehouse.Load{Key: []string{"id"}}) }

const benchSeries = `SELECT range AS id, 'ajs-next-1795229697309-b812cc77' AS message, 'Product Viewed' AS name,
	make_timestamptz(range) AS at, range / 4 AS amount, range % 2 = 0 AS ok FROM range(1000000)`

func BenchmarkQuery(b *testing.B) {
	w := open(b)
	for b.Loop() {
		r, err := w.Query(b.Context(), benchSeries)
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err = r.Next(b.Context()); err != nil {
				break
			}
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		r.Close()
	}
	b.ReportMetric(float64(1_000_000*b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkTx is the price of a small transaction: one row, durable.
func BenchmarkTx(b *testing.B) {
	w := open(b)
	if _, err := w.Exec(b.Context(), "CREATE TABLE t (n BIGINT)"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		tx, err := w.Begin(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := tx.Exec(b.Context(), "INSERT INTO t VALUES ($1)", int64(1)); err != nil {
			b.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkQueryOne is what every query pays: its checks, its transaction, its reader.
func BenchmarkQueryOne(b *testing.B) {
	w := open(b)
	for b.Loop() {
		all(b, w, "SELECT 1")
	}
}

// BenchmarkAdapter stands beside the engine reading the same rows from a file of NDJSON into
// a table of the same types, and beside its own driver scanning values.
func BenchmarkAdapter(b *testing.B) {
	warehousetest.Measure(b, warehousetest.Measured{
		Open:     func(tb testing.TB) warehouse.Warehouse { tb.Helper(); return open(tb) },
		BulkName: "read_json",
		Bulk: func(tb testing.TB, _ warehouse.Warehouse, rows func() tidegate.RowReader) func(table warehouse.Table) {
			tb.Helper()
			file := filepath.Join(tb.TempDir(), "rows.ndjson")
			warehousetest.WriteNDJSON(tb, file, rows())
			db := driver(tb, filepath.Join(tb.TempDir(), "own.duckdb"))
			var defs, types []string
			for _, c := range rows().Schema() {
				name, err := sqltext.DuckDB().Ident(c.Name)
				if err != nil {
					tb.Fatal(err)
				}
				typ, err := sqltext.DuckDB().Type(c.Type)
				if err != nil {
					tb.Fatal(err)
				}
				defs, types = append(defs, string(name+" "+typ)), append(types, string(name)+": '"+string(typ)+"'")
			}
			return func(table warehouse.Table) {
				for _, sql := range []string{
					"CREATE TABLE " + table.Name + " (" + strings.Join(defs, ", ") + ")",
					"INSERT INTO " + table.Name + " SELECT * FROM read_json('" + file + "', format = 'newline_delimited', columns = {" + strings.Join(types, ", ") + "})",
				} {
					if _, err := db.ExecContext(tb.Context(), sql); err != nil {
						tb.Fatal(err)
					}
				}
			}
		},
		ReadName: "duckdb-go",
		Read: func(tb testing.TB, w warehouse.Warehouse, table warehouse.Table, columns int) func() int {
			tb.Helper()
			file := filepath.Join(tb.TempDir(), "copy.duckdb")
			if err := w.(*duckdb.Warehouse).Yield(tb.Context(), func(_ context.Context, path string) error { return copyFile(path, file) }); err != nil {
				tb.Fatal(err)
			}
			db := driver(tb, file)
			values := make([]any, columns)
			for i := range values {
				values[i] = new(any)
			}
			return func() int {
				r, err := db.QueryContext(tb.Context(), "SELECT * FROM bench."+table.Name)
				if err != nil {
					tb.Fatal(err)
				}
				defer r.Close()
				n := 0
				for ; r.Next(); n++ {
					if err := r.Scan(values...); err != nil {
						tb.Fatal(err)
					}
				}
				if r.Err() != nil {
					tb.Fatal(r.Err())
				}
				return n
			}
		},
	})
}

func driver(tb testing.TB, path string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("duckdb", path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}
