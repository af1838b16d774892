package duckdb

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

func predicateTx(t *testing.T) (*Warehouse, *tx) {
	t.Helper()
	w, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), MemoryLimit: "300MB", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	tx, err := w.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	return w, tx
}

func rowOf(t *testing.T, tx *tx, sql string) tidegate.Row {
	t.Helper()
	r, err := tx.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	row, err := r.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return append(tidegate.Row{}, row...)
}

// TestPredicateIsAskedAboutEveryRow: each row once, of whatever the engine makes of them.
func TestPredicateIsAskedAboutEveryRow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, from string
		rows       int
		sum        int64
	}{
		{"many, by several threads", "(SELECT range AS n FROM range(1000000)) AS x", 1_000_000, 499_999_500_000},
		{"a table", "counted AS x", 300_000, 44_999_850_000},
		{"all of one value", "(SELECT 7 AS n FROM range(5000)) AS x", 5000, 35_000},
		{"one", "(SELECT 7 AS n) AS x", 1, 7},
		{"none", "(SELECT 7 AS n WHERE false) AS x", 0, 0},
		{"every third is NULL", "(SELECT CASE WHEN range % 3 <> 0 THEN range END AS n FROM range(9000)) AS x", 6000, 27_000_000},
		{"all are NULL", "(SELECT CAST(NULL AS BIGINT) AS n FROM range(9000)) AS x", 0, 0},
	} {
		for _, pure := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				_, tx := predicateTx(t)
				if _, err := tx.Exec(t.Context(), "CREATE TABLE counted AS SELECT range AS n FROM range(300000)"); err != nil {
					t.Fatal(err)
				}
				var mu sync.Mutex
				var rows int
				var sum int64
				even, drop := tx.Predicate(func(values []int64, answers []bool) {
					mu.Lock()
					defer mu.Unlock()
					for i, v := range values {
						if answers[i] {
							t.Error("an answer was there before the question")
						}
						answers[i] = v%2 == 0
						rows++
						sum += v
					}
				}, pure)
				defer drop()
				got := rowOf(t, tx, "SELECT count(*) FILTER (WHERE "+even("n")+"), bool_or("+even("n")+" IS NULL) FROM "+c.from)
				want := rowOf(t, tx, "SELECT count(*) FILTER (WHERE n % 2 = 0) FROM "+c.from)
				if got[0] != want[0] || got[1] == true {
					t.Errorf("%v, not %v", got, want)
				}
				if !pure && (rows != 2*c.rows || sum != 2*c.sum) {
					t.Errorf("asked about %d rows, sum %d, where twice %d, sum %d, are", rows, sum, c.rows, c.sum)
				}
				if kept := rowOf(t, tx, "SELECT count(*) FROM "+c.from+" WHERE "+even("n")); kept[0] != want[0] {
					t.Errorf("kept %v, not %v", kept, want)
				}
			})
		}
	}
}

// TestPredicateEnds: what was dropped is not asked any more, and nobody else's query asks.
func TestPredicateEnds(t *testing.T) {
	t.Parallel()
	w, tx := predicateTx(t)
	if tx.Memory() != 300_000_000 {
		t.Errorf("%d bytes of memory", tx.Memory())
	}
	call, drop := tx.Predicate(func([]int64, []bool) {}, false)
	drop()
	if _, err := tx.Exec(t.Context(), "CREATE TABLE x AS SELECT "+call("1")); err == nil || !strings.Contains(err.Error(), "nothing is lent") {
		t.Error("a dropped predicate was asked:", err)
	}
	for _, sql := range []string{call("1"), pureFunction + "(1, 1)"} {
		if _, err := w.Query(t.Context(), "SELECT "+sql); err == nil || tidegate.FaultOf(err).Code != "sql.refused" {
			t.Errorf("SELECT %s: %v", sql, err)
		}
	}
	var _ warehouse.PredicateTx = tx
}

func TestMemoryBytes(t *testing.T) {
	t.Parallel()
	for limit, want := range map[string]int64{"2GB": 2_000_000_000, "2GiB": 2 << 30, "1.5MB": 1_500_000, "512MiB": 512 << 20, "": 0, "much": 0, "7": 0} {
		if got := memoryBytes(limit); got != want {
			t.Errorf("%q is %d bytes, not %d", limit, got, want)
		}
	}
}
