package runner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/sync/ledger"
)

// crm is a destination that remembers, with a latency and scripted errors.
type crm struct {
	latency time.Duration
	// answer, when set, may answer the nth call (from 1) instead of it being applied.
	answer func(ctx context.Context, call int, b destinations.Batch) (outcomes []destinations.Outcome, err error, answered bool)

	mu      sync.Mutex
	records map[any]tidegate.Record
	calls   int
	times   []time.Time
	now     int // calls under way
	most    int // calls under way at once, at most
	closed  bool
}

func (c *crm) Objects(context.Context) ([]destinations.Object, error) { return nil, nil }
func (c *crm) Close() error                                           { c.closed = true; return nil }

func (c *crm) Write(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	c.mu.Lock()
	c.calls++
	c.now++
	c.most = max(c.most, c.now)
	c.times = append(c.times, time.Now())
	call := c.calls
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.now--
		c.mu.Unlock()
	}()
	if err := retry.Wait(ctx, c.latency); err != nil {
		return nil, err
	}
	if c.answer != nil {
		if outcomes, err, answered := c.answer(ctx, call, b); answered {
			return outcomes, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	outcomes := make([]destinations.Outcome, len(b.Items))
	for i, item := range b.Items {
		outcomes[i] = destinations.Outcome{Disposition: destinations.Delivered, DestinationID: fmt.Sprintf("crm-%v", item.Identifier)}
		if item.Op == tidegate.Removed {
			delete(c.records, item.Identifier)
		} else {
			c.records[item.Identifier] = item.Record
		}
	}
	return outcomes, nil
}

// bench is one sync with everything around it.
type workbench struct {
	quotas Quotas // nil: the runner's own
	runner *Runner
	src    *source
	led    *modelLedger
	runs   *memoryRuns
	crm    *crm
	opened Opened
	opens  func() error // consulted by every Open
	ended  []tidegate.Run
}

// newWorkbench must be called inside a synctest bubble.
func newWorkbench(t *testing.T, rows int) *workbench {
	t.Helper()
	w := &workbench{src: newSource(), runs: newMemoryRuns(), crm: &crm{records: map[any]tidegate.Record{}}}
	for i := range rows {
		w.src.put(tidegate.Key(fmt.Sprintf("[%d]", i)), fmt.Sprintf("id%d", i))
	}
	w.led = newModelLedger(w.src, time.Now)
	w.opened = Opened{
		Sync:   tidegate.Sync{Name: "contacts", Mode: tidegate.Mirror},
		Ledger: w.led, Destination: w.crm, IdentifierField: "id", Account: "crm/main",
		Object: destinations.Object{Name: "contacts", Safety: destinations.Idempotent, Limit: destinations.Limit{Records: 10, Concurrency: 4}},
		Close:  func() error { return nil },
	}
	w.runner = w.process(t)
	return w
}

// process returns a Runner over the same store and ledger, as a restart does.
func (w *workbench) process(t *testing.T) *Runner {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	r, err := New(Options{
		Node: "node1", Quotas: w.quotas, Runs: w.runs, Now: time.Now, Random: rng.Uint64,
		Open: func(context.Context, string) (*Opened, error) {
			if w.opens != nil {
				if err := w.opens(); err != nil {
					return nil, err
				}
			}
			o := w.opened
			return &o, nil
		},
		OnRun: func(run tidegate.Run) { w.ended = append(w.ended, run) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (w *workbench) do(t *testing.T) tidegate.Run {
	t.Helper()
	run, err := w.runner.Do(t.Context(), "contacts", tidegate.TriggerManual)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestOnlyTheChangedRowsLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 25)
		first := w.do(t)
		want := tidegate.Counts{Read: 25, Added: 25, Delivered: 25}
		if diff := cmp.Diff(want, first.Counts); diff != "" || first.State != tidegate.RunSucceeded {
			t.Errorf("first run is %s:\n%s", first.State, diff)
		}
		w.src.put("[3]", "id3")
		w.src.remove("[4]")
		second := w.do(t)
		want = tidegate.Counts{Read: 24, Unchanged: 23, Changed: 1, Removed: 1, Delivered: 2}
		if diff := cmp.Diff(want, second.Counts); diff != "" || second.State != tidegate.RunSucceeded {
			t.Errorf("second run is %s:\n%s", second.State, diff)
		}
		if w.crm.calls != 3+2 || len(w.crm.records) != 24 {
			t.Errorf("%d calls, %d records", w.crm.calls, len(w.crm.records))
		}
		if _, there := w.crm.records["id4"]; there {
			t.Error("the removed record is still there")
		}
	})
}

func TestFaultsOfCalls(t *testing.T) {
	t.Parallel()
	type answer = func(ctx context.Context, call int, b destinations.Batch) ([]destinations.Outcome, error, bool)
	always := func(err error) answer {
		return func(context.Context, int, destinations.Batch) ([]destinations.Outcome, error, bool) {
			return nil, err, true
		}
	}
	once := func(err error) answer {
		return func(_ context.Context, call int, _ destinations.Batch) ([]destinations.Outcome, error, bool) {
			return nil, err, call == 1
		}
	}
	poison := func(_ context.Context, _ int, b destinations.Batch) ([]destinations.Outcome, error, bool) {
		for _, item := range b.Items {
			if item.Key == "[7]" {
				return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "http.400", Message: "one of them is bad"}, true
			}
		}
		return nil, nil, false
	}
	crash := func(ctx context.Context, n int, b destinations.Batch) ([]destinations.Outcome, error, bool) {
		_, err, bad := poison(ctx, n, b)
		if bad {
			err = &tidegate.Fault{Action: tidegate.Retry, Code: "http.500"}
		}
		return nil, err, bad
	}
	cases := []struct {
		name   string
		answer answer
		safety destinations.Safety
		state  tidegate.RunState
		counts tidegate.Counts
		fault  string
		atMost int // calls
	}{
		{"429 is waited out", once(&tidegate.Fault{Action: tidegate.Throttle, After: 7 * time.Second}), "", tidegate.RunSucceeded, tidegate.Counts{Delivered: 30}, "", 4},
		{"reset is sent again", once(errors.New("reset")), "", tidegate.RunSucceeded, tidegate.Counts{Delivered: 30}, "", 4},
		{"reset is not repeated where it does harm", once(errors.New("reset")), destinations.Unsafe, tidegate.RunPartial, tidegate.Counts{Delivered: 20, InDoubt: 10}, "", 3},
		{"poison is cut out", poison, "", tidegate.RunPartial, tidegate.Counts{Delivered: 29, Rejected: 1}, "", 12},
		{"a record that fells the destination is cut out", crash, "", tidegate.RunPartial, tidegate.Counts{Delivered: 29, InDoubt: 1}, "", 20},
		{"halt ends the run", once(&tidegate.Fault{Action: tidegate.Halt, Code: "auth.expired", Hint: "renew it"}), "", tidegate.RunFailed, tidegate.Counts{Delivered: 20, Deferred: 10}, "auth.expired", 3},
		{"a destination that is down", always(&tidegate.Fault{Action: tidegate.Retry, Code: "http.503"}), "", tidegate.RunPartial, tidegate.Counts{InDoubt: 30}, "", 15},
		{"a quota that is gone for an hour", always(&tidegate.Fault{Action: tidegate.Throttle, Code: "rate", After: time.Hour}), "", tidegate.RunPartial, tidegate.Counts{Deferred: 30}, "", 3},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorkbench(t, 30)
				w.crm.answer, w.crm.latency = c.answer, 10*time.Millisecond
				if c.safety != "" {
					w.opened.Object.Safety = c.safety
				}
				w.opened.Object.Limit.Concurrency = 3
				run := w.do(t)
				c.counts.Read, c.counts.Added = 30, 30
				if diff := cmp.Diff(c.counts, run.Counts); diff != "" || run.State != c.state {
					t.Errorf("the run is %s with %v:\n%s", run.State, run.Fault, diff)
				}
				if (run.Fault != nil) != (c.fault != "") || run.Fault != nil && run.Fault.Code != c.fault {
					t.Errorf("the run's fault is %+v, want %q", run.Fault, c.fault)
				}
				if w.crm.calls > c.atMost {
					t.Errorf("%d calls, at most %d are due", w.crm.calls, c.atMost)
				}
				if len(w.led.wrong) > 0 {
					t.Error(w.led.wrong)
				}
				// Whatever happened, the next run of a healthy destination mends it.
				w.crm.answer = nil
				w.led.retryNow(true)
				if run := w.do(t); run.State != tidegate.RunSucceeded || len(w.crm.records) != 30 {
					t.Errorf("the next run is %s, %d records", run.State, len(w.crm.records))
				}
			})
		})
	}
}

func TestDestinationDownEndsALongRunEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 5000)
		w.crm.answer = func(context.Context, int, destinations.Batch) ([]destinations.Outcome, error, bool) {
			return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "http.502"}, true
		}
		run := w.do(t)
		if run.State != tidegate.RunFailed || run.Fault.Code != "destination.down" || w.crm.calls > 30 {
			t.Errorf("the run is %s (%+v) after %d calls", run.State, run.Fault, w.crm.calls)
		}
		if err := run.Counts.Check(); err != nil {
			t.Error(err)
		}
	})
}

func TestHeldPlanWaitsForApproval(t *testing.T) {
	t.Parallel()
	held := func(t *testing.T) (*workbench, tidegate.Run) {
		t.Helper()
		w := newWorkbench(t, 200)
		w.do(t)
		for i := range 150 {
			w.src.remove(tidegate.Key(fmt.Sprintf("[%d]", i)))
		}
		run := w.do(t)
		if run.State != tidegate.RunHeld || run.Fault == nil || run.Fault.Code != "guard.removals" || run.Counts.Held != 150 {
			t.Fatalf("the run is %s: %+v %+v", run.State, run.Fault, run.Counts)
		}
		if len(w.crm.records) != 200 {
			t.Fatalf("%d records are left", len(w.crm.records))
		}
		return w, run
	}
	t.Run("approved", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, run := held(t)
			if _, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual); tidegate.FaultOf(err).Code != "run.conflict" {
				t.Errorf("starting beside a held run: %v", err)
			}
			p, err := w.runner.Plan(t.Context(), "contacts", 3, false)
			if err != nil || p.RunID != run.ID || p.Summary.Removed != 150 || p.Hold == nil || len(p.Sample) != 3 {
				t.Errorf("the held plan is shown as %+v, %v", p, err)
			}
			w.src.remove("[199]") // is no part of the plan that was looked at
			p, err = w.runner.Plan(t.Context(), "contacts", 3, true)
			if err != nil || p.RunID != "" || p.Beside == nil || p.Beside.ID != run.ID || p.Summary.Removed != 151 {
				t.Errorf("what the model says beside a held plan is %+v, %v", p, err)
			}
			if _, err := w.runner.Approve(t.Context(), run.ID); err != nil {
				t.Fatal(err)
			}
			run, err = w.runner.Wait(t.Context(), run.ID)
			if err != nil || run.State != tidegate.RunSucceeded || run.Fault != nil || run.Counts.Delivered != 150 || run.Counts.Held != 0 {
				t.Errorf("the approved run is %s: %+v %+v, %v", run.State, run.Fault, run.Counts, err)
			}
			if len(w.crm.records) != 50 {
				t.Errorf("%d records are left", len(w.crm.records))
			}
			if _, err := w.runner.Approve(t.Context(), run.ID); tidegate.FaultOf(err).Code != "run.conflict" {
				t.Errorf("approving twice: %v", err)
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, run := held(t)
			run, err := w.runner.Cancel(t.Context(), run.ID)
			if err != nil || run.State != tidegate.RunCanceled || run.Counts.Check() != nil {
				t.Errorf("the refused run is %s: %+v, %v", run.State, run.Counts, err)
			}
			if told := w.ended[len(w.ended)-1]; told.ID != run.ID || told.State != tidegate.RunCanceled {
				t.Errorf("nobody was told that it is over: %s %s", told.ID, told.State)
			}
			if next := w.do(t); next.State != tidegate.RunHeld {
				t.Errorf("the next run is %s", next.State)
			}
		})
	})
	t.Run("approved, then crashed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, run := held(t)
			w.crm.latency = time.Second
			if _, err := w.runner.Approve(t.Context(), run.ID); err != nil {
				t.Fatal(err)
			}
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			_ = w.runner.Close(gone)
			w.runner = w.process(t)
			if err := w.runner.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			run, err := w.runner.Wait(t.Context(), run.ID)
			if err != nil || run.State != tidegate.RunSucceeded || len(w.crm.records) != 50 {
				t.Errorf("the resumed run is %s, %d records, %v", run.State, len(w.crm.records), err)
			}
		})
	})
}

func TestCancelLeavesTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 100)
		w.crm.latency = time.Second
		w.opened.Object.Limit.Concurrency = 1
		run, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual)
		if err != nil {
			t.Fatal(err)
		}
		if err := retry.Wait(t.Context(), 2500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if now, going := w.runner.Current("contacts"); !going || now.Counts.Delivered != 20 {
			t.Errorf("after 2.5 s it is %+v, %v", now.Counts, going)
		}
		if _, err := w.runner.Cancel(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		run, err = w.runner.Wait(t.Context(), run.ID)
		want := tidegate.Counts{Read: 100, Added: 100, Delivered: 30, Deferred: 70}
		if diff := cmp.Diff(want, run.Counts); err != nil || diff != "" || run.State != tidegate.RunCanceled {
			t.Errorf("the run is %s, %v:\n%s", run.State, err, diff)
		}
		w.crm.latency = 0
		next := w.do(t)
		want = tidegate.Counts{Read: 100, Unchanged: 30, Added: 70, Delivered: 70}
		if diff := cmp.Diff(want, next.Counts); diff != "" || next.State != tidegate.RunSucceeded {
			t.Errorf("the next run is %s:\n%s", next.State, diff)
		}
	})
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 3)
		w.opens = func() error {
			return &tidegate.Fault{Action: tidegate.Halt, Code: "mapping.invalid", Message: "no such column"}
		}
		run := w.do(t)
		if run.State != tidegate.RunFailed || run.Fault.Code != "mapping.invalid" || len(w.ended) != 1 {
			t.Errorf("the run is %s: %+v", run.State, run.Fault)
		}
		w.opens = nil
		if run := w.do(t); run.State != tidegate.RunSucceeded {
			t.Errorf("the next run is %s", run.State)
		}
	})
}

func TestQueryErrorIsNoEmptyResult(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 10)
		w.do(t)
		w.led.planErr = func() error { return errors.New("connection lost half way") }
		run := w.do(t)
		if run.State != tidegate.RunFailed || len(w.crm.records) != 10 || w.led.calls["plan"] != 1+3 {
			t.Errorf("the run is %s, %d records, %d plans", run.State, len(w.crm.records), w.led.calls["plan"])
		}
	})
}

func TestConcurrencyAndQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 1000)
		w.crm.latency = 100 * time.Millisecond
		w.opened.Object.Limit = destinations.Limit{Records: 10, Concurrency: 5}
		start := time.Now()
		w.do(t)
		if took := time.Since(start); w.crm.most != 5 || took < 2*time.Second || took > 2300*time.Millisecond {
			t.Errorf("%d calls at once, 100 calls took %v", w.crm.most, took)
		}
		for key := range w.src.rows {
			w.src.put(key, w.src.rows[key].identifier)
		}
		w.opened.Object.Limit.Calls, w.opened.Object.Limit.Per = 20, time.Second
		start, w.crm.times = time.Now(), nil
		w.do(t)
		if took := time.Since(start); took < 4500*time.Millisecond || took > 6500*time.Millisecond {
			t.Errorf("100 calls at 20 a second took %v", took)
		}
		for i := range w.crm.times {
			if i >= 20 && w.crm.times[i].Sub(w.crm.times[i-20]) < time.Second {
				t.Fatalf("more than 20 calls in the second before call %d", i)
			}
		}
	})
}

func TestPreviewSendsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 30)
		w.do(t)
		calls := w.crm.calls
		w.src.put("[3]", "id3")
		w.src.remove("[4]")
		w.src.put("[77]", "id77")
		w.opened.Object.Limit.Bytes = 100 // one record a call
		p, err := w.runner.Plan(t.Context(), "contacts", 2, false)
		if err != nil {
			t.Fatal(err)
		}
		want := []ledger.Preview{{Op: tidegate.Changed, Key: "[3]"}, {Op: tidegate.Added, Key: "[77]"}}
		if diff := cmp.Diff(want, p.Sample); diff != "" {
			t.Error(diff)
		}
		if p.Summary.Added != 1 || p.Summary.Changed != 1 || p.Summary.Removed != 1 || p.Calls != 3 || p.Seconds == 0 || p.Hold != nil || p.Excluded != 0 {
			t.Errorf("got %+v", p)
		}
		if w.crm.calls != calls {
			t.Error("the preview sent something")
		}
		if run := w.do(t); run.Counts.Delivered != 3 {
			t.Errorf("the run after the preview delivered %d", run.Counts.Delivered)
		}
	})
}

// TestPreviewBesideARun looks at a plan while a run is delivered, as often as there
// is room, and none stands in the other's way.
func TestPreviewBesideARun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 30)
		w.crm.latency = time.Hour
		w.runner.opts.CallTimeout = 2 * time.Hour
		run, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until its calls are under way
		var group sync.WaitGroup
		for range 3 * lookers {
			group.Go(func() {
				p, err := w.runner.Plan(t.Context(), "contacts", 2, false)
				if err != nil || p.RunID != "" || p.Beside == nil || p.Beside.ID != run.ID || p.Beside.State != tidegate.RunRunning || p.Summary.Added != 30 {
					t.Errorf("beside a run: %+v, %v", p, err)
				}
			})
		}
		group.Wait()
		if run, err = w.runner.Wait(t.Context(), run.ID); err != nil || run.State != tidegate.RunSucceeded || run.Counts.Delivered != 30 {
			t.Errorf("the run is %s: %+v %+v, %v", run.State, run.Fault, run.Counts, err)
		}
		if p, err := w.runner.Plan(t.Context(), "contacts", 2, false); err != nil || p.Beside != nil || p.Summary.Unchanged != 30 {
			t.Errorf("after the run: %+v, %v", p, err)
		}
		if err := w.runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.runner.Plan(t.Context(), "contacts", 2, false); tidegate.FaultOf(err).Code != "runner.closed" {
			t.Errorf("after the end: %v", err)
		}
	})
}
