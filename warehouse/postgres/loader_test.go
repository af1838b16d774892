package postgres_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/loadertest"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

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
	list := loadertest.Events(3000)
	for _, w := range []loader.Warehouse{pg, duck} {
		tp := loadertest.NewTape(list, 10)
		loadertest.Load(t, tp, w, 700)
		loadertest.Load(t, tp, w, 700) // a second loader finds everything loaded
	}
	want, got := loadertest.Everything(t, duck), loadertest.Everything(t, pg)
	if len(got) < 20 {
		t.Errorf("only %d tables", len(got)/2)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-duckdb +postgres: %s", d)
	}
	if d := cmp.Diff(loadertest.Shadow(t, duck, list), loadertest.Shadow(t, pg, list)); d != "" {
		t.Errorf("the comparison with a shadow: -duckdb +postgres: %s", d)
	}
	if d := cmp.Diff(loadertest.Places(t, duck), loadertest.Places(t, pg)); d != "" {
		t.Errorf("places: -duckdb +postgres: %s", d)
	}
	if d := cmp.Diff(loadertest.Forget(t, duck), loadertest.Forget(t, pg)); d != "" {
		t.Errorf("the books after a deletion: -duckdb +postgres: %s", d)
	}
	if d := cmp.Diff(loadertest.Everything(t, duck), loadertest.Everything(t, pg)); d != "" {
		t.Errorf("after a deletion: -duckdb +postgres: %s", d)
	}
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
