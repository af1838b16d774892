//go:build duckdb_arrow

package duckdb_test

import (
	"context"
	"errors"
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
	"github.com/tidegate/tidegate/warehouse/duckdb"
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

// appendBatches appends rdr to main.t in a transaction of its own.
func appendBatches(tb testing.TB, w *duckdb.Warehouse, rdr array.RecordReader) error {
	tb.Helper()
	x, err := w.Begin(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := x.(warehouse.ArrowTx).AppendArrow(tb.Context(), warehouse.Table{Schema: "main", Name: "t"}, rdr); err != nil {
		return errors.Join(err, x.Rollback())
	}
	return x.Commit()
}

func TestAppendArrowLoadsEveryRow(t *testing.T) {
	t.Parallel()
	const (
		same  = `CREATE TABLE t (id BIGINT, s VARCHAR, d DECIMAL(38,9), "at" TIMESTAMPTZ, ok BOOLEAN)`
		casts = `CREATE TABLE t (ok BOOLEAN, "at" TIMESTAMP, d DECIMAL(30,9), more JSON, s VARCHAR, ID INTEGER)`
	)
	for _, c := range []struct {
		table   string
		n, size int
	}{{same, 0, 1}, {same, 1, 1}, {same, 2048, 2048}, {same, 2049, 2049}, {same, 10_000, 3_000}, {same, 130_000, 65_000}, {casts, 5_000, 5_000}, {casts, 1, 1}} {
		w := open(t)
		if _, err := w.Exec(t.Context(), c.table); err != nil {
			t.Fatal(err)
		}
		rdr := batches(t, c.n, c.size)
		err := appendBatches(t, w, rdr)
		rdr.Release()
		if err != nil {
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

func TestAppendArrowSaysWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ table, code string }{
		{`CREATE TABLE t (id TINYINT, s VARCHAR, d DECIMAL(38,9), "at" TIMESTAMPTZ, ok BOOLEAN)`, "sql.value"},
		{`CREATE TABLE t (id BIGINT, s VARCHAR NOT NULL, d DECIMAL(38,9), "at" TIMESTAMPTZ, ok BOOLEAN)`, "warehouse.constraint"},
		{`CREATE TABLE t (id BIGINT)`, "warehouse.columns"},
		{`CREATE TABLE u (id BIGINT)`, "warehouse.no_table"},
	} {
		w := open(t)
		if _, err := w.Exec(t.Context(), c.table); err != nil {
			t.Fatal(err)
		}
		rdr := batches(t, 200, 200)
		err := appendBatches(t, w, rdr)
		rdr.Release()
		var f *tidegate.Fault
		if !errors.As(err, &f) || f.Code != c.code {
			t.Errorf("%s: got %v, want %s", c.table, err, c.code)
		}
	}
}

// What was committed must be read from the log by a process that never saw the batches,
// and rows enough to go into the file before the commit are part of that.
func TestAppendArrowSurvivesInTheLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.duckdb")
	w := openAt(t, path)
	if _, err := w.Exec(t.Context(), `CREATE TABLE t (id BIGINT, s VARCHAR, d DECIMAL(38,9), "at" TIMESTAMPTZ, ok BOOLEAN)`); err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, n := range []int{10, 122_880, 122_881, 5000} {
		rdr := batches(t, n, 60_000)
		err := appendBatches(t, w, rdr)
		rdr.Release()
		if err != nil {
			t.Fatal(err)
		}
		want += n
	}
	copied := filepath.Join(t.TempDir(), "copy.duckdb")
	for _, suffix := range []string{"", ".wal"} { // as a process that dies here leaves them
		data, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied+suffix, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := openAt(t, copied)
	const sums = `SELECT count(*), sum(id)::BIGINT, count(s), sum(hash(s))::VARCHAR, sum(d)::VARCHAR, count_if(ok)::BIGINT FROM t`
	got := all(t, again, sums)
	if d := cmp.Diff(all(t, w, sums), got); d != "" {
		t.Error(d)
	}
	if got[0][0] != int64(want) {
		t.Errorf("%v rows, want %d", got[0][0], want)
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

// The rows that a load hands over are nobody else's: not another connection's, and not
// the next statement's.
func TestRowsAreTheLoadersOnly(t *testing.T) {
	t.Parallel()
	w := open(t)
	if _, err := w.Exec(t.Context(), `CREATE TABLE t (id BIGINT, s VARCHAR, d DECIMAL(38,9), "at" TIMESTAMPTZ, ok BOOLEAN)`); err != nil {
		t.Fatal(err)
	}
	x, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // the second time the statement is compiled already
		rdr := batches(t, 70_000, 40_000)
		if _, err := x.(warehouse.ArrowTx).AppendArrow(t.Context(), warehouse.Table{Schema: "main", Name: "t"}, rdr); err != nil {
			t.Fatal(err)
		}
		rdr.Release()
	}
	var f *tidegate.Fault
	if _, err := w.Query(t.Context(), "SELECT * FROM tidegate_rows()"); !errors.As(err, &f) || !strings.Contains(f.Message, "only while the program itself loads") {
		t.Errorf("another connection gets %v", err)
	}
	if err := x.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := all(t, w, "SELECT count(*), count(DISTINCT id), sum(id)::BIGINT FROM t")[0]; got[0] != int64(210_000) || got[1] != int64(70_000) || got[2] != int64(3*35_000*69_999) {
		t.Errorf("the table holds %v", got)
	}
}
