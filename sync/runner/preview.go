package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// assumedLatency stands for the time of one call in estimates.
const assumedLatency = 200 * time.Millisecond

// Preview is what a run would do.
type Preview struct {
	Sync string `json:"sync"`
	// RunID is the held run whose plan this is; empty when it was made to be looked at.
	RunID   string         `json:"run_id,omitempty"`
	Summary ledger.Summary `json:"summary"`
	// Hold is the guard that would hold the plan, nil when none would.
	Hold *tidegate.Fault `json:"hold,omitempty"`
	// Excluded changes would not be sent because of the sync's mode.
	Excluded int64 `json:"excluded"`
	// Calls and Seconds estimate the delivery from the destination's limits and 200 ms a call.
	Calls   int64   `json:"calls"`
	Seconds float64 `json:"seconds"`
	// Costs are what the destination charges or limits beside calls.
	Costs  []destinations.Cost `json:"costs,omitempty"`
	Sample []ledger.Preview    `json:"sample"`
}

// Plan computes what a run of sync would do, shows at most sample changes and
// sends nothing. While a run is held it shows that run's stored plan, which is
// what Approve would deliver. It takes the sync's lease meanwhile, so that it
// fails with "run.conflict" while a run is going on.
func (r *Runner) Plan(ctx context.Context, sync string, sample int) (Preview, error) {
	now := r.now()
	run := tidegate.Run{ID: "plan_" + newRunID(now, r.opts.Random)[len("run_"):], Workspace: r.opts.Workspace, Sync: sync, State: tidegate.RunRunning, CreatedAt: now}
	unfinished, err := r.unfinished(ctx, sync)
	if err != nil {
		return Preview{}, err
	}
	if unfinished != nil {
		run = *unfinished
	}
	a := newActive(run, func() {})
	if err := r.reserve(a); err != nil {
		return Preview{}, err
	}
	defer r.free(a)
	if unfinished != nil && unfinished.State != tidegate.RunHeld {
		return Preview{}, conflict(run, "waits to be resumed", "try again when it has ended")
	}
	lease, err := r.lease(ctx, sync)
	if err != nil {
		return Preview{}, err
	}
	opened, err := r.open(ctx, sync)
	if err != nil {
		return Preview{}, errors.Join(fmt.Errorf("opening sync %s: %w", sync, err), r.release(ctx, lease))
	}
	p, err := preview(ctx, opened, run.ID, lease.Epoch, sample)
	after := context.WithoutCancel(ctx)
	if unfinished == nil { // the plan goes whatever happened, and although ctx may have ended
		err = errors.Join(err, opened.Ledger.Finish(after, run.ID))
	} else {
		p.RunID = run.ID
	}
	err = errors.Join(err, opened.Close(), r.release(after, lease))
	if err != nil {
		return Preview{}, fmt.Errorf("previewing sync %s: %w", sync, err)
	}
	return p, nil
}

func preview(ctx context.Context, o *Opened, runID string, epoch int64, sample int) (Preview, error) {
	req := o.Request
	req.RunID, req.Epoch, req.Mode = runID, epoch, o.Sync.Mode
	sum, err := o.Ledger.Plan(ctx, req)
	if err != nil {
		return Preview{}, fmt.Errorf("planning: %w", err)
	}
	p := Preview{Sync: o.Sync.Name, Summary: sum, Hold: Guard(sum, o.Sync.Guards, o.Sync.Mode)}
	if p.Sample, err = o.Ledger.Sample(ctx, runID, sample); err != nil {
		return Preview{}, fmt.Errorf("sampling the plan: %w", err)
	}
	size := 0
	if o.Object.Limit.Bytes > 0 {
		if size, err = meanSize(ctx, o.Ledger, runID); err != nil {
			return Preview{}, err
		}
	}
	p.Calls, p.Seconds = estimate(sum, o.Sync.Mode, o.Object.Limit, size)
	for op, n := range map[tidegate.Op]int64{tidegate.Added: sum.Added, tidegate.Changed: sum.Changed, tidegate.Removed: sum.Removed} {
		if !o.Sync.Mode.Lets(op) {
			p.Excluded += n
		}
	}
	if coster, ok := o.Destination.(destinations.Coster); ok {
		p.Costs = coster.Cost(o.Object.Name, destinations.Spending{
			Mode: o.Sync.Mode, Records: sum.Added + sum.Changed + sum.Removed - p.Excluded - sum.BadRows, ChangedFields: sum.ChangedFields, Calls: p.Calls,
		})
	}
	return p, nil
}

// meanSize is the mean encoded size of the first changes of a plan.
func meanSize(ctx context.Context, led Ledger, runID string) (size int, err error) {
	reader, err := led.Changes(ctx, runID, 0)
	if err != nil {
		return 0, fmt.Errorf("opening the plan: %w", err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	const enough = 100
	total := 0
	for n := range enough {
		c, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			return total / max(n, 1), nil
		}
		if err != nil {
			return 0, fmt.Errorf("reading the plan: %w", err)
		}
		total += itemSize(&unit{Planned: &c})
	}
	return total / enough, nil
}

// estimate says how many calls a delivery takes and how long, at the limit's
// rate or at the assumed latency, whichever is slower.
func estimate(sum ledger.Summary, mode tidegate.Mode, limit destinations.Limit, size int) (calls int64, seconds float64) {
	limit = sane(limit)
	per := int64(limit.Records)
	if limit.Bytes > 0 && size > 0 {
		per = min(per, max(1, int64(limit.Bytes/size)))
	}
	var writes, removals int64
	if mode.Lets(tidegate.Added) {
		writes += sum.Added
	}
	if mode.Lets(tidegate.Changed) {
		writes += sum.Changed
	}
	if mode.Lets(tidegate.Removed) {
		removals = sum.Removed
	}
	writes = max(0, writes-sum.BadRows)
	calls = (writes+per-1)/per + (removals+per-1)/per
	seconds = float64((calls+int64(limit.Concurrency)-1)/int64(limit.Concurrency)) * assumedLatency.Seconds()
	if limit.Calls > 0 {
		seconds = max(seconds, float64(calls)*limit.Per.Seconds()/float64(limit.Calls))
	}
	return calls, seconds
}
