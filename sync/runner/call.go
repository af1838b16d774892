package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/internal/retry"
)

// send makes one call, once the account's circuit is closed and its quota allows it.
func (d *driver) send(cs contexts, e SendBatch) Event {
	unsent := func(err error) Event { return BatchAnswered{ID: e.ID, Unsent: true, Err: err} }
	pass, err := d.enter(cs.quota)
	if err != nil {
		return unsent(ignoreCanceled(cs.quota, err))
	}
	defer pass.leave()
	ctx, cancel := context.WithTimeout(cs.send, d.r.opts.CallTimeout)
	defer cancel()
	if err := d.preparation.ensure(ctx, d.opened); err != nil {
		return unsent(err)
	}
	batch := e.Batch
	if batch.Mode == tidegate.Audience {
		if batch.Audience, err = d.audience.ensure(ctx, d.opened); err != nil {
			return unsent(err)
		}
	}
	kept, err := d.obey(ctx, cs.quota, batch, e.Befores)
	if err != nil {
		return unsent(ignoreCanceled(cs.quota, err))
	}
	if len(kept.batch.Items) == 0 {
		return BatchAnswered{ID: e.ID, Outcomes: kept.merge(nil), Notes: kept.notes}
	}
	start := d.r.now()
	outcomes, err := d.opened.Destination.Write(ctx, kept.batch)
	pass.learn(outcomes, err)
	d.r.meters.called(cs.work, d.opened.Account, d.r.now().Sub(start), err)
	crashpoint.Hit(crashpoint.SyncAfterSend)
	if err == nil {
		outcomes = kept.merge(outcomes)
	}
	return BatchAnswered{ID: e.ID, Outcomes: outcomes, Notes: kept.notes, Err: err}
}

// poll asks for a ticket.
func (d *driver) poll(cs contexts, e PollTicket) Event {
	poller, ok := d.opened.Destination.(destinations.Poller)
	if !ok {
		return TicketAnswered{ID: e.ID, Err: &tidegate.Fault{
			Action: tidegate.Reject, Code: "ticket.unknown", Message: "the destination gives out tickets and cannot be asked for them",
		}}
	}
	pass, err := d.enter(cs.send) // also while the run is ending: what is under way is waited for
	if err != nil {
		return TicketAnswered{ID: e.ID, Unsent: true, Err: ignoreCanceled(cs.send, err)}
	}
	defer pass.leave()
	ctx, cancel := context.WithTimeout(cs.send, d.r.opts.CallTimeout)
	defer cancel()
	batch := e.Batch
	if batch.Mode == tidegate.Audience {
		if batch.Audience, err = d.audience.ensure(ctx, d.opened); err != nil {
			return TicketAnswered{ID: e.ID, Unsent: true, Err: err}
		}
	}
	outcomes, done, err := poller.Poll(ctx, e.Ticket, batch)
	pass.learn(outcomes, err)
	crashpoint.Hit(crashpoint.SyncAfterPoll)
	return TicketAnswered{ID: e.ID, Outcomes: outcomes, Done: done, Err: err}
}

// ignoreCanceled is err unless ctx ended: then nothing is wrong.
func ignoreCanceled(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// pass is the right to make one call.
type pass struct {
	d       *driver
	entered bool
}

// enter waits for the right to make one call. An open circuit is an error, so
// that the run knows how long there is nothing to be done.
func (d *driver) enter(ctx context.Context) (*pass, error) {
	wait, entered := d.breaker.enter()
	if !entered {
		f := &tidegate.Fault{
			Action: tidegate.Throttle, Code: "destination.circuit_open", Subject: d.opened.Account, After: wait,
			Message: "the destination failed many calls in a row and is left alone for a while",
		}
		d.active.waits(d.r.now(), f)
		return nil, f
	}
	p := &pass{d: d, entered: true}
	if err := d.takeQuota(ctx); err != nil {
		p.leave()
		return nil, err
	}
	return p, nil
}

// takeQuota waits for the right to make one call.
func (d *driver) takeQuota(ctx context.Context) error {
	asked := d.r.now()
	for {
		wait, err := d.r.quotas.Take(ctx, d.opened.Account, d.claim)
		if err != nil && ctx.Err() == nil {
			f := &tidegate.Fault{
				Action: tidegate.Throttle, Code: "quota.away", Subject: d.opened.Account, After: 5 * time.Second,
				Message: "the store of the shared quotas does not answer", Hint: "it goes on by itself when the store answers", Err: err,
			}
			d.active.waits(asked, f)
			return f
		}
		if err == nil && wait == 0 {
			d.active.calls()
			return ctx.Err()
		}
		if err == nil && wait >= longWait {
			d.active.waits(asked, &tidegate.Fault{
				Action: tidegate.Throttle, Code: "quota.used", Subject: d.opened.Account, After: wait,
				Message: "the account takes no further call before " + d.r.now().Add(wait).UTC().Format(time.RFC3339) + ": its rate limit is used up, or it asked for a pause",
			})
		}
		if err := retry.Wait(ctx, wait); err != nil {
			return err
		}
	}
}

// learn tells circuit and quota what the call came to.
func (p *pass) learn(outcomes []destinations.Outcome, err error) {
	p.entered = false
	p.d.breaker.learn(err)
	p.d.r.learn(p.d.opened.Account, throttleIn(outcomes, err))
}

// leave gives back a right that was not used.
func (p *pass) leave() {
	if p.entered {
		p.entered = false
		p.d.breaker.unused()
	}
}

func (r *Runner) learn(account string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.quotas.Learn(ctx, account, err); err != nil {
		r.log.Warn("teaching the shared quota failed", "account", account, "error", err)
	}
}

// Allow tells the account's quota what the destination said about its rate
// limit. Connectors call it through destinations.Env.Allow.
func (r *Runner) Allow(account string, a destinations.Allowance) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.quotas.Allow(ctx, account, a); err != nil {
		r.log.Warn("teaching the shared quota failed", "account", account, "error", err)
	}
}

// throttleIn is what the quota learns from: the call's error, or the throttle of
// a single record in an answer that otherwise counts.
func throttleIn(outcomes []destinations.Outcome, err error) error {
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		if o.Fault != nil && o.Fault.Action == tidegate.Throttle {
			return o.Fault
		}
	}
	return nil
}

// preparation is whether Opened.Prepare has done its work.
type preparation struct {
	mu   sync.Mutex
	done bool
}

func (p *preparation) ensure(ctx context.Context, o *Opened) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done || o.Prepare == nil {
		return nil
	}
	if err := o.Prepare(ctx); err != nil {
		return fmt.Errorf("preparing the destination: %w", err)
	}
	p.done = true
	return nil
}

// audience is the id of the audience that the run fills, found or created
// before its first call.
type audience struct {
	mu sync.Mutex
	id string
}

func (a *audience) ensure(ctx context.Context, o *Opened) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.id != "" {
		return a.id, nil
	}
	maker, ok := o.Destination.(destinations.Audiencer)
	if !ok {
		return "", noAudience(o.Sync)
	}
	id, err := maker.EnsureAudience(ctx, o.Object.Name, audienceName(o.Sync))
	if err != nil {
		return "", fmt.Errorf("finding the audience %q: %w", audienceName(o.Sync), err)
	}
	a.id = id
	return id, nil
}

func audienceName(def tidegate.Sync) string {
	if def.Audience != "" {
		return def.Audience
	}
	return def.Name
}
