package scheduler

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hub remembers the runs that a scheduler started.
type hub struct {
	mu      sync.Mutex
	runs    []string // "name trigger"
	took    time.Duration
	fail    error
	last    map[string]time.Time
	success map[string]time.Time
	tables  map[string][]warehouse.Table
	current map[string]int
	overlap bool
	held    string

	complete map[string]time.Time
}

func newHub() *hub {
	return &hub{took: time.Second, last: map[string]time.Time{}, tables: map[string][]warehouse.Table{}, current: map[string]int{}}
}

func (h *hub) run(ctx context.Context, name, trigger string) error {
	h.mu.Lock()
	h.runs = append(h.runs, name+" "+trigger)
	h.current[name]++
	h.overlap = h.overlap || h.current[name] > 1
	took, fail := h.took, h.fail
	h.mu.Unlock()
	if fail == nil {
		timer := time.NewTimer(took)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	h.mu.Lock()
	h.current[name]--
	h.mu.Unlock()
	return fail
}

func (h *hub) hold(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = why
}

func (h *hub) started() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.runs)
}

func (h *hub) scheduler() *Scheduler {
	return New(Options{
		Run:          h.run,
		LastRun:      func(_ context.Context, name string) (time.Time, error) { return h.last[name], nil },
		LastSuccess:  func(_ context.Context, name string) (time.Time, error) { return h.success[name], nil },
		LastComplete: func(_ context.Context, name string) (time.Time, error) { return h.complete[name], nil },
		Tables: func(_ context.Context, name string) ([]warehouse.Table, error) {
			if t, ok := h.tables[name]; ok {
				return t, nil
			}
			return nil, errors.New("the model does not compile")
		},
		Hold: func(string) string { h.mu.Lock(); defer h.mu.Unlock(); return h.held },
		Now:  time.Now,
	})
}

// play runs a scheduler over fake time until the test's act returns.
func play(t *testing.T, h *hub, syncs []tidegate.Sync, act func(s *Scheduler)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := h.scheduler()
		if err := s.Set(ctx, syncs); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		act(s)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if h.overlap {
			t.Error("two runs of one sync at a time")
		}
	})
}

func pass(d time.Duration) {
	time.Sleep(d) // fake time: the bubble's clock jumps
	synctest.Wait()
}

func want(t *testing.T, h *hub, list ...string) {
	t.Helper()
	got := h.started()
	slices.Sort(got) // syncs due at the same moment start in any order
	if !slices.Equal(got, list) {
		t.Errorf("started %q, want %q", got, list)
	}
}

func every(name, d string) tidegate.Sync {
	return tidegate.Sync{Name: name, Schedule: tidegate.Schedule{Every: d}}
}

func TestAnIntervalFiresAgainAndAgain(t *testing.T) {
	h := newHub()
	play(t, h, []tidegate.Sync{every("a", "10m")}, func(*Scheduler) {
		pass(9 * time.Minute)
		want(t, h)
		pass(22 * time.Minute)
		want(t, h, "a schedule", "a schedule", "a schedule")
	})
}

func TestFiresWhileItRunsBecomeOne(t *testing.T) {
	h := newHub()
	h.took = 35 * time.Minute
	play(t, h, []tidegate.Sync{every("a", "10m")}, func(s *Scheduler) {
		pass(44 * time.Minute) // fired at 10, 20, 30, 40
		want(t, h, "a schedule")
		if st, _ := s.Why("a"); !st.Running {
			t.Errorf("status %+v, want running", st)
		}
		pass(2 * time.Minute)
		want(t, h, "a schedule", "a schedule")
	})
}

func TestAMissedFireIsCaughtUpOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.last["a"] = time.Now().Add(-48 * time.Hour)
		h.last["b"] = time.Now().Add(-2 * time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		s := h.scheduler()
		if err := s.Set(ctx, []tidegate.Sync{every("a", "1h"), every("b", "1h")}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		pass(time.Minute)
		want(t, h, "a schedule")
		pass(58 * time.Minute)
		want(t, h, "a schedule", "b schedule")
		cancel()
		<-done
	})
}

func TestALoadStartsTheSyncsThatReadIt(t *testing.T) {
	h := newHub()
	h.tables["a"] = []warehouse.Table{{Schema: "web", Name: "Users"}}
	h.tables["b"] = []warehouse.Table{{Schema: "web", Name: "orders"}}
	syncs := []tidegate.Sync{
		{Name: "a", Schedule: tidegate.Schedule{AfterLoad: true}},
		{Name: "b", Schedule: tidegate.Schedule{AfterLoad: true}},
		{Name: "c", Schedule: tidegate.Schedule{AfterLoad: true}},
	}
	play(t, h, syncs, func(s *Scheduler) {
		pass(2 * time.Second) // what was loaded before the start is caught up once
		want(t, h, "a after_load", "b after_load")
		h.runs = nil
		for range 5 { // one burst of loads is one run
			s.Notify([]warehouse.Table{{Schema: "web", Name: "users"}, {Schema: "web", Name: "tracks"}})
			pass(50 * time.Millisecond)
		}
		pass(time.Second)
		want(t, h, "a after_load")
		if st, _ := s.Why("c"); !strings.Contains(st.Reason, "does not compile") {
			t.Errorf("c: %+v, want the reason why its tables are not known", st)
		}
		if st, _ := s.Why("b"); !strings.Contains(st.Reason, "web.orders") {
			t.Errorf("b: %+v, want the table that it waits for", st)
		}
	})
}

func TestALoadDuringARunIsNotForgotten(t *testing.T) {
	h := newHub()
	h.took = 10 * time.Second
	h.tables["a"] = []warehouse.Table{{Schema: "web", Name: "users"}}
	play(t, h, []tidegate.Sync{{Name: "a", Schedule: tidegate.Schedule{AfterLoad: true}}}, func(s *Scheduler) {
		pass(2 * time.Second)
		want(t, h, "a after_load")
		s.Notify(h.tables["a"])
		pass(5 * time.Second)
		want(t, h, "a after_load")
		pass(5 * time.Second)
		want(t, h, "a after_load", "a after_load")
	})
}

func TestPausedSyncsRunByHandOnly(t *testing.T) {
	h := newHub()
	paused := every("a", "1m")
	paused.Paused = true
	play(t, h, []tidegate.Sync{paused}, func(s *Scheduler) {
		pass(time.Hour)
		want(t, h)
		if st, _ := s.Why("a"); !strings.Contains(st.Reason, "paused") || !st.Next.IsZero() {
			t.Errorf("status %+v, want paused without a next fire", st)
		}
		if err := s.Trigger("a", tidegate.TriggerManual); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		want(t, h, "a manual")
		if err := s.Trigger("z", tidegate.TriggerManual); tidegate.FaultOf(err).Code != "sync.not_found" {
			t.Errorf("triggering what is not there: %v", err)
		}
	})
}

func TestAResumedSyncCatchesUpOnce(t *testing.T) {
	h := newHub()
	h.tables["loads"] = []warehouse.Table{{Schema: "web", Name: "users"}}
	list := func(paused bool) []tidegate.Sync {
		syncs := []tidegate.Sync{every("interval", "1m"), {Name: "loads", Schedule: tidegate.Schedule{AfterLoad: true}}, {Name: "follows", Schedule: tidegate.Schedule{AfterSync: "first"}}}
		for i := range syncs {
			syncs[i].Paused = paused
		}
		return append(syncs, tidegate.Sync{Name: "first"})
	}
	h.success = map[string]time.Time{}
	play(t, h, list(true), func(s *Scheduler) {
		pass(time.Hour)
		s.Notify(h.tables["loads"])
		done := time.Now()
		h.success["first"] = done
		s.Ended(tidegate.Run{Sync: "first", State: tidegate.RunSucceeded, EndedAt: done})
		pass(time.Minute)
		want(t, h)
		if err := s.Set(t.Context(), list(false)); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Second)
		want(t, h, "follows after_sync", "interval schedule", "loads after_load")
	})
}

func TestAStartThatFailsIsTriedAgainUnlessSomeoneMustAct(t *testing.T) {
	h := newHub()
	h.fail = errors.New("the warehouse is lent")
	play(t, h, []tidegate.Sync{every("a", "1h")}, func(s *Scheduler) {
		pass(time.Hour + time.Second)
		want(t, h, "a schedule")
		if st, _ := s.Why("a"); !strings.Contains(st.Reason, "lent") {
			t.Errorf("status %+v, want the reason of the failure", st)
		}
		h.mu.Lock()
		h.fail = &tidegate.Fault{Action: tidegate.Halt, Code: "model.invalid", Message: "no such column"}
		h.mu.Unlock()
		pass(31 * time.Second)
		want(t, h, "a schedule", "a schedule")
		pass(30 * time.Minute)
		want(t, h, "a schedule", "a schedule") // a Halt waits for someone, or for the next fire
		if st, _ := s.Why("a"); st.Fault == nil || st.Fault.Code != "model.invalid" {
			t.Errorf("status %+v, want the Halt", st)
		}
	})
}

func TestSetKeepsTheNextFireOfAnUnchangedSchedule(t *testing.T) {
	h := newHub()
	play(t, h, []tidegate.Sync{every("a", "10m")}, func(s *Scheduler) {
		pass(9 * time.Minute)
		renamed := every("a", "10m")
		renamed.Model = "other"
		if err := s.Set(context.Background(), []tidegate.Sync{renamed}); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Minute)
		want(t, h, "a schedule")
		if err := s.Set(context.Background(), []tidegate.Sync{every("a", "never")}); err == nil {
			t.Error("a schedule that cannot be read was set")
		}
		pass(10 * time.Minute)
		want(t, h, "a schedule", "a schedule")
		if err := s.Set(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		want(t, h, "a schedule", "a schedule")
	})
}

func TestWhatARunLeftBehindIsTriedAgain(t *testing.T) {
	h := newHub()
	play(t, h, []tidegate.Sync{{Name: "a"}}, func(s *Scheduler) {
		s.After("a", "retry", time.Minute)
		pass(59 * time.Second)
		want(t, h)
		if st, _ := s.Why("a"); !strings.Contains(st.Reason, "tried again at") {
			t.Errorf("status %+v, want when it is tried again", st)
		}
		pass(2 * time.Second)
		want(t, h, "a retry")
		s.After("a", "retry", time.Minute)
		if err := s.Trigger("a", tidegate.TriggerManual); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Minute)
		want(t, h, "a manual", "a retry") // the start by hand took the place of the planned one
	})
}

// TestWhatIsDueWaitsWhileHeld: a run that would have to wait begins once afterwards, and nothing failed.
func TestWhatIsDueWaitsWhileHeld(t *testing.T) {
	h := newHub()
	h.held = "the warehouse is lent"
	play(t, h, []tidegate.Sync{every("a", "10m")}, func(s *Scheduler) {
		pass(35 * time.Minute) // three fires
		want(t, h)
		st, _ := s.Why("a")
		if st.Running || st.Fault != nil || st.Reason != "it waits: the warehouse is lent" {
			t.Errorf("%+v", st)
		}
		h.hold("")
		s.Look()
		pass(time.Second)
		want(t, h, "a schedule")
	})
}

// TestWhyNamesWhatComesFirst: another try that is planned for later than the next fire is not what it waits for.
func TestWhyNamesWhatComesFirst(t *testing.T) {
	h := newHub()
	play(t, h, []tidegate.Sync{every("a", "10m")}, func(s *Scheduler) {
		s.After("a", tidegate.TriggerRetry, time.Hour)
		if st, _ := s.Why("a"); st.Reason != "it waits for 2000-01-01T00:10:00Z" {
			t.Errorf("%q", st.Reason)
		}
		s.After("a", tidegate.TriggerRetry, time.Minute)
		if st, _ := s.Why("a"); st.Reason != "records of the last run are tried again at 2000-01-01T00:01:00Z" {
			t.Errorf("%q", st.Reason)
		}
	})
}
