package snowflake_test

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	loadertest.Same(t, duck, big, loadertest.Events(600), 200, func() { s.Intercept(nil) })
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
