package clickhouse_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/loadertest"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestEventTablesAreThoseOfDuckDB loads the same events into both and compares
// every table, column by column and row by row; once over a good connection, and once over
// one that breaks before or after every few requests.
func TestEventTablesAreThoseOfDuckDB(t *testing.T) {
	t.Parallel()
	list := loadertest.Events(700)
	tapeOf := func() *loadertest.Tape { return loadertest.NewTape(list, 10) }
	duck, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), MemoryLimit: "500MB", Threads: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	loadertest.Load(t, tapeOf(), duck, 350)
	want := loadertest.Everything(t, duck)
	if len(want) < 20 {
		t.Errorf("only %d tables", len(want)/2)
	}
	shadow := loadertest.Shadow(t, duck, list)
	places, books := loadertest.Places(t, duck), loadertest.Forget(t, duck)
	left := loadertest.Everything(t, duck)
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken %t", broken), func(t *testing.T) {
			if broken && testing.Short() {
				t.Skip("in short tests")
			}
			s := server(t)
			cfg := config(s)
			if broken {
				p := between(t, s)
				cfg.Port = p.port
				random := rand.New(rand.NewPCG(11, 13))
				p.plan(func(int) fate {
					return []fate{cutBefore, cutAfter, pass, pass, pass, pass, pass, pass, pass, pass, pass, pass, pass, pass}[random.IntN(14)]
				})
			}
			w := openSoon(t, cfg)
			defer w.Close()
			loadertest.Load(t, tapeOf(), w, 350)
			loadertest.Load(t, tapeOf(), w, 350) // a second loader finds everything loaded
			direct := open(t, config(s))
			defer direct.Close()
			if d := cmp.Diff(want, loadertest.Everything(t, direct)); d != "" {
				t.Errorf("-duckdb +clickhouse: %s", d)
			}
			if d := cmp.Diff(shadow, loadertest.Shadow(t, direct, list)); !broken && d != "" {
				t.Errorf("the comparison with a shadow: -duckdb +clickhouse: %s", d)
			}
			if d := cmp.Diff(places, loadertest.Places(t, direct)); d != "" {
				t.Errorf("places: -duckdb +clickhouse: %s", d)
			}
			if d := cmp.Diff(books, loadertest.Forget(t, direct)); d != "" {
				t.Errorf("the books after a deletion: -duckdb +clickhouse: %s", d)
			}
			if d := cmp.Diff(left, loadertest.Everything(t, direct)); d != "" {
				t.Errorf("after a deletion: -duckdb +clickhouse: %s", d)
			}
			// A unit whose last step was cut is brought to its end by the next that begins.
			tx, err := direct.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			if left := warehousetest.Rows(t, direct, "SELECT count() FROM _tidegate.units"); left[0][0] != int64(0) {
				t.Errorf("%v steps of units are left in the books", left[0][0])
			}
			twice := warehousetest.Rows(t, direct, "SELECT count() - uniqExact(id) FROM web.tracks SETTINGS final = 0")
			if twice[0][0] != int64(0) {
				t.Errorf("%v rows are there twice beneath the merge", twice[0][0])
			}
		})
	}
}

func TestRejoins(t *testing.T) {
	t.Parallel()
	cfg := config(server(t))
	loadertest.Rejoins(t, func() loader.Warehouse { return open(t, cfg) })
}

func TestWidens(t *testing.T) {
	t.Parallel()
	loadertest.Widens(t, func(tb testing.TB) evolve.Warehouse {
		tb.Helper()
		w := open(tb, config(server(tb)))
		tb.Cleanup(func() {
			if err := w.Close(); err != nil {
				tb.Error(err)
			}
		})
		return w
	})
}

// BenchmarkEvents carries events from the journal's frames into event tables.
func BenchmarkEvents(b *testing.B) {
	for range b.N {
		b.StopTimer()
		w := open(b, config(server(b)))
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
