//go:build duckdb_arrow

package duckdb_test

import (
	"strconv"
	"testing"
)

// BenchmarkAppendArrow writes as many rows as BenchmarkLoadAppend, from record
// batches that are ready; a whole row group of the engine costs less a row.
func BenchmarkAppendArrow(b *testing.B) {
	for _, n := range []int{benchRows, 122_880} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			w := open(b)
			if _, err := w.Exec(b.Context(), `CREATE TABLE t (id BIGINT, s VARCHAR, d DECIMAL(38,9), "at" TIMESTAMPTZ, ok BOOLEAN)`); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				rdr := batches(b, n, n)
				b.StartTimer()
				if err := appendBatches(b, w, rdr); err != nil {
					b.Fatal(err)
				}
				rdr.Release()
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
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
