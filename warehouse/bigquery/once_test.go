package bigquery_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

var (
	events  = warehouse.Table{Schema: "web", Name: "t"}
	numbers = tidegate.Schema{{Name: "id", Type: tidegate.Type{Kind: tidegate.Int}}, {Name: "v", Type: tidegate.Type{Kind: tidegate.String}}}
)

func ensure(tb testing.TB, w warehouse.Warehouse) {
	tb.Helper()
	if _, err := w.Ensure(tb.Context(), events, numbers); err != nil {
		tb.Fatal(err)
	}
}

// once loses the first answer to a job whose statement or kind the word is part of.
func once(s *bqtest.Server, of string, what bqtest.Answer) *atomic.Int32 {
	var hits atomic.Int32
	s.Intercept(func(c bqtest.Call) *bqtest.Answer {
		if c.Job == nil {
			return nil
		}
		about := c.Job.Configuration.Labels["tidegate_op"]
		if q := c.Job.Configuration.Query; q != nil {
			about += " " + q.Query
		} else {
			about += " upload"
		}
		if !strings.Contains(about, of) || hits.Add(1) > 1 {
			return nil
		}
		return &what
	})
	return &hits
}

// TestLostAnswers: whatever answer is lost, the rows are there once and the
// caller is told so.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, of string }{
		{"of a load job", "load upload"}, {"of a merge", "MERGE"}, {"of a commit", "COMMIT"}, {"of a statement", "UPDATE"}, {"of a beginning", "BEGIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, s := config(t)
			cfg.Staging = "load_jobs" // TestStreamsSurviveCuts has the other way
			w := open(t, cfg)
			ensure(t, w)
			hits := once(s, c.of, bqtest.Answer{Lose: true})
			for range 2 { // and again, which is nothing new
				if _, err := w.Load(t.Context(), warehouse.Load{ID: "appended", Table: events}, tidegate.Rows(numbers, tidegate.Row{int64(1), "a"})); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Load(t.Context(), warehouse.Load{ID: "keyed", Table: events, Key: []string{"id"}}, tidegate.Rows(numbers, tidegate.Row{int64(2), "b"})); err != nil {
					t.Fatal(err)
				}
			}
			tx, err := w.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Load(t.Context(), warehouse.Load{ID: "in a transaction", Table: events}, tidegate.Rows(numbers, tidegate.Row{int64(3), "c"})); err != nil {
				t.Fatal(err)
			}
			if n, err := tx.Exec(t.Context(), "UPDATE web.t SET v = 'd' WHERE id = @p1", 3); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			want := []tidegate.Row{{int64(1), "a"}, {int64(2), "b"}, {int64(3), "d"}}
			if d := cmp.Diff(want, warehousetest.Rows(t, w, "SELECT id, v FROM web.t ORDER BY id")); d != "" {
				t.Error(d)
			}
			if hits.Load() == 0 {
				t.Error("no answer was lost")
			}
		})
	}
}

// TestLoadsAreRemembered: another process knows what was loaded, whichever way.
func TestLoadsAreRemembered(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	ensure(t, w)
	row := func() tidegate.RowReader { return tidegate.Rows(numbers, tidegate.Row{int64(1), "a"}) }
	loads := []warehouse.Load{{ID: "append", Table: events}, {ID: "keyed", Table: events, Key: []string{"id"}}, {ID: "empty", Table: events}}
	for i, l := range loads {
		rows := row()
		if l.ID == "empty" {
			rows = tidegate.Rows(numbers)
		}
		if n, err := w.Load(t.Context(), l, rows); err != nil || (n == 1) == (l.ID == "empty") {
			t.Fatalf("load %d: %d, %v", i, n, err)
		}
	}
	tx, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := tx.Load(t.Context(), warehouse.Load{ID: "tx", Table: events}, row()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := tx.Load(t.Context(), loads[0], row()); n != 0 || err != nil {
		t.Errorf("a load by a job was repeated in a transaction: %d, %v", n, err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	for _, l := range append(loads, warehouse.Load{ID: "tx", Table: events}) {
		if n, err := again.Load(t.Context(), l, row()); n != 0 || err != nil {
			t.Errorf("load %q again: %d, %v", l.ID, n, err)
		}
	}
	// A dataset that was dropped and made again is another one.
	for _, sql := range []string{"DROP TABLE web.t", "DROP SCHEMA web"} {
		if _, err := again.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	third := open(t, cfg)
	ensure(t, third)
	if n, err := third.Load(t.Context(), loads[0], row()); n != 1 || err != nil {
		t.Errorf("in a new dataset: %d, %v", n, err)
	}
	for _, j := range s.Jobs() {
		if j.Configuration.Labels["managed_by"] != "tidegate" || j.Configuration.Labels["tidegate_op"] == "" {
			t.Errorf("job %s has the labels %v", j.JobReference.JobId, j.Configuration.Labels)
		}
		if j.JobReference.Location != "US" {
			t.Errorf("job %s runs in %q", j.JobReference.JobId, j.JobReference.Location)
		}
	}
}

// TestFailedLoadsAreTriedAgain: a job id that failed is used up, the load is not.
func TestFailedLoadsAreTriedAgain(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	ensure(t, w)
	l := warehouse.Load{ID: "x", Table: events, Key: []string{"id"}}
	// Below the adapter's back the column becomes one that takes no such text.
	s.Exec(t, `ALTER TABLE web.t ALTER COLUMN v TYPE BIGINT`)
	described, err := w.Describe(t.Context(), events)
	if err != nil || described[1].Type.Kind != tidegate.Int {
		t.Fatal(described, err)
	}
	s.Exec(t, `ALTER TABLE web.t ALTER COLUMN v TYPE VARCHAR`)
	once(s, "MERGE", bqtest.Answer{Status: http.StatusForbidden, Reason: "accessDenied", Message: "Access Denied: Table x: Permission bigquery.tables.updateData denied"})
	_, err = w.Load(t.Context(), l, tidegate.Rows(numbers, tidegate.Row{int64(1), "a"}))
	var f *tidegate.Fault
	if !errors.As(err, &f) || f.Code != "warehouse.permission" || !strings.Contains(f.Hint, "roles/bigquery.dataEditor") {
		t.Fatalf("got %v", err)
	}
	if n, err := w.Load(t.Context(), l, tidegate.Rows(numbers, tidegate.Row{int64(1), "a"})); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	// A job that ran and failed.
	s.Exec(t, `CREATE OR REPLACE TABLE web.t (id BIGINT, v VARCHAR CHECK (v <> 'bad'))`)
	bad := warehouse.Load{ID: "bad", Table: events}
	if _, err := w.Load(t.Context(), bad, tidegate.Rows(numbers, tidegate.Row{int64(1), "bad"})); err == nil {
		t.Fatal("a load that broke a constraint was taken")
	}
	s.Exec(t, `CREATE OR REPLACE TABLE web.t (id BIGINT, v VARCHAR)`)
	for i, want := range []int64{1, 0} {
		if n, err := w.Load(t.Context(), bad, tidegate.Rows(numbers, tidegate.Row{int64(1), "bad"})); n != want || err != nil {
			t.Errorf("time %d: %d, %v", i, n, err)
		}
	}
}

// TestConflictsRollBack: a commit that BigQuery refuses leaves nothing and is a Retry.
func TestConflictsRollBack(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	ensure(t, w)
	if _, err := w.Load(t.Context(), warehouse.Load{ID: "first", Table: events}, tidegate.Rows(numbers, tidegate.Row{int64(1), "a"})); err != nil {
		t.Fatal(err)
	}
	update := func(tx warehouse.Tx, v string) error {
		_, err := tx.Exec(t.Context(), "UPDATE web.t SET v = @p1 WHERE id = 1", v)
		return err
	}
	one, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	two, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := update(one, "one"); err != nil {
		t.Fatal(err)
	}
	err = update(two, "two")
	if err == nil {
		err = two.Commit()
	}
	if f := tidegate.FaultOf(err); err == nil || f.Code != "warehouse.conflict" || f.Action != tidegate.Retry {
		t.Errorf("got %v, want a conflict", err)
	}
	if err := errors.Join(two.Rollback(), one.Commit()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]tidegate.Row{{"one"}}, warehousetest.Rows(t, w, "SELECT v FROM web.t")); d != "" {
		t.Error(d)
	}
	if n := s.Sessions(); n != 1 {
		t.Errorf("%d sessions are open, want the one that is clean", n)
	}
}

// TestRowsTravelInChunks: more rows than a request takes go in several
// statements of one transaction.
func TestRowsTravelInChunks(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	ensure(t, w)
	text := strings.Repeat(`<"quoted\ & long>`, 2000)
	var rows []tidegate.Row
	for i := range 3 * bigquery.InlineBytes / len(text) {
		rows = append(rows, tidegate.Row{int64(i), text})
	}
	tx, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]string{nil, {"id"}} {
		if n, err := tx.Load(t.Context(), warehouse.Load{ID: fmt.Sprint("x", key), Table: events, Key: key}, tidegate.Rows(numbers, rows...)); n != int64(len(rows)) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	want := []tidegate.Row{{int64(len(rows)), int64(len(rows)), int64(len(rows) * len(text))}}
	if d := cmp.Diff(want, warehousetest.Rows(t, w, "SELECT COUNT(*), COUNT(DISTINCT id), SUM(LENGTH(v)) FROM web.t")); d != "" {
		t.Error(d)
	}
	statements := 0
	for _, j := range s.Jobs() {
		if q := j.Configuration.Query; q != nil && strings.HasPrefix(q.Query, "INSERT INTO `web`") {
			statements++
		}
	}
	if statements < 3 {
		t.Errorf("the rows went in %d statements", statements)
	}
	huge, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = huge.Load(t.Context(), warehouse.Load{ID: "huge", Table: events}, tidegate.Rows(numbers, tidegate.Row{int64(1), strings.Repeat("x", 10<<20)}))
	if f := tidegate.FaultOf(err); f == nil || f.Action != tidegate.Reject {
		t.Errorf("a row that no statement takes: %v", err)
	}
	if err := huge.Rollback(); err != nil {
		t.Fatal(err)
	}
}
