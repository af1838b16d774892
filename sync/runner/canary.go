package runner

import (
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

const canaryCode = guardCode + "canary"

// canary is the first few records of a plan, which are sent and looked at before
// the others.
//
//	open ──▶ all of it settled ──▶ a record was refused ──▶ held, code guard.canary
//	                          ├──▶ some are tried again by themselves ──▶ the run fails, code canary.unanswered
//	                          └──▶ none failed ──CanaryWait──▶ closed: the rest is sent
//
// A destination that is away says nothing about the records, and nobody need be asked about it.
type canary struct {
	open    bool
	size    int64
	sent    int64 // records on their way or settled
	failed  int64
	refused int64     // of failed, those that are not tried again by themselves
	why     string    // the message of the first that failed
	until   time.Time // when the rest may follow, once all is settled
}

// openCanary opens the canary unless an earlier process came beyond it or
// somebody approved what it found. While it is open nothing beyond it is
// intended, save for what needs no call of its own, and that is how the two are
// told apart.
func (s *step) openCanary() {
	c, size := s.counts, int64(s.cfg.Canary)
	if size == 0 || approved(s.run) && s.run.Fault.Code == canaryCode {
		return
	}
	within := size + s.excludable() + s.summary.BadRows + c.Rejected
	for ordinal := range s.clashes {
		if ordinal < s.doubtful {
			within++
		}
	}
	if s.doubtful > within {
		return
	}
	s.canary = canary{
		open: true, size: size,
		sent: c.Delivered + c.Rejected + c.InDoubt + c.Deferred, failed: c.Rejected + c.InDoubt + c.Deferred, refused: c.Rejected,
	}
	if s.cfg.Safety == destinations.Unsafe {
		s.canary.refused += c.InDoubt
	}
}

// excludable is how many changes of the plan the mode may not let through.
func (s *State) excludable() (n int64) {
	for op, count := range map[tidegate.Op]int64{tidegate.Added: s.summary.Added, tidegate.Changed: s.summary.Changed, tidegate.Removed: s.summary.Removed} {
		if !s.cfg.Mode.Lets(op) {
			n += count
		}
	}
	return n
}

// room is how many changes may be read, most at the most. Those that an earlier
// process intended are read whatever became of the others.
func (c *canary) room(most int, intended int64) int {
	switch {
	case !c.open:
		return most
	case intended > 0:
		return min(most, int(intended))
	}
	return max(0, min(most, int(c.size-c.sent)))
}

// count notes a record that is sent.
func (c *canary) count() { c.sent++ }

// settled notes what became of a record; again says that it is tried again by itself.
func (c *canary) settled(u *unit, o destinations.Outcome, again bool) {
	if !u.sent || o.Disposition == destinations.Delivered {
		return
	}
	c.failed++
	if !again {
		c.refused++
	}
	if c.why == "" && o.Fault != nil {
		c.why = ", the first with: " + o.Fault.Error()
	}
}

// judgeCanary decides about the rest once the canary is settled and durable.
func (s *step) judgeCanary() {
	c := &s.canary
	if !c.open || s.phase != Delivering {
		return
	}
	if s.stop != nil || s.plan.end {
		c.open, c.until = false, time.Time{}
		return
	}
	if c.sent < c.size || s.plan.next < s.doubtful || s.out > 0 || s.moving() > 0 || len(s.results) > 0 || len(s.redo) > 0 {
		return
	}
	switch {
	case c.failed > 0 && len(s.flow.late) > 0: // they wait for changes beyond
		for _, u := range s.unpark() {
			s.leave(&u, s.clashes[u.Ordinal].fault(u.Key))
		}
		s.save()
	case c.refused > 0:
		s.hold(hold("canary", "the next run tries what failed again", "%d of the first %d records failed%s", c.failed, c.sent, c.why))
	case c.failed > 0:
		s.stopFor(faultf(tidegate.Retry, "canary.unanswered", "look whether the destination is reachable; the next run begins with them again",
			"%d of the first %d records are to be tried again, and nothing else was sent%s", c.failed, c.sent, c.why))
		c.open = false
	case c.until.IsZero() && s.cfg.CanaryWait > 0:
		c.until = s.now.Add(s.cfg.CanaryWait)
	case !s.now.Before(c.until):
		c.open, c.until = false, time.Time{}
		s.read()
	}
}
