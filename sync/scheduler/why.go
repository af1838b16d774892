package scheduler

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
)

// Status says how a sync stands with its schedule.
type Status struct {
	Running bool
	// Next is the next fire; zero when none is planned.
	Next time.Time
	// Upcoming are the fires of a cron schedule from Next on, by its own clock; empty for an interval.
	Upcoming []time.Time
	// Reason answers "why is it not running", in words; empty while it runs.
	Reason string
	// Fault is why the last attempt to start did not become a run.
	Fault *tidegate.RunFault
	// LateSince is when the last run that delivered everything, also what earlier ones had left
	// behind, became older than Schedule.Freshness allows; zero while the sync is on time, paused, or has no such objective.
	LateSince time.Time
}

// Why says how a sync stands; ok is false when there is none of the name.
func (s *Scheduler) Why(name string) (_ Status, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[name]
	if e == nil {
		return Status{}, false
	}
	st := Status{Running: e.running, Next: e.next, Fault: e.fault}
	if e.sync.Paused {
		st.Next = time.Time{}
	}
	st.Upcoming = e.plan.upcoming(st.Next)
	now := s.o.Now()
	if !e.running {
		if st.Reason = e.reason(now); e.pending != "" && !now.Before(e.notYet) {
			if held := s.hold(name); held != "" {
				st.Reason = "it waits: " + held
			}
		}
	}
	if late := e.lateAt(); !late.IsZero() && !now.Before(late) {
		st.LateSince = late
	}
	return st, true
}

func (e *entry) reason(now time.Time) string {
	switch {
	case e.pending != "" && now.Before(e.notYet):
		return fmt.Sprintf("the last start failed (%s); it is tried again at %s", e.fault.Message, e.notYet.UTC().Format(time.RFC3339))
	case e.pending != "":
		return "it is about to start"
	case e.sync.Paused:
		return "it is paused: it runs by hand only"
	case !e.settled.IsZero():
		return "a table it reads was loaded; it starts within a second"
	case !e.again.IsZero() && (e.next.IsZero() || e.again.Before(e.next)):
		return fmt.Sprintf("records of the last run are tried again at %s", e.again.UTC().Format(time.RFC3339))
	case e.sync.Schedule.AfterLoad && !e.next.IsZero():
		return fmt.Sprintf("it waits for %s, or for a load of %s", e.next.UTC().Format(time.RFC3339), e.reads())
	case e.sync.Schedule.AfterLoad && e.fault != nil:
		return "it waits for a load, but the tables it reads are not known: " + e.fault.Message
	case e.sync.Schedule.AfterLoad && !e.loads:
		return fmt.Sprintf("it waits for a load of %s; none was seen since the start", e.reads())
	case e.sync.Schedule.AfterLoad:
		return "it waits for the next load of " + e.reads()
	case e.next.IsZero() && (e.sync.Schedule.AfterSync != "" || e.sync.Schedule.AfterDbt):
		return "it waits for " + e.follows()
	case e.sync.Schedule.AfterSync != "" || e.sync.Schedule.AfterDbt:
		return fmt.Sprintf("it waits for %s, or for %s", e.next.UTC().Format(time.RFC3339), e.follows())
	case e.sync.Schedule.Cron == "" && e.sync.Schedule.Every == "" && e.sync.Schedule.WebhookSecret != "":
		return "it waits for a call of its webhook"
	case e.sync.Schedule.Cron == "" && e.sync.Schedule.Every == "":
		return "it has no schedule: it runs by hand only"
	case e.next.IsZero():
		return "its schedule names no time that comes"
	}
	return "it waits for " + e.next.UTC().Format(time.RFC3339)
}

// follows names what other than a table starts the sync.
func (e *entry) follows() string {
	var of []string
	if before := e.sync.Schedule.AfterSync; before != "" {
		of = append(of, "a run of sync "+before+" that succeeds")
	}
	if e.sync.Schedule.AfterDbt {
		of = append(of, "a dbt invocation that rebuilds its model")
	}
	return strings.Join(of, ", or for ")
}

func (e *entry) reads() string {
	if e.tables == nil {
		return "a table that its model reads"
	}
	names := make([]string, len(e.tables))
	for i, t := range e.tables {
		names[i] = t.String()
	}
	return strings.Join(names, ", ")
}
