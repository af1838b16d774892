package runner

import (
	"math"
	"slices"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// mutant is a planted bug: a wrapper that bends what goes into or comes out of
// Step the way a wrong runner would behave. Each must be caught by the
// simulator's checks; a checker that cannot fail proves nothing.
type mutant struct {
	name string
	// in bends an event, out the effects; nil leaves them as they are.
	in  func(s *State, e Event) Event
	out func(s *State, effects []Effect) []Effect
}

func (m mutant) step(s State, in Input) (State, []Effect) {
	if m.in != nil {
		in.Event = m.in(&s, in.Event)
	}
	s, effects := Step(s, in)
	if m.out != nil {
		effects = m.out(&s, effects)
	}
	return s, effects
}

func delivered(n int) []destinations.Outcome {
	out := make([]destinations.Outcome, n)
	for i := range out {
		out[i].Disposition = destinations.Delivered
	}
	return out
}

// answers bends the answers to calls.
func answers(bend func(b *batch, e BatchAnswered) BatchAnswered) func(*State, Event) Event {
	return func(s *State, e Event) Event {
		if a, ok := e.(BatchAnswered); ok {
			if b := s.flow.inflight[a.ID]; b != nil {
				return bend(b, a)
			}
		}
		return e
	}
}

func retried(err error) bool {
	f := tidegate.FaultOf(err)
	return f != nil && f.Action == tidegate.Retry
}

func mutants() []mutant {
	return slices.Concat(answerMutants(), storeMutants(), planMutants(), ticketMutants(), policyMutants())
}

func answerMutants() []mutant {
	return []mutant{
		{name: "partial as success", in: answers(func(b *batch, e BatchAnswered) BatchAnswered {
			if e.Err == nil && slices.ContainsFunc(e.Outcomes, func(o destinations.Outcome) bool { return o.Disposition == destinations.Delivered }) {
				e.Outcomes = delivered(len(b.units))
			}
			return e
		})},
		{name: "missing outcomes as success", in: answers(func(b *batch, e BatchAnswered) BatchAnswered {
			if e.Err == nil && len(e.Outcomes) < len(b.units) {
				e.Outcomes = append(e.Outcomes, delivered(len(b.units)-len(e.Outcomes))...)
			}
			return e
		})},
		{name: "timeout as success", in: answers(func(b *batch, e BatchAnswered) BatchAnswered {
			if retried(e.Err) {
				return BatchAnswered{ID: e.ID, Outcomes: delivered(len(b.units))}
			}
			return e
		})},
		{name: "drop on timeout", in: answers(func(b *batch, e BatchAnswered) BatchAnswered {
			if retried(e.Err) {
				return BatchAnswered{ID: e.ID, Err: &tidegate.Fault{Action: tidegate.Reject, Code: "timeout"}}
			}
			return e
		})},
		{name: "batch error as reject", in: answers(func(b *batch, e BatchAnswered) BatchAnswered {
			if f := tidegate.FaultOf(e.Err); f != nil && f.Action == tidegate.Reject {
				rejected := make([]destinations.Outcome, len(b.units))
				for i := range rejected {
					rejected[i] = destinations.Outcome{Disposition: destinations.Rejected, Fault: f}
				}
				return BatchAnswered{ID: e.ID, Outcomes: rejected}
			}
			return e
		})},
		{name: "429 as reject", in: answers(func(_ *batch, e BatchAnswered) BatchAnswered {
			if f := tidegate.FaultOf(e.Err); f != nil && f.Action == tidegate.Throttle {
				e.Err = &tidegate.Fault{Action: tidegate.Reject, Code: "rate"}
			}
			return e
		})},
		{name: "timeout as unsent", in: answers(func(_ *batch, e BatchAnswered) BatchAnswered {
			if retried(e.Err) {
				return BatchAnswered{ID: e.ID, Unsent: true}
			}
			return e
		})},
		{name: "outcomes shifted by one", in: answers(func(_ *batch, e BatchAnswered) BatchAnswered {
			if n := len(e.Outcomes); n > 1 {
				e.Outcomes = append(slices.Clone(e.Outcomes[1:]), e.Outcomes[0])
			}
			return e
		})},
		{name: "surplus outcomes are trusted", in: answers(func(b *batch, e BatchAnswered) BatchAnswered {
			if len(e.Outcomes) > len(b.units) {
				e.Outcomes = delivered(len(b.units) - 1)
				b.units = b.units[:len(b.units)-1]
			}
			return e
		})},
	}
}

func storeMutants() []mutant {
	return []mutant{
		{name: "no intent", out: func(s *State, effects []Effect) []Effect {
			// The intent is taken as stored before it is.
			kept, extra := []Effect(nil), []Effect(nil)
			for _, e := range effects {
				if _, ok := e.(StoreIntent); ok {
					next, more := Step(*s, Input{At: s.leaseUntil.Add(-simTTL / 2), Event: IntentStored{}})
					*s, extra = next, append(extra, more...)
					continue
				}
				kept = append(kept, e)
			}
			return append(kept, extra...)
		}},
		{name: "commit before push", out: func(s *State, effects []Effect) []Effect {
			for _, e := range effects {
				if send, ok := e.(SendBatch); ok {
					b := s.flow.inflight[send.ID]
					early := StoreResults{}
					for i := range b.units {
						early.Results = append(early.Results, ledger.Result{Ordinal: b.units[i].Ordinal, Outcome: delivered(1)[0]})
					}
					s.out++
					return append([]Effect{early}, effects...)
				}
			}
			return effects
		}},
		{name: "the first of several results is lost", out: func(_ *State, effects []Effect) []Effect {
			for i, e := range effects {
				if r, ok := e.(StoreResults); ok && len(r.Results) > 1 {
					effects[i] = StoreResults{Results: r.Results[1:]}
				}
			}
			return effects
		}},
		{name: "no result is ever stored", out: func(_ *State, effects []Effect) []Effect {
			for i, e := range effects {
				if _, ok := e.(StoreResults); ok {
					effects[i] = StoreResults{}
				}
			}
			return effects
		}},
		{name: "a failed record is taken as stored", in: func(_ *State, e Event) Event {
			if f, ok := e.(EffectFailed); ok && kindOf(f.Effect) == "results" {
				return ResultsStored{}
			}
			return e
		}},
		{name: "the end is stored before the plan is folded", out: func(s *State, effects []Effect) []Effect {
			for i, e := range effects {
				if _, ok := e.(DropPlan); ok {
					next := step{State: s}
					next.done("drop")
					next.end()
					effects[i] = next.effects[0]
				}
			}
			return effects
		}},
		{name: "canceled means done", in: func(s *State, e Event) Event {
			if _, ok := e.(CancelAsked); !ok || s.phase != Delivering {
				return e
			}
			for _, b := range slices.Concat(s.flow.ready, s.flow.waiting) {
				for i := range b.units {
					s.results = append(s.results, ledger.Result{Ordinal: b.units[i].Ordinal, Outcome: delivered(1)[0]})
					s.counts.Delivered++
					s.flow.buffered--
				}
			}
			s.flow.ready, s.flow.waiting = nil, nil
			return e
		}},
		{name: "the lease is not watched", in: func(s *State, e Event) Event {
			s.leaseUntil = s.leaseUntil.AddDate(1, 0, 0)
			switch e := e.(type) {
			case LeaseGone:
				return Tick{}
			case EffectFailed:
				if kindOf(e.Effect) == "intent" && tidegate.FaultOf(e.Err).Code == "lease.lost" {
					return IntentStored{}
				}
			}
			return e
		}},
	}
}

func planMutants() []mutant {
	return []mutant{
		{name: "no guard", in: func(s *State, e Event) Event {
			s.cfg.Guards = tidegate.Guards{MaxRemovedRows: math.MaxInt64, AllowEmpty: true}
			return e
		}},
		{name: "query error as empty result", in: func(s *State, e Event) Event {
			if f, ok := e.(EffectFailed); ok && kindOf(f.Effect) == "plan" && s.stop == nil {
				return PlanStored{Progress: ledger.Progress{Settled: func(int64) bool { return false }}}
			}
			return e
		}},
		{name: "resume forgets doubts", in: func(_ *State, e Event) Event {
			if p, ok := e.(PlanStored); ok {
				p.Progress.Settled = func(int64) bool { return true }
				return p
			}
			return e
		}},
		{name: "what must not be repeated is repeated", in: func(s *State, e Event) Event {
			s.cfg.Safety = destinations.Idempotent
			return e
		}},
		{name: "the mode is not asked", in: func(s *State, e Event) Event {
			s.cfg.Mode = tidegate.Mirror
			return e
		}},
		{name: "removals and writes in one call", out: func(_ *State, effects []Effect) []Effect {
			first := -1
			for i, e := range effects {
				send, ok := e.(SendBatch)
				if ok && first >= 0 {
					merged := effects[first].(SendBatch)
					merged.Batch.Items = slices.Concat(merged.Batch.Items, send.Batch.Items)
					effects[first] = merged
				} else if ok {
					first = i
				}
			}
			return effects
		}},
		{name: "clashes are not looked for", in: func(_ *State, e Event) Event {
			if _, ok := e.(PlanSurveyed); ok {
				return PlanSurveyed{}
			}
			return e
		}},
		{name: "the plan ends early", in: func(_ *State, e Event) Event {
			if w, ok := e.(WindowRead); ok && len(w.Changes) > 0 {
				w.End = true
				return w
			}
			return e
		}},
		{name: "a change is read twice", in: func(_ *State, e Event) Event {
			if w, ok := e.(WindowRead); ok && len(w.Changes) > 0 {
				w.Changes = append(slices.Clone(w.Changes), w.Changes[0])
				return w
			}
			return e
		}},
	}
}

// TestMutants plants one bug after the other and demands that the simulator sees it.
func TestMutants(t *testing.T) {
	t.Parallel()
	const most = 8_000
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(most) {
				if wrong := scheduleSafely(seed, m.step); len(wrong) > 0 {
					t.Logf("caught by seed %d: %s", seed, wrong[0])
					return
				}
			}
			t.Errorf("no schedule of %d catches it", most)
		})
	}
}

// scheduleSafely takes a crash of the bent runner as caught.
func scheduleSafely(seed uint64, step stepper) (wrong []string) {
	defer func() {
		if r := recover(); r != nil {
			wrong = []string{"panic"}
		}
	}()
	return schedule(seed, step).wrong
}
