package runner

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tidegate/tidegate"
)

const conflictCode = "run.conflict"

func conflict(run tidegate.Run, what, hint string) *tidegate.Fault {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: conflictCode, Subject: "sync " + run.Sync,
		Message: fmt.Sprintf("run %s %s", run.ID, what), Hint: hint,
	}
}

func goingDown() *tidegate.Fault {
	return &tidegate.Fault{Code: "runner.closed", Message: "the runner is going down", Hint: "try again when it is up"}
}

// reserve makes a the one run of its sync in this process.
func (r *Runner) reserve(a *active) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return goingDown()
	}
	if other := r.active[a.sync]; other != nil {
		return conflict(other.current(), "is going on", "wait for it, or cancel it")
	}
	r.active[a.sync] = a
	r.wg.Add(1)
	return nil
}

func (r *Runner) free(a *active) {
	a.cancel()
	r.mu.Lock()
	delete(r.active, a.sync)
	r.mu.Unlock()
	close(a.done)
	r.wg.Done()
}

func (r *Runner) find(runID string) *active {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.active {
		if a.id == runID {
			return a
		}
	}
	return nil
}

func (r *Runner) lease(ctx context.Context, sync string) (Lease, error) {
	lease, err := r.opts.Runs.AcquireLease(ctx, r.opts.Workspace, sync, r.opts.Node, r.now(), r.opts.LeaseTTL)
	var held *LeaseHeldError
	if errors.As(err, &held) {
		return lease, &tidegate.Fault{
			Action: tidegate.Halt, Code: conflictCode, Subject: "sync " + sync, Err: err,
			Message: fmt.Sprintf("node %s is running the sync", held.Lease.Holder), Hint: "wait for it, or cancel its run",
		}
	}
	if err != nil {
		return lease, fmt.Errorf("taking the lease of sync %s: %w", sync, err)
	}
	return lease, nil
}

func (r *Runner) release(ctx context.Context, l Lease) error {
	if err := r.opts.Runs.ReleaseLease(ctx, l); err != nil {
		return fmt.Errorf("giving up the lease of sync %s: %w", l.Sync, err)
	}
	return nil
}

func (r *Runner) run(ctx context.Context, id string) (tidegate.Run, error) {
	run, err := r.opts.Runs.Run(ctx, r.opts.Workspace, id)
	if errors.Is(err, ErrNoRun) {
		return run, &tidegate.Fault{Action: tidegate.Halt, Code: "run.not_found", Subject: "run " + id, Message: "there is no such run", Err: err}
	}
	if err != nil {
		return run, fmt.Errorf("reading run %s: %w", id, err)
	}
	return run, nil
}

// unfinished returns the newest run of sync that is queued, running or held, nil when there is none.
func (r *Runner) unfinished(ctx context.Context, sync string) (*tidegate.Run, error) {
	runs, err := r.opts.Runs.UnfinishedRuns(ctx, r.opts.Workspace)
	if err != nil {
		return nil, fmt.Errorf("listing unfinished runs: %w", err)
	}
	for i := len(runs) - 1; i >= 0; i-- {
		if runs[i].Sync == sync {
			return &runs[i], nil
		}
	}
	return nil, nil
}

// newRunID returns "run_" and a UUIDv7: milliseconds, then twelve bits of the
// millisecond's fraction, then random bits, so that IDs sort by creation.
func newRunID(now time.Time, random func() uint64) string {
	var id uuid.UUID
	ns := uint64(now.UnixNano())
	binary.BigEndian.PutUint64(id[:8], ns/1e6<<16|0x7000|(ns%1e6<<12/1e6))
	binary.BigEndian.PutUint64(id[8:], random()>>2|1<<63)
	return "run_" + id.String()
}
