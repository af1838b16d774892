package postgres_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

func ints(n ...int64) []tidegate.Row {
	var rows []tidegate.Row
	for _, v := range n {
		rows = append(rows, tidegate.Row{v})
	}
	return rows
}

func columns(pairs ...any) tidegate.Schema {
	var s tidegate.Schema
	for i := 0; i < len(pairs); i += 2 {
		s = append(s, tidegate.Column{Name: pairs[i].(string), Type: tidegate.Type{Kind: pairs[i+1].(tidegate.Kind)}})
	}
	return s
}

// TestCutConnectionAtCommit: a COMMIT whose answer is lost is looked up, never guessed.
func TestCutConnectionAtCommit(t *testing.T) {
	t.Parallel()
	warehousetest.CutAtCommit(t, func(t *testing.T) warehousetest.Cuttable {
		t.Helper()
		cfg, p := between(t, config(t))
		w := open(t, cfg)
		t.Cleanup(func() { _ = w.Close() })
		cut := func(after bool) {
			p.armed.Store(cutBeforeCommit)
			if after {
				p.armed.Store(cutAfterCommit)
			}
		}
		return warehousetest.Cuttable{Warehouse: w, Execer: w, Cut: cut, Cuts: func() int64 { return int64(p.cuts.Load()) }}
	})
}

// TestOldSnapshotsAndRewrites: while a transaction holds a snapshot a rewrite of a
// table waits; in no order does anybody find the table empty.
func TestOldSnapshotsAndRewrites(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("n", tidegate.Int)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, tidegate.Rows(s, ints(1, 2, 3)...)); err != nil {
		t.Fatal(err)
	}
	old, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer old.Rollback()
	widened := make(chan error, 1)
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		_, err := w.Ensure(t.Context(), table, columns("n", tidegate.String))
		widened <- err
	})
	// The rewrite waits for the lock of snapshots: that it does is seen at the server.
	waiting := "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '_tidegate.snapshots'::regclass AND mode = 'AccessExclusiveLock'"
	for warehousetest.Rows(t, w, waiting)[0][0] != int64(1) {
		select {
		case err := <-widened:
			t.Fatalf("the rewrite did not wait: %v", err)
		default:
		}
	}
	rows, err := old.Query(t.Context(), "SELECT n FROM s.t")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		if _, err := rows.Next(t.Context()); err != nil {
			break
		}
		n++
	}
	if n != 3 {
		t.Errorf("the older snapshot holds %d rows, want 3", n)
	}
	if err := rows.Close(); err != nil {
		t.Error(err)
	}
	if err := old.Rollback(); err != nil {
		t.Error(err)
	}
	if err := <-widened; err != nil {
		t.Error(err)
	}
	if got := warehousetest.Rows(t, w, "SELECT n FROM s.t"); len(got) != 3 || got[0][0] != "1" {
		t.Errorf("after the rewrite: %v", got)
	}
}

// TestKeyedLoadsTakeTurns: loads that bring the same new keys at the same time
// leave one row per key.
func TestKeyedLoadsTakeTurns(t *testing.T) {
	t.Parallel()
	w := open(t, config(t))
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("id", tidegate.String, "part", tidegate.Int, "by", tidegate.Int)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range int64(8) {
		group.Go(func() {
			var rows []tidegate.Row
			for k := range int64(50) {
				rows = append(rows, tidegate.Row{fmt.Sprint("key ", k), k % 3, i})
			}
			key := []string{"id"}
			if i%2 == 0 {
				key = append(key, "part")
			}
			load := warehouse.Load{ID: fmt.Sprint(i), Table: table, Key: key, KeepExisting: i%3 == 0}
			if _, err := w.Load(t.Context(), load, tidegate.Rows(s, rows...)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := warehousetest.Rows(t, w, "SELECT count(*), count(DISTINCT id) FROM s.t"); got[0][0] != int64(50) || got[0][1] != int64(50) {
		t.Errorf("got %v", got)
	}
	// From an older snapshot it is a Retry, never a second row.
	old, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer old.Rollback()
	row := tidegate.Rows(s, tidegate.Row{"new", int64(0), int64(0)})
	if _, err := w.Load(t.Context(), warehouse.Load{ID: "first", Table: table, Key: []string{"id"}}, row); err != nil {
		t.Fatal(err)
	}
	row = tidegate.Rows(s, tidegate.Row{"new", int64(0), int64(1)})
	_, err = old.Load(t.Context(), warehouse.Load{ID: "second", Table: table, Key: []string{"id"}}, row)
	var f *tidegate.Fault
	if !errors.As(err, &f) || f.Action != tidegate.Retry || f.Code != "warehouse.conflict" {
		t.Errorf("got %v, want a Retry", err)
	}
	// The index by which keys are found is there and is used.
	plan := warehousetest.Rows(t, w, "SELECT indexdef FROM pg_indexes WHERE schemaname = 's' AND indexname LIKE '\\_tidegate\\_key%' ORDER BY 1")
	if len(plan) != 2 {
		t.Errorf("got indexes %v", plan)
	}
}
