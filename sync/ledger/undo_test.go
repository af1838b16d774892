package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/warehouse"
)

func (w *world) revert(of string) (string, Summary) {
	w.t.Helper()
	id := w.newRun()
	s, err := w.l.PlanRevert(w.ctx, RevertRequest{RunID: id, Of: of, Epoch: 1, IdentifierField: w.fields[0].Field})
	if err != nil {
		w.t.Fatal(err)
	}
	return id, s
}

// TestRevert takes back a run that added, changed and removed, after another run
// has touched two of its keys.
func TestRevert(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	before := cloneHeld(w)
	w.exec("UPDATE people SET age = age + 1 WHERE id = 1")
	w.exec("UPDATE people SET age = 77 WHERE id = 2")
	w.exec("DELETE FROM people WHERE id = 3")
	w.exec("INSERT INTO people VALUES (4, 'd@x.io', 1, ''), (5, 'e@x.io', 1, '')")
	bad, _ := w.plan()
	w.deliver(bad, delivered)
	w.finish(bad)
	w.exec("UPDATE people SET age = 78 WHERE id IN (2, 5)")
	w.run()
	id, s := w.revert(bad)
	want(t, s, Summary{Changed: 1, Removed: 1, Added: 1, LedgerRows: 4, Reverts: bad, Skipped: 2})
	skipped, err := w.l.SkippedKeys(w.ctx, id, 10)
	if d := cmp.Diff([]tidegate.Key{"[2]", "[5]"}, skipped); d != "" || err != nil {
		t.Fatal(err, d)
	}
	for _, p := range w.changes(id) {
		wantIdentifier := map[tidegate.Key]any{"[1]": "a@x.io", "[3]": "c@x.io", "[4]": "d@x.io"}[p.Key]
		if p.Identifier != wantIdentifier || p.IdempotencyKey == "" || p.DestinationID != "d"+string(p.Key) {
			t.Errorf("%+v", p)
		}
	}
	w.deliver(id, delivered)
	w.finish(id)
	left, err := w.l.Log(w.ctx, LogFilter{RunID: id, Disposition: "skipped"})
	if err != nil || len(left) != 2 || left[0].Key != "[2]" || left[0].Op != tidegate.Changed || left[1].Key != "[5]" || left[1].Op != tidegate.Removed || left[1].Ordinal != 4 || left[1].Fault.Code != "revert.changed_since" {
		t.Errorf("the change log says of what was left alone: %+v, %v", left, err)
	}
	for _, key := range []tidegate.Key{"[1]", "[3]", "[4]"} {
		if w.held[key] != before[key] {
			t.Errorf("key %s holds %s, it was %s", key, w.held[key], before[key])
		}
	}
	// The model still says what it said: that is found again, and the revert can be reverted.
	_, s = w.plan()
	want(t, s, Summary{Read: 4, Unchanged: 2, Added: 1, Changed: 1, Removed: 1, LedgerRows: 4})
	w.run()
	want(t, w.run(), Summary{Read: 4, Unchanged: 4, LedgerRows: 4})
}

func cloneHeld(w *world) map[tidegate.Key]string {
	c := map[tidegate.Key]string{}
	for k, v := range w.held {
		c[k] = v
	}
	return c
}

func TestRevertRefuses(t *testing.T) {
	t.Parallel()
	w := people(t)
	id, _ := w.plan()
	w.deliver(id, outcome(destinations.Rejected, time.Time{}))
	w.finish(id)
	code := func(of string) string {
		_, err := w.l.PlanRevert(w.ctx, RevertRequest{RunID: w.newRun(), Of: of, Epoch: 1, IdentifierField: "email"})
		if err == nil {
			t.Fatal("it was planned")
		}
		return tidegate.FaultOf(err).Code
	}
	if c := code(id); c != "revert.nothing" {
		t.Error(c)
	}
	if c := code("run_none"); c != "revert.nothing" {
		t.Error(c)
	}
	w = people(t)
	w.opts.HashOnly = true
	w.open()
	id, _ = w.plan()
	w.deliver(id, delivered)
	w.finish(id)
	if c := code(id); c != "ledger.hashes" {
		t.Error(c)
	}
	if _, err := w.l.PlanDrift(w.ctx, DriftRequest{RunID: w.newRun(), Epoch: 1}); tidegate.FaultOf(err).Code != "ledger.hashes" {
		t.Error(err)
	}
}

// TestRevertSkipsDoubts: what is in doubt may hold a newer value (Invariant 5).
func TestRevertSkipsDoubts(t *testing.T) {
	t.Parallel()
	w := people(t)
	id, _ := w.plan()
	w.deliver(id, delivered)
	w.finish(id)
	w.exec("UPDATE people SET age = 11 WHERE id = 1")
	w.exec("UPDATE people SET age = 21 WHERE id = 2")
	later, _ := w.plan()
	w.deliver(later, func(p Planned) *Result {
		if p.Key == "[1]" {
			return nil
		}
		return outcome(destinations.Rejected, time.Time{})(p)
	})
	w.finish(later)
	_, s := w.revert(id)
	want(t, s, Summary{Removed: 2, LedgerRows: 3, Reverts: id, Skipped: 1}) // a rejection changed nothing
}

func TestDriftIsRestored(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	drifted := []Drifted{{Key: "[1]", Actual: tidegate.Record{"age": int64(99)}}, {Key: "[2]", Missing: true}, {Key: "[1]", Missing: true}, {Key: "[7]", Missing: true}}
	next := func(context.Context) (Drifted, error) {
		if len(drifted) == 0 {
			return Drifted{}, io.EOF
		}
		d := drifted[0]
		drifted = drifted[1:]
		return d, nil
	}
	id := w.newRun()
	s, err := w.l.PlanDrift(w.ctx, DriftRequest{RunID: id, Epoch: 1, Next: next})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, Summary{Changed: 1, Added: 1, LedgerRows: 3})
	for _, p := range w.changes(id) {
		if p.Key == "[1]" && (p.Before["age"] != int64(99) || p.After["age"] != int64(10) || p.Identifier != "a@x.io") {
			t.Errorf("%+v", p)
		}
	}
	w.deliver(id, delivered)
	w.finish(id)
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
	failing := func(context.Context) (Drifted, error) { return Drifted{}, errors.New("the destination went away") }
	if _, err := w.l.PlanDrift(w.ctx, DriftRequest{RunID: w.newRun(), Epoch: 1, Next: failing}); err == nil {
		t.Fatal("half of what drifted was planned")
	}
}

func TestConfirmed(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	w.exec("UPDATE people SET age = 11 WHERE id = 1")
	id, _ := w.plan()
	w.deliver(id, func(Planned) *Result { return nil })
	w.finish(id)
	seed := int64(1)
	read := func(sample int) (keys []tidegate.Key) {
		r, err := w.l.Confirmed(w.ctx, sample, seed)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for {
			c, err := r.Next(w.ctx)
			if errors.Is(err, io.EOF) {
				return keys
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Payload["email"] != c.Identifier || c.DestinationID != "d"+string(c.Key) {
				t.Errorf("%+v", c)
			}
			keys = append(keys, c.Key)
		}
	}
	all := read(0)
	slices.Sort(all)
	if d := cmp.Diff([]tidegate.Key{"[2]", "[3]"}, all); d != "" {
		t.Error(d)
	}
	for range 50 { // wherever a sample begins, it is as large as it can be and names no key twice
		seed = seed*6364136223846793005 + 1442695040888963407
		if n := len(read(1)); n != 1 {
			t.Errorf("a sample of one from %d has %d", seed, n)
		}
		some := read(5)
		slices.Sort(some)
		if d := cmp.Diff(all, some); d != "" {
			t.Errorf("a sample of five from %d: %s", seed, d)
		}
	}
}

// TestMove carries a ledger to and fro; nothing is sent again, and a rejection,
// the log and the last reading go with it.
func TestMove(t *testing.T) {
	t.Parallel()
	w := people(t)
	w.run()
	w.exec("UPDATE people SET age = 11 WHERE id = 1")
	id, _ := w.plan()
	w.deliver(id, outcome(destinations.Rejected, time.Time{}))
	home := w.l
	w.beside()
	if err := Move(w.ctx, home, w.l); err != nil { // folds the run in
		t.Fatal(err)
	}
	for range 2 {
		if err := Move(w.ctx, home, w.l); err != nil {
			t.Fatal(err)
		}
	}
	s := w.run()
	want(t, s, Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
	if s.LastRead != 3 {
		t.Errorf("last read: %d", s.LastRead)
	}
	list, err := w.l.Rejections(w.ctx, 10)
	if err != nil || len(list) != 1 || list[0].Key != "[1]" {
		t.Fatalf("%v %+v", err, list)
	}
	entries, err := w.l.Log(w.ctx, LogFilter{RunID: id})
	if err != nil || len(entries) != 1 || entries[0].Before["age"] != int64(10) || entries[0].After["age"] != int64(11) {
		t.Fatalf("%v %+v", err, entries)
	}
	away := w.l
	if size, err := home.Size(w.ctx); err != nil || size != (Size{}) {
		t.Fatalf("%v: the old place holds %+v", err, size)
	}
	w.exec("DELETE FROM people WHERE id = 2")
	want(t, w.run(), Summary{Read: 2, Unchanged: 2, Removed: 1, LedgerRows: 3})
	w.store, w.opts.Model = w.wh, nil
	w.open()
	if err := Move(w.ctx, away, w.l); err != nil {
		t.Fatal(err)
	}
	want(t, w.run(), Summary{Read: 2, Unchanged: 2, LedgerRows: 2})
	w.store, w.opts.Model = away.wh, w.wh
	w.open()
	w.run() // a second ledger of one sync
	if err := Move(w.ctx, w.l, home); tidegate.FaultOf(err).Code != "ledger.exists" {
		t.Fatalf("%v", err)
	}
}

// TestCrashAtEveryStatement kills the store at each commit and at statements of a
// run's life (all of them with TIDEGATE_LONG): what is committed is the state before or
// after, and a later run converges.
func TestCrashAtEveryStatement(t *testing.T) {
	t.Parallel()
	home := newWorld(t)
	for _, tc := range []struct {
		onlyCommits  bool
		stride, most int
	}{{true, 1, 5}, {false, max(1, 6/schedules(1)), 40}} {
		step := 1
		for ; !crashAt(t, home, step, tc.onlyCommits); step += tc.stride {
		}
		if step < tc.most {
			t.Errorf("a run takes %d steps: the test proves little", step)
		}
	}
}

// crashAt lets a store die at a step and says whether the run came to its end before.
func crashAt(t *testing.T, home *world, step int, onlyCommits bool) bool {
	t.Helper()
	w := emptyWorld(t) // another sync of one warehouse
	w.wh, w.store, w.name = home.wh, home.wh, fmt.Sprintf("crm%d%t", step, onlyCommits)
	w.open()
	w.exec("CREATE OR REPLACE TABLE people AS SELECT * FROM (VALUES (1, 'a@x.io', 10, 'n'), (2, 'b@x.io', 20, 'n'), (3, 'c@x.io', NULL, 'n')) AS v(id, email, age, note)")
	w.run()
	w.exec("UPDATE people SET age = 50 WHERE id = 1")
	w.exec("DELETE FROM people WHERE id = 2")
	w.exec("INSERT INTO people VALUES (4, 'd@x.io', 1, '')")
	w.store = &dyingStore{Execer: w.wh, left: step, onlyCommits: onlyCommits}
	err := w.oneRun()
	w.store = w.wh
	w.open()
	if err := w.l.Verify(w.ctx); err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	w.run()
	want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
	if len(w.held) != 3 || w.held["[1]"] != `{"age":50,"email":"a@x.io"}` {
		t.Fatalf("step %d: %v", step, w.held)
	}
	if err != nil && !errors.Is(err, errDied) {
		t.Fatalf("step %d: %v", step, err)
	}
	return err == nil
}

// oneRun opens the ledger anew and runs it from plan to end.
func (w *world) oneRun() error {
	opts := w.opts
	opts.Now = w.clock
	l, err := Open(w.ctx, w.store, tidegate.DefaultWorkspace, w.name, opts)
	if err != nil {
		return err
	}
	id := w.newRun()
	if _, err := l.Plan(w.ctx, w.request(id)); err != nil {
		return err
	}
	if err := l.Intend(w.ctx, id, 1, 0, 2); err != nil {
		return err
	}
	r, err := l.Changes(w.ctx, id, 0)
	if err != nil {
		return err
	}
	var results []Result
	page := make([]Planned, 3)
	if n, err := r.Read(w.ctx, page); n != len(page) || err != nil {
		return fmt.Errorf("reading %d changes: %w", n, err)
	}
	for _, p := range page {
		w.hold(p)
		results = append(results, Result{Ordinal: p.Ordinal, Outcome: destinations.Outcome{Disposition: destinations.Delivered}})
	}
	if err := l.Record(w.ctx, id, 1, results); err != nil {
		return err
	}
	return l.Finish(w.ctx, id)
}

// dyingStore fails at one statement and at every one after.
type dyingStore struct {
	warehouse.Execer
	left        int
	onlyCommits bool
}

var errDied = errors.New("the process died")

func (d *dyingStore) step() error {
	if d.onlyCommits {
		return d.dead()
	}
	return d.count()
}

func (d *dyingStore) dead() error {
	if d.left <= 0 {
		return errDied
	}
	return nil
}

func (d *dyingStore) count() error {
	if d.left--; d.left <= 0 {
		return errDied
	}
	return nil
}

func (d *dyingStore) Begin(ctx context.Context) (warehouse.Tx, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	tx, err := d.Execer.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &dyingTx{Tx: tx, d: d}, nil
}

type dyingTx struct {
	warehouse.Tx
	d *dyingStore
}

func (t *dyingTx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := t.d.step(); err != nil {
		return 0, err
	}
	return t.Tx.Exec(ctx, sql, args...)
}

func (t *dyingTx) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	if err := t.d.step(); err != nil {
		return nil, err
	}
	return t.Tx.Query(ctx, sql, args...)
}

func (t *dyingTx) Ensure(ctx context.Context, table warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
	return t.Tx.Ensure(ctx, table, s)
}

func (t *dyingTx) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := t.d.step(); err != nil {
		return 0, err
	}
	return t.Tx.Load(ctx, l, rows)
}

func (t *dyingTx) Commit() error {
	if err := t.d.count(); err != nil {
		return errors.Join(err, t.Tx.Rollback())
	}
	return t.Tx.Commit()
}
