package runner

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/ledger"
)

// PlanRun stores a plan that waits to be looked at: it begins a run that is held
// with the code "plan.review" (or that of a guard) as soon as its plan is stored.
// Approve delivers exactly that plan. It returns when the run is held, or has
// ended because there is nothing to be sent.
func (r *Runner) PlanRun(ctx context.Context, sync string) (tidegate.Run, error) {
	unfinished, err := r.unfinished(ctx, sync)
	if err != nil {
		return tidegate.Run{}, err
	}
	if unfinished != nil {
		return tidegate.Run{}, conflict(*unfinished, "is "+string(unfinished.State), "wait for it, approve or cancel it")
	}
	run, err := r.takeOn(ctx, r.newRun(sync, tidegate.TriggerPlan), intake{create: true})
	if err != nil {
		return run, err
	}
	return r.Wait(ctx, run.ID)
}

// Revert begins a run that takes back what the finished run runID delivered:
// fields get the values that were confirmed before it, where nothing else was
// confirmed since. Guards judge it like any plan.
func (r *Runner) Revert(ctx context.Context, runID string) (tidegate.Run, error) {
	of, err := r.run(ctx, runID)
	if err != nil {
		return of, err
	}
	if !of.State.Finished() {
		return tidegate.Run{}, conflict(of, "is "+string(of.State), "only a run that has ended can be taken back")
	}
	if unfinished, err := r.unfinished(ctx, of.Sync); err != nil {
		return tidegate.Run{}, err
	} else if unfinished != nil {
		return tidegate.Run{}, conflict(*unfinished, "is "+string(unfinished.State), "wait for it, approve or cancel it")
	}
	run := r.newRun(of.Sync, tidegate.TriggerRevert)
	return r.takeOn(ctx, run, intake{create: true, plan: func(ctx context.Context, o *Opened, epoch int64) error {
		if m := o.Sync.Mode; m == tidegate.Append || m == tidegate.Insert {
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "sync.irrevocable", Subject: "sync " + o.Sync.Name,
				Message: fmt.Sprintf("what a sync in mode %s sent cannot be taken back", m), Hint: "remove the records in the destination",
			}
		}
		_, err := o.Ledger.PlanRevert(ctx, ledger.RevertRequest{
			RunID: run.ID, Of: of.ID, Epoch: epoch, IdentifierField: o.IdentifierField, IdempotencySalt: o.Request.IdempotencySalt,
		})
		if err != nil {
			return fmt.Errorf("planning to take run %s back: %w", of.ID, err)
		}
		return nil
	}})
}
