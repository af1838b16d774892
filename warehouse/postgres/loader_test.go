package postgres_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/loadertest"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

func TestRejoins(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	loadertest.Rejoins(t, func() loader.Warehouse { return open(t, cfg) })
}

func TestWidens(t *testing.T) {
	t.Parallel()
	loadertest.Widens(t, func(tb testing.TB) evolve.Warehouse {
		tb.Helper()
		w := open(tb, config(tb))
		tb.Cleanup(func() {
			if err := w.Close(); err != nil {
				tb.Error(err)
			}
		})
		return w
	})
}

// TestEventTablesAreThoseOfDuckDB loads the same events into both and compares
// every table, column by column and row by row.
func TestEventTablesAreThoseOfDuckDB(t *testing.T) {
	t.Parallel()
	pg := open(t, config(t))
	duck, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), MemoryLimit: "500MB", Threads: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	defer pg.Close()
	loadertest.Same(t, duck, pg, loadertest.Events(3000), 700, func() {})
}

// BenchmarkEvents carries events from the journal's frames into event tables.
func BenchmarkEvents(b *testing.B) {
	for range b.N {
		b.StopTimer()
		w := open(b, config(b))
		tp := loadertest.NewTape(loadertest.Sales(20_000), 100)
		b.StartTimer()
		loadertest.Load(b, tp, w, 20_480)
		b.StopTimer()
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(20_000*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
