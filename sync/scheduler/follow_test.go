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

func TestFreshnessIsChecked(t *testing.T) {
	t.Parallel()
	err := newHub().scheduler().Set(t.Context(), []tidegate.Sync{{Name: "a", Schedule: tidegate.Schedule{Freshness: "soon"}}})
	if f := tidegate.FaultOf(err); f == nil || f.Code != "schedule.invalid" || f.Subject != "schedule.freshness" {
		t.Errorf("%v", err)
	}
}
