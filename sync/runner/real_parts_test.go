package runner

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/retry"
)

// ableHouse is a real warehouse with a destination that can do everything.
func ableHouse(t *testing.T) (*house, *able, func() *Runner) {
	t.Helper()
	h := newHouse(t)
	h.exec("CREATE TABLE people AS SELECT i AS id, 'p' || i || '@example.com' AS email, i % 90 AS age FROM range(300) AS t(i)")
	a := newAble(h.crm)
	process := func() *Runner {
		t.Helper()
		r, err := New(Options{
			Node: "node1", Runs: h.runs, Now: time.Now, Random: testRandom(),
			Open: func(ctx context.Context, name string) (*Opened, error) {
				o, err := h.open(ctx, name)
				if err == nil {
					o.Destination = a
				}
				return o, err
			},
			Tuning: Tuning{FlushEvery: 5 * time.Millisecond, Poll: retry.Backoff{Base: time.Millisecond, Cap: 2 * time.Millisecond}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	return h, a, process
}

func testRandom() func() uint64 {
	n := uint64(0)
	return func() uint64 { n += 0x9e3779b97f4a7c15; return n ^ n>>31 }
}

// TestRealLedgerKeepsTickets dies while jobs are going on; the next process asks
// for them and sends nothing again.
func TestRealLedgerKeepsTickets(t *testing.T) {
	t.Parallel()
	h, a, process := ableHouse(t)
	a.async, a.polls = true, 1<<30
	r := process()
	run, err := r.Start(t.Context(), "crm", tidegate.TriggerManual)
	if err != nil {
		t.Fatal(err)
	}
	for { // until every job was asked for, so that its ticket was recorded
		a.mu.Lock()
		asked := a.asked
		a.mu.Unlock()
		if asked >= 20 {
			break
		}
		if err := retry.Wait(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	jobs := len(a.jobs)
	a.polls = 0
	a.mu.Unlock()
	r = process()
	if err := r.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if run, err = r.Wait(t.Context(), run.ID); err != nil || run.State != tidegate.RunSucceeded || run.Counts.Delivered != 300 {
		t.Errorf("the resumed run is %s: %+v %+v, %v", run.State, run.Fault, run.Counts, err)
	}
	if len(a.jobs) != jobs {
		t.Errorf("%d jobs, %d before the restart: something was sent again", len(a.jobs), jobs)
	}
	h.compare()
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRealLedgerTakesBackAndRestores takes a run back, and puts right what
// somebody changed in the destination.
func TestRealLedgerTakesBackAndRestores(t *testing.T) {
	t.Parallel()
	h, _, process := ableHouse(t)
	r := process()
	finish := func(run tidegate.Run, err error) tidegate.Run {
		t.Helper()
		if err == nil {
			run, err = r.Wait(t.Context(), run.ID)
		}
		if err != nil || run.State != tidegate.RunSucceeded {
			t.Fatalf("the run is %s: %+v %+v, %v", run.State, run.Fault, run.Counts, err)
		}
		return run
	}
	finish(r.Do(t.Context(), "crm", tidegate.TriggerManual))
	before := maps.Clone(h.crm.records)
	h.exec("UPDATE people SET age = age + 1000 WHERE id < 5")
	h.exec("DELETE FROM people WHERE id = 7")
	h.exec("INSERT INTO people VALUES (1000, 'new@example.com', 1)")
	second := finish(r.Do(t.Context(), "crm", tidegate.TriggerManual))
	if run := finish(r.Revert(t.Context(), second.ID)); run.Counts.Delivered != 7 {
		t.Errorf("the revert delivered %d", run.Counts.Delivered)
	}
	if diff := cmp.Diff(before, h.crm.records); diff != "" {
		t.Errorf("taken back:\n%s", diff)
	}
	// The model was not mended, so the next run sends what it says.
	finish(r.Do(t.Context(), "crm", tidegate.TriggerManual))
	h.compare()

	h.crm.records["p3@example.com"] = tidegate.Record{"email": "p3@example.com", "age": int64(-1)}
	delete(h.crm.records, "p9@example.com")
	report, err := r.Drift(t.Context(), "crm", DriftOptions{})
	if err != nil || report.Checked != 300 || report.Drifted != 1 || report.Missing != 1 || report.Fields["age"] != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	report, err = r.Drift(t.Context(), "crm", DriftOptions{Restore: true})
	if err != nil {
		t.Fatal(err)
	}
	finish(*report.Run, nil)
	h.compare()
	if report, err = r.Drift(t.Context(), "crm", DriftOptions{Sample: 50}); err != nil || report.Drifted+report.Missing != 0 || report.Checked == 0 || report.Checked > 300 {
		t.Errorf("after the restore: %+v, %v", report, err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
