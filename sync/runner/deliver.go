package runner

import (
	"cmp"
	"maps"
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
	s.ask()
	s.save()
	s.judgeCanary()
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

// moving is how many changes are on their way; those that wait for others to be
// read stand still.
func (s *step) moving() int { return s.flow.buffered - s.flow.parked - s.flow.tickets.gathered }

// read asks for the next window while there is room for it.
func (s *step) read() {
	if s.plan.busy || s.phase != Delivering || s.readAll() {
		return
	}
	if s.moving() >= s.tune.WindowRows || len(s.results) >= 4*s.tune.FlushRows {
		return
	}
	most := s.canary.room(s.tune.WindowRows, s.doubtful-s.plan.next)
	if most == 0 {
		return
	}
	s.plan.busy = true
	s.do(ReadWindow{From: s.plan.next, Max: most, Into: s.flow.free})
	s.flow.free = nil
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
	if s.stop != nil { // what was not intended is deferred by close
		w.Changes = slices.DeleteFunc(w.Changes, func(p ledger.Planned) bool { return p.Ordinal >= s.doubtful })
		if len(w.Changes) == 0 {
			s.plan.busy, s.plan.next = false, max(s.plan.next, s.doubtful)
			return
		}
	}
	first, last := w.Changes[0].Ordinal, w.Changes[len(w.Changes)-1].Ordinal
	s.plan.next, s.plan.pending = last+1, w.Changes
	switch {
	case last < s.doubtful:
		s.onIntent()
	default:
		s.do(StoreIntent{First: max(first, s.doubtful), Last: last})
	}
}

// onIntent sorts a window whose intent is durable: what needs no call is
// settled, the rest is put into batches.
func (s *step) onIntent() {
	changes := s.plan.pending
	s.plan.busy, s.plan.pending = false, nil
	if s.phase != Delivering {
		return
	}
	last := changes[len(changes)-1].Ordinal
	s.flow.windows = append(s.flow.windows, window{changes: changes, left: len(changes) + 1}) // one is this loop's
	for i := range changes {
		p := &changes[i]
		before := p.Ordinal < s.doubtful
		if before && s.recorded != nil && s.recorded(p.Ordinal) {
			s.flow.let(p.Ordinal)
			continue
		}
		s.flow.buffered++
		s.sort(unit{Planned: p, doubt: before})
	}
	s.flow.let(last)
}

func (s *step) sort(u unit) {
	clash, clashes := s.clashes[u.Ordinal]
	mistake := clashes && clash.mistake()
	u.leaving = moved(u.Planned, s.cfg.Mode, s.cfg.IdentifierField) && !clash.Stays
	switch {
	case s.ticketed(u.Ordinal, clash) && clash.Taken:
		s.give(u, clash)
	case s.ticketed(u.Ordinal, clash) && len(clash.Takes) > 0:
		s.take(u)
	case s.gather(u):
	case u.Fault != nil:
		s.settle(&u, destinations.Outcome{Disposition: destinations.Rejected, Fault: u.Fault}, time.Time{})
	case !s.lets(u.Planned):
		s.exclude(&u)
	case mistake && (u.Op == tidegate.Removed || u.leaving):
		// Whether the record is to go shows when the rows no longer clash.
		s.leave(&u, clash.fault(u.Key))
	case mistake:
		s.settle(&u, destinations.Outcome{Disposition: destinations.Rejected, Fault: clash.fault(u.Key)}, time.Time{})
	case s.stop != nil:
		s.leave(&u, nil)
	case clash.Taken:
		s.give(u, clash)
	case len(clash.Takes) > 0:
		s.take(u)
	default:
		s.dispatch(u)
	}
}

// lets says whether the mode lets p through: also the change by which a member
// of an audience gets another identifier, and the one of a member that somebody
// tried to remove meanwhile, who joins again.
func (s *State) lets(p *ledger.Planned) bool {
	return s.cfg.Mode.Lets(p.Op) || moved(p, s.cfg.Mode, s.cfg.IdentifierField) ||
		s.cfg.Mode == tidegate.Audience && p.Op == tidegate.Changed && p.Attempts > 0
}

// dispatch sends u off, unless it may have been sent before and a repeat does harm.
func (s *step) dispatch(u unit) {
	u.sent = true
	s.canary.count()
	if u.doubt && s.cfg.Safety == destinations.Unsafe {
		s.settleDoubt(&u, faultf(tidegate.Retry, "delivery.interrupted", "",
			"the run was interrupted while the record may have been on its way"))
		return
	}
	s.stage(u)
}

// taking is a write that takes over the records of removals, and how many of
// those were not read yet. All of them are intended before it is sent, and
// settled in one go with it: no resumed run and no later one removes the record
// after it has changed hands.
type taking struct {
	write *unit
	with  []unit
	from  int // removals
}

func (s *step) takingOf(write int64) *taking {
	t := s.flow.late[write]
	if t == nil {
		t = &taking{}
		for _, removal := range s.clashes[write].Takes {
			if removal >= s.doubtful || !s.recorded(removal) {
				t.from++
			}
		}
		s.flow.late[write] = t
	}
	s.flow.parked++
	return t
}

func (s *step) give(u unit, clash Clash) {
	if s.recorded != nil && clash.By < s.doubtful && s.recorded(clash.By) {
		// They are recorded together; what is left over belongs to another time.
		s.leave(&u, clash.fault(u.Key))
		return
	}
	t := s.takingOf(clash.By)
	t.with = append(t.with, u)
	s.hand(clash.By, t)
}

func (s *step) take(u unit) {
	t := s.takingOf(u.Ordinal)
	t.write = &u
	s.hand(u.Ordinal, t)
}

// hand sends the write once everything that it stands for is here.
func (s *step) hand(ordinal int64, t *taking) {
	if t.write == nil || len(t.with) < t.from {
		return
	}
	delete(s.flow.late, ordinal)
	s.flow.parked-- // the removals stand still until the write is settled
	u := *t.write
	u.with = t.with
	if !s.gather(u) {
		s.dispatch(u)
	}
}

// stage puts u into the open batch of its operation.
func (s *step) stage(u unit) {
	o := &s.flow.open[0]
	if u.Op == tidegate.Removed || u.leaving {
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
		o.units = s.flow.unitsFor(min(limit.Records, 1024))
	}
	o.units, o.size = append(o.units, u), o.size+u.size
	if len(o.units) >= limit.Records {
		s.flush(o)
	}
}

// unitsFor returns room for n units, used before where there is some.
func (f *flow) unitsFor(n int) []unit {
	if last := len(f.spare) - 1; last >= 0 && cap(f.spare[last]) >= n {
		units := f.spare[last]
		f.spare = f.spare[:last]
		return units
	}
	return make([]unit, 0, n)
}

// used takes the units of a batch back that all went on to somewhere else.
func (f *flow) used(units []unit) {
	clear(units)
	f.spare = append(f.spare, units[:0])
}

// flush makes a batch of what is open, in the order of the plan: so the records of
// a ticket are in the order of their ordinals wherever they are gathered again.
func (s *step) flush(o *open) {
	if len(o.units) > 0 {
		byOrdinal := func(a, b unit) int { return cmp.Compare(a.Ordinal, b.Ordinal) }
		if !slices.IsSortedFunc(o.units, byOrdinal) {
			slices.SortFunc(o.units, byOrdinal)
		}
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
		s.effects = append(s.effects, SendBatch{ID: f.lastID, Batch: s.batchOf(b), Befores: s.beforesOf(b)})
	}
}

// flushAll sends half-filled batches off when nothing else can fill them.
func (s *step) flushAll() {
	f := &s.flow
	if !s.readAll() && s.moving() > len(f.open[0].units)+len(f.open[1].units) {
		return
	}
	s.flush(&f.open[0])
	s.flush(&f.open[1])
}

// save hands outcomes to the ledger, one call at a time.
func (s *step) save() {
	if s.stop != nil && s.stop.blind {
		s.results = nil
	}
	if s.storing != nil || len(s.results) == 0 {
		return
	}
	idle := s.moving() == 0
	if !idle && len(s.results) < s.tune.FlushRows && s.now.Before(s.lastSave.Add(s.tune.FlushEvery)) {
		return
	}
	s.storing = s.results
	s.do(StoreResults{Results: s.results})
	s.results, s.spare = s.spare, nil
}

// dropUnsent settles what was intended and will not be sent by this run.
func (s *step) dropUnsent() {
	f := &s.flow
	var units []unit
	for _, b := range slices.Concat(f.ready, f.waiting) {
		units = append(units, b.units...)
	}
	units = slices.Concat(units, f.open[0].units, f.open[1].units, s.unasked())
	units = append(units, s.unpark()...)
	f.ready, f.waiting, f.open = nil, nil, [2]open{}
	for i := range units {
		s.leave(&units[i], nil)
	}
}

// unpark takes out what waits for other changes to be read.
func (s *step) unpark() []unit {
	f := &s.flow
	var units []unit
	for _, ordinal := range slices.Sorted(maps.Keys(f.late)) {
		if s.ticketed(ordinal, Clash{}) && !s.given() {
			continue // all that it waits for was intended, and is read again
		}
		t := f.late[ordinal]
		delete(f.late, ordinal)
		if t.write == nil {
			f.parked -= len(t.with)
			units = append(units, t.with...)
			continue
		}
		f.parked--
		u := *t.write
		u.with = t.with
		units = append(units, u)
	}
	return units
}

// leave gives u to a later run: in doubt when an attempt of this run may have
// been applied, deferred when none was. An abandoned run records neither: who
// resumes it delivers what has no outcome.
func (s *step) leave(u *unit, fault *tidegate.Fault) {
	if s.phase == Abandoning {
		s.flow.buffered -= 1 + len(u.with)
		s.flow.parked -= len(u.with)
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
// repeat would do the thing twice waits for a person, and so does one that was
// tried for long enough.
func (s *step) settleDoubt(u *unit, fault *tidegate.Fault) {
	var next time.Time
	if s.cfg.Safety != destinations.Unsafe && !s.expired(u) {
		next = s.nextAttempt(u)
		if s.stop != nil {
			next = s.now.Add(s.stop.after)
		}
	}
	s.settle(u, destinations.Outcome{Disposition: destinations.InDoubt, Fault: fault}, next)
}

// expired says whether u was tried for as long as the sync tries. A removal is
// never given up, nor is a write that takes its record over: they stand in every
// plan until they are confirmed.
func (s *step) expired(u *unit) bool {
	return s.cfg.RetryFor > 0 && u.Op != tidegate.Removed && len(u.with) == 0 && !u.FirstFailedAt.IsZero() && s.now.Sub(u.FirstFailedAt) >= s.cfg.RetryFor
}

// settle records what became of u, and with it of the removals whose record it took over.
func (s *step) settle(u *unit, o destinations.Outcome, next time.Time) {
	if u.left && o.Disposition == destinations.Rejected {
		// The old identifier is gone from the audience: what was confirmed is so no more.
		o.Disposition = destinations.InDoubt
	}
	if o.DestinationID == "" && !u.left {
		o.DestinationID = u.DestinationID
	}
	c := &s.counts
	switch o.Disposition {
	case destinations.Delivered:
		c.Delivered++
	case destinations.Rejected:
		c.Rejected++
	case destinations.InDoubt:
		c.InDoubt++
	case destinations.Deferred:
		c.Deferred++
	case destinations.Pending: // is no end
	}
	if (u.Op == tidegate.Removed || len(u.with) > 0) && !next.IsZero() {
		// A removal that is not confirmed stands in every plan, so that a row that
		// takes its record over never overtakes it unseen; and so does such a row.
		next = s.now
	}
	s.canary.settled(u, o, o.Disposition == destinations.Deferred || !next.IsZero())
	s.flow.settled(u.Ordinal)
	s.results = append(s.results, ledger.Result{Ordinal: u.Ordinal, Outcome: o, NextAttempt: next})
	s.flow.parked -= len(u.with)
	for i := range u.with {
		switch r := &u.with[i]; {
		case o.Disposition == destinations.Delivered:
			s.settle(r, destinations.Outcome{Disposition: destinations.Delivered}, time.Time{})
		case o.Disposition == destinations.InDoubt && next.IsZero(): // both wait for a person
			s.settle(r, destinations.Outcome{Disposition: destinations.InDoubt, Fault: s.clashes[r.Ordinal].fault(r.Key)}, time.Time{})
		default:
			s.leave(r, s.clashes[r.Ordinal].fault(r.Key))
		}
	}
}

func (s *step) exclude(u *unit) {
	s.counts.Excluded++
	s.flow.settled(u.Ordinal)
	s.results = append(s.results, ledger.Result{Ordinal: u.Ordinal, Excluded: true})
}
