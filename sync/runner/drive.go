package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/sync/ledger"
)

// driver executes the effects of one run. Its loop is the only goroutine that
// touches the State; every effect runs in a goroutine of its own, posts one
// event and ends, and the loop waits for all of them.
type driver struct {
	r           *Runner
	active      *active
	opened      *Opened
	claim       Claim
	breaker     *breaker
	policies    policies
	audience    audience
	preparation preparation
	lease       Lease
	events      chan Event
	calls       chan SendBatch // to workers that wait for one
	wake        *time.Timer
	wg          sync.WaitGroup

	interrupt context.CancelFunc // of planning and surveying
	unsend    context.CancelFunc // of calls that wait for the quota
	abort     context.CancelFunc // of calls under way
	expiry    *time.Timer        // aborts when the lease runs out

	reader   ledger.PlannedReader // only ever used by the one ReadWindow under way
	readerAt int64
	rowBytes int   // about what a change takes, once one was read
	changes  int64 // of the plan, once there is one
}

// contexts are the lifetimes inside one run, from the whole of it to one call.
type contexts struct{ work, plan, quota, send context.Context } //nolint:containedctx // a parameter list: handed down, never stored

// drive carries the run to its end. ctx ends only when Close loses patience.
func (r *Runner) drive(ctx context.Context, a *active, opened *Opened, lease Lease) {
	d := &driver{
		r: r, active: a, opened: opened, lease: lease, events: a.events, calls: make(chan SendBatch),
		claim:   claimOf(opened),
		breaker: r.breakers.get(opened.Account), policies: policiesOf(opened.Sync.Mapping),
		wake: time.NewTimer(time.Hour),
	}
	defer d.wake.Stop()
	cs := contexts{work: ctx}
	cs.plan, d.interrupt = context.WithCancel(ctx)
	cs.send, d.abort = context.WithCancel(ctx)
	cs.quota, d.unsend = context.WithCancel(cs.send)
	defer d.interrupt()
	defer d.unsend()
	defer d.abort()

	until := r.sendUntil(lease)
	d.expiry = time.AfterFunc(until.Sub(r.now()), d.abort)
	defer d.expiry.Stop()
	renewing, stopRenewing := context.WithCancel(ctx)
	d.wg.Go(func() { d.renew(renewing) })

	cfg, err := r.config(a.run, opened, until)
	if err != nil {
		r.failUnopened(ctx, a, err)
		stopRenewing()
		d.wg.Wait()
		return
	}
	if err := r.quotas.Declare(ctx, opened.Account, opened.Object.Limit); err != nil && ctx.Err() == nil {
		r.log.Warn("declaring the limit of an account failed", "account", opened.Account, "error", err)
	}
	state := NewState(cfg)
	in, begun := Event(Begin{}), false
	for {
		var effects []Effect
		state, effects = Step(state, Input{At: r.now(), Event: in})
		a.watch(&state, r.now())
		if !begun && state.phase != Starting {
			begun = true
			close(a.begun)
		}
		if state.stop != nil {
			d.unsend()
		}
		for _, e := range effects {
			d.execute(cs, e, a.run.ID)
		}
		if state.phase == Done {
			break
		}
		in = d.next()
	}
	stopRenewing()
	close(d.calls)
	d.wg.Wait()
	d.closeReader()
}

// next blocks for the next event. There always is one: effects are answered,
// and a State that waits for time alone has asked for a WakeAt.
func (d *driver) next() Event {
	select {
	case e := <-d.events:
		if renewed, ok := e.(LeaseRenewed); ok {
			d.expiry.Reset(renewed.Until.Sub(d.r.now()))
		}
		return e
	case <-d.wake.C:
		return Tick{}
	}
}

func (d *driver) post(e Event) { d.events <- e }

// execute starts e. It does not block, save for giving the lease up.
func (d *driver) execute(cs contexts, e Effect, runID string) {
	switch e := e.(type) {
	case WakeAt:
		d.wake.Reset(e.At.Sub(d.r.now()))
	case Interrupt:
		d.interrupt()
	case GiveUpLease:
		// The caller does it, after every goroutine of the run has ended.
	case SendBatch:
		d.call(cs, e)
	case PollTicket:
		d.wg.Go(func() { d.post(d.poll(cs, e)) })
	default:
		d.wg.Go(func() {
			event, err := d.perform(cs, e, runID)
			if err != nil {
				event = EffectFailed{Effect: e, Err: err}
			}
			d.post(event)
		})
	}
}

// call hands e to a worker that waits for one, or to a new one: as many as there
// are calls at once, and they stay, because a call needs a deep stack.
func (d *driver) call(cs contexts, e SendBatch) {
	select {
	case d.calls <- e:
	default:
		d.wg.Go(func() {
			for going := true; going; e, going = <-d.calls {
				d.post(d.send(cs, e))
			}
		})
	}
}

// perform executes the effects that are answered with an event or an error.
func (d *driver) perform(cs contexts, e Effect, runID string) (Event, error) {
	led := d.opened.Ledger
	switch e := e.(type) {
	case StoreRun:
		if err := d.r.opts.Runs.UpdateRun(cs.work, e.Run, e.From); err != nil {
			return nil, fmt.Errorf("storing run %s: %w", runID, err)
		}
		return RunStored{}, nil
	case MakePlan:
		return d.plan(cs.plan, runID)
	case SurveyPlan:
		clashes, err := survey(cs.plan, led, runID, d.opened.Sync.Mode, d.opened.IdentifierField)
		return PlanSurveyed{Clashes: clashes}, err
	case ReadWindow:
		return d.read(cs.work, runID, e)
	case StoreIntent:
		if err := led.Intend(cs.work, runID, d.lease.Epoch, e.First, e.Last); err != nil {
			return nil, fmt.Errorf("storing the intent of changes %d to %d: %w", e.First, e.Last, err)
		}
		crashpoint.Hit(crashpoint.SyncAfterIntent)
		return IntentStored{}, nil
	case StoreResults:
		if err := led.Record(cs.work, runID, d.lease.Epoch, e.Results); err != nil {
			return nil, fmt.Errorf("recording %d outcomes: %w", len(e.Results), err)
		}
		d.r.meters.settled(cs.work, d.opened.Sync.Name, e.Results)
		crashpoint.Hit(crashpoint.SyncAfterOutcome)
		return ResultsStored{}, nil
	case DropPlan:
		if err := led.Finish(cs.work, runID); err != nil {
			return nil, fmt.Errorf("finishing the plan of run %s: %w", runID, err)
		}
		crashpoint.Hit(crashpoint.SyncAfterFinish)
		return PlanDropped{}, nil
	}
	return nil, fmt.Errorf("executing %T: no such effect", e)
}

func (d *driver) plan(ctx context.Context, runID string) (Event, error) {
	req := d.opened.Request
	req.RunID, req.Epoch, req.Mode = runID, d.lease.Epoch, d.opened.Sync.Mode
	sum, err := d.opened.Ledger.Plan(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("planning run %s: %w", runID, err)
	}
	progress, err := d.opened.Ledger.Progress(ctx, runID)
	if err != nil {
		return nil, fmt.Errorf("reading the progress of run %s: %w", runID, err)
	}
	progress.Summary = sum
	d.changes = sum.Added + sum.Changed + sum.Removed
	crashpoint.Hit(crashpoint.SyncAfterPlan)
	return PlanStored{Progress: progress}, nil
}

// windowBytes ends a window of large records early; two windows are in memory at most.
const windowBytes = 32 << 20

// firstRows are read before it is known how large they are.
const firstRows = 4096

// read reads the next window from the one open reader of the plan. A reader that
// fails is opened again by the next attempt.
func (d *driver) read(ctx context.Context, runID string, e ReadWindow) (Event, error) {
	if d.reader != nil && d.readerAt != e.From {
		d.closeReader()
	}
	if d.reader == nil {
		r, err := d.opened.Ledger.Changes(ctx, runID, e.From)
		if err != nil {
			return nil, fmt.Errorf("opening the plan of run %s: %w", runID, err)
		}
		d.reader, d.readerAt = r, e.From
	}
	into, most := e.Into, int(max(1, min(int64(e.Max), d.changes-e.From)))
	if cap(into) < most {
		into = make([]ledger.Planned, most)
	}
	into = into[:most]
	n, size, end := 0, 0, e.From >= d.changes
	for n < len(into) && size < windowBytes && !end {
		ask := min(len(into)-n, firstRows)
		if d.rowBytes > 0 { // as many as are likely to fit
			ask = min(len(into)-n, 1+(windowBytes-size)/d.rowBytes)
		}
		got, err := d.reader.Read(ctx, into[n:n+ask])
		if err != nil && !errors.Is(err, io.EOF) {
			d.closeReader()
			return nil, fmt.Errorf("reading the plan of run %s from change %d: %w", runID, e.From, err)
		}
		for i := range into[n : n+got] {
			size += cmp.Or(into[n+i].Bytes, 1024)
		}
		n += got
		d.rowBytes = size / max(n, 1)
		d.readerAt += int64(got)
		end = got == 0 || d.readerAt >= d.changes
	}
	return WindowRead{Changes: into[:n], End: end}, nil
}

func (d *driver) closeReader() {
	if d.reader == nil {
		return
	}
	if err := d.reader.Close(); err != nil {
		d.r.log.Warn("closing the plan's reader failed", "sync", d.opened.Sync.Name, "error", err)
	}
	d.reader = nil
}

// renew keeps the lease until ctx ends. When it cannot, the run stops sending
// before the lease runs out.
func (d *driver) renew(ctx context.Context) {
	every := time.NewTicker(d.r.opts.LeaseTTL / 3)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		renewed, err := d.r.opts.Runs.RenewLease(ctx, d.lease, d.r.now().Add(d.r.opts.LeaseTTL))
		var event Event
		switch {
		case errors.Is(err, ErrLeaseLost):
			event = LeaseGone{}
		case err != nil:
			if ctx.Err() == nil {
				d.r.log.Warn("renewing a lease failed", "sync", d.lease.Sync, "error", err)
			}
			continue
		default:
			event = LeaseRenewed{Until: d.r.sendUntil(renewed)}
		}
		select {
		case d.events <- event:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}
