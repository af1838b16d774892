package ledger

import (
	"context"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// Summary is what planning a run found. Its counts feed tidegate.Counts and the guards.
type Summary struct {
	RunID     string `json:"run_id"`
	Read      int64  `json:"read"`
	Unchanged int64  `json:"unchanged"`
	Added     int64  `json:"added"`
	Changed   int64  `json:"changed"`
	Removed   int64  `json:"removed"`
	BadKeys   int64  `json:"bad_keys"`
	// BadRows are rows that could not be mapped (a template failed, a value does
	// not fit its field). They count as added or changed and are rejected before any request leaves.
	BadRows int64 `json:"bad_rows"`
	// Retries counts changes that are in the plan because an earlier run left
	// them failed or in doubt although the model did not change since.
	Retries int64 `json:"retries"`
	// LedgerRows is the number of keys the ledger held as confirmed before the run.
	LedgerRows int64     `json:"ledger_rows"`
	PlannedAt  time.Time `json:"planned_at"`
}

// Planned is one change of a stored plan. Ordinals number the changes of one
// plan from 0 without gaps; a plan never changes once stored.
type Planned struct {
	Ordinal int64
	tidegate.Change
	Identifier    any
	DestinationID string // from an earlier outcome, empty when unknown
	Attempts      int    // deliveries tried before this run
	// IdempotencyKey is stable over retries of this version of this key.
	IdempotencyKey string
	// Fault is set when the row could not be mapped: it is rejected without a call.
	Fault *tidegate.Fault
}

// PlannedReader streams a stored plan in ordinal order; io.EOF ends it.
type PlannedReader interface {
	Next(ctx context.Context) (Planned, error)
	Close() error
}

// Result is what became of one planned change.
type Result struct {
	Ordinal int64
	// Excluded changes are not let through by the sync's mode. The ledger does not advance.
	Excluded bool
	destinations.Outcome
	// NextAttempt is when a Rejected, InDoubt or Deferred record may be tried again. Zero means: for
	// Deferred the next run, for the others not before the row changes.
	NextAttempt time.Time
}

// Progress is how far the delivery of a stored plan came; a resumed run starts from it.
type Progress struct {
	Summary Summary
	Counts  tidegate.Counts // of the results recorded so far, found counts included
	// Settled says, per ordinal below Intended, whether its result is recorded.
	// An intended ordinal that is not settled is in doubt: it is delivered again.
	Intended int64 // ordinals below this may have left
	Settled  func(ordinal int64) bool
}

// Rejection is a record that the destination does not hold as it should.
type Rejection struct {
	Key         tidegate.Key      `json:"key"`
	Op          tidegate.Op       `json:"op"`
	State       string            `json:"state"` // "failed" (rejected or deferred), "in_doubt", "bad_key"
	Fault       tidegate.RunFault `json:"fault"`
	Cluster     string            `json:"cluster"`
	Payload     tidegate.Record   `json:"payload,omitempty"`
	Attempts    int               `json:"attempts"`
	NextAttempt time.Time         `json:"next_attempt,omitzero"`
	RunID       string            `json:"run_id"`
	At          time.Time         `json:"at"`
}
