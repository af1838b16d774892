package ledger

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

func people(tb testing.TB) *world {
	tb.Helper()
	w := newWorld(tb)
	w.exec("CREATE TABLE people (id INTEGER, email VARCHAR, age INTEGER, note VARCHAR)")
	w.exec("INSERT INTO people VALUES (1, 'a@x.io', 10, 'n'), (2, 'b@x.io', 20, 'n'), (3, 'c@x.io', NULL, 'n')")
	return w
}

// counted is a summary without what no test of counts cares for.
func counted(s Summary) Summary {
	s.RunID, s.PlannedAt, s.LastRead, s.ChangedFields, s.Nulls = "", time.Time{}, 0, 0, nil
	return s
}

func want(t *testing.T, got, want Summary) {
	t.Helper()
	if d := cmp.Diff(want, counted(got)); d != "" {
		t.Fatalf("summary (-want +got):\n%s", d)
	}
}

func TestOnlyChangedRowsArePlanned(t *testing.T) {
	t.Parallel()
	w := people(t)
	want(t, w.run(), Summary{Read: 3, Added: 3})
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
	w.exec("UPDATE people SET note = 'other'")
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
	w.exec("UPDATE people SET age = 11 WHERE id = 1")
	w.exec("UPDATE people SET email = '' WHERE id = 2")
	w.exec("DELETE FROM people WHERE id = 3")
	w.exec("INSERT INTO people VALUES (4, 'd@x.io', 0, NULL)")
	id, s := w.plan()
	if s.BadRows != 1 { // the empty identifier of row 2
		t.Fatalf("bad rows: %+v", s)
	}
	s.BadRows = 0
	want(t, s, Summary{Read: 3, Added: 1, Changed: 2, Removed: 1, LedgerRows: 3})
	look, err := w.l.Look(w.ctx, w.request(id), 10)
	if err != nil {
		t.Fatal(err)
	}
	if look.Summary.Added != 1 || len(look.First) != 4 {
		t.Errorf("%+v, %d changes", look.Summary, len(look.First))
	}
	got := map[tidegate.Key]Preview{}
	for _, p := range look.Sample {
		got[p.Key] = p
	}
	wantFields := []FieldChange{{Field: "age", Before: int64(10), After: int64(11)}}
	if d := cmp.Diff(wantFields, got["[1]"].Fields); d != "" {
		t.Fatal(d)
	}
	if got["[2]"].Fault == nil || got["[3]"].Op != tidegate.Removed || got["[4]"].Op != tidegate.Added {
		t.Fatalf("%+v", got)
	}
	w.deliver(id, delivered)
	w.finish(id)
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
}

func TestSummaryIsStableOverASecondPlan(t *testing.T) {
	t.Parallel()
	w := people(t)
	id, s := w.plan()
	w.exec("DELETE FROM people")
	again, err := w.l.Plan(w.ctx, w.request(id))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, again); d != "" {
		t.Fatal(d)
	}
	if n := len(w.changes(id)); n != 3 {
		t.Fatalf("%d changes", n)
	}
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	// 1 repeats unchanged, 2 repeats with one changed row, 5 is new and repeated, NULL comes twice.
	w.exec("INSERT INTO people VALUES (1, 'a@x.io', 10, 'again'), (2, 'b@x.io', 21, 'n'), (5, 'e', 1, ''), (5, 'e', 1, ''), (5, 'f', 1, ''), (NULL, 'z', 1, ''), (NULL, 'y', 1, '')")
	id, s := w.plan()
	want(t, s, Summary{Read: 10, Unchanged: 1, BadKeys: 9, LedgerRows: 3})
	list, err := w.l.Rejections(w.ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	got := map[tidegate.Key]string{}
	for _, r := range list {
		if r.State != "bad_key" {
			t.Fatalf("%+v", r)
		}
		got[r.Key] = r.Fault.Message
	}
	wantKeys := map[tidegate.Key]string{
		"[1]":    "the primary key is repeated in 2 rows",
		"[2]":    "the primary key is repeated in 2 rows",
		"[5]":    "the primary key is repeated in 3 rows",
		"[null]": "the primary key is NULL or empty in 2 rows",
	}
	if d := cmp.Diff(wantKeys, got); d != "" {
		t.Fatal(d)
	}
	w.finish(id)
	causes := map[string]int64{}
	clusters, err := w.l.Clusters(w.ctx, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clusters {
		if causes[c.Cluster] = c.Count; c.Parked != 0 || len(c.Keys) != int(c.Count) || c.Fault.Code != "model.key" {
			t.Errorf("%+v", c)
		}
	}
	if d := cmp.Diff(map[string]int64{"model.key|null": 1, "model.key|repeated": 3}, causes); d != "" {
		t.Error(d)
	}
	w.exec("DELETE FROM people WHERE note = 'again' OR age = 21 OR id = 5 OR id IS NULL")
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
	if list, err = w.l.Rejections(w.ctx, 100); err != nil || len(list) != 0 {
		t.Fatalf("%v %+v", err, list)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	soon := func(w *world) time.Time { return w.now.Add(90 * time.Second) }
	for _, tc := range []struct {
		name    string
		outcome func(*world) func(Planned) *Result
		change  string  // run on the model before the second plan
		second  Summary // a minute later
		third   Summary // two minutes later
		state   string
	}{
		{
			name: "rejected for good", outcome: func(*world) func(Planned) *Result { return outcome(destinations.Rejected, time.Time{}) },
			second: Summary{Read: 3, Unchanged: 3}, third: Summary{Read: 3, Unchanged: 3}, state: "failed",
		},
		{
			name: "rejected, row changed", outcome: func(*world) func(Planned) *Result { return outcome(destinations.Rejected, time.Time{}) }, change: "UPDATE people SET age = 99",
			second: Summary{Read: 3, Added: 3}, third: Summary{Read: 3, Added: 3}, state: "failed",
		},
		{
			name: "rejected with backoff", outcome: func(w *world) func(Planned) *Result { return outcome(destinations.Rejected, soon(w)) },
			second: Summary{Read: 3, Unchanged: 3, Waiting: 3}, third: Summary{Read: 3, Added: 3, Retries: 3}, state: "failed",
		},
		{
			name: "in doubt with backoff", outcome: func(w *world) func(Planned) *Result { return outcome(destinations.InDoubt, soon(w)) },
			second: Summary{Read: 3, Unchanged: 3, Waiting: 3}, third: Summary{Read: 3, Added: 3, Retries: 3}, state: "in_doubt",
		},
		{
			name: "deferred", outcome: func(*world) func(Planned) *Result { return outcome(destinations.Deferred, time.Time{}) },
			second: Summary{Read: 3, Added: 3, Retries: 3}, third: Summary{Read: 3, Added: 3, Retries: 3}, state: "failed",
		},
		{
			name: "rejected, then gone", outcome: func(*world) func(Planned) *Result { return outcome(destinations.Rejected, time.Time{}) }, change: "DELETE FROM people",
			second: Summary{}, third: Summary{},
		},
		{
			name: "in doubt, then gone", outcome: func(*world) func(Planned) *Result { return outcome(destinations.InDoubt, time.Time{}) }, change: "DELETE FROM people",
			second: Summary{Removed: 3}, third: Summary{Removed: 3}, state: "in_doubt",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := people(t)
			id, _ := w.plan()
			w.deliver(id, tc.outcome(w))
			before, err := w.l.Rejections(w.ctx, 10) // not folded yet
			if err != nil {
				t.Fatal(err)
			}
			w.finish(id)
			after, err := w.l.Rejections(w.ctx, 10)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(before, after); d != "" || len(after) != 3 {
				t.Fatalf("folding changed what is listed (%d):\n%s", len(after), d)
			}
			if tc.change != "" {
				w.exec(tc.change)
			}
			id, s := w.plan()
			want(t, s, tc.second)
			w.finish(id) // nothing delivered
			id, s = w.plan()
			want(t, s, tc.third)
			list, err := w.l.Rejections(w.ctx, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if r.State != tc.state {
					t.Fatalf("state %q, want %q", r.State, tc.state)
				}
			}
			if tc.state == "" && len(list) > 0 {
				t.Fatalf("%+v", list)
			}
			w.finish(id)
		})
	}
}

func TestRetryNowAndStableIdempotencyKey(t *testing.T) {
	t.Parallel()
	w := people(t)
	id, _ := w.plan()
	first := map[tidegate.Key]string{}
	for _, p := range w.changes(id) {
		first[p.Key] = p.IdempotencyKey
	}
	w.deliver(id, outcome(destinations.Rejected, time.Time{}))
	w.finish(id)
	list, err := w.l.Rejections(w.ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.l.RetryNow(w.ctx, "another"); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := w.l.RetryNow(w.ctx, list[0].Cluster); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	w.exec("UPDATE people SET age = 77 WHERE id = 1")
	id, s := w.plan()
	want(t, s, Summary{Read: 3, Added: 3, Retries: 2})
	for _, p := range w.changes(id) {
		if same := p.IdempotencyKey == first[p.Key]; same != (p.Key != "[1]") {
			t.Fatalf("key %s: idempotency key kept: %t", p.Key, same)
		}
		if p.Attempts != 1 {
			t.Fatalf("attempts: %+v", p)
		}
	}
	w.deliver(id, delivered)
	w.finish(id)
	for _, age := range []int{78, 77} { // the same value again is a new version
		w.exec("UPDATE people SET age = $1 WHERE id = 1", age)
		id, _ := w.plan()
		for _, p := range w.changes(id) {
			for _, old := range first {
				if p.IdempotencyKey == old {
					t.Fatal("an idempotency key came back")
				}
			}
			first[tidegate.Key(p.IdempotencyKey)] = p.IdempotencyKey
		}
		w.deliver(id, delivered)
		w.finish(id)
	}
}

func TestInDoubtIsSentAgainAlthoughTheModelWentBack(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	w.exec("UPDATE people SET age = 11 WHERE id = 1")
	id, _ := w.plan()
	w.deliver(id, func(Planned) *Result { return nil }) // intended, no answer
	w.finish(id)
	w.exec("UPDATE people SET age = 10 WHERE id = 1") // as the destination last confirmed
	_, s := w.plan()
	want(t, s, Summary{Read: 3, Unchanged: 2, Changed: 1, LedgerRows: 3})
}

func TestRejectedHealsWhenTheModelGoesBack(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	w.exec("UPDATE people SET age = 11 WHERE id = 1")
	id, _ := w.plan()
	w.deliver(id, outcome(destinations.Rejected, time.Time{}))
	w.finish(id)
	w.exec("UPDATE people SET age = 10 WHERE id = 1")
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
	if list, err := w.l.Rejections(w.ctx, 5); err != nil || len(list) != 0 {
		t.Fatal(err, list)
	}
}

func TestExcludedWaitsForAModeThatLets(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.mode = tidegate.Upsert
	w.run()
	w.exec("DELETE FROM people WHERE id = 1")
	id, s := w.plan()
	want(t, s, Summary{Read: 2, Unchanged: 2, Removed: 1, LedgerRows: 3})
	w.deliver(id, func(Planned) *Result { return &Result{Excluded: true} })
	w.finish(id)
	want(t, w.run(), Summary{Read: 2, Unchanged: 2, LedgerRows: 3})
	w.mode = tidegate.Mirror
	want(t, w.run(), Summary{Read: 2, Unchanged: 2, Removed: 1, LedgerRows: 3})
	want(t, w.run(), Summary{Read: 2, Unchanged: 2, LedgerRows: 2})
}

func TestMappingChangeSendsOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	w.fields = []tidegate.FieldMapping{{Field: "email", Column: "email"}, {Field: "age", Column: "age", SkipNull: true}}
	want(t, w.run(), Summary{Read: 3, Unchanged: 2, Changed: 1, LedgerRows: 3}) // only id 3 has a NULL
	w.fields = append(w.fields, tidegate.FieldMapping{Field: "note", Column: "note"})
	want(t, w.run(), Summary{Read: 3, Changed: 3, LedgerRows: 3})
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
}

func TestWidenedTypesAreNoChange(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	w.def.SQL = "SELECT id::BIGINT AS id, email, age::HUGEINT AS age FROM people"
	id, s := w.plan()
	if s.Added != 0 || s.Removed != 0 {
		t.Fatalf("the key's width changed the key: %+v", s)
	}
	w.finish(id)
}

func TestFailedQueryIsNeverEmpty(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	req := w.request(w.newRun())
	w.exec("DROP TABLE people")
	if s, err := w.l.Plan(w.ctx, req); err == nil {
		t.Fatalf("a missing table gave %+v", s)
	} else if tidegate.FaultOf(err).Action != tidegate.Halt {
		t.Fatalf("%v", err)
	}
	w.exec("CREATE TABLE people (id INTEGER, email VARCHAR, age VARCHAR)")
	w.exec("INSERT INTO people SELECT range, 'e' || range, CASE WHEN range = 199999 THEN 'x' ELSE '1' END FROM range(200000)")
	w.def.SQL = "SELECT id, email, age::INTEGER AS age FROM people" // fails half way
	if s, err := w.l.Plan(w.ctx, w.request(w.newRun())); err == nil {
		t.Fatalf("a failed query gave %+v", s)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if s, err := w.l.Plan(ctx, w.request(w.newRun())); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled plan gave %+v, %v", s, err)
	}
	w.exec("DROP TABLE people")
	w.exec("CREATE TABLE people (id INTEGER, email VARCHAR, age INTEGER)")
	w.exec("INSERT INTO people VALUES (1, 'a@x.io', 10), (2, 'b@x.io', 20), (3, 'c@x.io', NULL)")
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
}

// TestLostLedgerIsUpsertOnly: a run stops over tables that are lost or changed by
// others, and after a resync every row is sent and none removed (Invariant 8).
func TestLostLedgerIsUpsertOnly(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string][]string{
		"narrow":       {"DROP TABLE _tidegate.crm__ledger"},
		"wide":         {"DROP TABLE _tidegate.crm__records"},
		"both":         {"DROP TABLE _tidegate.crm__ledger", "DROP TABLE _tidegate.crm__records"},
		"one row":      {"DELETE FROM _tidegate.crm__ledger WHERE key_hash = (SELECT min(key_hash) FROM _tidegate.crm__ledger)"},
		"one record":   {"DELETE FROM _tidegate.crm__records WHERE key = '[2]'"},
		"fingerprint":  {"UPDATE _tidegate.crm__ledger SET fingerprint = fingerprint + 1 WHERE key_hash = (SELECT min(key_hash) FROM _tidegate.crm__ledger)"},
		"rows doubled": {"INSERT INTO _tidegate.crm__ledger SELECT * FROM _tidegate.crm__ledger"},
		"the fence":    {"DROP TABLE _tidegate.crm__fence"},
		"old format":   {"UPDATE _tidegate.crm__fence SET format = NULL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := people(t)
			w.run()
			w.exec("DELETE FROM people WHERE id = 1")
			for _, sql := range harm {
				w.exec(sql)
			}
			w.open()
			_, err := w.l.Plan(w.ctx, w.request(w.newRun()))
			if f := tidegate.FaultOf(err); err == nil || f.Code != "ledger.damaged" || f.Action != tidegate.Halt || !strings.Contains(f.Hint, "sync resync crm") {
				t.Fatalf("%v", err)
			}
			if err := w.l.Verify(w.ctx); err == nil {
				t.Fatal("a damaged ledger is verified")
			}
			if err := w.l.Resync(w.ctx); err != nil {
				t.Fatal(err)
			}
			want(t, w.run(), Summary{Read: 2, Added: 2})
			want(t, w.run(), Summary{Read: 2, Unchanged: 2, LedgerRows: 2})
		})
	}
	w := people(t)
	w.run()
	w.exec("DELETE FROM people WHERE id = 1")
	w.exec("DROP SCHEMA _tidegate CASCADE")
	w.exec("CREATE SCHEMA _tidegate")
	w.exec("CREATE TABLE _tidegate.loads (load_id VARCHAR, table_schema VARCHAR, table_name VARCHAR, rows BIGINT, loaded_at TIMESTAMPTZ)")
	w.open()
	want(t, w.run(), Summary{Read: 2, Added: 2})
}

func TestStaleEpoch(t *testing.T) {
	t.Parallel()
	w := people(t)
	id, _ := w.plan()
	lost := func(what string, err error) {
		t.Helper()
		if f := tidegate.FaultOf(err); err == nil || f.Code != "lease.lost" || f.Action != tidegate.Halt {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if err := w.l.Intend(w.ctx, id, 5, 0, 0); err != nil {
		t.Fatal(err)
	}
	other, err := Open(w.ctx, w.wh, tidegate.DefaultWorkspace, "crm", Options{Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	lost("intend", other.Intend(w.ctx, id, 4, 1, 1))
	lost("record", other.Record(w.ctx, id, 4, []Result{{Ordinal: 0, Outcome: destinations.Outcome{Disposition: destinations.Delivered}}}))
	_, err = other.Plan(w.ctx, w.request("run_other"))
	lost("plan", err)
	p, err := w.l.Progress(w.ctx, id)
	if err != nil || p.Intended != 1 || p.Settled(0) {
		t.Fatalf("%+v %v", p, err)
	}
}

func TestProgressAndResume(t *testing.T) {
	t.Parallel()
	w := people(t)
	if _, err := w.l.Progress(w.ctx, "run_none"); !errors.Is(err, ErrNoPlan) {
		t.Fatal(err)
	}
	id, s := w.plan()
	if err := w.l.Intend(w.ctx, id, 1, 0, 1); err != nil {
		t.Fatal(err)
	}
	ok := destinations.Outcome{Disposition: destinations.Delivered, DestinationID: "77"}
	if err := w.l.Record(w.ctx, id, 1, []Result{{Ordinal: 1, Outcome: ok}, {Ordinal: 1, Outcome: destinations.Outcome{Disposition: destinations.Rejected}}}); err != nil {
		t.Fatal(err)
	}
	if err := w.l.Record(w.ctx, id, 1, []Result{{Ordinal: 1, Outcome: destinations.Outcome{Disposition: destinations.Rejected}}}); err != nil {
		t.Fatal(err)
	}
	w.open() // as after a crash
	p, err := w.l.Progress(w.ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if p.Intended != 2 || p.Settled(0) || !p.Settled(1) || p.Settled(2) || p.Settled(-1) || p.Settled(99) || p.Counts.Delivered != 1 || p.Counts.Rejected != 0 {
		t.Fatalf("%+v", p)
	}
	if d := cmp.Diff(s, p.Summary); d != "" {
		t.Fatal(d)
	}
	r, err := w.l.Changes(w.ctx, id, 2)
	if err != nil {
		t.Fatal(err)
	}
	next := make([]Planned, 1)
	if n, err := r.Read(w.ctx, next); n != 1 || err != nil || next[0].Ordinal != 2 {
		t.Fatal(next, err)
	}
	// Never resumed: the next plan finds 1 confirmed, 0 in doubt and 2 not sent.
	_, s = w.plan()
	want(t, s, Summary{Read: 3, Unchanged: 1, Added: 2, Retries: 1, LedgerRows: 1})
	if err := w.l.Record(w.ctx, id, 1, []Result{{Ordinal: 2, Outcome: ok}}); tidegate.FaultOf(err).Code != "plan.stale" {
		t.Fatal(err)
	}
	if _, err := w.l.Changes(w.ctx, id, 0); tidegate.FaultOf(err).Code != "plan.stale" {
		t.Fatal(err)
	}
}

func TestAWaitingPlanSurvivesAPreviewButNotADelivery(t *testing.T) {
	t.Parallel()
	w := people(t)
	held, _ := w.plan()
	preview, _ := w.plan()
	w.finish(preview)
	if n := len(w.changes(held)); n != 3 {
		t.Fatal(n)
	}
	w.run()
	err := w.l.Intend(w.ctx, held, 1, 0, 0)
	if f := tidegate.FaultOf(err); err == nil || f.Code != "plan.stale" {
		t.Fatal(err)
	}
	w.finish(held) // nothing
	for range keptPlans + 3 {
		w.plan()
	}
	if tables := w.tablesOfRuns(); tables > keptPlans+1 {
		t.Fatalf("%d tables of runs are left", tables)
	}
}

func TestFinishByAnotherHolder(t *testing.T) {
	t.Parallel()
	w := people(t)
	id, _ := w.plan()
	w.deliver(id, delivered)
	w.open() // knows no epoch
	w.finish(id)
	w.finish(id)
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
	size, err := w.l.Size(w.ctx)
	if err != nil || size != (Size{Confirmed: 3}) {
		t.Fatal(size, err)
	}
}

func TestHostileNamesAndValues(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`CREATE TABLE "od""d; DROP" ("k""ey" VARCHAR, "a b" VARCHAR, "select" VARCHAR)`)
	w.exec(`INSERT INTO "od""d; DROP" VALUES ($1, $2, $3)`, `'; DROP TABLE x; --`, "\x00y\u2028\"", "\u001f")
	w.def = tidegate.Model{Name: "odd", SQL: `SELECT * FROM "od""d; DROP" -- a comment at the end`, PrimaryKey: []string{`k"ey`}}
	w.fields = []tidegate.FieldMapping{{Field: "a'b", Column: "a b"}, {Field: `"`, Column: "select"}}
	want(t, w.run(), Summary{Read: 1, Added: 1})
	want(t, w.run(), Summary{Read: 1, Unchanged: 1, LedgerRows: 1})
	for key, payload := range w.held {
		if key != `["'; DROP TABLE x; --"]` || payload != "{\"\\\"\":\"\\u001f\",\"a'b\":\"\\u0000y\u2028\\\"\"}" {
			t.Fatalf("%s %s", key, payload)
		}
	}
}

func TestEveryTypeOfColumn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`CREATE TABLE t AS SELECT '7'::VARCHAR AS id, 9223372036854775807 AS i, 170141183460469231731687303715884105727::HUGEINT AS h, 12.50::DECIMAL(10,2) AS d,
		-0.0::DOUBLE AS f, true AS b, '\x00\xFF'::BLOB AS blob, DATE '0001-01-01' AS day, TIMESTAMP '2024-02-29 12:00:00.000001' AS ts, TIMESTAMPTZ '2024-02-29 12:00:00+02' AS tz,
		uuid '00000000-0000-0000-0000-000000000001' AS u, 'x'::ENUM('y', 'x') AS e, INTERVAL 1 DAY AS iv, TIME '12:00:00' AS tm,
		[1, NULL] AS l, {'a': 1, 'b': [true]} AS s, MAP {'k': 1} AS m, '{"n": 12345678901234567890, "f": 1.0}'::JSON AS j`)
	w.def.SQL = "SELECT * FROM t"
	w.fields = nil
	for _, c := range []string{"id", "i", "h", "d", "f", "b", "blob", "day", "ts", "tz", "u", "e", "iv", "tm", "l", "s", "m", "j"} {
		w.fields = append(w.fields, tidegate.FieldMapping{Field: c, Column: c})
	}
	if s := w.run(); s.Added != 1 || s.BadRows != 0 {
		t.Fatalf("%+v", s)
	}
	got := w.held[`["7"]`]
	for _, part := range []string{
		`"i":9223372036854775807`, `"h":"170141183460469231731687303715884105727"`, `"d":"12.5"`, `"f":0.0`, `"blob":"AP8="`, `"day":"0001-01-01"`,
		`"ts":"2024-02-29T12:00:00.000001Z"`, `"tz":"2024-02-29T10:00:00.000000Z"`, `"u":"00000000-0000-0000-0000-000000000001"`, `"e":"x"`, `"l":[1,null]`,
		`"s":{"a":1,"b":[true]}`, `"j":{"f":1.0,"n":"12345678901234567890"}`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("%s is not in %s", part, got)
		}
	}
	want(t, w.run(), Summary{Read: 1, Unchanged: 1, LedgerRows: 1})
	w.exec("UPDATE t SET s = {'a': 2, 'b': [true]}")
	want(t, w.run(), Summary{Read: 1, Changed: 1, LedgerRows: 1})
	for _, key := range []string{"i", "h", "d", "b", "blob", "day", "ts", "tz", "u", "e", "tm"} {
		w.def.PrimaryKey = []string{key, "id"}
		id, s := w.plan()
		if s.Added != 1 || s.Removed != 1 || s.BadKeys != 0 {
			t.Fatalf("key %s: %+v", key, s)
		}
		w.finish(id)
	}
}

// TestAnotherTargetIsNotTakenForThisOne: what one destination confirmed is nothing that another one holds.
func TestAnotherTargetIsNotTakenForThisOne(t *testing.T) {
	t.Parallel()
	for _, place := range placements() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, place)
			w.exec("CREATE TABLE people (id BIGINT, email VARCHAR, age BIGINT)")
			w.exec("INSERT INTO people VALUES (1, 'a@x.io', 10), (2, 'b@x.io', 20)")
			w.run() // by a version that knew no targets
			w.l.opts.Target = "contacts of crm"
			want(t, w.run(), Summary{Read: 2, Unchanged: 2, LedgerRows: 2})
			held, _ := w.plan()
			w.l.opts.Target = "contacts of other"
			for name, plan := range map[string]func() error{
				"a new plan":    func() error { _, err := w.l.Plan(w.ctx, w.request("another")); return err },
				"a stored plan": func() error { _, err := w.l.Plan(w.ctx, w.request(held)); return err },
				"a look":        func() error { _, err := w.l.Look(w.ctx, w.request("look"), 1); return err },
			} {
				if err := plan(); tidegate.FaultOf(err).Code != "ledger.other_target" || !strings.Contains(err.Error(), "contacts of crm") {
					t.Errorf("%s: %v", name, err)
				}
			}
			w.l.opts.Target = "contacts of crm" // taken back
			want(t, w.run(), Summary{Read: 2, Unchanged: 2, LedgerRows: 2})
			w.l.opts.Target = "contacts of other"
			if err := w.l.Resync(w.ctx); err != nil {
				t.Fatal(err)
			}
			want(t, w.run(), Summary{Read: 2, Added: 2})
			want(t, w.run(), Summary{Read: 2, Unchanged: 2, LedgerRows: 2})
		})
	}
}
