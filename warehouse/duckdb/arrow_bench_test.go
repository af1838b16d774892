//go:build duckdb_arrow

package duckdb_test

import (
	"context"
	"testing"

	"github.com/tidegate/tidegate/warehouse"
)

// BenchmarkScanArrow writes as many rows as BenchmarkLoadAppend, from record
// batches that are ready.
func BenchmarkScanArrow(b *testing.B) {
	w := open(b)
	if _, err := w.Exec(b.Context(), `CREATE TABLE t (id BIGINT, s VARCHAR, d DECIMAL(38,9), "at" TIMESTAMPTZ, ok BOOLEAN)`); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		rdr := batches(b, benchRows, benchRows)
		b.StartTimer()
		tx, err := w.Begin(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		err = tx.(warehouse.ArrowTx).ScanArrow(b.Context(), "incoming", rdr, func(ctx context.Context) error {
			_, err := tx.Exec(ctx, "INSERT INTO t SELECT * FROM incoming")
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
		rdr.Release()
	}
	b.ReportMetric(float64(benchRows*b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkQueryArrow(b *testing.B) {
	w := open(b)
	for b.Loop() {
		rdr, done, err := w.QueryArrow(b.Context(), benchSeries)
		if err != nil {
			b.Fatal(err)
		}
		var rows int64
		for rdr.Next() {
			rows += rdr.RecordBatch().NumRows()
		}
		rdr.Release()
		if err := done(); err != nil || rows != 1_000_000 {
			b.Fatal(rows, err)
		}
	}
	b.ReportMetric(float64(1_000_000*b.N)/b.Elapsed().Seconds(), "rows/s")
}
