package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/crashpoint"
)

// Options are the outside world of a Runner.
type Options struct {
	Workspace string // tidegate.DefaultWorkspace when empty
	// Node names this process as a holder of leases; required. A node that starts
	// again under its name takes its own leases over at once, so two processes
	// must never share one.
	Node string
	Runs Runs
	// Open makes everything that a run of the sync needs: compiled model and
	// mapping, ledger, destination. It is called once per run, resume and preview. An unknown sync is
	// a fault "sync.not_found".
	Open func(ctx context.Context, sync string) (*Opened, error)
	Now  func() time.Time
	// Random returns 64 random bits; safe for concurrent use.
	Random func() uint64
	// Quotas are the call rates of accounts; nil keeps them in this process.
	Quotas Quotas
	Log    *slog.Logger // nil is silent
	Meter  metric.Meter // nil measures nothing
	// OnRun, when set, is told of every run that was held or has ended. It must not block.
	OnRun func(tidegate.Run)

	LeaseTTL    time.Duration // 30 s
	CallTimeout time.Duration // of one call of a destination, 60 s
	Grace       time.Duration // for calls under way when Run's context ends, 5 s
	Tuning      Tuning
}

// Runner runs syncs. Make one with New, end it with Close.
type Runner struct {
	opts     Options
	log      *slog.Logger
	meters   *meters
	quotas   Quotas
	breakers breakers
	looks    chan struct{} // one for every plan that is being looked at

	mu     sync.Mutex
	active map[string]*active // by sync; one run of a sync at a time
	closed bool
	wg     sync.WaitGroup
}

// active is a run that this Runner is carrying.
type active struct {
	id, sync string
	run      tidegate.Run // as it was taken on; touched by the one who carries it
	events   chan Event
	begun    chan struct{} // closed once the run is stored as running
	done     chan struct{}
	cancel   context.CancelFunc

	mu      sync.Mutex
	shown   tidegate.Run
	pace    pace
	account string // once it is opened
	waiting *Waiting
}

func newActive(run tidegate.Run, cancel context.CancelFunc) *active {
	return &active{
		id: run.ID, sync: run.Sync, run: run, shown: run,
		events: make(chan Event, 64), begun: make(chan struct{}), done: make(chan struct{}), cancel: cancel,
	}
}

func (a *active) show(run tidegate.Run) {
	a.mu.Lock()
	a.shown = run
	a.mu.Unlock()
}

func (a *active) current() tidegate.Run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown
}

// tell hands e to the run unless it ends first.
func (a *active) tell(e Event) {
	select {
	case a.events <- e:
	case <-a.done:
	}
}

// asked says what was asked of the run before it began.
func (a *active) asked() (cancel, stop bool) {
	for {
		select {
		case e := <-a.events:
			_, isCancel := e.(CancelAsked)
			_, isStop := e.(StopAsked)
			cancel, stop = cancel || isCancel, stop || isStop
		default:
			return cancel, stop
		}
	}
}

// New returns a Runner. It starts nothing; see Resume.
func New(opts Options) (*Runner, error) {
	if opts.Node == "" || opts.Runs == nil || opts.Open == nil || opts.Now == nil || opts.Random == nil {
		return nil, errors.New("making a runner: Node, Runs, Open, Now and Random are required")
	}
	if opts.Workspace == "" {
		opts.Workspace = tidegate.DefaultWorkspace
	}
	if opts.LeaseTTL <= 0 {
		opts.LeaseTTL = 30 * time.Second
	}
	if opts.CallTimeout <= 0 {
		opts.CallTimeout = time.Minute
	}
	if opts.Grace <= 0 {
		opts.Grace = 5 * time.Second
	}
	m, err := newMeters(opts.Meter)
	if err != nil {
		return nil, fmt.Errorf("making a runner's meters: %w", err)
	}
	if opts.Quotas == nil {
		opts.Quotas = NewQuotas(opts.Now)
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Runner{
		opts: opts, log: log, meters: m,
		quotas: opts.Quotas, breakers: breakers{now: opts.Now, of: map[string]*breaker{}},
		looks: make(chan struct{}, lookers), active: map[string]*active{},
	}, nil
}

func (r *Runner) now() time.Time { return r.opts.Now() }

// sendUntil is until when a run may send under l: a sixth of the lease is kept
// for clocks that differ.
func (r *Runner) sendUntil(l Lease) time.Time { return l.Expires.Add(-r.opts.LeaseTTL / 6) }

func (r *Runner) config(run tidegate.Run, o *Opened, until time.Time) (Config, error) {
	d := o.Sync.Delivery
	retryFor, err := durationOr(d.RetryFor, defaultRetryFor)
	if err != nil {
		return Config{}, settingFault(o.Sync, "delivery.retry_for", err)
	}
	wait, err := durationOr(d.CanaryWait, 0)
	if err != nil {
		return Config{}, settingFault(o.Sync, "delivery.canary_wait", err)
	}
	policies := policiesOf(o.Sync.Mapping)
	return Config{
		Run: run, Mode: o.Sync.Mode, Removal: removalOf(o.Sync), Guards: o.Sync.Guards,
		Object: o.Object.Name, IdentifierField: o.IdentifierField, Limit: o.Object.Limit, Safety: o.Object.SafetyIn(o.Sync.Mode),
		OnCreate: policies.of(tidegate.OnCreate), Befores: len(policies.of(tidegate.IfNewer)) > 0,
		RetryFor: retryFor, Canary: d.CanaryRecords, CanaryWait: wait, Review: run.Trigger == tidegate.TriggerPlan,
		LeaseUntil: until, Seed: r.opts.Random(), Tuning: r.opts.Tuning,
	}, nil
}

const defaultRetryFor = 72 * time.Hour

func durationOr(text string, otherwise time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	return time.ParseDuration(text)
}

func settingFault(def tidegate.Sync, field string, err error) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "sync.invalid", Subject: "sync " + def.Name + ": " + field, Message: err.Error(), Hint: "write a duration such as 72h or 90s"}
}

// resumeEvery is how often runs are looked for that another node left behind.
const resumeEvery = time.Minute

// Run resumes what was left unfinished, at once and then every minute, until
// ctx ends; then it stops every run where it stands and waits for them, as
// Close does with Options.Grace.
func (r *Runner) Run(ctx context.Context) error {
	every := time.NewTicker(resumeEvery)
	defer every.Stop()
	for ctx.Err() == nil {
		if err := r.Resume(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("resuming runs failed", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-every.C:
		}
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.Grace)
	defer cancel()
	if err := r.Close(grace); err != nil {
		r.log.Warn("calls of a destination were aborted", "grace", r.opts.Grace)
	}
	return nil
}

// Start begins a run of sync and returns it at once; what follows is seen by
// Wait and OnRun. A run of an earlier process that was not finished is resumed and
// returned instead. The fault "run.conflict" says that a run is going on or
// held.
func (r *Runner) Start(ctx context.Context, sync, trigger string) (tidegate.Run, error) {
	unfinished, err := r.unfinished(ctx, sync)
	if err != nil {
		return tidegate.Run{}, err
	}
	if unfinished != nil && unfinished.State == tidegate.RunHeld {
		return tidegate.Run{}, conflict(*unfinished, "is held for approval", "approve or cancel it")
	}
	if unfinished != nil {
		return r.takeOn(ctx, *unfinished, intake{})
	}
	return r.takeOn(ctx, r.newRun(sync, trigger), intake{create: true})
}

func (r *Runner) newRun(sync, trigger string) tidegate.Run {
	now := r.now()
	return tidegate.Run{
		ID: newRunID(now, r.opts.Random), Workspace: r.opts.Workspace, Sync: sync, Trigger: trigger,
		State: tidegate.RunQueued, CreatedAt: now.UTC(),
	}
}

// Do is Start and Wait: it returns when the run has ended or is held. A run of
// an earlier process is completed first, and then followed by one that plans
// from what the model says now.
func (r *Runner) Do(ctx context.Context, sync, trigger string) (tidegate.Run, error) {
	called := r.now()
	for {
		run, err := r.Start(ctx, sync, trigger)
		if err != nil {
			return run, err
		}
		run, err = r.Wait(ctx, run.ID)
		if err != nil || !run.State.Finished() || !run.CreatedAt.Before(called) {
			return run, err
		}
	}
}

// Wait blocks until this Runner carries the run no more, and returns it as stored then.
func (r *Runner) Wait(ctx context.Context, runID string) (tidegate.Run, error) {
	if a := r.find(runID); a != nil {
		select {
		case <-a.done:
		case <-ctx.Done():
			return a.current(), ctx.Err()
		}
	}
	return r.run(ctx, runID)
}

// Current returns the run of sync that this Runner is carrying, with the counts it has reached.
func (r *Runner) Current(sync string) (tidegate.Run, bool) {
	r.mu.Lock()
	a := r.active[sync]
	r.mu.Unlock()
	if a == nil {
		return tidegate.Run{}, false
	}
	return a.current(), true
}

// Approve lets a held run deliver exactly its stored plan and returns once it is
// stored as running.
func (r *Runner) Approve(ctx context.Context, runID string) (tidegate.Run, error) {
	run, err := r.run(ctx, runID)
	if err != nil {
		return run, err
	}
	if run.State != tidegate.RunHeld {
		return run, conflict(run, "is "+string(run.State)+", not held", "")
	}
	if run, err = r.takeOn(ctx, run, intake{}); err != nil {
		return run, err
	}
	if a := r.find(runID); a != nil {
		select {
		case <-a.begun:
		case <-a.done:
		case <-ctx.Done():
		}
		return a.current(), nil
	}
	return r.run(ctx, runID)
}

// Resume takes on every run that was left queued or running and whose lease is
// free. Call it at start, and now and then where several nodes share the store.
// Runs that other nodes are carrying are left alone.
func (r *Runner) Resume(ctx context.Context) error {
	runs, err := r.opts.Runs.UnfinishedRuns(ctx, r.opts.Workspace)
	if err != nil {
		return fmt.Errorf("listing unfinished runs: %w", err)
	}
	var errs []error
	for _, run := range runs {
		if run.State == tidegate.RunHeld {
			continue
		}
		_, err := r.takeOn(ctx, run, intake{})
		var fault *tidegate.Fault
		if err != nil && !(errors.As(err, &fault) && fault.Code == conflictCode) {
			errs = append(errs, fmt.Errorf("resuming run %s: %w", run.ID, err))
		}
	}
	return errors.Join(errs...)
}

// Cancel stops a run: what was not sent stays to be sent by a later run. It
// returns at once; a call that is under way is still answered.
func (r *Runner) Cancel(ctx context.Context, runID string) (tidegate.Run, error) {
	run, err := r.run(ctx, runID)
	if err != nil || run.State.Finished() {
		return run, err
	}
	if run.State == tidegate.RunHeld {
		return r.refuse(ctx, run)
	}
	if r.find(runID) == nil {
		return r.takeOn(ctx, run, intake{first: []Event{CancelAsked{}}})
	}
	if a := r.find(runID); a != nil {
		a.tell(CancelAsked{})
		return a.current(), nil
	}
	return r.run(ctx, runID)
}

// Close stops every run where it stands, to be resumed later, and waits for
// them. Calls under way are answered until ctx ends; then they are aborted.
func (r *Runner) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	var runs []*active
	for _, a := range r.active {
		runs = append(runs, a)
	}
	r.mu.Unlock()
	for _, a := range runs {
		a.tell(StopAsked{})
	}
	ended := make(chan struct{})
	go func() { defer close(ended); r.wg.Wait() }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	for _, a := range runs {
		a.cancel()
	}
	<-ended
	return ctx.Err()
}

// intake is how a run comes to be carried: a new one is created, after its plan
// was stored where it is not made from the model, and one that exists is refreshed.
type intake struct {
	create bool
	plan   func(ctx context.Context, o *Opened, epoch int64) error
	first  []Event
}

// takeOn reserves the run's sync, takes its lease and carries the run in a goroutine.
func (r *Runner) takeOn(ctx context.Context, run tidegate.Run, in intake) (tidegate.Run, error) {
	// The run outlives the call that asked for it.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := newActive(run, cancel)
	for _, e := range in.first {
		a.events <- e
	}
	if err := r.reserve(a); err != nil {
		cancel()
		return tidegate.Run{}, err
	}
	lease, err := r.lease(ctx, run.Sync)
	if err == nil {
		if err = r.admit(ctx, a, lease.Epoch, in); err != nil {
			err = errors.Join(err, r.release(context.WithoutCancel(ctx), lease))
		}
	}
	if err != nil {
		r.free(a)
		return tidegate.Run{}, fmt.Errorf("taking on a run of sync %s: %w", run.Sync, err)
	}
	a.show(a.run)
	go r.carry(work, a, lease)
	return a.run, nil
}

func (r *Runner) admit(ctx context.Context, a *active, epoch int64, in intake) error {
	if !in.create {
		return r.refresh(ctx, a, epoch)
	}
	a.run.Epoch = epoch
	if in.plan != nil {
		opened, err := r.open(ctx, a.sync)
		if err != nil {
			return err
		}
		if err := errors.Join(in.plan(ctx, opened, epoch), opened.Close()); err != nil {
			return err
		}
	}
	return r.opts.Runs.CreateRun(ctx, a.run)
}

// refresh reads the run again under its new lease: whoever had the lease before
// can change it no more, but may have until now.
func (r *Runner) refresh(ctx context.Context, a *active, epoch int64) error {
	now, err := r.run(ctx, a.run.ID)
	if err == nil && now.State != a.run.State {
		return conflict(now, "has become "+string(now.State), "")
	}
	a.run = now
	a.run.Epoch = epoch
	return err
}

// carry opens the sync, drives the run and gives everything back.
func (r *Runner) carry(ctx context.Context, a *active, lease Lease) {
	defer r.free(a)
	crashpoint.Hit(crashpoint.SyncAfterLease)
	opened, err := r.open(ctx, a.run.Sync)
	if err != nil {
		r.failUnopened(ctx, a, err)
	} else {
		a.mu.Lock()
		a.account = opened.Account
		a.mu.Unlock()
		r.drive(ctx, a, opened, lease)
		if err := opened.Close(); err != nil {
			r.log.Warn("closing what a run worked with failed", "sync", a.run.Sync, "run", a.run.ID, "error", err)
		}
	}
	ctx = context.WithoutCancel(ctx)
	if err := r.release(ctx, lease); err != nil {
		r.log.Warn("giving a lease up failed", "sync", a.run.Sync, "run", a.run.ID, "error", err)
	}
	r.report(a)
}

// report tells of a run's end where a person or a program listens.
func (r *Runner) report(a *active) {
	run := a.current()
	switch run.State {
	case tidegate.RunFailed:
		r.log.Error("a sync failed", "sync", run.Sync, "run", run.ID, "code", run.Fault.Code, "reason", run.Fault.Message)
	case tidegate.RunHeld:
		r.log.Warn("a sync is held for approval", "sync", run.Sync, "run", run.ID, "code", run.Fault.Code, "reason", run.Fault.Message)
	case tidegate.RunPartial:
		r.log.Warn("a sync left records behind", "sync", run.Sync, "run", run.ID, "rejected", run.Counts.Rejected,
			"in_doubt", run.Counts.InDoubt, "deferred", run.Counts.Deferred, "bad_keys", run.Counts.BadKeys)
	case tidegate.RunQueued, tidegate.RunRunning, tidegate.RunSucceeded, tidegate.RunCanceled:
	}
	if r.opts.OnRun != nil && (run.State.Finished() || run.State == tidegate.RunHeld) {
		r.opts.OnRun(run)
	}
}

// failUnopened ends a run whose sync cannot be opened. A resumed or approved run
// stays as it is when the reason may pass, because its plan is still to be delivered.
func (r *Runner) failUnopened(ctx context.Context, a *active, cause error) {
	run, from := a.run, a.run.State
	fault := tidegate.FaultOf(cause)
	cancel, stop := a.asked()
	if stop || ctx.Err() != nil { // the process goes down, and that may be the reason
		return
	}
	if from != tidegate.RunQueued && fault.Code != "sync.not_found" && !cancel {
		r.log.Warn("a run cannot be resumed yet", "sync", run.Sync, "run", run.ID, "error", cause)
		return
	}
	run.State, run.Fault, run.EndedAt = tidegate.RunFailed, tidegate.StoredFault(fault), r.now()
	if cancel {
		run.State, run.Fault = tidegate.RunCanceled, nil
	}
	if err := r.opts.Runs.UpdateRun(context.WithoutCancel(ctx), run, from); err != nil {
		r.log.Error("storing a failed run failed", "sync", run.Sync, "run", run.ID, "error", err)
		return
	}
	a.show(run)
}

// refuse cancels a held run: its plan is put away and nothing of it was sent.
func (r *Runner) refuse(ctx context.Context, run tidegate.Run) (tidegate.Run, error) {
	a := newActive(run, func() {})
	if err := r.reserve(a); err != nil {
		return run, err
	}
	defer r.free(a)
	lease, err := r.lease(ctx, run.Sync)
	if err != nil {
		return run, err
	}
	run.Epoch, run.State, run.Fault, run.EndedAt = lease.Epoch, tidegate.RunCanceled, nil, r.now()
	run.Counts.Deferred += run.Counts.Held
	run.Counts.Held = 0
	err = r.opts.Runs.UpdateRun(ctx, run, tidegate.RunHeld)
	if err == nil {
		a.show(run)
		r.putAway(ctx, run)
	}
	stored := err == nil
	err = errors.Join(err, r.release(ctx, lease))
	if stored {
		r.report(a)
	}
	if err != nil {
		return run, fmt.Errorf("canceling held run %s: %w", run.ID, err)
	}
	return run, nil
}

// putAway drops a plan that will never be delivered. A plan that stays because
// the sync cannot be opened does no harm.
func (r *Runner) putAway(ctx context.Context, run tidegate.Run) {
	opened, err := r.opts.Open(ctx, run.Sync) // unchecked: there is nothing to send
	if err == nil {
		err = errors.Join(opened.Ledger.Finish(ctx, run.ID), opened.Close())
	}
	if err != nil {
		r.log.Warn("putting a canceled plan away failed", "sync", run.Sync, "run", run.ID, "error", err)
	}
}
