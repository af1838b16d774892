package runner

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// A write that the destination accepts and decides later goes this way:
//
//	Pending ──▶ recorded with its ticket ──▶ waiting ──PollTicket──▶ asked ──▶ outcomes, as of any answer
//	                      │                     ▲                      │
//	          the process restarts              └── not done yet ──────┤
//	                      ▼                                            │
//	          gathered from the plan ──▶ waiting       unknown ticket ─┴──▶ in doubt, sent again
//
// A ticket that is still open when the run is to end is asked for a little
// longer; then its records are in doubt.

// ticket is what a batch waits for.
type ticket struct {
	name  destinations.Ticket
	since time.Time // when the destination accepted the write
	polls int
	fails int
	leave bool // the write took members out of an audience
}

// stored is what the ledger remembers of a ticket, beside its name: how many
// records wait for it, and whether they leave an audience (a member that moves
// has one ticket for leaving and one for joining). When fewer records wait for a
// ticket than did, it was answered once and those left over were sent again.
func (t *ticket) stored(records int) destinations.Ticket {
	kind := 'w'
	if t.leave {
		kind = 'l'
	}
	return destinations.Ticket(fmt.Sprintf("%d%c:%s", records, kind, t.name))
}

// restored reads what stored wrote; ok is false when it is no ticket of records many.
func restored(text destinations.Ticket, records int) (t ticket, ok bool) {
	head, name, found := strings.Cut(string(text), ":")
	n, err := strconv.Atoi(strings.TrimRight(head, "wl"))
	return ticket{name: destinations.Ticket(name), leave: strings.HasSuffix(head, "l")}, found && err == nil && n == records
}

// tickets are the batches that wait for one.
type tickets struct {
	waiting []*batch
	asked   map[int64]*batch
	// places says where the changes of tickets of an earlier process belong, until
	// they are read again; gathered of them are.
	places   map[int64]place
	gathered int
}

// place is where a change stands in the write that it was part of.
type place struct {
	b  *batch
	at int
}

// resumeTickets makes room for the writes that an earlier process left to the destination.
func (s *step) resumeTickets(open []ledger.OpenTicket) {
	for _, o := range open {
		ordinals := slices.DeleteFunc(slices.Clone(o.Ordinals), func(n int64) bool { return n >= s.doubtful || s.recorded(n) })
		t, ok := restored(o.Ticket, len(ordinals))
		if !ok {
			continue // in doubt
		}
		t.since = o.At
		b := &batch{units: make([]unit, len(ordinals)), ticket: &t}
		for i, ordinal := range ordinals {
			s.flow.tickets.places[ordinal] = place{b, i}
		}
	}
}

// ticketed says whether a change, or the write that takes its record over, waits
// for a ticket of an earlier process.
func (s *step) ticketed(ordinal int64, clash Clash) bool {
	if clash.Taken {
		ordinal = clash.By
	}
	_, found := s.flow.tickets.places[ordinal]
	return found
}

// given says that this run settles nothing any more.
func (s *step) given() bool { return s.phase == Abandoning || s.stop != nil && s.stop.blind }

// gather puts u into the write that it was part of, and says whether there is one.
func (s *step) gather(u unit) bool {
	ts := &s.flow.tickets
	p, found := ts.places[u.Ordinal]
	if !found {
		return false
	}
	delete(ts.places, u.Ordinal)
	u.sent, u.doubt = true, true
	if u.leaving {
		u.leaving, u.left = p.b.ticket.leave, !p.b.ticket.leave
	}
	s.canary.count()
	p.b.units[p.at] = u
	ts.gathered++
	if slices.ContainsFunc(p.b.units, func(u unit) bool { return u.Planned == nil }) {
		return true
	}
	ts.gathered -= len(p.b.units)
	s.await(p.b, 0)
	return true
}

// awaits notes that u's outcome is asked for by its ticket.
func (s *step) awaits(b *batch, u unit, name destinations.Ticket) {
	if b.ticket == nil {
		b.ticket = &ticket{name: name, since: s.now, leave: u.leaving}
	}
	u.doubt = true
	b.units = append(b.units, u)
}

// accepted makes the ticket of b durable with the next results.
func (s *step) accepted(b *batch) {
	name := b.ticket.stored(len(b.units))
	for i := range b.units {
		s.results = append(s.results, ledger.Result{Ordinal: b.units[i].Ordinal, Outcome: destinations.Outcome{Disposition: destinations.Pending, Ticket: name}})
	}
	s.await(b, s.tune.Poll.Base)
}

func (s *step) await(b *batch, d time.Duration) {
	b.notBefore = s.now.Add(d)
	s.flow.tickets.waiting = append(s.flow.tickets.waiting, b)
}

// due is when something is to be done about a batch that waits for its ticket.
func (s *step) due(b *batch) time.Time {
	if end := s.patienceWith(b); end.Before(b.notBefore) {
		return end
	}
	return b.notBefore
}

// patienceWith is until when b's ticket is asked for.
func (s *step) patienceWith(b *batch) time.Time {
	end := b.ticket.since.Add(s.tune.TicketFor)
	if s.stop != nil {
		if grace := s.stop.since.Add(s.tune.TicketGrace); grace.Before(end) {
			end = grace
		}
	}
	return end
}

// ask asks for the tickets whose time has come.
func (s *step) ask() {
	ts := &s.flow.tickets
	if s.phase != Delivering || len(ts.waiting) == 0 {
		return
	}
	if !s.now.Before(s.leaseUntil) {
		s.leaseLost("the lease ran out before it was renewed")
		return
	}
	kept := ts.waiting[:0]
	var given []*batch
	for _, b := range ts.waiting {
		switch {
		case !s.now.Before(s.patienceWith(b)):
			given = append(given, b)
		case s.now.Before(b.notBefore) || len(ts.asked) >= s.cfg.Limit.Concurrency:
			kept = append(kept, b)
		default:
			s.flow.lastID++
			ts.asked[s.flow.lastID] = b
			s.effects = append(s.effects, PollTicket{ID: s.flow.lastID, Ticket: b.ticket.name, Batch: s.batchOf(b)})
		}
	}
	ts.waiting = kept
	for _, b := range given {
		fault := faultf(tidegate.Retry, "ticket.open", "", "the destination accepted the record and had not said what became of it after %v", s.now.Sub(b.ticket.since).Round(time.Second))
		for i := range b.units {
			s.settleDoubt(&b.units[i], fault)
		}
	}
}

// onTicket takes what a ticket came to.
func (s *step) onTicket(e TicketAnswered) {
	ts := &s.flow.tickets
	b := ts.asked[e.ID]
	if b == nil {
		return
	}
	delete(ts.asked, e.ID)
	fault := tidegate.FaultOf(e.Err)
	switch {
	case e.Unsent && fault == nil:
		s.await(b, s.tune.Poll.Base)
	case fault == nil && e.Done:
		s.onOutcomes(b, BatchAnswered{ID: e.ID, Outcomes: e.Outcomes})
	case fault == nil:
		b.ticket.polls++
		b.ticket.fails = 0
		s.alive()
		s.await(b, s.tune.Poll.Interval(b.ticket.polls))
	case fault.Action == tidegate.Reject: // the destination knows nothing of it
		s.onOutcomes(b, BatchAnswered{ID: e.ID, Outcomes: lost(len(b.units), fault)})
	case fault.Action == tidegate.Halt:
		s.stopFor(fault)
		s.leaveAll(b.units, fault)
	default:
		b.ticket.fails++
		s.await(b, max(fault.After, s.tune.Poll.Interval(b.ticket.fails)))
	}
}

// lost are the outcomes of a write whose ticket is unknown: everything is in doubt.
func lost(n int, fault *tidegate.Fault) []destinations.Outcome {
	doubt := *fault
	doubt.Action = tidegate.Retry
	return slices.Repeat([]destinations.Outcome{{Disposition: destinations.InDoubt, Fault: &doubt}}, n)
}

// unasked are the changes of tickets that nobody waits for any longer: the
// process goes down, and who resumes the run asks again.
func (s *step) unasked() []unit {
	ts := &s.flow.tickets
	if !s.given() {
		return nil
	}
	var units []unit
	for _, b := range ts.waiting {
		units = append(units, b.units...)
	}
	seen := map[*batch]bool{}
	for _, p := range ts.places { // writes of which only a part was read again
		if !seen[p.b] {
			seen[p.b] = true
			units = append(units, slices.DeleteFunc(p.b.units, func(u unit) bool { return u.Planned == nil })...)
		}
	}
	clear(ts.places)
	ts.waiting, ts.gathered = nil, 0
	return units
}
