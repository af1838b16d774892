package scheduler

import (
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
)

func after(name, before string) tidegate.Sync {
	return tidegate.Sync{Name: name, Schedule: tidegate.Schedule{AfterSync: before}}
}

// TestWhatStartsAnIdleSync: a sync without times says what starts it.
func TestWhatStartsAnIdleSync(t *testing.T) {
	h := newHub()
	syncs := []tidegate.Sync{{Name: "hook", Schedule: tidegate.Schedule{WebhookSecret: "${env:S}"}}, {Name: "hand"}}
	play(t, h, syncs, func(s *Scheduler) {
		for name, want := range map[string]string{"hook": "it waits for a call of its webhook", "hand": "it has no schedule: it runs by hand only"} {
			if st, _ := s.Why(name); st.Reason != want {
				t.Errorf("%s: %q", name, st.Reason)
			}
		}
	})
}

func TestASyncFollowsAnotherThatSucceeded(t *testing.T) {
	h := newHub()
	play(t, h, []tidegate.Sync{{Name: "a"}, after("b", "a"), after("c", "b")}, func(s *Scheduler) {
		s.Ended(tidegate.Run{Sync: "a", State: tidegate.RunFailed, EndedAt: time.Now()})
		s.Ended(tidegate.Run{Sync: "a", State: tidegate.RunPartial, EndedAt: time.Now()})
		pass(time.Minute)
		want(t, h)
		if st, _ := s.Why("b"); !strings.Contains(st.Reason, "sync a that succeeds") {
			t.Errorf("%q", st.Reason)
		}
		s.Ended(tidegate.Run{Sync: "a", State: tidegate.RunSucceeded, EndedAt: time.Now()})
		pass(time.Minute)
		want(t, h, "b after_sync")
	})
}

func TestASuccessWhileAwayIsCaughtUpOnce(t *testing.T) {
	h := newHub()
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when a bubble begins
	h.last["b"], h.last["c"] = now.Add(-time.Hour), now.Add(-time.Hour)
	h.success = map[string]time.Time{"a": now.Add(-time.Minute), "x": now.Add(-2 * time.Hour)}
	play(t, h, []tidegate.Sync{{Name: "a"}, {Name: "x"}, after("b", "a"), after("c", "x")}, func(*Scheduler) {
		pass(time.Hour)
		want(t, h, "b after_sync")
	})
}

func TestFireLeavesPausedSyncsAlone(t *testing.T) {
	h := newHub()
	h.took = time.Minute
	play(t, h, []tidegate.Sync{{Name: "a", Paused: true}, {Name: "b", Schedule: tidegate.Schedule{AfterDbt: true}}}, func(s *Scheduler) {
		for range 3 { // one starts, the others become one further run
			s.Fire("a", tidegate.TriggerAfterDbt)
			s.Fire("b", tidegate.TriggerAfterDbt)
			s.Fire("gone", tidegate.TriggerAfterDbt)
			pass(time.Second)
		}
		pass(time.Hour)
		want(t, h, "b after_dbt", "b after_dbt")
	})
}

func TestLateness(t *testing.T) {
	h := newHub()
	syncs := []tidegate.Sync{
		{Name: "a", Schedule: tidegate.Schedule{Freshness: "1h"}},
		{Name: "b", Schedule: tidegate.Schedule{Freshness: "1h"}, Paused: true},
		{Name: "c"},
	}
	play(t, h, syncs, func(s *Scheduler) {
		late := func(name string) bool { st, _ := s.Why(name); return !st.LateSince.IsZero() }
		pass(59 * time.Minute)
		if late("a") {
			t.Error("a new sync is late before its objective has passed")
		}
		pass(2 * time.Minute)
		if !late("a") || late("b") || late("c") {
			t.Errorf("late: %t %t %t", late("a"), late("b"), late("c"))
		}
		s.Ended(tidegate.Run{Sync: "a", State: tidegate.RunSucceeded, EndedAt: time.Now()})
		if late("a") {
			t.Error("late after a success")
		}
		if err := s.Set(t.Context(), syncs); err != nil { // the same again changes nothing but what the store says
			t.Fatal(err)
		}
		pass(30 * time.Minute)
		if late("a") {
			t.Error("late after half of its objective")
		}
	})
}

// TestWhatWaitsIsNotOnTime: a run that had nothing due, while records of an earlier one wait for
// another try, does not make a sync fresh; syncs that follow it start all the same.
func TestWhatWaitsIsNotOnTime(t *testing.T) {
	h := newHub()
	play(t, h, []tidegate.Sync{{Name: "a", Schedule: tidegate.Schedule{Freshness: "1h"}}, after("b", "a")}, func(s *Scheduler) {
		late := func() bool { st, _ := s.Why("a"); return !st.LateSince.IsZero() }
		ended := func(waiting int64) {
			s.Ended(tidegate.Run{Sync: "a", State: tidegate.RunSucceeded, EndedAt: time.Now(), Counts: tidegate.Counts{Waiting: waiting}})
		}
		ended(0)
		pass(50 * time.Minute)
		ended(3)
		pass(20 * time.Minute)
		if !late() {
			t.Error("on time although records wait since over an hour")
		}
		ended(0)
		if late() {
			t.Error("late after everything was delivered")
		}
		pass(time.Minute)
		want(t, h, "b after_sync", "b after_sync", "b after_sync")
	})
}

// TestAResumedSyncIsNotLateAtOnce: nobody waited for it while it was paused.
func TestAResumedSyncIsNotLateAtOnce(t *testing.T) {
	h := newHub()
	list := func(paused bool) []tidegate.Sync {
		return []tidegate.Sync{{Name: "a", Schedule: tidegate.Schedule{Freshness: "1h"}, Paused: paused}}
	}
	play(t, h, list(false), func(s *Scheduler) {
		late := func() bool { st, _ := s.Why("a"); return !st.LateSince.IsZero() }
		set := func(paused bool) {
			if err := s.Set(t.Context(), list(paused)); err != nil {
				t.Fatal(err)
			}
		}
		s.Ended(tidegate.Run{Sync: "a", State: tidegate.RunSucceeded, EndedAt: time.Now()})
		set(true)
		pass(5 * time.Hour)
		set(false)
		if late() {
			t.Error("late as soon as it is resumed")
		}
		pass(59 * time.Minute)
		set(false) // another change of the project
		if late() {
			t.Error("late before its objective has passed since it was resumed")
		}
		pass(2 * time.Minute)
		if !late() {
			t.Error("on time although no run succeeded since it was resumed")
		}
	})
}

// TestWhatIsCaughtUpAtTheStartIsNotCalledLate: the run that makes up for the time in which the
// process was away comes first.
func TestWhatIsCaughtUpAtTheStartIsNotCalledLate(t *testing.T) {
	h := newHub()
	h.complete = map[string]time.Time{"a": time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC), "b": time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)} // a bubble begins a day later
	syncs := func(of string) []tidegate.Sync {
		return []tidegate.Sync{{Name: "a", Schedule: tidegate.Schedule{Freshness: "1h"}}, {Name: "b", Schedule: tidegate.Schedule{Freshness: of}}}
	}
	play(t, h, syncs("100h"), func(s *Scheduler) {
		late := func(name string) bool { st, _ := s.Why(name); return !st.LateSince.IsZero() }
		pass(59 * time.Second)
		if late("a") {
			t.Error("late before it had time to catch up")
		}
		pass(2 * time.Second)
		if !late("a") || late("b") {
			t.Errorf("late after a minute: %t, %t", late("a"), late("b"))
		}
		if err := s.Set(t.Context(), syncs("2h")); err != nil {
			t.Fatal(err)
		}
		if late("b") {
			t.Error("late as soon as it gets an objective")
		}
		pass(time.Minute)
		if !late("b") {
			t.Error("on time although its objective has passed")
		}
	})
}

func TestFreshnessIsChecked(t *testing.T) {
	t.Parallel()
	err := newHub().scheduler().Set(t.Context(), []tidegate.Sync{{Name: "a", Schedule: tidegate.Schedule{Freshness: "soon"}}})
	if f := tidegate.FaultOf(err); f == nil || f.Code != "schedule.invalid" || f.Subject != "schedule.freshness" {
		t.Errorf("%v", err)
	}
}
