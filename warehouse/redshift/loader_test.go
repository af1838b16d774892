package redshift_test

import (
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/loadertest"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestEventTablesAreThoseOfDuckDB loads the same events into both, into Redshift
// through answers of S3 that are lost and refused, and compares every table,
// column by column and row by row.
func TestEventTablesAreThoseOfDuckDB(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	red := open(t, cfg)
	defer red.Close()
	duck, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), MemoryLimit: "500MB", Threads: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	var calls, lost atomic.Int64
	c.S3.Intercept(func(rstest.Call) *rstest.Answer {
		switch n := calls.Add(1); {
		case n%23 == 0:
			lost.Add(1)
			return &rstest.Answer{Lose: true}
		case n%37 == 0:
			return &rstest.Answer{Status: http.StatusServiceUnavailable, Code: "SlowDown", Message: "Please reduce your request rate."}
		}
		return nil
	})
	loadertest.Same(t, duck, red, loadertest.Events(600), 200, func() { c.S3.Intercept(nil) })
	if lost.Load() < 3 {
		t.Errorf("only %d answers were lost", lost.Load())
	}
	if keys := c.S3.Keys(); len(keys) > 0 {
		t.Errorf("objects stay in the bucket: %v", keys)
	}
	// The keys of tables of events.
	keys := warehousetest.Rows(t, red, "SELECT a.attname, a.attisdistkey, a.attsortkeyord FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace "+
		"WHERE n.nspname = 'web' AND c.relname = 'tracks' AND (a.attisdistkey OR a.attsortkeyord <> 0) ORDER BY a.attname")
	if d := cmp.Diff([]tidegate.Row{{"id", true, int64(0)}, {"received_at", false, int64(1)}}, keys); d != "" {
		t.Error(d)
	}
}
