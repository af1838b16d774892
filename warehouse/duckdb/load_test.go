package duckdb_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

// TestOldLoadsAreForgotten: what nobody repeats any more does not stay for ever, in a process
// that lives on and in the next one; what may be repeated does.
func TestOldLoadsAreForgotten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.duckdb")
	var passed atomic.Int64
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	reopen := func() *duckdb.Warehouse {
		w, err := duckdb.Open(t.Context(), duckdb.Options{Path: path, MemoryLimit: "200MB", Threads: 1, Now: func() time.Time { return start.Add(time.Duration(passed.Load())) }})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := reopen()
	defer func() { _ = w.Close() }()
	if _, err := w.Ensure(t.Context(), numbers, numberSchema); err != nil {
		t.Fatal(err)
	}
	load := func(day int) int64 {
		t.Helper()
		passed.Store(int64(time.Duration(day) * 24 * time.Hour))
		n, err := w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint("of day ", day), Table: numbers}, tidegate.Rows(numberSchema, tidegate.Row{int64(day), "x"}))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	remembered := func() string { return fmt.Sprint(all(t, w, "SELECT load_id FROM _tidegate.loads ORDER BY loaded_at")) }
	load(0)
	load(50)
	load(80)
	load(95)
	if got, want := remembered(), "[[of day 50] [of day 80] [of day 95]]"; got != want {
		t.Errorf("in one process %s are remembered, not %s", got, want)
	}
	if n := load(80); n != 0 {
		t.Errorf("a load that is remembered was done again: %d rows", n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = reopen()
	load(150)
	if got, want := remembered(), "[[of day 80] [of day 95] [of day 150]]"; got != want {
		t.Errorf("in the next process %s are remembered, not %s", got, want)
	}
	if got := fmt.Sprint(all(t, w, "SELECT count(*) FROM x.t")); got != "[[5]]" {
		t.Errorf("%s rows are there, and five were loaded", got)
	}
}
