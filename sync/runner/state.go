package runner

import (
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// Phase is where a run stands; the package comment draws the phases.
type Phase uint8

// The phases.
const (
	Starting Phase = iota
	Planning
	Surveying
	Delivering
	Closing
	Dropping
	Ending
	Holding
	Abandoning
	Done
)

// State is one run as Step sees it. It is consumed by the Step that it is given
// to: go on with the one that is returned.
type State struct{ *core }

// core is what a State holds. It is passed on, not copied: a run takes as many
// steps as its destination takes calls.
type core struct {
	phase      Phase
	cfg        Config
	tune       Tuning
	run        tidegate.Run
	resumed    bool // it may have a stored plan, and changes may have left
	leaseUntil time.Time
	wake       time.Time // the last WakeAt, zero when none is out

	summary  ledger.Summary
	counts   tidegate.Counts
	doubtful int64            // ordinals below may have left before this run was resumed
	recorded func(int64) bool // whether their outcome is known
	clashes  map[int64]Clash

	stop *stop
	redo []redo // effects that failed and are worth another attempt
	out  int    // effects under way, batches not counted

	plan     reading
	flow     flow
	canary   canary
	results  []ledger.Result // not yet handed to the ledger
	storing  []ledger.Result // under way to the ledger
	spare    []ledger.Result // empty, to be filled again
	lastSave time.Time

	seed   uint64
	failed map[string]failing // per kind of effect, the failures in a row
}

// stop is why a run ends before its plan does.
type stop struct {
	state tidegate.RunState // RunRunning: to be resumed by someone
	fault *tidegate.Fault
	after time.Duration // when a later run may try the rest
	since time.Time
	lost  bool // the lease is gone: nothing may be stored any more
	blind bool // the ledger refuses: outcomes cannot be stored any more
}

type redo struct {
	effect Effect
	at     time.Time
}

type failing struct {
	since time.Time
	times int
}

// reading is how far the plan was read and intended.
type reading struct {
	next    int64 // the ordinal to be read next
	end     bool
	busy    bool             // a window is being read or intended
	pending []ledger.Planned // read, being intended
}

// unit is one change on its way. It points into the window that it was read with.
type unit struct {
	*ledger.Planned

	size  int
	doubt bool // an attempt may have been applied
	sent  bool // it was on its way to the destination in this run
	last  *tidegate.Fault
	// leaving: the record's old identifier leaves the audience before the new one joins it; left: it has.
	leaving, left bool
	// with are removals of the record that this write takes over: what becomes of it becomes of them.
	with []unit
}

type batch struct {
	units     []unit
	tries     int
	throttles int
	notBefore time.Time
	answered  int64 // flow.answered when the batch was made
	ticket    *ticket
}

// flow is what is between intended and settled.
type flow struct {
	open     [2]open // writes, removals
	ready    []*batch
	waiting  []*batch
	inflight map[int64]*batch
	late     map[int64]*taking // writes that take records over and wait until their removals are read, by ordinal
	parked   int               // units in late, and removals whose record is being taken over
	tickets  tickets
	buffered int              // units here, inflight included
	windows  []window         // not settled whole, in the order of the plan
	free     []ledger.Planned // a window that is
	spare    [][]unit         // of batches that were answered, empty, to be filled again

	lastID    int64
	window    float64 // calls at once that are worth trying
	shrunkAt  int64   // the last batch ID when window shrank
	answered  int64   // calls that the destination answered record by record
	down      int     // failed calls since the last answer
	throttles int     // throttled calls since the last answer
}

// window is what was read in one go. Its units point into changes until they are settled.
type window struct {
	changes []ledger.Planned
	left    int // units that are not settled
}

// settled takes note that nobody looks at the change any more.
func (f *flow) settled(ordinal int64) {
	f.buffered--
	f.let(ordinal)
}

func (f *flow) let(ordinal int64) {
	for i := range f.windows {
		w := &f.windows[i]
		if ordinal > w.changes[len(w.changes)-1].Ordinal {
			continue
		}
		if w.left--; w.left == 0 {
			f.free = w.changes[:0]
			f.windows = slices.Delete(f.windows, i, i+1)
		}
		return
	}
}

type open struct {
	units []unit
	size  int
}

// NewState returns the state of a run that has not begun.
func NewState(cfg Config) State {
	cfg.Limit = sane(cfg.Limit)
	return State{&core{
		cfg: cfg, tune: cfg.Tuning.withDefaults(cfg.Limit, cfg.Safety), run: cfg.Run, leaseUntil: cfg.LeaseUntil,
		seed: cfg.Seed, failed: map[string]failing{},
		flow: flow{
			inflight: map[int64]*batch{}, late: map[int64]*taking{}, window: float64(cfg.Limit.Concurrency),
			tickets: tickets{asked: map[int64]*batch{}, places: map[int64]place{}},
		},
	}}
}

// Phase tells where the run stands.
func (s *State) Phase() Phase { return s.phase }

// Run returns the run as it would be stored now.
func (s *State) Run() tidegate.Run {
	run := s.run
	if s.phase >= Delivering && s.phase <= Dropping {
		run.Counts = s.counts
	}
	return run
}

// step is one call of Step.
type step struct {
	*State
	now     time.Time
	effects []Effect
}

// Step takes one event and says what is to be done next.
func Step(s State, in Input) (State, []Effect) {
	st := step{State: &s, now: in.At}
	st.on(in.Event)
	st.advance()
	return s, st.effects
}

func (s *step) on(e Event) {
	switch e := e.(type) {
	case Begin:
		s.begin()
	case RunStored:
		s.done("run")
		s.onRunStored()
	case PlanStored:
		s.done("plan")
		s.onPlan(e.Progress)
	case PlanSurveyed:
		s.done("survey")
		s.clashes = e.Clashes
		s.openCanary()
		s.startDelivery()
	case WindowRead:
		s.done("read")
		s.onWindow(e)
	case IntentStored:
		s.done("intent")
		s.onIntent()
	case BatchAnswered:
		s.onAnswer(e)
	case TicketAnswered:
		s.onTicket(e)
	case ResultsStored:
		s.done("results")
		clear(s.storing)
		s.storing, s.spare, s.lastSave = nil, s.storing[:0], s.now
	case PlanDropped:
		s.done("drop")
		s.end()
	case EffectFailed:
		s.onFailure(e)
	case Tick:
		s.wake = time.Time{}
	case LeaseRenewed:
		s.leaseUntil = e.Until
	case LeaseGone:
		s.leaseLost("another runner took the lease over")
	case CancelAsked:
		s.halt(stop{state: tidegate.RunCanceled, fault: canceled()})
	case StopAsked:
		s.halt(stop{state: tidegate.RunRunning})
	}
}

// do asks for an effect that will be answered.
func (s *step) do(e Effect) {
	s.out++
	s.effects = append(s.effects, e)
}

func (s *step) done(kind string) {
	s.out--
	delete(s.failed, kind)
}

// begin stores the run under its new epoch, which fences whoever had it before.
func (s *step) begin() {
	from := s.run.State
	s.resumed = from != tidegate.RunQueued
	s.run.State = tidegate.RunRunning
	if s.run.StartedAt.IsZero() {
		s.run.StartedAt = s.now
	}
	s.do(StoreRun{Run: s.run, From: from})
}

func (s *step) onRunStored() {
	switch s.phase {
	case Starting:
		if !s.run.EndedAt.IsZero() {
			// An earlier runner stored the final counts and then stopped.
			s.counts = s.run.Counts
			s.phase = Dropping
			s.do(DropPlan{})
			return
		}
		s.phase = Planning
		if s.stop == nil || s.resumed {
			s.do(MakePlan{})
		}
	case Closing:
		s.phase = Dropping
		s.do(DropPlan{})
	case Ending, Holding:
		s.finish()
	case Planning, Surveying, Delivering, Dropping, Abandoning, Done:
	}
}

func (s *step) onPlan(p ledger.Progress) {
	s.summary, s.counts = p.Summary, p.Counts
	s.doubtful, s.recorded = p.Intended, p.Settled
	if s.unmodelled() {
		// The plan was not made from the model: what it holds is all that was read.
		s.summary.Read = s.summary.Unchanged + s.summary.Added + s.summary.Changed + s.summary.BadKeys
		s.summary.LastRead = -1
	}
	s.found()
	for s.plan.next < s.doubtful && s.recorded != nil && s.recorded(s.plan.next) {
		s.plan.next++
	}
	if s.phase != Planning { // abandoned meanwhile
		return
	}
	s.resumeTickets(p.Tickets)
	if fault := s.guard(p); fault != nil && s.stop == nil {
		s.hold(fault)
		return
	}
	if s.changes() == 0 || s.stop != nil && s.doubtful == 0 {
		s.startDelivery()
		return
	}
	s.phase = Surveying
	s.do(SurveyPlan{})
}

func (s *step) startDelivery() {
	if s.phase == Planning || s.phase == Surveying {
		s.phase, s.lastSave = Delivering, s.now
	}
}

// guard holds a plan that nobody approved, or that is not the one that was
// approved. Once a change may have left, the plan was let through already.
func (s *step) guard(p ledger.Progress) *tidegate.Fault {
	if p.Intended > 0 {
		return nil
	}
	was, is := s.run.Counts, s.summary
	if approved(s.run) && was.Read == is.Read && was.Added == is.Added && was.Changed == is.Changed && was.Removed == is.Removed {
		return nil
	}
	if s.changes() == 0 && s.unmodelled() {
		return nil
	}
	if fault := Guard(is, s.cfg.Guards, s.cfg.Mode); fault != nil || !s.cfg.Review || s.changes() == 0 {
		return fault
	}
	return reviewed()
}

// unmodelled says whether the plan was made from the ledger, not from the model.
func (s *State) unmodelled() bool {
	return s.run.Trigger == tidegate.TriggerRevert || s.run.Trigger == tidegate.TriggerRestore
}

// hold stores the run as waiting for a person, with all that is not settled as held.
func (s *step) hold(fault *tidegate.Fault) {
	s.phase = Holding
	s.run.State, s.run.Fault = tidegate.RunHeld, tidegate.StoredFault(fault)
	s.run.Counts = s.counts
	s.run.Counts.Held = s.changes() - s.settledChanges()
	s.do(StoreRun{Run: s.run, From: tidegate.RunRunning})
}

// found takes what planning found into the counts.
func (s *step) found() {
	sum, c := s.summary, &s.counts
	c.Read, c.Unchanged, c.BadKeys = sum.Read, sum.Unchanged, sum.BadKeys
	c.Added, c.Changed, c.Removed = sum.Added, sum.Changed, sum.Removed
}

func (s *State) changes() int64 { return s.summary.Added + s.summary.Changed + s.summary.Removed }

// settledChanges counts the changes whose outcome is known.
func (s *State) settledChanges() int64 {
	c := s.counts
	return c.Delivered + c.Rejected + c.InDoubt + c.Deferred + c.Excluded
}

func canceled() *tidegate.Fault {
	return &tidegate.Fault{Code: canceledCode, Message: "the run was canceled", Hint: "start the sync again; the next run sends what was left"}
}

const canceledCode = "run.canceled"

// batchOf returns the batch's call as the destination sees it.
func (s *State) batchOf(b *batch) destinations.Batch {
	items := make([]destinations.Item, len(b.units))
	for i := range b.units {
		s.putItem(&items[i], &b.units[i])
	}
	call := destinations.Batch{Object: s.cfg.Object, Mode: s.cfg.Mode, IdentifierField: s.cfg.IdentifierField, Items: items}
	if items[0].Op == tidegate.Removed && s.cfg.Mode == tidegate.Mirror {
		call.Removal = s.cfg.Removal
	}
	return call
}

func (s *State) putItem(item *destinations.Item, u *unit) {
	item.Op, item.Key, item.Identifier, item.DestinationID = u.Op, u.Key, u.Identifier, u.DestinationID
	item.Record, item.IdempotencyKey = u.After, u.IdempotencyKey
	item.PreviousIdentifier = s.previousIdentifier(u)
	switch {
	case u.leaving:
		item.Op, item.Identifier, item.Record = tidegate.Removed, u.Before[s.cfg.IdentifierField], u.Before
		item.IdempotencyKey += "-leave"
	case u.Op == tidegate.Removed:
		item.Record = u.Before
	case s.cfg.Mode == tidegate.Audience: // a member that moved joins as another
		item.Op = tidegate.Added
		if u.Op == tidegate.Changed {
			item.DestinationID = ""
		}
	case u.Op == tidegate.Changed && len(s.cfg.OnCreate) > 0:
		item.Record = maps.Clone(u.After)
		for field := range s.cfg.OnCreate {
			delete(item.Record, field)
		}
	}
}

// previousIdentifier is by what the record of u was confirmed; nil when that stays, or is not
// remembered. A destination without ids of its own has nothing else by which it could find
// the record. An audience is told by two calls.
func (s *State) previousIdentifier(u *unit) any {
	if u.Op != tidegate.Changed || s.cfg.Mode == tidegate.Audience || s.cfg.Mode == tidegate.Append {
		return nil
	}
	before := u.Before[s.cfg.IdentifierField]
	if before == nil || u.Identifier == nil || identifierText(before) == identifierText(u.Identifier) {
		return nil
	}
	return before
}

// beforesOf are the confirmed records of a batch, where they are needed.
func (s *State) beforesOf(b *batch) []tidegate.Record {
	if !s.cfg.Befores {
		return nil
	}
	befores := make([]tidegate.Record, len(b.units))
	for i := range b.units {
		befores[i] = b.units[i].Before
	}
	return befores
}
