package runner

import (
	"maps"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// tickets bends the answers to questions for tickets.
func ticketAnswers(bend func(b *batch, e TicketAnswered) TicketAnswered) func(*State, Event) Event {
	return func(s *State, e Event) Event {
		if a, ok := e.(TicketAnswered); ok {
			if b := s.flow.tickets.asked[a.ID]; b != nil {
				return bend(b, a)
			}
		}
		return e
	}
}

func unknown(e TicketAnswered) bool {
	f := tidegate.FaultOf(e.Err)
	return f != nil && f.Action == tidegate.Reject
}

func ticketMutants() []mutant {
	return []mutant{
		{name: "a ticket is taken for a delivery", in: answers(func(b *batch, e BatchAnswered) BatchAnswered {
			if len(e.Outcomes) > 0 && e.Outcomes[0].Disposition == destinations.Pending {
				e.Outcomes = delivered(len(b.units))
			}
			return e
		})},
		{name: "an unknown ticket is a rejection", in: ticketAnswers(func(b *batch, e TicketAnswered) TicketAnswered {
			if unknown(e) {
				e = TicketAnswered{ID: e.ID, Done: true, Outcomes: slices.Repeat([]destinations.Outcome{{Disposition: destinations.Rejected, Fault: &tidegate.Fault{Action: tidegate.Reject}}}, len(b.units))}
			}
			return e
		})},
		{name: "an unknown ticket is a delivery", in: ticketAnswers(func(b *batch, e TicketAnswered) TicketAnswered {
			if unknown(e) {
				e = TicketAnswered{ID: e.ID, Done: true, Outcomes: delivered(len(b.units))}
			}
			return e
		})},
		{name: "a ticket that is not done is a delivery", in: ticketAnswers(func(b *batch, e TicketAnswered) TicketAnswered {
			if e.Err == nil && !e.Done && !e.Unsent {
				e.Done, e.Outcomes = true, delivered(len(b.units))
			}
			return e
		})},
		{name: "tickets are forgotten by a restart", in: func(_ *State, e Event) Event {
			if p, ok := e.(PlanStored); ok && len(p.Progress.Tickets) > 0 {
				intended := p.Progress.Intended
				settled := p.Progress.Settled
				p.Progress.Tickets, p.Progress.Intended = nil, 0
				p.Progress.Settled = func(o int64) bool { return o < intended && settled(o) }
				return p
			}
			return e
		}},
		{name: "a ticket is asked for with its records in another order", out: func(_ *State, effects []Effect) []Effect {
			for i, e := range effects {
				if poll, ok := e.(PollTicket); ok && len(poll.Batch.Items) > 1 {
					poll.Batch.Items = slices.Clone(poll.Batch.Items)
					slices.Reverse(poll.Batch.Items)
					effects[i] = poll
				}
			}
			return effects
		}},
	}
}

func policyMutants() []mutant {
	return []mutant{
		{name: "no canary", in: func(s *State, e Event) Event {
			s.cfg.Canary = 0
			return e
		}},
		{name: "the canary's failures do not count", in: func(s *State, e Event) Event {
			s.canary.failed, s.canary.refused = 0, 0
			return e
		}},
		{name: "a plan for review is not held", in: func(s *State, e Event) Event {
			s.cfg.Review = false
			return e
		}},
		{name: "records are given up at once", in: func(s *State, e Event) Event {
			s.cfg.RetryFor = 1
			return e
		}},
		{name: "members move without leaving", in: func(s *State, e Event) Event {
			if p, ok := e.(PlanSurveyed); ok {
				clashes := maps.Clone(p.Clashes)
				if clashes == nil {
					clashes = map[int64]Clash{}
				}
				for o := range s.changes() {
					if _, there := clashes[o]; !there && s.cfg.Mode == tidegate.Audience {
						clashes[o] = Clash{Stays: true}
					}
				}
				p.Clashes = clashes
				return p
			}
			return e
		}},
		{name: "the removal of a record that changes hands is settled alone", in: func(_ *State, e Event) Event {
			if p, ok := e.(PlanSurveyed); ok {
				clashes := map[int64]Clash{}
				for o, c := range p.Clashes {
					if c.mistake() || c.Stays {
						clashes[o] = c
					}
				}
				p.Clashes = clashes
				return p
			}
			return e
		}},
		{name: "a write that takes a record over leaves its removal behind", out: func(_ *State, effects []Effect) []Effect {
			for i, e := range effects {
				if r, ok := e.(StoreResults); ok {
					r.Results = slices.DeleteFunc(slices.Clone(r.Results), func(x ledger.Result) bool {
						return x.Fault != nil && x.Fault.Code == "identifier.in_use"
					})
					effects[i] = r
				}
			}
			return effects
		}},
	}
}
