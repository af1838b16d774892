package runner

import (
	"context"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// accept keeps the ticket of a write that is decided later; a newer one replaces it.
func (p *storedPlan) accept(r ledger.Result, at time.Time) {
	p.tickets[r.Ordinal] = ledger.OpenTicket{Ticket: r.Ticket, At: at}
	if !slices.Contains(p.order, r.Ticket) {
		p.order = append(p.order, r.Ticket)
	}
}

// open lists the tickets that have records without an outcome.
func (p *storedPlan) open() []ledger.OpenTicket {
	var list []ledger.OpenTicket
	for _, name := range p.order {
		t := ledger.OpenTicket{Ticket: name}
		for _, ordinal := range slices.Sorted(maps.Keys(p.tickets)) {
			if p.tickets[ordinal].Ticket == name {
				t.Ordinals, t.At = append(t.Ordinals, ordinal), p.tickets[ordinal].At
			}
		}
		if len(t.Ordinals) > 0 {
			list = append(list, t)
		}
	}
	return list
}

func (l *modelLedger) PlanRevert(_ context.Context, req ledger.RevertRequest) (ledger.Summary, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fence(req.Epoch); err != nil {
		return ledger.Summary{}, err
	}
	of := l.plans[req.Of]
	if of == nil {
		return ledger.Summary{}, &tidegate.Fault{Action: tidegate.Halt, Code: "plan.missing"}
	}
	l.adopt()
	p := newPlan()
	p.reverts = req.Of
	p.summary = ledger.Summary{RunID: req.RunID, Reverts: req.Of, PlannedAt: l.now()}
	for o := range int64(len(of.changes)) {
		c := of.changes[o]
		if of.results[o].Disposition != destinations.Delivered || c.Before == nil && c.After == nil {
			continue
		}
		h := l.keys[c.Key]
		var now tidegate.Record
		if h != nil {
			now = h.acked
		}
		if !reflect.DeepEqual(now, c.After) || h != nil && h.open != "" {
			p.summary.Skipped++
			continue
		}
		l.src.version++
		back := ledger.Planned{Change: tidegate.Change{Key: c.Key, Before: c.After, After: c.Before}, IdempotencyKey: strconv.Itoa(l.src.version)}
		identified := c.Before
		switch {
		case c.Before == nil:
			back.Op, identified = tidegate.Removed, c.After
			p.summary.Removed++
		case c.After == nil:
			back.Op = tidegate.Added
			p.summary.Added++
		default:
			back.Op = tidegate.Changed
			p.summary.Changed++
		}
		back.Identifier = identified["id"]
		p.add(back)
	}
	p.summary.Read = p.summary.Added + p.summary.Changed
	for _, h := range l.keys {
		if h.acked != nil {
			p.summary.LedgerRows++
		}
	}
	l.plans[req.RunID] = p
	return p.summary, nil
}

func (l *modelLedger) PlanDrift(ctx context.Context, req ledger.DriftRequest) (ledger.Summary, error) {
	p := newPlan()
	p.summary = ledger.Summary{RunID: req.RunID}
	for {
		d, err := req.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return ledger.Summary{}, err
		}
		l.mu.Lock()
		h := l.keys[d.Key]
		l.mu.Unlock()
		c := ledger.Planned{Change: tidegate.Change{Op: tidegate.Changed, Key: d.Key, Before: d.Actual, After: h.acked}, Identifier: h.id, IdempotencyKey: req.RunID}
		if d.Missing {
			c.Op = tidegate.Added
			p.summary.Added++
		} else {
			p.summary.Changed++
		}
		p.add(c)
	}
	p.summary.Read = p.summary.Added + p.summary.Changed
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plans[req.RunID] = p
	return p.summary, nil
}

func (l *modelLedger) Confirmed(context.Context, int, int64) (ledger.ConfirmedReader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &confirmedReader{}
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		if h := l.keys[key]; h.acked != nil {
			r.list = append(r.list, ledger.Confirmed{Key: key, Identifier: h.id, Payload: h.acked})
		}
	}
	return r, nil
}

type confirmedReader struct{ list []ledger.Confirmed }

func (r *confirmedReader) Next(context.Context) (ledger.Confirmed, error) {
	if len(r.list) == 0 {
		return ledger.Confirmed{}, io.EOF
	}
	one := r.list[0]
	r.list = r.list[1:]
	return one, nil
}

func (r *confirmedReader) Close() error { return nil }
