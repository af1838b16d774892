package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/sync/runner"
)

func freshStore(t *testing.T) (*store.Store, *clock) {
	t.Helper()
	c := newClock()
	return open(t, filepath.Join(t.TempDir(), "control.db"), c), c
}

func aRun(id, sync string, at time.Time) tidegate.Run {
	return tidegate.Run{ID: id, Workspace: "default", Sync: sync, Trigger: "manual", State: tidegate.RunQueued, CreatedAt: at}
}

func TestRunsAreUpdatedByCompareAndSet(t *testing.T) {
	t.Parallel()
	s, c := freshStore(t)
	ctx := t.Context()
	run := aRun("run_1", "crm", c.now())
	if err := s.CreateRun(ctx, run); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateRun(ctx, run); !errors.Is(err, runner.ErrConflict) {
		t.Errorf("creating a run twice: %v", err)
	}
	run.State, run.StartedAt, run.Epoch = tidegate.RunRunning, c.now(), 3
	if err := s.UpdateRun(ctx, run, tidegate.RunQueued); err != nil {
		t.Fatal(err)
	}
	stale := run
	stale.Epoch, stale.State = 2, tidegate.RunFailed
	if err := s.UpdateRun(ctx, stale, tidegate.RunRunning); !errors.Is(err, runner.ErrConflict) {
		t.Errorf("an older epoch wrote: %v", err)
	}
	if err := s.UpdateRun(ctx, run, tidegate.RunHeld); !errors.Is(err, runner.ErrConflict) {
		t.Errorf("a wrong state was left: %v", err)
	}
	run.State, run.EndedAt = tidegate.RunPartial, c.now()
	run.Counts = tidegate.Counts{Read: 2, Added: 2, Delivered: 1, Rejected: 1}
	run.Fault = &tidegate.RunFault{Action: "halt", Code: "auth.expired", Message: "no"}
	if err := s.UpdateRun(ctx, run, tidegate.RunRunning); err != nil {
		t.Fatal(err)
	}
	got, err := s.Run(ctx, "default", "run_1")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(run, got); d != "" {
		t.Error(d)
	}
	_, err = s.Run(ctx, "other", "run_1")
	wantFault(t, err, "run.not_found")
	if !errors.Is(err, runner.ErrNoRun) {
		t.Errorf("an unknown run: %v", err)
	}
}

func TestListingRuns(t *testing.T) {
	t.Parallel()
	s, c := freshStore(t)
	ctx := t.Context()
	for i := range 6 {
		run := aRun(fmt.Sprint("run_", i), []string{"crm", "ads"}[i%2], c.now())
		if err := s.CreateRun(ctx, run); err != nil {
			t.Fatal(err)
		}
		if i < 4 {
			run.State, run.EndedAt = tidegate.RunSucceeded, c.now()
			if err := s.UpdateRun(ctx, run, tidegate.RunQueued); err != nil {
				t.Fatal(err)
			}
		}
	}
	ids := func(list []tidegate.Run, err error) []string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		out := []string{}
		for _, r := range list {
			out = append(out, r.ID)
		}
		return out
	}
	for name, tt := range map[string]struct{ got, want []string }{
		"one sync":          {ids(s.ListRuns(ctx, "default", "crm", "", 10)), []string{"run_4", "run_2", "run_0"}},
		"every sync":        {ids(s.ListRuns(ctx, "default", "", "", 2)), []string{"run_5", "run_4"}},
		"the page after":    {ids(s.ListRuns(ctx, "default", "crm", "run_4", 1)), []string{"run_2"}},
		"unfinished":        {ids(s.UnfinishedRuns(ctx, "default")), []string{"run_4", "run_5"}},
		"another workspace": {ids(s.ListRuns(ctx, "other", "", "", 10)), []string{}},
	} {
		if d := cmp.Diff(tt.want, tt.got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if last, ok, err := s.LastFinished(ctx, "default", "crm"); err != nil || !ok || last.ID != "run_2" {
		t.Errorf("last finished: %v %v %v", last.ID, ok, err)
	}
	c.advance(time.Hour)
	if n, err := s.PruneRuns(ctx, "default", c.now()); err != nil || n != 2 {
		t.Errorf("pruned %d, %v", n, err)
	}
	if d := cmp.Diff([]string{"run_5", "run_4", "run_3", "run_2"}, ids(s.ListRuns(ctx, "default", "", "", 10))); d != "" {
		t.Errorf("after pruning: %s", d)
	}
}

// TestLastComplete: a success during which records wait for another try is none that made the
// destination as the model says, and pruning keeps the run that did.
func TestLastComplete(t *testing.T) {
	t.Parallel()
	s, c := freshStore(t)
	ctx := t.Context()
	var ends []time.Time
	for i, waiting := range []int64{0, 0, 2, 3} {
		c.advance(time.Minute)
		now := c.now()
		ends = append(ends, now)
		run := tidegate.Run{ID: fmt.Sprintf("run_%d", i), Workspace: "default", Sync: "crm", Trigger: "manual", State: tidegate.RunSucceeded, CreatedAt: now, EndedAt: now, Counts: tidegate.Counts{Waiting: waiting}}
		if err := s.CreateRun(ctx, run); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(time.Hour)
	for range 2 {
		if at, err := s.LastComplete(ctx, "default", "crm"); err != nil || !at.Equal(ends[1]) {
			t.Errorf("complete at %v, %v; want %v", at, err, ends[1])
		}
		if at, err := s.LastSuccess(ctx, "default", "crm"); err != nil || !at.Equal(ends[3]) {
			t.Errorf("success at %v, %v; want %v", at, err, ends[3])
		}
		if n, err := s.PruneRuns(ctx, "default", c.now()); err != nil || n > 2 {
			t.Fatalf("pruned %d, %v", n, err)
		}
	}
}

func TestLeaseEpochsOnlyGrow(t *testing.T) {
	t.Parallel()
	s, c := freshStore(t)
	ctx := t.Context()
	first, err := s.AcquireLease(ctx, "default", "crm", "a", c.now(), time.Minute)
	if err != nil || first.Epoch != 1 {
		t.Fatalf("%+v, %v", first, err)
	}
	var held *runner.LeaseHeldError
	if _, err := s.AcquireLease(ctx, "default", "crm", "b", c.now(), time.Minute); !errors.As(err, &held) || held.Lease.Holder != "a" || !held.Lease.Expires.Equal(first.Expires.Truncate(time.Microsecond)) {
		t.Errorf("a held lease: %v", err)
	}
	if _, err := s.RenewLease(ctx, first, c.now().Add(time.Minute)); err != nil {
		t.Error(err)
	}
	again, err := s.AcquireLease(ctx, "default", "crm", "a", c.now(), time.Minute)
	if err != nil || again.Epoch != 2 {
		t.Fatalf("the same holder: %+v, %v", again, err)
	}
	if _, err := s.RenewLease(ctx, first, c.now().Add(time.Minute)); !errors.Is(err, runner.ErrLeaseLost) {
		t.Errorf("renewing an old epoch: %v", err)
	}
	if err := s.ReleaseLease(ctx, first); err != nil {
		t.Errorf("releasing a lost lease: %v", err)
	}
	c.advance(2 * time.Minute)
	taken, err := s.AcquireLease(ctx, "default", "crm", "b", c.now(), time.Minute)
	if err != nil || taken.Epoch != 3 {
		t.Fatalf("an expired lease: %+v, %v", taken, err)
	}
	if err := s.ReleaseLease(ctx, taken); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RenewLease(ctx, taken, c.now()); !errors.Is(err, runner.ErrLeaseLost) {
		t.Errorf("renewing a released lease: %v", err)
	}
	if after, err := s.AcquireLease(ctx, "default", "crm", "a", c.now(), time.Minute); err != nil || after.Epoch != 4 {
		t.Errorf("the epoch after a release: %+v, %v", after, err)
	}
}

func TestOneOfManyGetsTheLease(t *testing.T) {
	t.Parallel()
	s, c := freshStore(t)
	const many = 16
	var wg sync.WaitGroup
	epochs := make([]int64, many)
	for i := range many {
		wg.Go(func() {
			l, err := s.AcquireLease(t.Context(), "default", "crm", fmt.Sprint("holder ", i), c.now(), time.Minute)
			var held *runner.LeaseHeldError
			if err != nil && !errors.As(err, &held) {
				t.Error(err)
			}
			epochs[i] = l.Epoch
		})
	}
	wg.Wait()
	won := 0
	for _, e := range epochs {
		if e > 0 {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d holders got one lease", won)
	}
}
