package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	// Waiting counts keys that failed before and whose next attempt is not due: no change of this plan.
	// Parked ones are not among them.
	Waiting int64 `json:"waiting,omitempty"`
	// LedgerRows is the number of keys the ledger held as confirmed before the run.
	LedgerRows int64     `json:"ledger_rows"`
	PlannedAt  time.Time `json:"planned_at"`
	// LastRead is what the finished run before this one read; -1 when there is none.
	LastRead int64 `json:"last_read"`
	// ChangedFields counts, over all changes, the fields whose value differs from the confirmed one.
	ChangedFields int64 `json:"changed_fields"`
	// Nulls tells, per mapped field, how often the added and changed records hold null now and held it as confirmed.
	Nulls []FieldNulls `json:"nulls,omitempty"`
	// Baselined counts the rows that were taken for confirmed without being sent. They count as unchanged.
	Baselined int64 `json:"baselined,omitempty"`
	// Reverts is the run that this plan takes back; Skipped are the keys that it leaves alone because
	// something else was confirmed for them since.
	Reverts string `json:"reverts,omitempty"`
	Skipped int64  `json:"skipped,omitempty"`
	// Partial plans come from an incremental read: what the model did not return is not removed.
	Partial bool `json:"partial,omitempty"`
	// Note is PlanRequest.Note.
	Note string `json:"note,omitempty"`
}

// FieldNulls is how often one field is null in the changes of a plan.
type FieldNulls struct {
	Field string `json:"field"`
	// Now counts null or missing values in what is to be sent, of Rows added and changed records.
	Now  int64 `json:"now"`
	Rows int64 `json:"rows"`
	// Before counts them in what was confirmed, of Confirmed changed records.
	Before    int64 `json:"before"`
	Confirmed int64 `json:"confirmed"`
}

// Planned is one change of a stored plan. Ordinals number the changes of one
// plan from 0 without gaps; a plan never changes once stored.
type Planned struct {
	Ordinal int64
	tidegate.Change
	Identifier    any
	DestinationID string // from an earlier outcome, empty when unknown
	Attempts      int    // deliveries tried before this run
	// FirstFailedAt is when this version of this key first failed; zero when it did not fail yet.
	FirstFailedAt time.Time
	// IdempotencyKey is stable over retries of this version of this key.
	IdempotencyKey string
	// Fault is set when the row could not be mapped: it is rejected without a call.
	Fault *tidegate.Fault
	// Bytes is about what the change takes as it is stored; 0 is unknown.
	Bytes int
}

// PlannedReader streams a stored plan in ordinal order.
type PlannedReader interface {
	// Read puts the next changes into into, which is not empty, and returns how many those are: at least one, or none
	// and an error, which is io.EOF after the last.
	Read(ctx context.Context, into []Planned) (int, error)
	Close() error
}

// EachPlanned hands what r has left to each, which may keep what a change points to but not the change itself.
func EachPlanned(ctx context.Context, r PlannedReader, each func(p *Planned) error) error {
	page := make([]Planned, fewRows)
	for {
		n, err := r.Read(ctx, page)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the plan: %w", err)
		}
		for i := range page[:n] {
			if err := each(&page[i]); err != nil {
				return err
			}
		}
		if n == len(page) && n < manyRows {
			page = make([]Planned, 4*n)
		}
	}
}

// A page is small for a small plan; manyRows are enough to make a query worth its while.
const fewRows, manyRows = 64, 4096

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
	// Tickets are the writes that the destination has accepted and not decided yet, oldest first. Their
	// ordinals are not settled.
	Tickets []OpenTicket
}

// OpenTicket is a write whose outcome is asked for later.
type OpenTicket struct {
	Ticket destinations.Ticket
	// Ordinals are the records of the write in the order in which they were given to it.
	Ordinals []int64
	At       time.Time
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
	// FirstFailedAt is when this version of the record first failed. Parked records have no next attempt: they
	// wait for their row to change or for RetryNow.
	FirstFailedAt time.Time `json:"first_failed_at,omitzero"`
	Parked        bool      `json:"parked,omitempty"`
	RunID         string    `json:"run_id"`
	At            time.Time `json:"at"`
}

// RevertRequest asks for the plan that takes back what a finished run delivered.
type RevertRequest struct {
	// RunID is the new run, Of the one that is taken back.
	RunID string
	Of    string
	Epoch int64
	// IdentifierField is the field by which the destination matches records.
	IdentifierField string
	IdempotencySalt string
}

// Drifted is one record that the destination holds otherwise than it confirmed.
type Drifted struct {
	Key tidegate.Key
	// Missing records are gone from the destination.
	Missing bool
	// Actual holds the fields that differ, with the destination's values.
	Actual tidegate.Record
}

// DriftRequest asks for the plan that restores what drifted.
type DriftRequest struct {
	RunID string
	Epoch int64
	// Next returns the next drifted record, io.EOF after the last.
	Next            func(ctx context.Context) (Drifted, error)
	IdempotencySalt string
}

// Confirmed is what the ledger knows of one key that the destination confirmed.
type Confirmed struct {
	Key           tidegate.Key    `json:"key"`
	Identifier    any             `json:"identifier"`
	DestinationID string          `json:"destination_id,omitempty"`
	Payload       tidegate.Record `json:"payload,omitempty"` // nil in a ledger of hashes
}

// ConfirmedReader streams confirmed records; io.EOF ends it.
type ConfirmedReader interface {
	Next(ctx context.Context) (Confirmed, error)
	Close() error
}

// Cluster is one cause of rejections.
type Cluster struct {
	Cluster string            `json:"cluster"`
	Count   int64             `json:"count"`
	Parked  int64             `json:"parked"` // of Count, those without a next attempt
	Fault   tidegate.RunFault `json:"fault"`  // of the newest one
	Keys    []tidegate.Key    `json:"keys"`   // a few of them
	First   time.Time         `json:"first"`
	Last    time.Time         `json:"last"`
}

// LogFilter selects entries of the change log; zero fields select everything.
type LogFilter struct {
	RunID       string
	Key         tidegate.Key
	Disposition string
	Cluster     string
	// Before selects entries recorded before a time: the next page.
	Before time.Time
	Limit  int // 100 when 0, 10,000 at most
}

// LogEntry is one result of the change log, newest first.
type LogEntry struct {
	RunID         string             `json:"run_id"`
	Ordinal       int64              `json:"ordinal"`
	Key           tidegate.Key       `json:"key"`
	Op            tidegate.Op        `json:"op"`
	Disposition   string             `json:"disposition"`
	DestinationID string             `json:"destination_id,omitempty"`
	Before        tidegate.Record    `json:"before,omitempty"` // as confirmed before; nil in a ledger of hashes
	After         tidegate.Record    `json:"after,omitempty"`
	Fault         *tidegate.RunFault `json:"fault,omitempty"`
	Cluster       string             `json:"cluster,omitempty"`
	At            time.Time          `json:"at"`
}
