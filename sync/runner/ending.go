package runner

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/retry"
)

// halt stops the run for why. The first reason stands, except that a lost lease
// outweighs every other and a process that goes down outweighs a wish to end.
func (s *step) halt(why stop) {
	if s.phase == Done || s.stop != nil && (s.stop.lost || !why.lost && why.state != tidegate.RunRunning) {
		return
	}
	if s.phase >= Closing && !why.lost && why.state != tidegate.RunRunning {
		return // everything is settled already
	}
	if s.phase == Holding && !why.lost {
		return // it ends by itself, and cancelling a held run is the store's matter
	}
	why.since = s.now
	s.stop = &why
	if s.phase == Surveying && (s.doubtful == 0 || why.state == tidegate.RunRunning) || s.phase == Planning && (!s.resumed || why.state == tidegate.RunRunning) {
		s.effects = append(s.effects, Interrupt{})
	}
	if why.state == tidegate.RunRunning {
		s.phase = Abandoning
	}
}

func (s *step) leaseLost(message string) {
	s.halt(stop{state: tidegate.RunRunning, lost: true, fault: &tidegate.Fault{Action: tidegate.Halt, Code: "lease.lost", Message: message}})
}

// onFailure decides what becomes of an effect that failed.
func (s *step) onFailure(e EffectFailed) {
	s.out--
	fault := tidegate.FaultOf(e.Err)
	if fault.Code == "lease.lost" || errors.Is(e.Err, ErrConflict) || errors.Is(e.Err, ErrLeaseLost) {
		s.leaseLost(fault.Message)
		return
	}
	kind, early := kindOf(e.Effect), s.phase == Planning || s.phase == Surveying
	if s.stop != nil && (s.phase == Surveying && s.doubtful == 0 || s.phase == Planning && !s.resumed || s.phase == Abandoning) {
		s.forget(e.Effect)
		return
	}
	f := s.failed[kind]
	if f.times == 0 {
		f.since = s.now
	}
	f.times++
	s.failed[kind] = f
	again := fault.Action == tidegate.Retry || fault.Action == tidegate.Throttle
	if kind == "plan" || kind == "survey" {
		again = again && f.times < s.tune.PlanTries
	} else {
		again = again && s.now.Sub(f.since) < s.tune.Patience
	}
	switch {
	case again:
		delay := s.tune.Backoff.Delay(f.times-1, s.random) + fault.After
		s.redo = append(s.redo, redo{e.Effect, s.now.Add(max(delay, s.tune.Backoff.Base/10))})
	case early && !(s.resumed && fault.Action == tidegate.Retry):
		s.halt(stop{state: tidegate.RunFailed, fault: fault})
	case kind == "run" || fault.Action != tidegate.Halt && fault.Action != tidegate.Reject:
		s.forget(e.Effect)
		s.halt(stop{state: tidegate.RunRunning, blind: true, fault: fault})
	default: // the ledger says that this will never work
		s.forget(e.Effect)
		s.stop = &stop{state: tidegate.RunFailed, fault: fault, blind: true, since: s.now}
		if s.phase == Dropping {
			s.end()
		}
	}
}

func kindOf(e Effect) string {
	switch e.(type) {
	case StoreRun:
		return "run"
	case MakePlan:
		return "plan"
	case SurveyPlan:
		return "survey"
	case ReadWindow:
		return "read"
	case StoreIntent:
		return "intent"
	case StoreResults:
		return "results"
	case DropPlan:
		return "drop"
	}
	return ""
}

// forget gives an effect up that will not be tried again.
func (s *step) forget(e Effect) {
	switch e.(type) {
	case ReadWindow, StoreIntent:
		s.plan.busy, s.plan.pending = false, nil
	case StoreResults:
		s.storing = nil
	}
}

// advance emits everything that can happen now, and the next wake-up.
func (s *step) advance() {
	s.again()
	switch s.phase {
	case Planning:
		if s.stop != nil && s.out == 0 && len(s.redo) == 0 {
			s.endUnplanned()
		}
	case Surveying:
		if s.stop != nil && s.out == 0 && len(s.redo) == 0 {
			s.startDelivery() // of nothing: the plan is put away
			s.deliver()
		}
	case Delivering:
		s.deliver()
	case Starting, Closing, Dropping, Ending, Holding, Abandoning, Done:
	}
	if s.phase == Abandoning { // perhaps only since deliver found the lease run out
		s.abandon()
	}
	s.sleep()
}

// again repeats the failed effects whose time has come.
func (s *step) again() {
	kept := s.redo[:0]
	for _, r := range s.redo {
		switch {
		case s.phase == Abandoning || s.phase == Done,
			s.stop != nil && (s.phase == Surveying && s.doubtful == 0 || s.phase == Planning && !s.resumed):
			s.forget(r.effect)
		case s.now.Before(r.at):
			kept = append(kept, r)
		default:
			s.do(r.effect)
		}
	}
	s.redo = kept
}

// close ends the delivery: what the run never came to is deferred, the counts
// must add up, and they are durable before the plan is dropped, so that a crash
// after this line leads to the same end.
func (s *step) close() {
	c := &s.counts
	if s.stop != nil {
		c.Deferred += s.changes() - s.settledChanges()
	}
	s.run.Fault = nil
	if s.stop != nil {
		s.run.Fault = tidegate.StoredFault(s.faultOfStop())
	}
	if err := c.Check(); err != nil {
		s.run.Fault = tidegate.StoredFault(&tidegate.Fault{
			Action: tidegate.Halt, Code: "counts.mismatch", Message: err.Error(),
			Hint: "this is a bug of ours: report it with the run's log",
		})
	}
	s.run.Counts, s.run.EndedAt = *c, s.now
	if s.stop != nil && s.stop.blind {
		s.end()
		return
	}
	s.phase = Closing
	s.do(StoreRun{Run: s.run, From: tidegate.RunRunning})
}

// faultOfStop is nil for a stop that leaves the run partial rather than failed.
func (s *step) faultOfStop() error {
	if s.stop.state == tidegate.RunPartial || s.stop.fault == nil {
		return nil
	}
	return s.stop.fault
}

// end stores the final state, which the counts and the fault alone decide: a
// resumed run comes to the same.
func (s *step) end() {
	if s.phase == Abandoning || s.phase == Done {
		return
	}
	if s.stop != nil && s.stop.blind && s.stop.state == tidegate.RunFailed {
		s.run.Fault = tidegate.StoredFault(s.stop.fault)
	}
	c := s.run.Counts
	switch {
	case s.run.Fault != nil && s.run.Fault.Code == canceledCode:
		s.run.State, s.run.Fault = tidegate.RunCanceled, nil
	case s.run.Fault != nil:
		s.run.State = tidegate.RunFailed
	case c.Rejected+c.InDoubt+c.Deferred+c.BadKeys > 0:
		s.run.State = tidegate.RunPartial
	default:
		s.run.State = tidegate.RunSucceeded
	}
	s.phase = Ending
	s.do(StoreRun{Run: s.run, From: tidegate.RunRunning})
}

// endUnplanned ends a run that has no stored plan: nothing was sent.
func (s *step) endUnplanned() {
	s.run.Fault = tidegate.StoredFault(s.faultOfStop())
	s.run.EndedAt = s.now
	s.run.Counts = tidegate.Counts{}
	s.end()
}

// abandon leaves the run to whoever resumes it, once nothing is under way. What
// the destination said meanwhile is still stored, unless the lease is lost.
func (s *step) abandon() {
	s.dropUnsent()
	if len(s.flow.inflight)+len(s.flow.tickets.asked) > 0 {
		return
	}
	if len(s.results) > 0 && !s.stop.lost && !s.stop.blind {
		s.save()
		return
	}
	if s.out == 0 {
		s.finish()
	}
}

func (s *step) finish() {
	s.phase = Done
	s.effects = append(s.effects, GiveUpLease{})
}

// sleep asks for the next Tick when time alone makes something possible.
func (s *step) sleep() {
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if s.phase == Done {
		return
	}
	for _, r := range s.redo {
		sooner(r.at)
	}
	if s.phase == Delivering {
		for _, b := range s.flow.waiting {
			sooner(b.notBefore)
		}
		if len(s.results) > 0 && s.storing == nil {
			sooner(s.lastSave.Add(s.tune.FlushEvery))
		}
		for _, b := range s.flow.tickets.waiting {
			sooner(s.due(b))
		}
		if until := s.canary.until; !until.IsZero() {
			sooner(until)
		}
	}
	if at.IsZero() || !s.wake.IsZero() && !at.Before(s.wake) {
		return
	}
	s.wake = at
	s.effects = append(s.effects, WakeAt{At: at})
}

// random is a splitmix64 generator, kept in the state so that Step is a function.
func (s *step) random() float64 {
	s.seed += 0x9e3779b97f4a7c15
	z := s.seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// nextAttempt is when a later run may try u again.
func (s *step) nextAttempt(u *unit) time.Time {
	b := retry.Backoff{Base: s.tune.Next.Base, Cap: s.tune.Next.Cap}
	return s.now.Add(b.Interval(u.Attempts))
}

func faultf(action tidegate.Action, code, hint, format string, args ...any) *tidegate.Fault {
	return &tidegate.Fault{Action: action, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}
}
