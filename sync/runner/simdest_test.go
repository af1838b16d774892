package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// modelDestination remembers records by identifier.
type modelDestination struct {
	w        *world
	records  map[string]tidegate.Record
	version  map[string]int          // newest version applied per identifier
	applied  map[string]int          // key+version → times
	refused  map[tidegate.Key]bool   // keys that were ever rejected
	owner    map[string]tidegate.Key // identifier → key that wrote it
	poisoned func(tidegate.Key) bool
	jobs     map[destinations.Ticket]*job
}

// job is a write that was accepted and is decided later.
type job struct {
	batch    destinations.Batch
	outcomes []destinations.Outcome // once it is done
}

// accept takes a call as a job.
func (d *modelDestination) accept(r *simRunner, e SendBatch) Event {
	t := destinations.Ticket(fmt.Sprintf("job%d", len(d.jobs)))
	d.jobs[t] = &job{batch: e.Batch}
	if d.w.rng.IntN(2) == 0 {
		d.work(r, t)
	}
	d.w.fired["accepted"]++
	pending := destinations.Outcome{Disposition: destinations.Pending, Ticket: t}
	return BatchAnswered{ID: e.ID, Outcomes: slices.Repeat([]destinations.Outcome{pending}, len(e.Batch.Items))}
}

// work does a job once.
func (d *modelDestination) work(r *simRunner, t destinations.Ticket) {
	if j := d.jobs[t]; j != nil && j.outcomes == nil {
		j.outcomes = d.apply(r, j.batch, len(j.batch.Items))
	}
}

// poll answers for a ticket, with whatever befalls the question.
func (d *modelDestination) poll(r *simRunner, e PollTicket) Event {
	w := d.w
	j := d.jobs[e.Ticket]
	answer := func(err error) Event { return TicketAnswered{ID: e.ID, Err: err} }
	if !w.now.Before(r.lease.Expires) {
		return answer(context.Canceled)
	}
	if !slices.EqualFunc(j.batch.Items, e.Batch.Items, func(a, b destinations.Item) bool { return a.Key == b.Key && a.Op == b.Op }) {
		w.violation("ticket %s is asked for with other records than were written", e.Ticket)
	}
	switch {
	case w.fault("poll unsent", 20):
		return TicketAnswered{ID: e.ID, Unsent: true}
	case w.fault("poll throttled", 15):
		return answer(&tidegate.Fault{Action: tidegate.Throttle, Code: "rate", After: 2 * time.Second})
	case w.fault("poll failed", 8):
		return answer(errors.New("connection reset"))
	case w.fault("ticket unknown", 12):
		return answer(&tidegate.Fault{Action: tidegate.Reject, Code: "ticket.unknown"})
	case w.fault("poll halted", 60):
		return answer(&tidegate.Fault{Action: tidegate.Halt, Code: "auth.expired"})
	case w.fault("not done yet", 2):
		return TicketAnswered{ID: e.ID}
	}
	d.work(r, e.Ticket)
	outcomes := j.outcomes
	if w.fault("missing outcomes of a ticket", 12) {
		outcomes = outcomes[:w.rng.IntN(len(outcomes)+1)]
	}
	return TicketAnswered{ID: e.ID, Outcomes: outcomes, Done: true}
}

// call makes one call, with whatever befalls it.
func (d *modelDestination) call(r *simRunner, e SendBatch) Event {
	w, n := d.w, len(e.Batch.Items)
	if !w.now.Before(r.lease.Expires) { // the driver aborts calls when the lease runs out
		return BatchAnswered{ID: e.ID, Err: context.Canceled}
	}
	d.checkBatch(r, e.Batch)
	answer := func(err error) Event { return BatchAnswered{ID: e.ID, Err: err} }
	switch {
	case w.fault("unsent", 40):
		return BatchAnswered{ID: e.ID, Unsent: true}
	case w.fault("not read before", 60):
		return BatchAnswered{ID: e.ID, Unsent: true, Err: &tidegate.Fault{Action: tidegate.Retry, Code: "http.503"}}
	case w.fault("circuit open", 60):
		return BatchAnswered{ID: e.ID, Unsent: true, Err: &tidegate.Fault{Action: tidegate.Throttle, Code: "destination.circuit_open", After: 15 * time.Second}}
	case w.fault("throttle", 12):
		return answer(&tidegate.Fault{Action: tidegate.Throttle, Code: "rate", After: time.Duration(w.rng.IntN(40)) * time.Second})
	case w.fault("long throttle", 200):
		return answer(&tidegate.Fault{Action: tidegate.Throttle, Code: "rate", After: time.Hour})
	case w.fault("server error", 15):
		return answer(&tidegate.Fault{Action: tidegate.Retry, Code: "http.503"})
	case w.fault("unconnected", 30):
		return answer(fmt.Errorf("posting: %w", &net.OpError{Op: "dial", Err: errors.New("connection refused")}))
	case w.fault("timeout after apply", 15):
		d.apply(r, e.Batch, n)
		return answer(context.DeadlineExceeded)
	case w.fault("partly applied, then reset", 25):
		d.apply(r, e.Batch, w.rng.IntN(n+1))
		return answer(errors.New("connection reset"))
	case w.fault("halt", 80):
		return answer(&tidegate.Fault{Action: tidegate.Halt, Code: "auth.expired"})
	case w.fault("too many outcomes", 60):
		d.apply(r, e.Batch, n)
		return BatchAnswered{ID: e.ID, Outcomes: make([]destinations.Outcome, n+1)}
	}
	if d.anyPoisoned(e.Batch) && w.rng.IntN(2) == 0 {
		w.fired["whole batch rejected"]++
		if n == 1 {
			d.refused[e.Batch.Items[0].Key] = true
		}
		return answer(&tidegate.Fault{Action: tidegate.Reject, Code: "http.400"})
	}
	if w.async && (w.quiet || w.rng.IntN(4) > 0) {
		return d.accept(r, e)
	}
	outcomes := d.apply(r, e.Batch, n)
	if w.fault("missing outcomes", 20) {
		outcomes = outcomes[:w.rng.IntN(n+1)]
	}
	return BatchAnswered{ID: e.ID, Outcomes: outcomes}
}

func (d *modelDestination) anyPoisoned(b destinations.Batch) bool {
	return slices.ContainsFunc(b.Items, func(i destinations.Item) bool { return d.poisoned(i.Key) })
}

// checkBatch holds a call to the contract, and to the promise that its intent is durable.
func (d *modelDestination) checkBatch(r *simRunner, b destinations.Batch) {
	w, seen, size := d.w, map[tidegate.Key]bool{}, 0
	if w.runs.runs[r.runID].Trigger == tidegate.TriggerPlan && !w.approved[r.runID] {
		w.violation("%s was to be looked at first, and sends", r.runID)
	}
	plan := w.led.plans[r.runID]
	for _, item := range b.Items {
		if seen[item.Key] {
			w.violation("key %s is twice in one call", item.Key)
		}
		seen[item.Key] = true
		if (item.Op == tidegate.Removed) != (b.Items[0].Op == tidegate.Removed) {
			w.violation("a call mixes writes and removals")
		}
		if !w.def.Mode.Lets(item.Op) && (w.def.Mode != tidegate.Audience || item.Op == tidegate.Changed) {
			w.violation("mode %s sent %s", w.def.Mode, item.Op)
		}
		i := slices.IndexFunc(plan.changes, func(c ledger.Planned) bool { return c.Key == item.Key })
		if i < 0 || int64(i) >= plan.intended {
			w.violation("key %s left before its intent was durable", item.Key)
		}
		d.checkCanary(r, item.Key)
		size += itemSize(&unit{Planned: &plan.changes[max(i, 0)]})
	}
	if len(b.Items) > w.limit.Records || w.limit.Bytes > 0 && size > w.limit.Bytes && len(b.Items) > 1 {
		w.violation("a call of %d items, %d bytes passes the limit", len(b.Items), size)
	}
}

// apply takes the first n items.
func (d *modelDestination) apply(r *simRunner, b destinations.Batch, n int) []destinations.Outcome {
	outcomes := make([]destinations.Outcome, 0, n)
	for _, item := range b.Items[:n] {
		outcomes = append(outcomes, d.applyItem(r, item))
	}
	return outcomes
}

func (d *modelDestination) applyItem(r *simRunner, item destinations.Item) destinations.Outcome {
	w := d.w
	switch {
	case d.poisoned(item.Key):
		d.refused[item.Key] = true
		return destinations.Outcome{Disposition: destinations.Rejected, Fault: &tidegate.Fault{Action: tidegate.Reject, Code: "bad"}}
	case w.src.rows[item.Key].sick || w.fault("item deferred", 40):
		return destinations.Outcome{Disposition: destinations.Deferred, Fault: &tidegate.Fault{Action: tidegate.Retry, Code: "busy"}}
	case w.fault("item throttled", 60):
		return destinations.Outcome{Disposition: destinations.Deferred, Fault: &tidegate.Fault{Action: tidegate.Throttle, Code: "busy", After: time.Second}}
	}
	id := item.Identifier.(string)
	version, _ := strconv.Atoi(strings.TrimSuffix(item.IdempotencyKey, "-leave"))
	if w.def.Mode == tidegate.Append {
		id = string(item.Key) // events: each version once, and a newer one after the older
	}
	_, there := d.records[id]
	_, owned := w.src.rows[d.owner[id]]
	if version < d.version[id] && (there && owned || item.Op != tidegate.Removed) { // removing what is not there, or nobody's, does no harm
		w.violation("identifier %s got version %d after %d", id, version, d.version[id])
	}
	d.version[id] = max(d.version[id], version)
	once := string(item.Key) + "@" + item.IdempotencyKey
	if w.def.Mode == tidegate.Full { // every run sends every row
		once += "@" + r.runID
	}
	if d.applied[once]++; d.applied[once] > 1 && w.safe == destinations.Unsafe {
		w.violation("key %s was written twice in version %d although a repeat does harm", item.Key, version)
	}
	d.owner[id] = item.Key
	if item.Op == tidegate.Removed {
		delete(d.records, id)
		if !strings.HasSuffix(item.IdempotencyKey, "-leave") {
			d.countRemoval(r)
		}
	} else {
		d.records[id] = item.Record
	}
	if w.fault("outcome in doubt", 50) {
		return destinations.Outcome{Disposition: destinations.InDoubt}
	}
	return destinations.Outcome{Disposition: destinations.Delivered}
}

// countRemoval checks that a run removes no more than the guard allows.
func (d *modelDestination) countRemoval(r *simRunner) {
	w := d.w
	w.removed[r.runID]++
	sum := w.led.plans[r.runID].summary
	if !w.approved[r.runID] && sum.Reverts == "" && (sum.Removed > 2 && float64(sum.Removed) > 0.05*float64(sum.LedgerRows) || sum.Read == 0 && sum.LedgerRows > 0) {
		w.violation("%s removes %d of %d records and nobody approved it", r.runID, sum.Removed, sum.LedgerRows)
	}
}

// checkCanary checks that nothing beyond the canary leaves before all of it is
// confirmed, or somebody approved what it found.
func (d *modelDestination) checkCanary(r *simRunner, key tidegate.Key) {
	w, size := d.w, d.w.def.Delivery.CanaryRecords
	sent := w.sent[r.runID]
	if sent == nil {
		sent = map[tidegate.Key]bool{}
		w.sent[r.runID] = sent
	}
	if !sent[key] && size > 0 && len(sent) >= size && !w.passed[r.runID] {
		w.passed[r.runID] = true
		w.fired["canary passed"]++
		plan := w.led.plans[r.runID]
		for k := range sent {
			i := slices.IndexFunc(plan.changes, func(c ledger.Planned) bool { return c.Key == k })
			if got, done := plan.results[int64(i)]; !done || got.Disposition != destinations.Delivered {
				w.violation("%s goes on although key %s of its canary is %q", r.runID, k, got.Disposition)
			}
		}
	}
	sent[key] = true
}
