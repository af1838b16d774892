package snowflake_test

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/loadertest"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
)

// TestEventTablesAreThoseOfDuckDB loads the same events into both, into Snowflake
// through commits whose answers are lost, statements that are interrupted, and sessions
// that expire, and compares every table, column by column and row by row.
func TestEventTablesAreThoseOfDuckDB(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	big := open(t, cfg)
	duck, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), MemoryLimit: "500MB", Threads: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	var commits, writes, lost atomic.Int64
	s.Intercept(func(c sftest.Call) *sftest.Answer {
		switch {
		case c.SQL == "COMMIT" && commits.Add(1)%3 == 0:
			lost.Add(1)
			return &sftest.Answer{Done: true}
		case strings.HasPrefix(c.SQL, "INSERT"):
			switch n := writes.Add(1); {
			case n%41 == 0:
				return &sftest.Answer{Code: "000604", Message: "SQL execution canceled"}
			case n%29 == 0:
				s.Expire()
			}
		}
		return nil
	})
	list := loadertest.Events(600)
	for _, w := range []loader.Warehouse{big, duck} {
		tp := loadertest.NewTape(list, 10)
		loadertest.Load(t, tp, w, 200)
		loadertest.Load(t, tp, w, 200) // a second loader finds everything loaded
	}
	s.Intercept(nil)
	want, got := loadertest.Everything(t, duck), loadertest.Everything(t, big)
	if len(got) < 20 {
		t.Errorf("only %d tables", len(got)/2)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-duckdb +snowflake: %s", d)
	}
	if d := cmp.Diff(loadertest.Shadow(t, duck, list), loadertest.Shadow(t, big, list)); d != "" {
		t.Errorf("the comparison with a shadow: -duckdb +snowflake: %s", d)
	}
	if d := cmp.Diff(loadertest.Places(t, duck), loadertest.Places(t, big)); d != "" {
		t.Errorf("places: -duckdb +snowflake: %s", d)
	}
	if d := cmp.Diff(loadertest.Forget(t, duck), loadertest.Forget(t, big)); d != "" {
		t.Errorf("the books after a deletion: -duckdb +snowflake: %s", d)
	}
	if d := cmp.Diff(loadertest.Everything(t, duck), loadertest.Everything(t, big)); d != "" {
		t.Errorf("after a deletion: -duckdb +snowflake: %s", d)
	}
	if lost.Load() == 0 {
		t.Error("no answer was lost")
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
