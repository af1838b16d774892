package redshift_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
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
		cfg, c := config(t)
		w := open(t, cfg)
		t.Cleanup(func() {
			_ = w.Close()
			if keys := c.S3.Keys(); len(keys) > 0 {
				t.Errorf("objects stay in the bucket: %v", keys)
			}
		})
		cut := func(after bool) {
			c.Cut(rstest.BeforeCommit)
			if after {
				c.Cut(rstest.AfterCommit)
			}
		}
		return warehousetest.Cuttable{Warehouse: w, Execer: w, Cut: cut, Cuts: func() int64 { return int64(c.Cuts()) }}
	})
}

// TestKeyedLoadsTakeTurns: loads that bring the same new keys at the same time leave one row per
// key, though no key is enforced.
func TestKeyedLoadsTakeTurns(t *testing.T) {
	t.Parallel()
	cfg, _ := config(t)
	w := open(t, cfg)
	defer w.Close()
	other := open(t, cfg) // another hub: they share nothing but the server
	defer other.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("id", tidegate.String, "part", tidegate.Int, "by", tidegate.Int)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range int64(6) {
		group.Go(func() {
			var rows []tidegate.Row
			for k := range int64(50) {
				rows = append(rows, tidegate.Row{fmt.Sprint("key ", k), k % 3, i})
			}
			hub := w
			if i%2 == 0 {
				hub = other
			}
			load := warehouse.Load{ID: fmt.Sprint(i), Table: table, Key: []string{"id"}, KeepExisting: i%3 == 0}
			if _, err := hub.Load(t.Context(), load, tidegate.Rows(s, rows...)); err != nil {
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
	if _, err := other.Load(t.Context(), warehouse.Load{ID: "first", Table: table, Key: []string{"id"}}, row); err != nil {
		t.Fatal(err)
	}
	row = tidegate.Rows(s, tidegate.Row{"new", int64(0), int64(1)})
	_, err = old.Load(t.Context(), warehouse.Load{ID: "second", Table: table, Key: []string{"id"}}, row)
	var f *tidegate.Fault
	if !errors.As(err, &f) || f.Action != tidegate.Retry || f.Code != "warehouse.conflict" {
		t.Errorf("got %v, want a Retry", err)
	}
}

// TestOldSnapshotsAndRewrites: while a transaction holds a snapshot a rewrite of a table waits.
func TestOldSnapshotsAndRewrites(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	w := open(t, cfg)
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
	// That the rewrite waits is seen at the server below.
	for c.Ask(t, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '_tidegate.snapshots'::regclass") != "1" {
		select {
		case err := <-widened:
			t.Fatalf("the rewrite did not wait: %v", err)
		default:
		}
	}
	r, err := old.Query(t.Context(), "SELECT count(*) FROM s.t")
	if err != nil {
		t.Fatal(err)
	}
	if row, err := r.Next(t.Context()); err != nil || row[0] != int64(3) {
		t.Errorf("the older snapshot holds %v rows, %v", row, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := old.Rollback(); err != nil {
		t.Error(err)
	}
	if err := <-widened; err != nil {
		t.Error(err)
	}
	if got := warehousetest.Rows(t, w, "SELECT n FROM s.t ORDER BY n"); len(got) != 3 || got[0][0] != "1" {
		t.Errorf("after the rewrite: %v", got)
	}
}

// TestARewriteKeepsKeysAndGrants: a table written anew is read by whom it was read before, and sorted as it was.
func TestARewriteKeepsKeysAndGrants(t *testing.T) {
	t.Parallel()
	cfg, c := config(t)
	w := open(t, cfg)
	defer w.Close()
	table := warehouse.Table{Schema: "s", Name: "t"}
	s := columns("id", tidegate.String, "received_at", tidegate.Timestamp, "n", tidegate.Int)
	if _, err := w.Ensure(t.Context(), table, s); err != nil {
		t.Fatal(err)
	}
	c.Postgres.Exec(t, c.Database, `CREATE ROLE "an analyst `+c.Database+`"; GRANT SELECT, UPDATE ON s.t TO "an analyst `+c.Database+`"; GRANT SELECT ON s.t TO PUBLIC`)
	t.Cleanup(func() {
		c.Postgres.Exec(t, c.Database, `DROP OWNED BY "an analyst `+c.Database+`"; DROP ROLE "an analyst `+c.Database+`"`)
	})
	facts := func() [2][]tidegate.Row {
		t.Helper()
		return [2][]tidegate.Row{
			warehousetest.Rows(t, w, "SELECT attname, attisdistkey, attsortkeyord FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relname = 't' AND attnum > 0 ORDER BY attname"),
			warehousetest.Rows(t, w, "SELECT identity_name, privilege_type FROM svv_relation_privileges WHERE namespace_name = 's' ORDER BY 1, 2"),
		}
	}
	before := facts()
	got, err := w.Ensure(t.Context(), table, columns("n", tidegate.String, "more", tidegate.Bool))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(columns("id", tidegate.String, "received_at", tidegate.Timestamp, "n", tidegate.String, "more", tidegate.Bool), got); d != "" {
		t.Error(d)
	}
	after := facts()
	if len(after[0]) != 4 {
		t.Errorf("the columns became %v", after[0])
	}
	if d := cmp.Diff(before[1], after[1]); d != "" || len(before[1]) < 3 {
		t.Errorf("grants: %s", d)
	}
	for _, row := range after[0] {
		if row[0] == "id" && row[1] != true || row[0] == "received_at" && row[2] != int64(1) {
			t.Errorf("the keys became %v", after[0])
		}
	}
}
