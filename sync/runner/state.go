package runner

import (
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
type State struct {
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
	results  []ledger.Result // not yet handed to the ledger
	storing  bool
	lastSave time.Time

	seed   uint64
	failed map[string]failing // per kind of effect, the failures in a row
}

// stop is why a run ends before its plan does.
type stop struct {
	state tidegate.RunState // RunRunning: to be resumed by someone
	fault *tidegate.Fault
	after time.Duration // when a later run may try the rest
	lost  bool          // the lease is gone: nothing may be stored any more
	blind bool          // the ledger refuses: outcomes cannot be stored any more
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
	last  *tidegate.Fault
}

type batch struct {
	units     []unit
	tries     int
	throttles int
	notBefore time.Time
	answered  int64 // flow.answered when the batch was made
}

// flow is what is between intended and settled.
type flow struct {
	open     [2]open // writes, removals
	ready    []*batch
	waiting  []*batch
	inflight map[int64]*batch
	late     []unit         // wait for the removal of the same identifier
	removed  map[int64]bool // removals that late units wait for: delivered?
	buffered int            // units here, inflight included

	lastID    int64
	window    float64 // calls at once that are worth trying
	shrunkAt  int64   // the last batch ID when window shrank
	answered  int64   // calls that the destination answered record by record
	down      int     // failed calls since the last answer
	throttles int     // throttled calls since the last answer
}

type open struct {
	units []unit
	size  int
}

// NewState returns the state of a run that has not begun.
func NewState(cfg Config) State {
	cfg.Limit = sane(cfg.Limit)
	return State{
		cfg: cfg, tune: cfg.Tuning.withDefaults(cfg.Limit, cfg.Safety), run: cfg.Run, leaseUntil: cfg.LeaseUntil,
		seed: cfg.Seed, failed: map[string]failing{},
		flow: flow{
			inflight: map[int64]*batch{}, removed: map[int64]bool{},
			window: float64(cfg.Limit.Concurrency),
		},
	}
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
		s.awaitRemovals()
		s.startDelivery()
	case WindowRead:
		s.done("read")
		s.onWindow(e)
	case IntentStored:
		s.done("intent")
		s.onIntent()
	case BatchAnswered:
		s.onAnswer(e)
	case ResultsStored:
		s.done("results")
		s.storing, s.lastSave = false, s.now
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
	s.found()
	for s.plan.next < s.doubtful && s.recorded != nil && s.recorded(s.plan.next) {
		s.plan.next++
	}
	if s.phase != Planning { // abandoned meanwhile
		return
	}
	if fault := s.guard(p); fault != nil && s.stop == nil {
		s.phase = Holding
		s.run.State, s.run.Fault = tidegate.RunHeld, tidegate.StoredFault(fault)
		s.run.Counts = s.counts
		s.run.Counts.Held = s.changes()
		s.do(StoreRun{Run: s.run, From: tidegate.RunRunning})
		return
	}
	if s.changes() == 0 || s.stop != nil {
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
	was, is := s.run.Counts, p.Summary
	if approved(s.run) && was.Read == is.Read && was.Added == is.Added && was.Changed == is.Changed && was.Removed == is.Removed {
		return nil
	}
	return Guard(p.Summary, s.cfg.Guards, s.cfg.Mode)
}

// found takes what planning found into the counts.
func (s *step) found() {
	sum, c := s.summary, &s.counts
	c.Read, c.Unchanged, c.BadKeys = sum.Read, sum.Unchanged, sum.BadKeys
	c.Added, c.Changed, c.Removed = sum.Added, sum.Changed, sum.Removed
}

func (s *State) changes() int64 { return s.summary.Added + s.summary.Changed + s.summary.Removed }

func canceled() *tidegate.Fault {
	return &tidegate.Fault{Code: canceledCode, Message: "the run was canceled", Hint: "start the sync again; the next run sends what was left"}
}

const canceledCode = "run.canceled"

// batchOf returns the batch's call as the destination sees it.
func (s *State) batchOf(b *batch) destinations.Batch {
	items := make([]destinations.Item, len(b.units))
	for i := range b.units {
		u := &b.units[i]
		items[i] = destinations.Item{
			Op: u.Op, Key: u.Key, Identifier: u.Identifier, DestinationID: u.DestinationID,
			Record: u.After, IdempotencyKey: u.IdempotencyKey,
		}
		if u.Op == tidegate.Removed {
			items[i].Record = u.Before
		}
	}
	return destinations.Batch{Object: s.cfg.Object, Mode: s.cfg.Mode, IdentifierField: s.cfg.IdentifierField, Items: items}
}
