package clickhouse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"time"

	official "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// second opens the vendor's own driver beside the adapter, as a second opinion.
func second(tb testing.TB, s *chdbtest.Server) driver.Conn {
	tb.Helper()
	conn, err := official.Open(&official.Options{
		Addr: []string{s.Address()}, Protocol: official.HTTP, Auth: official.Auth{Database: "default", Username: chdbtest.User, Password: chdbtest.Password},
		Compression: &official.Compression{Method: official.CompressionLZ4},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// wideRows gives n rows of 4 columns, and of as many integers more as the schema has.
type wideRows struct {
	schema tidegate.Schema
	n, at  int
	row    tidegate.Row
}

func wide(n, more int) *wideRows {
	s := columns("id", tidegate.Int, "name", tidegate.String, "amount", tidegate.Float, "at", tidegate.Timestamp)
	for i := range more {
		s = append(s, columns(fmt.Sprint("c", i), tidegate.Int)...)
	}
	return &wideRows{schema: s, n: n, row: make(tidegate.Row, len(s))}
}

func (r *wideRows) Schema() tidegate.Schema { return r.schema }
func (r *wideRows) Close() error            { return nil }

func (r *wideRows) Next(context.Context) (tidegate.Row, error) {
	if r.at == r.n {
		return nil, io.EOF
	}
	i := int64(r.at)
	r.at++
	r.row[0], r.row[1], r.row[2], r.row[3] = i, fmt.Sprintf("customer number %d", i), float64(i)/4, time.UnixMicro(1_700_000_000_000_000+i).UTC()
	for c := 4; c < len(r.row); c++ {
		r.row[c] = i + int64(c)
	}
	return r.row, nil
}

// BenchmarkAdapter stands beside the vendor's driver, which sends the same rows in one INSERT
// FORMAT Native without a name for it and without books, and reads them into Go values.
func BenchmarkAdapter(b *testing.B) {
	var s *chdbtest.Server
	warehousetest.Measure(b, warehousetest.Measured{
		Open: func(tb testing.TB) warehouse.Warehouse {
			tb.Helper()
			s = server(tb)
			return open(tb, config(s))
		},
		BulkName: "INSERT_Native",
		Bulk: func(tb testing.TB, _ warehouse.Warehouse, rows func() tidegate.RowReader) func(table warehouse.Table) {
			tb.Helper()
			conn := second(tb, s)
			return func(table warehouse.Table) {
				batch, err := conn.PrepareBatch(tb.Context(), "INSERT INTO bench."+table.Name)
				if err != nil {
					tb.Fatal(err)
				}
				for r := rows(); ; {
					row, err := r.Next(tb.Context())
					if errors.Is(err, io.EOF) {
						break
					}
					if err := batch.Append(row...); err != nil {
						tb.Fatal(err)
					}
				}
				if err := batch.Send(); err != nil {
					tb.Fatal(err)
				}
			}
		},
		ReadName: "clickhouse-go",
		Read: func(tb testing.TB, _ warehouse.Warehouse, table warehouse.Table, _ int) func() int {
			tb.Helper()
			conn := second(tb, s)
			return func() int {
				r, err := conn.Query(tb.Context(), "SELECT * FROM bench."+table.Name)
				if err != nil {
					tb.Fatal(err)
				}
				defer r.Close()
				var values []any
				for _, c := range r.ColumnTypes() {
					values = append(values, reflect.New(c.ScanType()).Interface())
				}
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

// TestSecondOpinion: what the adapter wrote is what the vendor's driver reads, and the other way round.
func TestSecondOpinion(t *testing.T) {
	t.Parallel()
	s := server(t)
	w := open(t, config(s))
	defer w.Close()
	table := warehouse.Table{Schema: "second", Name: "t"}
	schema := wide(0, 1).schema
	if _, err := w.Ensure(t.Context(), table, schema); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, wide(1000, 1)); err != nil {
		t.Fatal(err)
	}
	conn := second(t, s)
	rows, err := conn.Query(t.Context(), "SELECT * FROM second.t ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	want := wide(1000, 1)
	n := 0
	for ; rows.Next(); n++ {
		var id, more *int64
		var name *string
		var amount *float64
		var at *time.Time
		if err := rows.Scan(&id, &name, &amount, &at, &more); err != nil {
			t.Fatal(err)
		}
		row, err := want.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if *id != row[0] || *name != row[1] || *amount != row[2] || !at.Equal(row[3].(time.Time)) || *more != row[4] {
			t.Fatalf("row %d: the driver reads %d %q %v %v %d, want %v", n, *id, *name, *amount, *at, *more, row)
		}
	}
	if err := rows.Close(); err != nil || n != 1000 {
		t.Fatal(n, err)
	}
	batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO second.t")
	if err != nil {
		t.Fatal(err)
	}
	moment := time.UnixMicro(1_700_000_000_123_456).UTC()
	if err := batch.Append(int64(5000), "from the driver", 0.5, moment, nil); err != nil {
		t.Fatal(err)
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	got := warehousetest.Rows(t, w, "SELECT * FROM second.t WHERE id = $1", 5000)
	if len(got) != 1 || got[0][1] != "from the driver" || got[0][2] != 0.5 || got[0][3] != moment || got[0][4] != nil {
		t.Errorf("got %v", got)
	}
}
