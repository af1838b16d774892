package runner

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// deliver moves the run on: results out, changes in, batches to the destination.
func (s *step) deliver() {
	if s.stop != nil {
		s.dropUnsent()
	}
	s.read()
	s.send()
	s.save()
	if s.settledAll() {
		s.close()
	}
}

// settledAll says whether nothing of the plan is left to be done. Under a stop
// everything that was intended must still be settled.
func (s *step) settledAll() bool {
	if s.phase != Delivering || s.out > 0 || s.plan.busy || s.flow.buffered > 0 || len(s.results) > 0 || len(s.redo) > 0 {
		return false
	}
	return s.readAll()
}

func (s *step) readAll() bool {
	switch {
	case s.plan.end || s.changes() == 0:
		return true
	case s.stop != nil:
		return s.stop.blind || s.plan.next >= s.doubtful
	}
	return false
}

// moving is how many changes are on their way; late ones stand still.
func (s *step) moving() int { return s.flow.buffered - len(s.flow.late) }

// read asks for the next window while there is room for it.
func (s *step) read() {
	if s.plan.busy || s.phase != Delivering || s.readAll() {
		return
	}
	if s.moving() >= s.tune.WindowRows || len(s.results) >= 4*s.tune.FlushRows {
		return
	}
	s.plan.busy = true
	s.do(ReadWindow{From: s.plan.next, Max: s.tune.WindowRows})
}

// onWindow makes the intent of a window durable before anything of it may
// leave, except where an earlier runner did so already.
func (s *step) onWindow(w WindowRead) {
	s.plan.end = w.End
	if s.phase != Delivering {
		s.plan.busy = false
		return
	}
	if len(w.Changes) == 0 {
		s.plan.busy = false
		s.plan.end = true // an empty window is the end whatever the reader says
		return
	}
	first, last := w.Changes[0].Ordinal, w.Changes[len(w.Changes)-1].Ordinal
	s.plan.next, s.plan.pending = last+1, w.Changes
	switch {
	case s.stop != nil && first >= s.doubtful:
		s.plan.busy, s.plan.pending = false, nil // deferred by close
	case last < s.doubtful:
		s.onIntent()
	default:
		s.do(StoreIntent{First: max(first, s.doubtful), Last: last})
	}
}

// onIntent sorts a window whose intent is durable: what needs no call is
// settled, the rest is put into batches.
func (s *step) onIntent() {
	window := s.plan.pending
	s.plan.busy, s.plan.pending = false, nil
	if s.phase != Delivering {
		return
	}
	for i := range window {
		p := &window[i]
		before := p.Ordinal < s.doubtful
		if before && s.recorded != nil && s.recorded(p.Ordinal) {
			continue
		}
		s.flow.buffered++
		s.sort(unit{Planned: p, doubt: before})
	}
}

func (s *step) sort(u unit) {
	clash, clashes := s.clashes[u.Ordinal]
	switch {
	case u.Fault != nil:
		s.settle(&u, destinations.Outcome{Disposition: destinations.Rejected, Fault: u.Fault}, time.Time{})
	case !s.cfg.Mode.Lets(u.Op):
		s.exclude(&u)
	case clashes && !clash.Late && u.Op == tidegate.Removed:
		// Whether the record is to go shows when the rows no longer clash.
		s.leave(&u, clash.fault(u.Key))
	case clashes && !clash.Late:
		s.settle(&u, destinations.Outcome{Disposition: destinations.Rejected, Fault: clash.fault(u.Key)}, time.Time{})
	case s.stop != nil:
		s.leave(&u, nil)
	case u.doubt && s.cfg.Safety == destinations.Unsafe:
		s.settleDoubt(&u, faultf(tidegate.Retry, "delivery.interrupted", "",
			"the run was interrupted while the record may have been on its way"))
	case clashes:
		s.flow.late = append(s.flow.late, u)
	default:
		s.stage(u)
	}
}

// awaitRemovals notes the removals on which late changes wait.
func (s *step) awaitRemovals() {
	for _, c := range s.clashes {
		if c.Late {
			s.flow.removed[c.After] = false
		}
	}
}

// stage puts u into the open batch of its operation.
func (s *step) stage(u unit) {
	o := &s.flow.open[0]
	if u.Op == tidegate.Removed {
		o = &s.flow.open[1]
	}
	limit := s.cfg.Limit
	if limit.Bytes > 0 {
		u.size = itemSize(&u)
		if len(o.units) > 0 && o.size+u.size > limit.Bytes {
			s.flush(o)
		}
	}
	if o.units == nil {
		o.units = make([]unit, 0, min(limit.Records, 1024))
	}
	o.units, o.size = append(o.units, u), o.size+u.size
	if len(o.units) >= limit.Records {
		s.flush(o)
	}
}

func (s *step) flush(o *open) {
	if len(o.units) > 0 {
		s.flow.ready = append(s.flow.ready, &batch{units: o.units, answered: s.flow.answered})
		*o = open{}
	}
}

// send starts as many calls as the destination bears.
func (s *step) send() {
	f := &s.flow
	if s.stop != nil || s.phase != Delivering {
		return
	}
	waiting := f.waiting[:0]
	for _, b := range f.waiting {
		if s.now.Before(b.notBefore) {
			waiting = append(waiting, b)
		} else {
			f.ready = append(f.ready, b)
		}
	}
	f.waiting = waiting
	calls := max(1, int(f.window))
	if len(f.ready) == 0 && len(f.inflight) < calls && (!s.plan.busy || s.plan.end) {
		s.flushAll()
	}
	for len(f.ready) > 0 && len(f.inflight) < calls && len(s.results) < 4*s.tune.FlushRows {
		if !s.now.Before(s.leaseUntil) {
			s.leaseLost("the lease ran out before it was renewed")
			return
		}
		b := f.ready[0]
		f.ready[0] = nil
		f.ready = f.ready[1:]
		f.lastID++
		f.inflight[f.lastID] = b
		s.effects = append(s.effects, SendBatch{ID: f.lastID, Batch: s.batchOf(b)})
	}
}

// flushAll sends half-filled batches off when nothing else can fill them, and
// late changes once everything else is settled.
func (s *step) flushAll() {
	f := &s.flow
	if !s.readAll() && s.moving() > len(f.open[0].units)+len(f.open[1].units) {
		return
	}
	s.flush(&f.open[0])
	s.flush(&f.open[1])
	// The removal's outcome is durable first: a resumed run must not repeat it
	// after the record was written anew.
	if len(f.late) > 0 && s.moving() == 0 && s.readAll() && !s.plan.busy && len(s.results) == 0 && !s.storing {
		late := f.late
		f.late = nil
		for i := range late {
			if f.removed[s.clashes[late[i].Ordinal].After] {
				s.stage(late[i])
			} else {
				s.leave(&late[i], s.clashes[late[i].Ordinal].fault(late[i].Key))
			}
		}
		s.flush(&f.open[0])
	}
}

// save hands outcomes to the ledger, one call at a time.
func (s *step) save() {
	if s.stop != nil && s.stop.blind {
		s.results = nil
	}
	if s.storing || len(s.results) == 0 {
		return
	}
	idle := s.moving() == 0
	if !idle && len(s.results) < s.tune.FlushRows && s.now.Before(s.lastSave.Add(s.tune.FlushEvery)) {
		return
	}
	s.storing = true
	s.do(StoreResults{Results: s.results})
	s.results = make([]ledger.Result, 0, len(s.results))
}

// dropUnsent settles what was intended and will not be sent by this run.
func (s *step) dropUnsent() {
	f := &s.flow
	var units []unit
	for _, b := range slices.Concat(f.ready, f.waiting) {
		units = append(units, b.units...)
	}
	units = slices.Concat(units, f.open[0].units, f.open[1].units, f.late)
	f.ready, f.waiting, f.late, f.open = nil, nil, nil, [2]open{}
	for i := range units {
		s.leave(&units[i], nil)
	}
}

// leave gives u to a later run: in doubt when an attempt of this run may have
// been applied, deferred when none was. An abandoned run records neither: who
// resumes it delivers what has no outcome.
func (s *step) leave(u *unit, fault *tidegate.Fault) {
	if s.phase == Abandoning {
		s.flow.buffered--
		return
	}
	after := time.Duration(0)
	if s.stop != nil {
		after = s.stop.after
		if fault == nil {
			fault = s.stop.fault
		}
	}
	if fault == nil {
		fault = faultf(tidegate.Retry, "delivery.deferred", "", "the run ended before the record was sent")
	}
	if u.doubt {
		s.settleDoubt(u, fault)
		return
	}
	s.settle(u, destinations.Outcome{Disposition: destinations.Deferred, Fault: fault}, s.now.Add(after))
}

// settleDoubt records that nobody knows whether u was applied. A record whose
// repeat would do the thing twice waits for a person.
func (s *step) settleDoubt(u *unit, fault *tidegate.Fault) {
	var next time.Time
	if s.cfg.Safety != destinations.Unsafe {
		next = s.nextAttempt(u)
		if s.stop != nil {
			next = s.now.Add(s.stop.after)
		}
	}
	s.settle(u, destinations.Outcome{Disposition: destinations.InDoubt, Fault: fault}, next)
}

// settle records what became of u.
func (s *step) settle(u *unit, o destinations.Outcome, next time.Time) {
	if o.DestinationID == "" {
		o.DestinationID = u.DestinationID
	}
	c := &s.counts
	switch o.Disposition {
	case destinations.Delivered:
		c.Delivered++
		if _, awaited := s.flow.removed[u.Ordinal]; awaited {
			s.flow.removed[u.Ordinal] = true
		}
	case destinations.Rejected:
		c.Rejected++
	case destinations.InDoubt:
		c.InDoubt++
	case destinations.Deferred:
		c.Deferred++
	}
	if u.Op == tidegate.Removed && !next.IsZero() {
		// A removal that is not confirmed stands in every plan, so that a row that
		// takes its record over never overtakes it unseen.
		next = s.now
	}
	s.flow.buffered--
	s.results = append(s.results, ledger.Result{Ordinal: u.Ordinal, Outcome: o, NextAttempt: next})
}

func (s *step) exclude(u *unit) {
	s.counts.Excluded++
	s.flow.buffered--
	s.results = append(s.results, ledger.Result{Ordinal: u.Ordinal, Excluded: true})
}
