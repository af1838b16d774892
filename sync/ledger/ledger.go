// Package ledger remembers, per key, what the destination last confirmed.
package ledger

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
)

// Options are the outside world of a Ledger.
type Options struct {
	// Now is the clock; required.
	Now func() time.Time
	// Log hears what a healthy system never says; nil is silent.
	Log *slog.Logger
	// KeepLog is how long rows of the run log stay; 0 means 30 days.
	KeepLog time.Duration
}

// Ledger is the memory of one sync.
type Ledger struct{}

// Open creates the ledger's tables where they are missing.
func Open(ctx context.Context, wh warehouse.Execer, workspace, sync string, opts Options) (*Ledger, error) {
	return &Ledger{}, nil
}

// PlanRequest asks for the plan of one run.
type PlanRequest struct {
	RunID string
	// Epoch is the epoch of the lease under which the run works.
	Epoch   int64
	Model   *model.Model
	Mapping *mapping.Mapping
	// Mode decides when a change that an earlier run excluded is planned again:
	// when this mode lets it through. Empty means always.
	Mode tidegate.Mode
	// IdempotencySalt separates the idempotency keys of one destination account
	// from those of another.
	IdempotencySalt string
}

var errNotYet = errors.New("the ledger is being built")

// Plan reads the model once and stores the changes.
func (l *Ledger) Plan(ctx context.Context, req PlanRequest) (Summary, error) {
	return Summary{}, errNotYet
}

// Changes streams the stored plan from ordinal from.
func (l *Ledger) Changes(ctx context.Context, runID string, from int64) (PlannedReader, error) {
	return nil, errNotYet
}

// Intend makes durable that the ordinals first..last (inclusive) may leave from now on.
func (l *Ledger) Intend(ctx context.Context, runID string, epoch, first, last int64) error {
	return errNotYet
}

// Record makes results durable.
func (l *Ledger) Record(ctx context.Context, runID string, epoch int64, results []Result) error {
	return errNotYet
}

// Progress tells how far the delivery came.
func (l *Ledger) Progress(ctx context.Context, runID string) (Progress, error) {
	return Progress{}, errNotYet
}

// Finish folds the results into the ledger and drops the plan.
func (l *Ledger) Finish(ctx context.Context, runID string) error { return errNotYet }

// Rejections lists records that the destination does not hold as it should, newest first.
func (l *Ledger) Rejections(ctx context.Context, limit int) ([]Rejection, error) {
	return nil, errNotYet
}

// RetryNow makes the rejections of one cluster (all when empty) due at once and returns how many.
func (l *Ledger) RetryNow(ctx context.Context, cluster string) (int64, error) { return 0, errNotYet }

// Preview is one change of a plan with the fields that differ.
type Preview struct {
	Op     tidegate.Op        `json:"op"`
	Key    tidegate.Key       `json:"key"`
	Fields []FieldChange      `json:"fields"`
	Fault  *tidegate.RunFault `json:"fault,omitempty"`
}

// FieldChange is one field's old and new value.
type FieldChange struct {
	Field  string `json:"field"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// Sample returns the first n changes of a stored plan.
func (l *Ledger) Sample(ctx context.Context, runID string, n int) ([]Preview, error) {
	return nil, errNotYet
}
