package runner

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/retry"
)

func TestRestartResumes(t *testing.T) {
	t.Parallel()
	for _, grace := range []time.Duration{0, 5 * time.Second} {
		t.Run(grace.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorkbench(t, 100)
				w.crm.latency = time.Second
				w.opened.Object.Limit.Concurrency = 1
				run, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual)
				if err != nil {
					t.Fatal(err)
				}
				if err := retry.Wait(t.Context(), 3500*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), grace)
				defer cancel()
				err = w.runner.Close(ctx)
				if (err != nil) != (grace == 0) {
					t.Errorf("closing: %v", err)
				}
				if _, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual); tidegate.FaultOf(err).Code != "runner.closed" {
					t.Errorf("starting after the end: %v", err)
				}
				if stored := w.runs.runs[run.ID]; stored.State != tidegate.RunRunning {
					t.Errorf("meanwhile the run is %s", stored.State)
				}
				w.runner = w.process(t)
				ctx, stop := context.WithCancel(t.Context())
				running := make(chan error)
				go func() { running <- w.runner.Run(ctx) }()
				synctest.Wait()
				run, err = w.runner.Wait(t.Context(), run.ID)
				want := tidegate.Counts{Read: 100, Added: 100, Delivered: 100}
				if diff := cmp.Diff(want, run.Counts); err != nil || diff != "" || run.State != tidegate.RunSucceeded {
					t.Errorf("the resumed run is %s, %v:\n%s", run.State, err, diff)
				}
				repeated := map[time.Duration]int{0: 1, 5 * time.Second: 0}[grace] // the aborted call is in doubt
				if w.crm.calls != 10+repeated {
					t.Errorf("%d calls", w.crm.calls)
				}
				stop()
				if err := <-running; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestDoCompletesAnEarlierRunFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 100)
		w.crm.latency = time.Second
		old, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := w.runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.src.put("[5]", "id5")
		w.runner = w.process(t)
		if err := retry.Wait(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		run := w.do(t)
		if run.ID == old.ID || run.State != tidegate.RunSucceeded || run.Counts.Delivered != 1 {
			t.Errorf("run %s after %s is %s: %+v", run.ID, old.ID, run.State, run.Counts)
		}
		if first := w.runs.runs[old.ID]; first.State != tidegate.RunSucceeded || first.Counts.Delivered != 100 {
			t.Errorf("the earlier run is %s: %+v", first.State, first.Counts)
		}
	})
}

func TestAnotherNodeHasTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 3)
		if _, err := w.runs.AcquireLease(t.Context(), tidegate.DefaultWorkspace, "contacts", "node2", time.Now(), time.Minute); err != nil {
			t.Fatal(err)
		}
		_, err := w.runner.Do(t.Context(), "contacts", tidegate.TriggerManual)
		if f := tidegate.FaultOf(err); f.Code != "run.conflict" || f.Message != "node node2 is running the sync" {
			t.Errorf("got %v", err)
		}
		if err := retry.Wait(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if run := w.do(t); run.State != tidegate.RunSucceeded || run.Epoch != 2 {
			t.Errorf("the run is %s at epoch %d", run.State, run.Epoch)
		}
	})
}

func TestLostLeaseStopsTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 1000)
		w.crm.latency = time.Second
		w.opened.Object.Limit.Concurrency = 1
		run, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual)
		if err != nil {
			t.Fatal(err)
		}
		if err := retry.Wait(t.Context(), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		// Another node takes over, as it may once the lease ran out in its eyes.
		if _, err := w.runs.AcquireLease(t.Context(), "", "contacts", "node2", time.Now().Add(time.Hour), time.Hour); err != nil {
			t.Fatal(err)
		}
		stored, err := w.runner.Wait(t.Context(), run.ID)
		if err != nil || stored.State != tidegate.RunRunning {
			t.Errorf("the run is %s, %v", stored.State, err)
		}
		if w.crm.calls > 12 {
			t.Errorf("%d calls although the lease was renewed every 10 s", w.crm.calls)
		}
	})
}

func TestLongRunKeepsItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 2000)
		w.crm.latency = time.Second
		w.opened.Object.Limit.Concurrency = 1
		if run := w.do(t); run.State != tidegate.RunSucceeded || w.crm.calls != 200 {
			t.Errorf("the run is %s (%+v) after %d calls", run.State, run.Fault, w.crm.calls)
		}
	})
}
