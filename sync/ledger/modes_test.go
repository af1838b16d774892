package ledger

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/warehouse"
)

func TestBaselineSendsNothing(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.exec("INSERT INTO people VALUES (9, '', 1, '')") // cannot be mapped: not taken for confirmed
	plan := func() Summary {
		req := w.request(w.newRun())
		req.Baseline = true
		s, err := w.l.Plan(w.ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		w.deliver(req.RunID, delivered)
		w.finish(req.RunID)
		return s
	}
	want(t, plan(), Summary{Read: 4, Unchanged: 3, Added: 1, BadRows: 1, Baselined: 3})
	w.exec("UPDATE people SET age = 11 WHERE id = 1")
	w.exec("INSERT INTO people VALUES (4, 'd@x.io', 0, NULL)")
	w.exec("DELETE FROM people WHERE id = 2")
	want(t, plan(), Summary{Read: 4, Unchanged: 2, Added: 1, Changed: 1, Removed: 1, LedgerRows: 3})
	if len(w.held) != 2 {
		t.Fatalf("%v", w.held)
	}
	if err := w.l.Resync(w.ctx); err != nil {
		t.Fatal(err)
	}
	want(t, plan(), Summary{Read: 4, Added: 4, BadRows: 1}) // a resync sends
}

func TestBaselineOfNothingIsTheFirstResult(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.exec("CREATE TABLE kept AS SELECT * FROM people")
	w.exec("DELETE FROM people")
	for i, added := range []int64{0, 3} {
		req := w.request(w.newRun())
		req.Baseline = true
		s, err := w.l.Plan(w.ctx, req)
		if err != nil || s.Added != added || s.Baselined != 0 {
			t.Fatalf("plan %d: %+v %v", i, s, err)
		}
		w.finish(req.RunID)
		w.exec("INSERT INTO people SELECT * FROM kept")
	}
}

func TestFullPlansEveryRow(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.mode = tidegate.Full
	want(t, w.run(), Summary{Read: 3, Added: 3})
	want(t, w.run(), Summary{Read: 3, Changed: 3, LedgerRows: 3})
	w.exec("DELETE FROM people WHERE id = 1")
	w.exec("UPDATE people SET age = 5 WHERE id = 2")
	id, s := w.plan()
	want(t, s, Summary{Read: 2, Changed: 2, Removed: 1, LedgerRows: 3})
	w.deliver(id, func(p Planned) *Result {
		if p.Op == tidegate.Removed {
			return &Result{Excluded: true}
		}
		return delivered(p)
	})
	w.finish(id)
	want(t, w.run(), Summary{Read: 2, Changed: 2, LedgerRows: 3})
}

func TestAppendSendsEachVersionOnce(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.mode = tidegate.Append
	keys := map[string]bool{}
	for _, age := range []int{10, 11, 10, 10} {
		w.exec("UPDATE people SET age = $1 WHERE id = 1", age)
		id, _ := w.plan()
		for _, p := range w.changes(id) {
			if keys[p.IdempotencyKey] {
				t.Errorf("version %d of key %s has the idempotency key of another", age, p.Key)
			}
			keys[p.IdempotencyKey] = true
		}
		w.deliver(id, delivered)
		w.finish(id)
	}
	if len(keys) != 5 {
		t.Errorf("%d versions were sent", len(keys))
	}
}

func TestPartialRemovesNothing(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	w.exec("UPDATE people SET age = 99 WHERE id = 2")
	plan := func(where string) Summary {
		w.def.SQL = "SELECT * FROM people WHERE " + where
		req := w.request(w.newRun())
		req.Partial = true
		s, err := w.l.Plan(w.ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		w.deliver(req.RunID, delivered)
		w.finish(req.RunID)
		return s
	}
	want(t, plan("id >= 2"), Summary{Read: 2, Unchanged: 1, Changed: 1, LedgerRows: 3, Partial: true})
	want(t, plan("false"), Summary{LedgerRows: 3, Partial: true})
	w.exec("INSERT INTO people VALUES (2, 'b@x.io', 98, 'twin')")
	want(t, plan("id >= 2"), Summary{Read: 3, Unchanged: 1, BadKeys: 2, LedgerRows: 3, Partial: true})
	w.exec("DELETE FROM people WHERE note = 'twin'")
	w.def.SQL = "SELECT * FROM people"
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
}

// TestHashesOnly: nothing but hashes, keys and identifiers is kept, and the diff is the same.
func TestHashesOnly(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	w.opts.HashOnly = true
	w.open()
	w.exec("UPDATE people SET age = 424242 WHERE id = 1")
	id, s := w.plan()
	want(t, s, Summary{Read: 3, Unchanged: 2, Changed: 1, LedgerRows: 3})
	for _, p := range w.changes(id) {
		if p.Before != nil || p.After["age"] != int64(424242) {
			t.Errorf("%+v", p)
		}
	}
	w.deliver(id, outcome(destinations.Rejected, w.now))
	w.finish(id)
	w.exec("DELETE FROM people WHERE id = 2")
	id, s = w.plan()
	want(t, s, Summary{Read: 2, Unchanged: 1, Changed: 1, Removed: 1, Retries: 1, LedgerRows: 3})
	for _, p := range w.changes(id) {
		if p.Op == tidegate.Removed && (p.Identifier != "b@x.io" || p.DestinationID == "") {
			t.Errorf("%+v", p)
		}
	}
	w.deliver(id, delivered)
	w.finish(id)
	var n int64
	for _, table := range []string{"records", "attempts", "log"} {
		err := w.l.read(w.ctx, func(ctx context.Context, tx warehouse.Tx) error {
			return one(ctx, tx, "SELECT count(*) FROM _tidegate.crm__"+table+" AS t WHERE CAST(t AS VARCHAR) LIKE '%424242%' OR CAST(t AS VARCHAR) LIKE '%\"age\"%'", nil, &n)
		})
		if err != nil || n != 0 {
			t.Errorf("%v: %s holds %d values", err, table, n)
		}
	}
	w.opts.HashOnly = false
	w.open()
	want(t, w.run(), Summary{Read: 2, Unchanged: 2, LedgerRows: 2})
}

// TestARemovalDoesNotTakeAnotherKeysRecord: the record of a key whose removal was
// rejected belongs to a new key by the time somebody retries the removal.
func TestARemovalDoesNotTakeAnotherKeysRecord(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	w.exec("DELETE FROM people WHERE id = 1")
	id, _ := w.plan()
	w.deliver(id, outcome(destinations.Rejected, time.Time{}))
	w.finish(id)
	w.exec("INSERT INTO people VALUES (8, 'a@x.io', 1, '')") // the address of 1
	w.run()
	if n, err := w.l.RetryNow(w.ctx, ""); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 4})
	if w.held["[8]"] == "" {
		t.Fatal("the record of key 8 is gone")
	}
	w.exec("DELETE FROM people WHERE id = 8")
	want(t, w.run(), Summary{Read: 2, Unchanged: 2, Removed: 1, LedgerRows: 3}) // its own removal goes
}

func TestTickets(t *testing.T) {
	t.Parallel()
	w := people(t)
	id, _ := w.plan()
	if err := w.l.Intend(w.ctx, id, 1, 0, 2); err != nil {
		t.Fatal(err)
	}
	pending := func(ticket destinations.Ticket, ordinals ...int64) (list []Result) {
		for _, o := range ordinals {
			list = append(list, Result{Ordinal: o, Outcome: destinations.Outcome{Disposition: destinations.Pending, Ticket: ticket}})
		}
		return list
	}
	record := func(list ...Result) {
		t.Helper()
		if err := w.l.Record(w.ctx, id, 1, list); err != nil {
			t.Fatal(err)
		}
	}
	record(append(pending("job-1", 2, 0), pending("job-2", 1)...)...)
	record(pending("job-1", 2, 0)...) // said twice
	at := w.now
	w.open()
	open := func() []OpenTicket {
		p, err := w.l.Progress(w.ctx, id)
		if err != nil || p.Intended != 3 {
			t.Fatal(err, p)
		}
		return p.Tickets
	}
	if d := cmp.Diff([]OpenTicket{{Ticket: "job-1", Ordinals: []int64{2, 0}, At: at}, {Ticket: "job-2", Ordinals: []int64{1}, At: at}}, open()); d != "" {
		t.Fatal(d)
	}
	record(Result{Ordinal: 1, Outcome: destinations.Outcome{Disposition: destinations.Delivered}}, Result{Ordinal: 2, Outcome: destinations.Outcome{Disposition: destinations.Rejected, Fault: &tidegate.Fault{Code: "x"}}})
	record(pending("late", 1)...) // settled already
	if d := cmp.Diff([]OpenTicket{{Ticket: "job-1", Ordinals: []int64{2, 0}, At: at}}, open()); d != "" {
		t.Fatal(d)
	}
	w.finish(id) // 0 never came: in doubt
	list, err := w.l.Rejections(w.ctx, 10)
	if err != nil || len(list) != 2 {
		t.Fatal(err, list)
	}
	want(t, w.run(), Summary{Read: 3, Unchanged: 2, Added: 1, Retries: 1, LedgerRows: 1})
}

func TestClustersAndFirstFailure(t *testing.T) {
	t.Parallel()
	w := people(t)
	fault := func(p Planned) *tidegate.Fault {
		if p.Key == "[3]" {
			return &tidegate.Fault{Action: tidegate.Reject, Code: "dest.other", Message: "no"}
		}
		return &tidegate.Fault{Action: tidegate.Reject, Code: "dest.no", Message: fmt.Sprintf("value %q is wrong", p.Key)}
	}
	fail := func() {
		t.Helper()
		id, _ := w.plan()
		w.deliver(id, func(p Planned) *Result {
			return &Result{NextAttempt: w.now, Outcome: destinations.Outcome{Disposition: destinations.Rejected, Fault: fault(p)}}
		})
		if list, err := w.l.Clusters(w.ctx, 10); err != nil || len(list) == 0 {
			t.Fatalf("while it runs: %v %+v", err, list)
		}
		w.finish(id)
	}
	fail()
	first := w.now
	fail()
	list, err := w.l.Clusters(w.ctx, 1)
	if err != nil || len(list) != 1 || list[0].Count != 2 || list[0].Parked != 0 || list[0].Fault.Code != "dest.no" || len(list[0].Keys) != 2 || !list[0].Last.Equal(w.now) {
		t.Fatalf("%v %+v", err, list)
	}
	rejections, err := w.l.Rejections(w.ctx, 10)
	if err != nil || len(rejections) != 3 || !rejections[0].FirstFailedAt.Equal(first) || rejections[0].Attempts != 2 || rejections[0].Parked {
		t.Fatalf("%v %+v", err, rejections)
	}
	w.exec("UPDATE people SET age = 1 WHERE id = 1") // a new version
	if ok, err := w.l.RetryKey(w.ctx, "[2]"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := w.l.RetryKey(w.ctx, "[99]"); ok || err != nil {
		t.Fatal(ok, err)
	}
	id, _ := w.plan()
	for _, p := range w.changes(id) {
		if fresh := p.Key != "[3]"; p.FirstFailedAt.IsZero() != fresh {
			t.Errorf("%s first failed at %s", p.Key, p.FirstFailedAt)
		}
	}
}

func TestWhatGuardsAskFor(t *testing.T) {
	t.Parallel()
	w := people(t)
	s := w.run()
	if s.LastRead != -1 || s.ChangedFields != 6 {
		t.Fatalf("%+v", s)
	}
	w.exec("UPDATE people SET age = NULL")
	_, s = w.plan()
	if d := cmp.Diff([]FieldNulls{{Field: "age", Now: 2, Rows: 2, Before: 0, Confirmed: 2}}, s.Nulls); d != "" || s.LastRead != 3 || s.ChangedFields != 2 {
		t.Fatal(s, d)
	}
	// A plan that a guard held and a person refused is not what the next is compared with.
	w.exec("DELETE FROM people")
	id, _ := w.plan()
	w.finish(id)
	if _, s = w.plan(); s.LastRead != 3 {
		t.Fatalf("%+v", s)
	}
}

// TestQuickAnswerIsNeverWrong: whatever changes, the checksum sees it; and it is not asked for in vain.
func TestQuickAnswerIsNeverWrong(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	for i, sql := range []string{
		"UPDATE people SET age = 11 WHERE id = 1", "INSERT INTO people SELECT * FROM people WHERE id = 2", "DELETE FROM people WHERE id = 3", "INSERT INTO people VALUES (NULL, 'n', 1, '')",
		"UPDATE people SET id = 30 WHERE id = 1", "UPDATE people SET email = 'z@x.io' WHERE age = 20",
	} {
		w.exec(sql)
		s := w.run()
		if s.Added+s.Changed+s.Removed+s.BadKeys == 0 {
			t.Errorf("step %d: %s was not seen", i, sql)
		}
	}
}

// TestDocumentedViews: what docs/ledger.md promises can be read, for two syncs at once.
func TestDocumentedViews(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	other, err := Open(w.ctx, w.wh, "elsewhere", "other", Options{Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Plan(w.ctx, w.request("run_other")); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE people SET age = 11 WHERE id = 1")
	id, _ := w.plan()
	w.deliver(id, outcome(destinations.Rejected, time.Time{}))
	w.finish(id)
	text := func(sql string) (got string) {
		t.Helper()
		err := w.l.read(w.ctx, func(ctx context.Context, tx warehouse.Tx) error { return one(ctx, tx, sql, nil, &got) })
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for sql, want := range map[string]string{
		"SELECT string_agg(workspace || '/' || sync || '/' || run_id || '/' || state || '/' || kind, ' ' ORDER BY workspace, run_id) FROM _tidegate.sync_runs": "default/crm/run_0001/finished/plan default/crm/run_0002/finished/plan elsewhere/other/run_other/planned/plan",
		"SELECT string_agg(key || op || disposition || coalesce(before, '') || after, ' ' ORDER BY key) FROM _tidegate.sync_log WHERE run_id = 'run_0002'":     `[1]changedrejected{"age":10,"email":"a@x.io"}{"age":11,"email":"a@x.io"}`,
		"SELECT string_agg(sync || key || state || confirmed, ' ' ORDER BY key) FROM _tidegate.sync_snapshot WHERE sync = 'crm' AND attempted IS NOT NULL":     `crm[1]failed{"age":10,"email":"a@x.io"}`,
		"SELECT CAST(count(*) AS VARCHAR) FROM _tidegate.loads WHERE load_id LIKE 'run%'":                                                                      "0",
	} {
		if got := text(sql); got != want {
			t.Errorf("%s\n got %s\nwant %s", sql, got, want)
		}
	}
	w.now = w.now.Add(31 * 24 * time.Hour)
	w.run()
	if got := text("SELECT CAST(count(*) AS VARCHAR) FROM _tidegate.sync_log WHERE workspace = 'default'"); got != "0" {
		t.Errorf("%s rows of the log are older than KeepLog", got)
	}
}
