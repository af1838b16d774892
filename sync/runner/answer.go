package runner

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// onAnswer takes what a call came to.
func (s *step) onAnswer(e BatchAnswered) {
	b := s.flow.inflight[e.ID]
	if b == nil {
		return
	}
	delete(s.flow.inflight, e.ID)
	switch {
	case e.Unsent && e.Err == nil:
		s.wait(b, s.tune.Backoff.Base)
	case e.Err == nil:
		s.onOutcomes(b, e)
	default:
		s.onRefusal(b, e)
	}
}

// onRefusal takes an answer to the call as a whole.
func (s *step) onRefusal(b *batch, e BatchAnswered) {
	fault := tidegate.FaultOf(e.Err)
	switch fault.Action {
	case tidegate.Reject:
		s.alive()
		if len(b.units) == 1 {
			s.settle(&b.units[0], destinations.Outcome{Disposition: destinations.Rejected, Fault: fault}, time.Time{})
			return
		}
		s.split(b, b.tries)
	case tidegate.Throttle:
		s.throttled(b, fault, e.ID)
	case tidegate.Halt:
		s.stopFor(fault)
		s.leaveAll(b.units, fault)
	case tidegate.Retry:
		s.onUnknown(b, fault, e)
	}
}

// onUnknown takes a call of which nothing is known: it may have been applied
// unless no connection came about.
func (s *step) onUnknown(b *batch, fault *tidegate.Fault, e BatchAnswered) {
	sent := !e.Unsent && !unconnected(e.Err)
	for i := range b.units {
		b.units[i].doubt = b.units[i].doubt || sent
	}
	b.tries++
	s.flow.down++
	s.shrink(e.ID)
	switch {
	case sent && s.cfg.Safety == destinations.Unsafe:
		for i := range b.units {
			s.settleDoubt(&b.units[i], fault)
		}
	case b.tries < s.tune.Tries:
		s.wait(b, s.backoff(b.tries))
	case len(b.units) > 1 && s.flow.answered > b.answered:
		// Others are answered and this batch never: it may hold a record on which
		// the destination falls over. Each half gets one try.
		s.split(b, s.tune.Tries-1)
	default:
		for i := range b.units {
			s.giveUp(&b.units[i], fault)
		}
	}
	if s.flow.down >= s.tune.Down {
		s.stopFor(faultf(tidegate.Retry, "destination.down", "look whether the destination is reachable; the next run sends what is left",
			"%d calls in a row failed, the last with: %s", s.flow.down, fault.Error()))
	}
}

// onOutcomes takes an answer record by record.
func (s *step) onOutcomes(b *batch, e BatchAnswered) {
	outcomes := e.Outcomes
	if len(outcomes) > len(b.units) {
		outcomes = nil // more answers than questions: none can be trusted
	}
	again := &batch{tries: b.tries, throttles: b.throttles, answered: b.answered}
	pending := &batch{tries: b.tries, throttles: b.throttles, answered: b.answered}
	delay, answered := time.Duration(0), false
	for i := range b.units {
		u := &b.units[i]
		o := destinations.Outcome{Disposition: destinations.InDoubt}
		if i < len(outcomes) {
			o = outcomes[i]
		}
		if o.Disposition == destinations.Pending && (o.Ticket == "" || b.ticket != nil || pending.ticket != nil && o.Ticket != pending.ticket.name) {
			o.Disposition = destinations.InDoubt // nothing to ask for, or two tickets for one call
		}
		if o.Fault == nil && o.Disposition != destinations.Delivered && o.Disposition != destinations.Pending {
			o.Fault = faultf(tidegate.Retry, "destination.no_outcome", "", "the destination's answer does not say what became of the record")
		}
		switch {
		case o.Disposition == destinations.Delivered && u.leaving:
			s.join(*u)
			answered = true
		case o.Disposition == destinations.Delivered:
			o.Fault = nil
			if i < len(e.Notes) {
				o.Fault = e.Notes[i]
			}
			s.settle(u, o, time.Time{})
			answered = true
		case o.Disposition == destinations.Pending:
			s.awaits(pending, *u, o.Ticket)
			answered = true
		case o.Fault.Action == tidegate.Halt:
			s.stopFor(o.Fault)
			u.doubt = u.doubt || o.Disposition == destinations.InDoubt
			s.leave(u, o.Fault)
		case o.Disposition == destinations.Rejected:
			s.settle(u, o, time.Time{})
			answered = true
		default:
			delay = max(delay, s.undecided(again, u, o, b.ticket != nil))
		}
	}
	s.flow.used(b.units)
	if answered {
		s.alive()
		s.grow()
	} else if len(again.units) > 0 {
		s.shrink(e.ID)
	}
	if len(pending.units) > 0 {
		s.accepted(pending)
	}
	if len(again.units) > 0 {
		s.tryAgain(again, delay)
	}
}

// join goes on with a member whose old identifier has left the audience: from
// here on what was confirmed is so no more.
func (s *step) join(u unit) {
	u.leaving, u.left, u.doubt, u.size = false, true, true, 0
	if s.stop != nil {
		s.leave(&u, nil)
		return
	}
	s.stage(u)
}

// undecided puts u aside for another try, or settles it when a repeat would do
// the thing twice. It returns how long the destination asks to wait.
func (s *step) undecided(again *batch, u *unit, o destinations.Outcome, polled bool) time.Duration {
	if o.Disposition == destinations.Deferred && polled && s.cfg.Safety == destinations.Unsafe {
		// The ledger still names the answered ticket: sent again now and interrupted,
		// it would be taken for not sent.
		u.doubt = false
		s.giveUp(u, o.Fault)
		return 0
	}
	if o.Disposition != destinations.Deferred {
		u.doubt = true
		if s.cfg.Safety == destinations.Unsafe {
			s.settleDoubt(u, o.Fault)
			return 0
		}
	}
	u.last = o.Fault
	again.units = append(again.units, *u)
	if o.Fault.Action == tidegate.Throttle {
		return o.Fault.After
	}
	return 0
}

// tryAgain sends the undecided rest of a batch once more, if it has tries left.
func (s *step) tryAgain(b *batch, delay time.Duration) {
	if delay > 0 { // throttled: no try is used up
		b.throttles++
	} else {
		b.tries++
	}
	if b.tries >= s.tune.Tries || b.throttles > s.tune.Throttles || delay > s.tune.ThrottleLimit {
		for i := range b.units {
			s.giveUp(&b.units[i], b.units[i].last)
		}
		return
	}
	s.wait(b, max(delay, s.backoff(b.tries)))
}

// throttled waits as long as the destination asks; no record has failed.
func (s *step) throttled(b *batch, fault *tidegate.Fault, id int64) {
	b.throttles++
	s.flow.throttles++
	s.shrink(id)
	s.wait(b, max(fault.After, s.tune.Backoff.Base)+s.tune.Backoff.Delay(b.throttles-1, s.random)/4)
	if fault.After > s.tune.ThrottleLimit || s.flow.throttles >= s.tune.Throttles {
		s.halt(stop{state: tidegate.RunPartial, fault: fault, after: fault.After})
	}
}

func (s *step) stopFor(fault *tidegate.Fault) { s.halt(stop{state: tidegate.RunFailed, fault: fault}) }

func (s *step) leaveAll(units []unit, fault *tidegate.Fault) {
	for i := range units {
		s.leave(&units[i], fault)
	}
}

// giveUp leaves u to a later run after this run's tries were used up.
func (s *step) giveUp(u *unit, fault *tidegate.Fault) {
	if u.doubt {
		s.settleDoubt(u, fault)
		return
	}
	if s.expired(u) {
		s.settle(u, destinations.Outcome{Disposition: destinations.Rejected, Fault: parked(fault, s.cfg.RetryFor)}, time.Time{})
		return
	}
	s.settle(u, destinations.Outcome{Disposition: destinations.Deferred, Fault: fault}, s.nextAttempt(u).Add(fault.After))
}

// parkedCode is the code of a record that is no longer tried.
const parkedCode = "delivery.parked"

func parked(last *tidegate.Fault, after time.Duration) *tidegate.Fault {
	return &tidegate.Fault{
		Action: tidegate.Reject, Code: parkedCode, Subject: last.Subject, Err: last,
		Message: fmt.Sprintf("it failed for %v, the last time with: %s", after, last.Error()),
		Hint:    "it is sent again when its row changes, or when somebody retries it",
	}
}

// split sends both halves of b before anything else.
func (s *step) split(b *batch, tries int) {
	half := len(b.units) / 2
	s.flow.ready = append([]*batch{
		{units: b.units[:half:half], tries: tries, throttles: b.throttles, answered: s.flow.answered},
		{units: b.units[half:], tries: tries, throttles: b.throttles, answered: s.flow.answered},
	}, s.flow.ready...)
}

func (s *step) wait(b *batch, d time.Duration) {
	b.notBefore = s.now.Add(d)
	s.flow.waiting = append(s.flow.waiting, b)
}

func (s *step) backoff(try int) time.Duration {
	return s.tune.Backoff.Delay(try-1, s.random)
}

// alive notes that the destination answers.
func (s *step) alive() {
	s.flow.answered++
	s.flow.down, s.flow.throttles = 0, 0
}

// grow and shrink keep the number of calls at once where the destination copes:
// one more per round of answers, half as many after a refusal, once per round.
func (s *step) grow() {
	s.flow.window = min(s.flow.window+1/s.flow.window, float64(s.cfg.Limit.Concurrency))
}

func (s *step) shrink(id int64) {
	if id > s.flow.shrunkAt {
		s.flow.window = max(1, s.flow.window/2)
		s.flow.shrunkAt = s.flow.lastID
	}
}

// unconnected says whether err shows that no request can have left.
func unconnected(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns)
}
