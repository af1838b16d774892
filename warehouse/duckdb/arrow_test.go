//go:build duckdb_arrow

package duckdb_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// batches makes a reader of n rows in batches of size.
func batches(tb testing.TB, n, size int) array.RecordReader {
	tb.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "s", Type: arrow.BinaryTypes.String},
		{Name: "d", Type: &arrow.Decimal128Type{Precision: 38, Scale: 9}},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
		{Name: "ok", Type: arrow.FixedWidthTypes.Boolean},
	}, nil)
	var records []arrow.RecordBatch
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for from := 0; from < n; from += size {
		for i := from; i < min(n, from+size); i++ {
			b.Field(0).(*array.Int64Builder).Append(int64(i))
			if i%7 == 0 {
				b.Field(1).AppendNull()
			} else {
				b.Field(1).(*array.StringBuilder).Append(strings.Repeat("é", i%20))
			}
			b.Field(2).(*array.Decimal128Builder).Append(decimal128.FromI64(int64(i) * 1_500_000_000))
			b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(i))
			b.Field(4).(*array.BooleanBuilder).Append(i%3 == 0)
		}
		records = append(records, b.NewRecordBatch())
	}
	r, err := array.NewRecordReader(schema, records)
	if err != nil {
		tb.Fatal(err)
	}
	for _, record := range records {
		record.Release()
	}
	return r
}

func TestScanArrowLoadsEveryRow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, size int }{{0, 1}, {1, 1}, {2048, 2048}, {2049, 2049}, {10_000, 3_000}, {5_000, 5_000}} {
		w := open(t)
		x, err := w.Begin(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		rdr := batches(t, c.n, c.size)
		err = x.(warehouse.ArrowTx).ScanArrow(context.Background(), "incoming", rdr, func(ctx context.Context) error {
			_, err := x.Exec(ctx, "CREATE TABLE t AS SELECT * FROM incoming")
			return err
		})
		rdr.Release()
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Commit(); err != nil {
			t.Fatal(err)
		}
		got := all(t, w, `SELECT count(*), count(s), sum(length(s))::BIGINT, max(d)::VARCHAR, max(epoch_us("at")), count_if(ok)::BIGINT FROM t`)[0]
		want := tidegate.Row{int64(c.n), int64(0), nil, nil, nil, nil}
		for i := range c.n {
			if i%7 != 0 {
				length, _ := want[2].(int64)
				want[1], want[2] = want[1].(int64)+1, length+int64(i%20)
			}
			trues, _ := want[5].(int64)
			if i%3 == 0 {
				trues++
			}
			want[5] = trues
			want[3], want[4] = decimal128.FromI64(int64(i)*1_500_000_000).ToString(9), int64(i)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d rows in batches of %d: %s", c.n, c.size, d)
		}
		if left := all(t, w, "SELECT table_name FROM duckdb_tables() WHERE temporary UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestScanArrowLeavesNothingInTheLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.duckdb")
	w := openAt(t, path)
	x, err := w.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	rdr := batches(t, 10, 10)
	defer rdr.Release()
	err = x.(warehouse.ArrowTx).ScanArrow(context.Background(), "incoming_batches", rdr, func(ctx context.Context) error {
		_, err := x.Exec(ctx, "CREATE TABLE t AS SELECT id FROM incoming_batches")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Commit(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(path + ".wal")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"arrow_scan", "incoming_batches"} {
		if bytes.Contains(log, []byte(word)) {
			t.Errorf("the write-ahead log names %s: replaying it would follow addresses of a dead process", word)
		}
	}
}

func TestQueryArrowReportsAnErrorInTheMiddle(t *testing.T) {
	t.Parallel()
	w := open(t)
	rdr, done, err := w.QueryArrow(context.Background(), failsAt(1_500_000))
	if err != nil {
		t.Fatal(err)
	}
	var rows int64
	for rdr.Next() {
		rows += rdr.RecordBatch().NumRows()
	}
	if rdr.Err() == nil {
		t.Errorf("%d rows and no error", rows)
	}
	rdr.Release()
	if done() == nil {
		t.Error("done knows no error")
	}
}

func TestQueryArrowMatchesQuery(t *testing.T) {
	t.Parallel()
	w := open(t)
	sql := "SELECT range AS n, 'text ' || range AS s FROM range(5000) ORDER BY n"
	rdr, done, err := w.QueryArrow(context.Background(), sql)
	if err != nil {
		t.Fatal(err)
	}
	var got []tidegate.Row
	for rdr.Next() {
		b := rdr.RecordBatch()
		for i := range int(b.NumRows()) {
			got = append(got, tidegate.Row{b.Column(0).(*array.Int64).Value(i), strings.Clone(b.Column(1).(*array.String).Value(i))})
		}
	}
	rdr.Release()
	if err := done(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(all(t, w, sql), got); d != "" {
		t.Error(d)
	}
}
