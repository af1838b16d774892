package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// assumedLatency stands for the time of one call in estimates.
const assumedLatency = 200 * time.Millisecond

// lookers is how many plans may be looked at at once: each reads a whole model.
const lookers = 2

// Preview is what a run would do.
type Preview struct {
	Sync string `json:"sync"`
	// RunID is the held run whose plan this is; empty when it was made to be looked at.
	RunID string `json:"run_id,omitempty"`
	// Beside is the run that is not finished meanwhile: what it sends is not known to this plan.
	Beside  *tidegate.Run  `json:"beside,omitempty"`
	Summary ledger.Summary `json:"summary"`
	// Hold is the guard that would hold the plan, nil when none would.
	Hold *tidegate.Fault `json:"hold,omitempty"`
	// Excluded changes would not be sent because of the sync's mode.
	Excluded int64 `json:"excluded"`
	// Calls and Seconds estimate the delivery from the destination's limits and 200 ms a call.
	Calls   int64   `json:"calls"`
	Seconds float64 `json:"seconds"`
	// Costs are what the destination charges or limits beside calls.
	Costs []destinations.Cost `json:"costs,omitempty"`
	// Safety is what a repeated delivery does there.
	Safety destinations.Safety `json:"safety,omitempty"`
	Sample []ledger.Preview    `json:"sample"`
}

// Plan computes what a run of sync would do, shows at most sample changes, sends
// nothing and keeps nothing. It takes no lease, so that it stands in no run's way
// and no run in its. While a run is held it shows that run's stored plan, which is what
// Approve would deliver, unless fresh asks for what the model says now.
func (r *Runner) Plan(ctx context.Context, sync string, sample int, fresh bool) (p Preview, err error) {
	end, err := r.beginLook(ctx)
	if err != nil {
		return Preview{}, err
	}
	defer end()
	unfinished, err := r.unfinished(ctx, sync)
	if err != nil {
		return Preview{}, err
	}
	opened, err := r.open(ctx, sync)
	if err != nil {
		return Preview{}, fmt.Errorf("opening sync %s: %w", sync, err)
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	id := "plan_" + newRunID(r.now(), r.opts.Random)[len("run_"):]
	held := unfinished != nil && unfinished.State == tidegate.RunHeld && !fresh
	if held {
		id = unfinished.ID
	}
	if p, err = preview(ctx, opened, id, sample); err != nil {
		return Preview{}, fmt.Errorf("previewing sync %s: %w", sync, err)
	}
	if held {
		p.RunID = id
	} else {
		p.Beside = unfinished
	}
	return p, nil
}

// beginLook waits until there is room for one more look, which Close waits for.
func (r *Runner) beginLook(ctx context.Context) (end func(), err error) {
	select {
	case r.looks <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		<-r.looks
		return nil, goingDown()
	}
	r.wg.Add(1)
	return func() { <-r.looks; r.wg.Done() }, nil
}

func preview(ctx context.Context, o *Opened, runID string, sample int) (Preview, error) {
	req := o.Request
	req.RunID, req.Mode = runID, o.Sync.Mode
	look, err := o.Ledger.Look(ctx, req, sample)
	if err != nil {
		return Preview{}, fmt.Errorf("planning: %w", err)
	}
	sum := look.Summary
	p := Preview{Sync: o.Sync.Name, Summary: sum, Hold: Guard(sum, o.Sync.Guards, o.Sync.Mode), Sample: look.Sample, Safety: o.Object.SafetyIn(o.Sync.Mode)}
	p.Calls, p.Seconds = estimate(sum, o.Sync.Mode, o.Object.Limit, meanSize(look.First))
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

// meanSize is the mean encoded size of changes, 0 when there are none.
func meanSize(changes []ledger.Planned) int {
	total := 0
	for i := range changes {
		total += itemSize(&unit{Planned: &changes[i]})
	}
	return total / max(len(changes), 1)
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
