package tidegate

import (
	"fmt"
	"time"
)

// RunState is where a run of a sync stands.
//
//	queued → running → succeeded | partial | failed | canceled
//	           ↓  ↑
//	          held        (a guard waits for approval; approved → running, refused → canceled)
type RunState string

// The states of a run.
const (
	RunQueued    RunState = "queued"
	RunRunning   RunState = "running"
	RunHeld      RunState = "held"
	RunSucceeded RunState = "succeeded"
	RunPartial   RunState = "partial"
	RunFailed    RunState = "failed"
	RunCanceled  RunState = "canceled"
)

// What started a run: Run.Trigger.
const (
	TriggerSchedule  = "schedule"
	TriggerAfterLoad = "after_load"
	TriggerAfterDbt  = "after_dbt"  // a dbt invocation rebuilt the model
	TriggerAfterSync = "after_sync" // the sync it follows has succeeded
	TriggerWebhook   = "webhook"    // somebody called the sync's hook
	TriggerManual    = "manual"
	TriggerRetry     = "retry"   // records of an earlier run are due again
	TriggerPlan      = "plan"    // a plan that waits to be looked at before anything is sent
	TriggerRevert    = "revert"  // an earlier run is taken back
	TriggerRestore   = "restore" // what somebody else changed is written again
)

// Finished says whether s is final.
func (s RunState) Finished() bool {
	switch s {
	case RunSucceeded, RunPartial, RunFailed, RunCanceled:
		return true
	case RunQueued, RunRunning, RunHeld:
		return false
	}
	return false
}

// Counts is what a run read and what became of it. Check holds it to the two
// equations of the design (docs/invariants.md 10).
type Counts struct {
	Read      int64 `json:"read"`
	Unchanged int64 `json:"unchanged"`
	Added     int64 `json:"added"`
	Changed   int64 `json:"changed"`
	Removed   int64 `json:"removed"`
	BadKeys   int64 `json:"bad_keys"` // rows with a NULL or repeated key

	Delivered int64 `json:"delivered"`
	Rejected  int64 `json:"rejected"`
	InDoubt   int64 `json:"in_doubt"`
	Deferred  int64 `json:"deferred"` // to be tried again by a later run
	Held      int64 `json:"held"`     // waiting for an approval
	Excluded  int64 `json:"excluded"` // not an operation of the sync's mode

	// Waiting are records that earlier runs left behind and whose next try was not due: no
	// changes of this run, and what keeps the destination from being as the model says.
	Waiting int64 `json:"waiting,omitempty"`
}

// Check returns an error when the rows read or the changes found are not all
// accounted for. A run whose counts fail is a bug of ours: it ends as failed.
func (c Counts) Check() error {
	if c.Read != c.Unchanged+c.Added+c.Changed+c.BadKeys {
		return fmt.Errorf("counting rows: read %d is not unchanged %d + added %d + changed %d + bad keys %d",
			c.Read, c.Unchanged, c.Added, c.Changed, c.BadKeys)
	}
	found := c.Added + c.Changed + c.Removed
	ended := c.Delivered + c.Rejected + c.InDoubt + c.Deferred + c.Held + c.Excluded
	if found != ended {
		return fmt.Errorf("counting changes: added %d + changed %d + removed %d is not delivered %d + rejected %d + in doubt %d + deferred %d + held %d + excluded %d",
			c.Added, c.Changed, c.Removed, c.Delivered, c.Rejected, c.InDoubt, c.Deferred, c.Held, c.Excluded)
	}
	return nil
}

// Run is one execution of a sync.
type Run struct {
	ID        string    `json:"id"` // sortable by creation: "run_" + UUIDv7
	Workspace string    `json:"workspace"`
	Sync      string    `json:"sync"`
	Trigger   string    `json:"trigger"` // one of the Trigger constants
	State     RunState  `json:"state"`
	Counts    Counts    `json:"counts"`
	CreatedAt time.Time `json:"created_at"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	// Fault is why the run failed or is held. It stays on an approved run until
	// that ends, and marks it as approved; nil otherwise.
	Fault *RunFault `json:"fault,omitempty"`
	// Epoch fences the lease under which the run works.
	Epoch int64 `json:"epoch"`
}

// RunFault is the part of a Fault that is stored and shown.
type RunFault struct {
	Action  string `json:"action"`
	Code    string `json:"code"`
	Subject string `json:"subject,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// StoredFault returns the storable part of err's fault, nil for a nil err.
func StoredFault(err error) *RunFault {
	f := FaultOf(err)
	if f == nil {
		return nil
	}
	m := f.Message
	if m == "" {
		m = f.Error()
	}
	return &RunFault{Action: f.Action.String(), Code: f.Code, Subject: f.Subject, Message: m, Hint: f.Hint}
}
