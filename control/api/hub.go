package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/alert"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
	"github.com/tidegate/tidegate/sync/runner"
)

// Hub is the running machine behind the API: everything that needs a journal,
// a warehouse or a runner. control/app implements it; definitions themselves
// are kept by control/catalog, which calls Activate.
//
// All methods are safe for concurrent use. Errors carry a *tidegate.Fault where
// the caller can do something about them; the code decides the HTTP status
// (see statusOf): "….not_found" 404, "….conflict" 409, "….invalid" 422.
type Hub interface {
	EventHub
	PrivacyHub

	// Activate makes p what the hub runs: sources, destinations, models, syncs and
	// schedules. It is all or nothing: after an error the hub still runs what it ran.
	// Running runs go on with the definitions they started with.
	Activate(ctx context.Context, p *project.Project) error

	// Ready says how far behind each stage is. It answers within a second even
	// when a stage hangs.
	Ready(ctx context.Context) Readiness
	// Doctor examines the hub: disk space, fsync, clock, warehouse, destinations' credentials.
	Doctor(ctx context.Context) []Finding

	// Query runs one read-only statement in the warehouse called name, without one in that
	// which events go to; the caller closes the reader.
	Query(ctx context.Context, name, sql string) (tidegate.RowReader, error)
	// Tables lists the warehouse's tables with their columns.
	Tables(ctx context.Context) ([]TableInfo, error)
	// Tail calls emit for each event of the journal from req.From on, in order,
	// until emit errs, req.Limit is reached, ctx ends or, unless req.Follow, the journal's end is reached.
	// It calls opened once before, when the request is found right; fault "source.not_found".
	Tail(ctx context.Context, req TailRequest, opened func() error, emit func(TailedEvent) error) error
	// Explain says which rows an event would become, against the tables as they are now.
	Explain(ctx context.Context, source string, event json.RawMessage) (Explanation, error)

	// PreviewModel reads a model's first rows and counts all of them.
	PreviewModel(ctx context.Context, name string, limit int) (ModelPreview, error)
	// SuggestMapping maps a model's columns to the fields of a destination's object by their names.
	SuggestMapping(ctx context.Context, model, destination, object string) (SuggestedMapping, error)

	// Syncs returns every sync's status, sorted by name.
	Syncs(ctx context.Context) ([]SyncStatus, error)
	// Sync returns one sync's status; fault "sync.not_found" when there is none.
	Sync(ctx context.Context, name string) (SyncStatus, error)
	// SyncPlan computes what a run would send and sends nothing; at most sample changes are shown. The plan of a
	// run that is held is shown as it stands, unless fresh.
	SyncPlan(ctx context.Context, name string, sample int, fresh bool) (SyncPlan, error)
	// StorePlan stores a plan as a held run, which Approve applies; a run that finds nothing to send ends at once.
	StorePlan(ctx context.Context, name string) (tidegate.Run, error)
	// Revert begins a run that takes back what a finished one delivered.
	Revert(ctx context.Context, runID string) (tidegate.Run, error)
	// Drift compares what the model says, what was confirmed and what the destination holds.
	Drift(ctx context.Context, name string, opts runner.DriftOptions) (runner.DriftReport, error)
	// SyncRun starts a run and returns at once; fault "run.conflict" when one is going on.
	SyncRun(ctx context.Context, name string) (tidegate.Run, error)
	// PauseSync keeps a sync from starting by itself, or lets it; a restart does not change it, and
	// a run that goes on is not stopped. Faults "sync.not_found", and "sync.conflict" where the definition itself pauses it.
	PauseSync(ctx context.Context, name string, pause bool) error
	// Approve lets a held run deliver exactly its stored plan.
	Approve(ctx context.Context, runID string) (tidegate.Run, error)
	// Cancel stops a run; what was not sent stays to be sent.
	Cancel(ctx context.Context, runID string) (tidegate.Run, error)
	// Run returns one run; fault "run.not_found".
	Run(ctx context.Context, runID string) (tidegate.Run, error)
	// Runs lists a sync's runs, newest first, before the run ID before when it is set.
	Runs(ctx context.Context, sync, before string, limit int) ([]tidegate.Run, error)
	// Rejections lists records that the destination does not hold as it should, newest first.
	Rejections(ctx context.Context, sync string, limit int) ([]ledger.Rejection, error)
	// Causes groups the rejections by their cause, most frequent first.
	Causes(ctx context.Context, sync string, limit int) ([]ledger.Cluster, error)
	// RetryRejections makes a sync's rejections (those of one cluster when it is
	// set) due now and returns how many.
	RetryRejections(ctx context.Context, sync, cluster string, key tidegate.Key) (int64, error)
	// SyncLog lists results of a sync's change log, newest first.
	SyncLog(ctx context.Context, sync string, f ledger.LogFilter) ([]ledger.LogEntry, error)
	// Resync forgets what a sync's destination confirmed: the next run sends every row and removes none.
	Resync(ctx context.Context, sync string) error

	// Hook starts a sync for the caller of its hook, whose request proves that it
	// knows the sync's secret; fault "hook.unauthorized".
	Hook(ctx context.Context, sync string, req HookRequest) error

	// Dbt lists the dbt projects with their models.
	Dbt(ctx context.Context) ([]DbtStatus, error)
	// RefreshDbt looks at the artefacts of every dbt project now.
	RefreshDbt(ctx context.Context) error
	// DbtWebhook takes an event of dbt Cloud and returns at once; fault
	// "hook.unauthorized" when its signature is wrong.
	DbtWebhook(ctx context.Context, signature string, body []byte) error
	// Lineage returns how values travel: all edges, or those that lead to and from one name.
	Lineage(ctx context.Context, name string) (Lineage, error)

	SchemaHub

	// Alerts lists what alerts are raised, or resolved and not yet told.
	Alerts(ctx context.Context) []alert.State
	// TestAlert sends a test message through the channel of an alert; fault "alert.not_found".
	TestAlert(ctx context.Context, name string) error

	Forwards

	// Lend pauses loading, gives the warehouse's file up, calls use with its path
	// and takes it back. by names who has it meanwhile; empty: nobody knows. Fault
	// "warehouse.not_lendable" when the engine is no file.
	Lend(ctx context.Context, by string, use func(ctx context.Context, path string) error) error
}

// Readiness is how far behind each stage is.
type Readiness struct {
	Ready   bool           `json:"ready"`
	Stages  []Stage        `json:"stages"`
	Sources []SourceCounts `json:"sources"`
}

// Stage is one part of the road from a request to a destination.
type Stage struct {
	Name       string  `json:"name" doc:"journal, loader, warehouse, control, sync NAME"`
	Ready      bool    `json:"ready"`
	LagEvents  int64   `json:"lag_events" doc:"Events waiting before this stage."`
	LagBytes   int64   `json:"lag_bytes,omitempty"`
	LagSeconds float64 `json:"lag_seconds" doc:"Age of the oldest thing waiting before this stage."`
	Detail     string  `json:"detail,omitempty" doc:"Why the stage is not ready, or what it is doing."`
}

// SourceCounts accounts for every event of a source (Invariant 2):
// accepted = loaded + duplicates + waiting + dead + suppressed + dropped.
type SourceCounts struct {
	Source     string `json:"source"`
	Accepted   int64  `json:"accepted"`
	Loaded     int64  `json:"loaded"`
	Duplicates int64  `json:"duplicates"`
	Waiting    int64  `json:"waiting"`
	Dead       int64  `json:"dead"`
	Suppressed int64  `json:"suppressed"`
	Dropped    int64  `json:"dropped"`
}

// Migrated is one table that a migration of a warehouse brought over.
type Migrated struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows" doc:"Rows in both, counted afterwards."`
	Copied int64  `json:"copied" doc:"Rows that this migration copied; the others were there."`
}

// Rejoined is where the loader of a warehouse goes on in the journal.
type Rejoined struct {
	Before tidegate.Offset `json:"before" doc:"Its place until now, which the journal does not have."`
	After  tidegate.Offset `json:"after" doc:"The oldest event that the journal keeps."`
	Events int64           `json:"events" doc:"How many events the journal keeps."`
}

// Finding is one thing that Doctor looked at.
type Finding struct {
	Check  string `json:"check" doc:"What was examined: journal.fsync, warehouse.open, destination crm."`
	Level  string `json:"level" enum:"ok,warning,error"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty" doc:"What to do about it."`
}

// TableInfo is one table of the warehouse.
type TableInfo struct {
	Schema  string       `json:"schema"`
	Name    string       `json:"name"`
	Columns []ColumnInfo `json:"columns"`
}

// ColumnInfo is one column with its type in words: "decimal(38,9)".
type ColumnInfo struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// TailRequest says which events Tail shows. With neither From nor Since, Tail
// starts at the journal's end.
type TailRequest struct {
	Source  string           // empty: all sources
	Type    string           // empty: all types
	Event   string           // name of a track event; empty: all
	User    string           // a userId or anonymousId
	Filter  string           // a condition in CEL
	From    *tidegate.Offset // the first offset shown
	Since   time.Time        // the first arrival shown
	Refused bool             // refused events only
	Follow  bool
	Limit   int // 0: no limit
}

// TailedEvent is one event as the journal holds it.
type TailedEvent struct {
	Offset     string          `json:"offset"`
	Source     string          `json:"source"`
	Type       string          `json:"type,omitempty"`
	MessageID  string          `json:"message_id,omitempty"`
	ReceivedAt time.Time       `json:"received_at"`
	Refusal    string          `json:"refusal,omitempty" doc:"The code for which the event was refused."`
	Event      json.RawMessage `json:"event"`
	Became     *Became         `json:"became,omitempty"`
}

// Explanation is what an event becomes.
type Explanation struct {
	// Refusal is set when the event would be refused; then there are no tables.
	Refusal *tidegate.RunFault `json:"refusal,omitempty"`
	// Verdict is what the project's rules make of the event; absent when they leave it as it is.
	Verdict *ExplainedVerdict `json:"verdict,omitempty"`
	Tables  []ExplainedTable  `json:"tables"`
}

// ExplainedTable is the row that an event becomes in one table.
type ExplainedTable struct {
	Schema  string            `json:"schema"`
	Name    string            `json:"name"`
	Columns []ExplainedColumn `json:"columns"`
}

// ExplainedColumn is one cell of an explained row.
type ExplainedColumn struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value any    `json:"value"`
	// New columns do not exist yet; the load would add them.
	New bool `json:"new,omitempty"`
}

// SyncStatus tells how a sync is now and how its last finished run went: two
// facts, never one.
type SyncStatus struct {
	Name        string `json:"name"`
	Model       string `json:"model"`
	Destination string `json:"destination"`
	Object      string `json:"object"`
	Mode        string `json:"mode"`
	// State is how it is now: idle, queued, running, waiting (a run that may not call its destination now), held, paused, broken, blocked (by dbt).
	State string `json:"state" enum:"idle,queued,running,waiting,held,paused,broken,blocked"`
	// Paused syncs run by hand only: their definition says so, or somebody paused them.
	Paused bool `json:"paused,omitempty"`
	// Reason answers "why is it not running", or what a run waits for.
	Reason  string    `json:"reason,omitempty"`
	NextRun time.Time `json:"next_run,omitzero"`
	// Upcoming are the runs of a cron schedule from NextRun on, by the clocks of Timezone.
	Upcoming []time.Time `json:"upcoming,omitempty" doc:"The runs of a cron schedule from next_run on, with the offsets of its zone."`
	Timezone string      `json:"timezone,omitempty" doc:"The zone of the cron schedule."`
	// Current is the run that is queued, running or held.
	Current *tidegate.Run `json:"current,omitempty"`
	// Progress is how far the current run has come, and when it is likely to end.
	Progress *Progress `json:"progress,omitempty"`
	// Last is the last finished run.
	Last *tidegate.Run `json:"last,omitempty"`
	// LedgerRows is how many keys the destination has confirmed.
	LedgerRows int64 `json:"ledger_rows"`
	// Pending is how many records failed or are in doubt.
	Pending int64 `json:"pending"`
	// Parked is how many of them wait for their row to change, or for somebody to try them again.
	Parked int64 `json:"parked,omitempty"`
	// LateSince is when the last success became older than the sync's freshness allows.
	LateSince time.Time `json:"late_since,omitzero"`
}

// Progress is how far a run has come.
type Progress struct {
	Left      int64   `json:"left" doc:"Changes without an outcome."`
	PerSecond float64 `json:"per_second,omitempty" doc:"Changes that get one, since the delivery began."`
	// EndsAt is when the run ends if it goes on like this.
	EndsAt      time.Time `json:"ends_at,omitzero"`
	CanaryUntil time.Time `json:"canary_until,omitzero" doc:"When the rest follows the canary, all of which was delivered."`
	CircuitOpen bool      `json:"circuit_open,omitempty" doc:"The destination failed too often and is left alone for a while."`
	// Waiting is why no call may be made now: the store of shared quotas is away, the rate limit is used up, the destination is left alone.
	Waiting *runner.Waiting `json:"waiting,omitempty" doc:"Why the run may not call the destination now, and since when."`
}

// SyncPlan is what a run would send.
type SyncPlan struct {
	Sync string `json:"sync"`
	// RunID is the held run whose plan this is; empty when it was made to be looked at.
	RunID string `json:"run_id,omitempty"`
	// Beside is the run that has not finished meanwhile: what it sends counts as not sent here.
	Beside  *tidegate.Run  `json:"beside,omitempty"`
	Summary ledger.Summary `json:"summary"`
	// Held is the guard that would hold the plan, nil when none would.
	Held *tidegate.RunFault `json:"held,omitempty"`
	// Excluded counts the changes that the sync's mode does not let through: they are not sent.
	Excluded int64 `json:"excluded"`
	// Calls and Seconds estimate the delivery from the destination's limits.
	Calls   int64   `json:"estimated_calls"`
	Seconds float64 `json:"estimated_seconds"`
	// Costs are what the destination charges or limits beside calls.
	Costs []destinations.Cost `json:"estimated_costs,omitempty"`
	// Safety is what a repeated delivery does: nothing more (idempotent), nothing more within the time that the
	// destination remembers idempotency keys (dedupable), or the thing twice (unsafe): then what is in doubt waits for a person.
	Safety destinations.Safety `json:"safety,omitempty"`
	Sample []SampleChange      `json:"sample"`
}

// SampleChange is one change of a plan, field by field.
type SampleChange struct {
	Op     tidegate.Op   `json:"op" enum:"added,changed,removed"`
	Key    tidegate.Key  `json:"key"`
	Fields []SampleField `json:"fields"`
	// Excluded changes are not let through by the sync's mode.
	Excluded bool `json:"excluded,omitempty"`
	// Fault is set when the row cannot be mapped and would be rejected.
	Fault *tidegate.RunFault `json:"fault,omitempty"`
}

// SampleField is one field's old and new value.
type SampleField struct {
	Field  string `json:"field"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}
