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

// Ledger is what the runner needs of a sync's memory. *ledger.Ledger is one.
// Writes carry the epoch of the lease; a stale epoch is a Halt fault with the
// code "lease.lost"; Finish is held to the epoch of the writes before it. All
// methods may be called again with the same arguments: a second Plan of a stored
// plan returns it, a second Record of a result is dropped, a second Finish does
// nothing. Reading and writing go on side by side.
type Ledger interface {
	Plan(ctx context.Context, req ledger.PlanRequest) (ledger.Summary, error)
	Changes(ctx context.Context, runID string, from int64) (ledger.PlannedReader, error)
	// Identities is Changes from 0 without the payloads, for those who look at identifiers alone.
	Identities(ctx context.Context, runID string) (ledger.PlannedReader, error)
	Intend(ctx context.Context, runID string, epoch, first, last int64) error
	Record(ctx context.Context, runID string, epoch int64, results []ledger.Result) error
	Progress(ctx context.Context, runID string) (ledger.Progress, error)
	Finish(ctx context.Context, runID string) error
	// Look shows the plan that is stored for req.RunID, or what Plan would store, and keeps nothing.
	Look(ctx context.Context, req ledger.PlanRequest, n int) (ledger.Look, error)
	// PlanRevert stores the plan that takes another run back, PlanDrift the one that writes
	// confirmed values again; both are then found like any plan.
	PlanRevert(ctx context.Context, req ledger.RevertRequest) (ledger.Summary, error)
	PlanDrift(ctx context.Context, req ledger.DriftRequest) (ledger.Summary, error)
	// Confirmed streams what the destination confirmed: all of it, or about sample records.
	Confirmed(ctx context.Context, sample int, seed int64) (ledger.ConfirmedReader, error)
}

// Quotas hand out the calls that destination accounts allow, to every sync (and
// every node) that shares them. Methods are safe for concurrent use.
type Quotas interface {
	// Take takes the right to make one call and returns 0, or returns how long to wait before asking again.
	Take(ctx context.Context, account string, c Claim) (time.Duration, error)
	// Declare tells what an API is known to allow; of several declarations the tightest holds.
	Declare(ctx context.Context, account string, l destinations.Limit) error
	// Learn takes the result of a call: a Throttle stops everyone and lowers the rate, answers raise it again.
	Learn(ctx context.Context, account string, err error) error
	// Allow takes what an answer said about the account's limit.
	Allow(ctx context.Context, account string, a destinations.Allowance) error
}

// Claim is who wants to call an account.
type Claim struct {
	Sync    string
	Weight  int // its share when calls are scarce, 10 when 0
	Percent int // of the account's quota that it may use, 100 when 0
}

func (c Claim) sane() Claim {
	if c.Weight <= 0 {
		c.Weight = 10
	}
	if c.Percent <= 0 || c.Percent > 100 {
		c.Percent = 100
	}
	return c
}

func claimOf(o *Opened) Claim {
	return Claim{Sync: o.Sync.Name, Weight: o.Sync.Delivery.Priority, Percent: o.Sync.Delivery.QuotaPercent}.sane()
}

// Opened is everything that one run of a sync works with.
type Opened struct {
	// Sync is the definition.
	Sync   tidegate.Sync
	Ledger Ledger
	// Request has Model, Mapping and whatever else planning needs; the runner
	// fills RunID, Epoch and Mode.
	Request ledger.PlanRequest
	// Destination and Object are where the changes go; IdentifierField is the field by which it matches.
	Destination     destinations.Destination
	Object          destinations.Object
	IdentifierField string
	// Account names what shares one quota; syncs with equal accounts share it.
	Account string
	// Prepare makes at the destination what the run needs there, such as missing fields. It is called before
	// the first call that writes, again after an error, and never for a plan that is only looked at; nil: nothing.
	Prepare func(ctx context.Context) error
	// Close releases all of it; called once, after the run.
	Close func() error
}

// Runs keeps runs and leases. control/store is one. Every method may be called
// concurrently.
type Runs interface {
	// CreateRun stores a new run. A run with this ID is ErrConflict.
	CreateRun(ctx context.Context, run tidegate.Run) error
	// UpdateRun replaces State, Counts, StartedAt, EndedAt, Fault and Epoch of the
	// stored run when its state is from and neither its epoch nor the highest
	// epoch that a lease of its sync had is above run.Epoch; otherwise nothing
	// changes and the error wraps ErrConflict. The check and the write are one.
	UpdateRun(ctx context.Context, run tidegate.Run, from tidegate.RunState) error
	// Run returns one run; the error of an unknown one wraps ErrNoRun.
	Run(ctx context.Context, workspace, id string) (tidegate.Run, error)
	// ListRuns lists a sync's runs, newest first, those before the ID before when
	// it is set. An empty sync means every sync.
	ListRuns(ctx context.Context, workspace, sync, before string, limit int) ([]tidegate.Run, error)
	// UnfinishedRuns lists the runs that are queued, running or held, oldest first.
	UnfinishedRuns(ctx context.Context, workspace string) ([]tidegate.Run, error)

	// AcquireLease gives holder the lease of a sync until now+ttl, with an epoch one
	// above the highest that the sync ever had (epochs survive a release). It fails with
	// a *LeaseHeldError while another holder's lease runs; a lease of the same
	// holder is taken over at once.
	AcquireLease(ctx context.Context, workspace, sync, holder string, now time.Time, ttl time.Duration) (Lease, error)
	// RenewLease extends l to until when its epoch is still the sync's highest
	// and it was not released; otherwise the error wraps ErrLeaseLost.
	RenewLease(ctx context.Context, l Lease, until time.Time) (Lease, error)
	// ReleaseLease gives l up. Releasing a lost lease is no error.
	ReleaseLease(ctx context.Context, l Lease) error
}

// Lease is the right to run one sync, fenced by Epoch.
type Lease struct {
	Workspace string
	Sync      string
	Holder    string
	Epoch     int64
	Expires   time.Time
}

// The errors of Runs.
var (
	ErrNoRun     = errors.New("no such run")
	ErrConflict  = errors.New("the run was changed by someone else")
	ErrLeaseLost = errors.New("the lease is held by someone else")
)

// LeaseHeldError says who has the lease.
type LeaseHeldError struct{ Lease Lease }

// Error names the holder and the end of the lease.
func (e *LeaseHeldError) Error() string {
	return fmt.Sprintf("the lease of sync %s is held by %s until %s",
		e.Lease.Sync, e.Lease.Holder, e.Lease.Expires.UTC().Format(time.RFC3339))
}
