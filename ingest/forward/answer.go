package forward

import (
	"context"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/internal/retry"
)

// parkAfter is after how many failures an event leaves memory for the store, so
// that the cursor can pass it.
const parkAfter = 2

var (
	// callWaits are between the tries of events whose call failed: the destination
	// itself is at fault, and the breaker keeps it from being called too often.
	callWaits = retry.Backoff{Base: time.Second, Cap: 30 * time.Second}
	// recordWaits are between the tries of a record that the destination put off.
	recordWaits = retry.Backoff{Base: time.Second, Cap: 10 * time.Minute}
)

// fate is what becomes of one unit of a call.
type fate struct {
	u     *unit
	done  bool
	dead  bool            // Fault says why
	fault *tidegate.Fault // of a failure; nil with done
	wait  time.Duration   // until the next try
	tried bool            // the try counts
	// unsafe: what may have been done is not done again without a person's word.
	unsafe bool
}

// answer settles what a call said about its units. What must be on disk is
// written before memory says so.
func (f *Forward) answer(ctx context.Context, units []*unit, outcomes []destinations.Outcome, err error) {
	now := f.o.Now()
	fault := tidegate.FaultOf(err)
	f.mu.Lock()
	f.breaker.learn(now, fault)
	if fault != nil && fault.Action == tidegate.Reject && len(units) > 1 {
		half := len(units) / 2 // until the bad record stands alone
		f.splits = append(f.splits, units[half:], units[:half])
		f.signal()
		f.mu.Unlock()
		return
	}
	fates := f.fates(units, outcomes, fault)
	letters := f.decide(now, fates)
	f.mu.Unlock()

	if len(letters) > 0 {
		err := f.persist(ctx, "writing letters", func(ctx context.Context) error { return f.o.Store.Put(ctx, letters) })
		if err != nil {
			return // the end: the cursor has passed none of them, and they are sent again
		}
		crashpoint.Hit(crashpoint.ForwardAfterLetters)
	}
	f.meters.settled(ctx, fates)
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range fates {
		f.apply(now, &fates[i])
	}
	f.signal()
}

// fates says what a call's answer means for each unit.
func (f *Forward) fates(units []*unit, outcomes []destinations.Outcome, fault *tidegate.Fault) []fate {
	list := make([]fate, len(units))
	unsafe := f.opened != nil && f.opened.Object.SafetyIn(f.o.Def.Mode) == destinations.Unsafe
	for i, u := range units {
		list[i] = fate{u: u, unsafe: unsafe}
		if fault != nil {
			list[i].refused(fault, callWaits.Interval(u.letter.Attempts))
			continue
		}
		if i >= len(outcomes) || len(outcomes) > len(units) { // an answer that does not fit its question says nothing
			list[i].unknown(&tidegate.Fault{Action: tidegate.Retry, Code: "destination.in_doubt", Message: "the answer does not name the record"}, recordWaits.Interval(u.letter.Attempts))
			continue
		}
		list[i].outcome(outcomes[i])
	}
	return list
}

// refused takes the fault of a whole call.
func (t *fate) refused(fault *tidegate.Fault, wait time.Duration) {
	t.fault = fault
	switch fault.Action {
	case tidegate.Reject:
		t.dead = true
	case tidegate.Throttle:
		t.wait = fault.After
	case tidegate.Halt: // the breaker keeps the forward from trying
	case tidegate.Retry:
		t.unknown(fault, wait)
	}
}

// unknown takes a fault that leaves open whether the record was written.
func (t *fate) unknown(fault *tidegate.Fault, wait time.Duration) {
	if t.unsafe {
		t.dead = true
		t.fault = &tidegate.Fault{
			Action: tidegate.Reject, Code: "destination.in_doubt", Message: "it is not known whether the destination did it, which would do it twice: " + fault.Error(),
			Hint: "look at the destination; then retry the dead letter, or discard it",
		}
		return
	}
	t.failed(fault, wait)
}

func (t *fate) failed(fault *tidegate.Fault, wait time.Duration) {
	t.fault, t.wait, t.tried = fault, wait, true
}

// outcome takes what the answer says of the one record. Only Delivered is a success.
func (t *fate) outcome(o destinations.Outcome) {
	fault := o.Fault
	wait := recordWaits.Interval(t.u.letter.Attempts)
	switch {
	case o.Disposition == destinations.Delivered:
		t.done = true
	case o.Disposition == destinations.Rejected:
		if fault == nil {
			fault = &tidegate.Fault{Action: tidegate.Reject, Code: "destination.rejected", Message: "the destination refused the record and did not say why"}
		}
		t.dead, t.fault = true, fault
	case o.Disposition == destinations.Deferred && fault != nil && fault.Action == tidegate.Throttle:
		t.fault, t.wait = fault, fault.After
	default:
		if fault == nil {
			fault = &tidegate.Fault{Action: tidegate.Retry, Code: "destination." + string(o.Disposition), Message: "the destination did not take the record"}
		}
		if o.Disposition == destinations.InDoubt {
			t.unknown(fault, wait)
			return
		}
		t.failed(fault, wait)
	}
}

// decide brings the units' letters up to date and returns those that must be on
// disk before memory says so: dead ones, and those that leave memory. It is
// called with mu held.
func (f *Forward) decide(now time.Time, fates []fate) []Letter {
	var letters []Letter
	parked := f.lanes.parked
	for i := range fates {
		t := &fates[i]
		l := &t.u.letter
		if t.done {
			continue
		}
		if t.tried {
			if l.Attempts++; l.FirstAt.IsZero() {
				l.FirstAt = now
			}
			t.dead = t.dead || now.Sub(l.FirstAt) > f.o.Limits.Retry
		}
		l.Code, l.Message, l.Hint = t.fault.Code, t.fault.Message, t.fault.Hint
		wait := t.wait/2 + time.Duration(f.o.Random()*float64(t.wait)/2)
		if t.fault.Action == tidegate.Throttle {
			wait = t.wait
		}
		l.NextAt = now.Add(wait)
		switch {
		case t.dead:
			letters = append(letters, f.die(*l, t.fault))
		case t.u.stored, l.Attempts >= parkAfter && !f.breaker.open() && f.paused.IsZero() && parked < f.o.Limits.Waiting:
			parked++
			t.u.busy = true
			letters = append(letters, *l)
		}
	}
	return letters
}

// apply lets memory follow. It is called with mu held.
func (f *Forward) apply(now time.Time, t *fate) {
	switch {
	case t.done:
		f.counts.Delivered++
		f.counts.DeliveredAt = now
		f.settle(t.u, true)
	case t.dead:
		f.counts.Dead++
		f.settle(t.u, false)
	default:
		if t.tried {
			f.counts.Retried++
		}
		if t.u.busy {
			t.u.busy = false
			f.kept[t.u.letter.Position] = true
			f.lanes.park(t.u)
		}
		f.lanes.back(t.u, t.u.letter.NextAt)
	}
}

// settle takes a unit out of the lanes; remove says whether its letter, if it has
// one, goes too. It is called with mu held.
func (f *Forward) settle(u *unit, remove bool) {
	if u.stored && remove {
		f.settled = append(f.settled, u.letter.Position)
	}
	delete(f.kept, u.letter.Position)
	f.lanes.settle(u)
}

// die is the dead letter of an event.
func (f *Forward) die(l Letter, fault *tidegate.Fault) Letter {
	l.Dead, l.DiedAt, l.NextAt = true, f.o.Now(), time.Time{}
	l.Code, l.Message, l.Hint = fault.Code, fault.Message, fault.Hint
	return l
}

// bury writes dead letters of events that never were in the lanes.
func (f *Forward) bury(ctx context.Context, dead []Letter) error {
	if len(dead) == 0 {
		return nil
	}
	err := f.persist(ctx, "writing dead letters", func(ctx context.Context) error { return f.o.Store.Put(ctx, dead) })
	if err != nil {
		return err
	}
	f.meters.died(ctx, len(dead))
	f.count(func(c *Tally) { c.Dead += int64(len(dead)) })
	return nil
}
