package postgres_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// BenchmarkAdapter stands beside COPY of the same rows as text, which is what psql does
// without its start, into a table without an index; and beside pgx reading values.
func BenchmarkAdapter(b *testing.B) {
	cfg := config(b)
	connect := func(tb testing.TB) *pgx.Conn {
		tb.Helper()
		c, err := pgx.Connect(tb.Context(), server(b).URL(pgtest.Superuser, cfg.Database))
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = c.Close(b.Context()) })
		return c
	}
	warehousetest.Measure(b, warehousetest.Measured{
		Open: func(tb testing.TB) warehouse.Warehouse {
			tb.Helper()
			cfg = config(tb)
			return open(tb, cfg)
		},
		BulkName: "COPY",
		Bulk: func(tb testing.TB, w warehouse.Warehouse, rows func() tidegate.RowReader) func(table warehouse.Table) {
			tb.Helper()
			source := warehouse.Table{Schema: "bench", Name: "source"}
			if _, err := w.Ensure(tb.Context(), source, rows().Schema()); err != nil {
				tb.Fatal(err)
			}
			if _, err := w.Load(tb.Context(), warehouse.Load{ID: "x", Table: source}, rows()); err != nil {
				tb.Fatal(err)
			}
			c := connect(tb).PgConn()
			var text bytes.Buffer
			if _, err := c.CopyTo(tb.Context(), &text, "COPY bench.source TO STDOUT"); err != nil {
				tb.Fatal(err)
			}
			return func(table warehouse.Table) {
				if _, err := c.CopyFrom(tb.Context(), bytes.NewReader(text.Bytes()), "COPY bench."+table.Name+" FROM STDIN"); err != nil {
					tb.Fatal(err)
				}
			}
		},
		ReadName: "pgx",
		Read: func(tb testing.TB, _ warehouse.Warehouse, table warehouse.Table, _ int) func() int {
			tb.Helper()
			c := connect(tb)
			return func() int {
				rows, err := c.Query(tb.Context(), "SELECT * FROM bench."+table.Name)
				if err != nil {
					tb.Fatal(err)
				}
				n := 0
				for ; rows.Next(); n++ {
					if _, err := rows.Values(); err != nil {
						tb.Fatal(err)
					}
				}
				if rows.Err() != nil {
					tb.Fatal(rows.Err())
				}
				return n
			}
		},
	})
}

// BenchmarkSmall is what the smallest calls cost: round trips, mostly.
func BenchmarkSmall(b *testing.B) {
	w := open(b, config(b))
	defer w.Close()
	s := columns("id", tidegate.Int)
	at := warehouse.Table{Schema: "bench", Name: "small"}
	if _, err := w.Ensure(b.Context(), at, s); err != nil {
		b.Fatal(err)
	}
	b.Run("query", func(b *testing.B) {
		for range b.N {
			r, err := w.Query(b.Context(), "SELECT 1")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := r.Next(b.Context()); err != nil {
				b.Fatal(err)
			}
			_ = r.Close()
		}
	})
	b.Run("ensure", func(b *testing.B) {
		for range b.N {
			if _, err := w.Ensure(b.Context(), at, s); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		for i := range b.N {
			if _, err := w.Load(b.Context(), warehouse.Load{ID: fmt.Sprint(b.N, i), Table: at}, tidegate.Rows(s, tidegate.Row{int64(i)})); err != nil {
				b.Fatal(err)
			}
		}
	})
}
