package bigquery_test

import (
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/loadertest"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

// TestEventTablesAreThoseOfDuckDB loads the same events into both, into BigQuery
// through answers that are lost, refused and late, and compares every table,
// column by column and row by row.
func TestEventTablesAreThoseOfDuckDB(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	big := open(t, cfg)
	duck, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), MemoryLimit: "500MB", Threads: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	var calls, lost atomic.Int64
	s.Intercept(func(bqtest.Call) *bqtest.Answer {
		switch n := calls.Add(1); {
		case n%23 == 0:
			lost.Add(1)
			return &bqtest.Answer{Lose: true}
		case n%37 == 0:
			return &bqtest.Answer{Status: http.StatusServiceUnavailable, Reason: "backendError", Message: "Visibility check was unavailable. Please retry."}
		}
		return nil
	})
	loadertest.Same(t, duck, big, loadertest.Events(600), 200, func() { s.Intercept(nil) })
	if lost.Load() < 5 {
		t.Errorf("only %d answers were lost", lost.Load())
	}
}

// TestWidens: a widening that is cut short is brought to its end by the next.
func TestWidens(t *testing.T) {
	t.Parallel()
	loadertest.Widens(t, func(tb testing.TB) evolve.Warehouse {
		tb.Helper()
		cfg, _ := config(tb)
		return open(tb, cfg)
	})
}
