// Package apitest holds a hub for tests: one that remembers what it was asked
// and answers from its fields. It measures, loads and sends nothing.
//
// A Hub is safe for concurrent use; tests lock it before they look at it.
package apitest

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/alert"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/sync/ledger"
	"github.com/tidegate/tidegate/sync/runner"
)

var _ api.Hub = (*Hub)(nil)

// New returns a hub that is ready.
func New() *Hub {
	return &Hub{IsReady: true, Started: map[string]tidegate.Run{}, Returned: make(chan struct{}, 1)}
}

// Hub is the fake.
type Hub struct {
	sync.Mutex
	Activated  []*project.Project
	Refuse     error // what Activate returns
	IsReady    bool
	Results    tidegate.RowReader
	Events     []api.TailedEvent
	Tailed     api.TailRequest
	Started    map[string]tidegate.Run
	Tested     []string // alerts
	WidenedBy  string
	Replayed   []api.ReplayRequest
	Suppressed []privacy.Entry
	Deleted    []api.DeleteRequest
	Paused     bool          // the sync crm, by hand
	Lent       bool          // the file is out
	LentBy     string        // and who has it
	Returned   chan struct{} // told once the file is back
}

// Activate implements api.Hub.
func (h *Hub) Activate(_ context.Context, p *project.Project) error {
	h.Lock()
	defer h.Unlock()
	if h.Refuse != nil {
		return h.Refuse
	}
	h.Activated = append(h.Activated, p)
	return nil
}

// Ready implements api.Hub.
func (h *Hub) Ready(context.Context) api.Readiness {
	return api.Readiness{Ready: h.IsReady, Stages: []api.Stage{{Name: "loader", Ready: h.IsReady, LagEvents: 7}}, Sources: []api.SourceCounts{{Source: "web", Accepted: 3, Loaded: 3}}}
}

// Alerts implements api.Hub.
func (h *Hub) Alerts(context.Context) []alert.State {
	return []alert.State{{Alert: "ops", Sync: "crm", Condition: alert.Failed, Raised: true, Message: "the token has expired", Hint: "make a new one"}}
}

// Hook implements api.Hub.
func (h *Hub) Hook(_ context.Context, name string, req api.HookRequest) error {
	if req.Authorization != "Bearer hush" {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "hook.unauthorized", Subject: "sync " + name, Message: "no"}
	}
	return nil
}

// Dbt implements api.Hub.
func (h *Hub) Dbt(context.Context) ([]api.DbtStatus, error) {
	return []api.DbtStatus{{Name: "dbt", Models: []api.DbtModelStatus{{ID: "model.shop.customers", Name: "customers", Table: "marts.customers", Passed: true, Syncs: []string{"crm"}}}}}, nil
}

// RefreshDbt implements api.Hub.
func (h *Hub) RefreshDbt(context.Context) error { return nil }

// DbtWebhook implements api.Hub.
func (h *Hub) DbtWebhook(_ context.Context, signature string, _ []byte) error {
	if signature != "signed" {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "hook.unauthorized", Message: "no"}
	}
	return nil
}

// Lineage implements api.Hub.
func (h *Hub) Lineage(context.Context, string) (api.Lineage, error) {
	return api.Lineage{Edges: []api.LineageEdge{{FromKind: "sync", From: "crm", ToKind: "field", To: "crm.contacts.email", Columns: []string{"email"}}}}, nil
}

// TestAlert implements api.Hub.
func (h *Hub) TestAlert(_ context.Context, name string) error {
	if name != "ops" {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "alert.not_found", Subject: "alert " + name, Message: "there is no such alert"}
	}
	h.Lock()
	defer h.Unlock()
	h.Tested = append(h.Tested, name)
	return nil
}

// Doctor implements api.Hub.
func (h *Hub) Doctor(context.Context) []api.Finding {
	return []api.Finding{{Check: "journal.fsync", Level: "ok", Detail: "168 µs"}}
}

// Query implements api.Hub.
func (h *Hub) Query(_ context.Context, _, sql string) (tidegate.RowReader, error) {
	if sql == "DROP TABLE t" {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "query.not_read_only", Message: "only SELECT", Hint: "write a SELECT"}
	}
	return h.Results, nil
}

// Tables implements api.Hub.
func (h *Hub) Tables(context.Context) ([]api.TableInfo, error) {
	return []api.TableInfo{{Schema: "web", Name: "tracks", Columns: []api.ColumnInfo{{Name: "id", Type: "string"}}}}, nil
}

// Tail implements api.Hub.
func (h *Hub) Tail(ctx context.Context, req api.TailRequest, opened func() error, emit func(api.TailedEvent) error) error {
	if req.Source == "none" {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "source.not_found", Subject: "source none", Message: "there is no such source"}
	}
	if err := opened(); err != nil {
		return err
	}
	h.Lock()
	h.Tailed = req
	h.Unlock()
	for i, e := range h.Events {
		if err := emit(e); err != nil {
			return err
		}
		if i+1 == req.Limit {
			return nil
		}
	}
	if req.Follow {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// Explain implements api.Hub.
func (h *Hub) Explain(_ context.Context, source string, event json.RawMessage) (api.Explanation, error) {
	return api.Explanation{Tables: []api.ExplainedTable{{Schema: source, Name: "tracks", Columns: []api.ExplainedColumn{{Name: "event", Type: "string", Value: string(event)}}}}}, nil
}

// Syncs implements api.Hub.
func (h *Hub) Syncs(context.Context) ([]api.SyncStatus, error) {
	return []api.SyncStatus{{Name: "crm", State: "idle"}}, nil
}

// Sync implements api.Hub.
func (h *Hub) Sync(_ context.Context, name string) (api.SyncStatus, error) {
	if name != "crm" {
		return api.SyncStatus{}, &tidegate.Fault{Action: tidegate.Halt, Code: "sync.not_found", Subject: "sync " + name, Message: "there is no such sync"}
	}
	h.Lock()
	defer h.Unlock()
	if h.Paused {
		return api.SyncStatus{Name: "crm", State: "paused", Paused: true, Reason: "it is paused: it runs by hand only"}, nil
	}
	return api.SyncStatus{Name: "crm", State: "idle", Reason: "waiting for 06:00"}, nil
}

// PreviewModel implements api.Hub.
func (h *Hub) PreviewModel(_ context.Context, name string, limit int) (api.ModelPreview, error) {
	return api.ModelPreview{Model: name, Columns: []api.ColumnInfo{{Name: "id", Type: "int"}, {Name: "email", Type: "string"}}, Rows: [][]any{{1, "a@b.c"}, {2, nil}}, Count: int64(limit), EstimatedRows: 2, EstimatedBytes: -1}, nil
}

// SuggestMapping implements api.Hub.
func (h *Hub) SuggestMapping(_ context.Context, model, destination, object string) (api.SuggestedMapping, error) {
	return api.SuggestedMapping{
		Mapping:       tidegate.Mapping{Identifier: "email", Fields: []tidegate.FieldMapping{{Field: "email", Column: "mail"}}},
		UnusedColumns: []string{model}, OpenFields: []string{destination, object},
	}, nil
}

// SyncPlan implements api.Hub.
func (h *Hub) SyncPlan(_ context.Context, name string, sample int, _ bool) (api.SyncPlan, error) {
	return api.SyncPlan{Sync: name, Summary: ledger.Summary{Added: int64(sample), Removed: 1}, Excluded: 1, Sample: []api.SampleChange{{Op: tidegate.Removed, Key: `["2"]`, Excluded: true}, {Op: tidegate.Added, Key: `["1"]`, Fields: []api.SampleField{{Field: "email", After: "a@b.c"}}}}}, nil
}

// StorePlan implements api.Hub.
func (h *Hub) StorePlan(ctx context.Context, name string) (tidegate.Run, error) {
	return h.SyncRun(ctx, name)
}

// Revert implements api.Hub.
func (h *Hub) Revert(_ context.Context, id string) (tidegate.Run, error) {
	return h.change(id, tidegate.RunRunning)
}

// Drift implements api.Hub.
func (h *Hub) Drift(_ context.Context, name string, opts runner.DriftOptions) (runner.DriftReport, error) {
	return runner.DriftReport{Sync: name, Checked: int64(opts.Sample), Drifted: 1, Fields: map[string]int64{"email": 1}, Records: []runner.DriftRecord{
		{Key: `["1"]`, Identifier: "a@b.c", Fields: []runner.DriftField{{Field: "email", Desired: "a@b.c", Confirmed: "a@b.c", Actual: "x@y.z"}}},
	}}, nil
}

// SyncRun implements api.Hub.
func (h *Hub) SyncRun(_ context.Context, name string) (tidegate.Run, error) {
	h.Lock()
	defer h.Unlock()
	for _, r := range h.Started {
		if r.Sync == name && !r.State.Finished() {
			return tidegate.Run{}, &tidegate.Fault{Action: tidegate.Retry, Code: "run.conflict", Subject: "sync " + name, Message: "a run is going on"}
		}
	}
	r := tidegate.Run{ID: "run_2", Workspace: "default", Sync: name, State: tidegate.RunHeld}
	h.Started[r.ID] = r
	return r, nil
}

func (h *Hub) change(id string, to tidegate.RunState) (tidegate.Run, error) {
	h.Lock()
	defer h.Unlock()
	r, ok := h.Started[id]
	if !ok {
		return tidegate.Run{}, &tidegate.Fault{Action: tidegate.Halt, Code: "run.not_found", Subject: "run " + id, Message: "there is no such run"}
	}
	if to != "" {
		r.State = to
		h.Started[id] = r
	}
	return r, nil
}

// Approve implements api.Hub.
func (h *Hub) Approve(_ context.Context, id string) (tidegate.Run, error) {
	return h.change(id, tidegate.RunRunning)
}

// Cancel implements api.Hub.
func (h *Hub) Cancel(_ context.Context, id string) (tidegate.Run, error) {
	return h.change(id, tidegate.RunCanceled)
}

// Run implements api.Hub.
func (h *Hub) Run(_ context.Context, id string) (tidegate.Run, error) { return h.change(id, "") }

// Runs implements api.Hub.
func (h *Hub) Runs(_ context.Context, sync, _ string, limit int) ([]tidegate.Run, error) {
	return []tidegate.Run{{ID: "run_1", Sync: sync, State: tidegate.RunSucceeded}}[:min(1, limit)], nil
}

// Rejections implements api.Hub.
func (h *Hub) Rejections(context.Context, string, int) ([]ledger.Rejection, error) {
	return nil, nil
}

// Causes implements api.Hub.
func (h *Hub) Causes(context.Context, string, int) ([]ledger.Cluster, error) {
	return []ledger.Cluster{{Cluster: "abc", Count: 3, Fault: tidegate.RunFault{Action: "reject", Code: "hubspot.invalid", Message: "the address is no email"}, Keys: []tidegate.Key{"[7]"}}}, nil
}

// RetryRejections implements api.Hub.
func (h *Hub) RetryRejections(_ context.Context, _, cluster string, _ tidegate.Key) (int64, error) {
	return int64(len(cluster)), nil
}

// SyncLog implements api.Hub.
func (h *Hub) SyncLog(_ context.Context, _ string, f ledger.LogFilter) ([]ledger.LogEntry, error) {
	return []ledger.LogEntry{{RunID: "run_1", Key: "[1]", Op: tidegate.Changed, Disposition: "delivered", Before: tidegate.Record{"age": int64(1), "old": []any{1.5}}, After: tidegate.Record{"age": int64(2), "name": "Ada", "tags": []any{int64(7), nil}}}}[:min(1, f.Limit)], nil
}

// Resync implements api.Hub.
func (h *Hub) Resync(_ context.Context, name string) error {
	if name == "unknown" {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "sync.not_found", Subject: "sync " + name, Message: "there is no such sync"}
	}
	return nil
}

// PauseSync implements api.Hub.
func (h *Hub) PauseSync(_ context.Context, name string, pause bool) error {
	if name == "unknown" {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "sync.not_found", Subject: "sync " + name, Message: "there is no such sync"}
	}
	h.Lock()
	defer h.Unlock()
	h.Paused = pause
	return nil
}

// Lend implements api.Hub.
func (h *Hub) Lend(ctx context.Context, by string, use func(ctx context.Context, path string) error) error {
	h.Lock()
	h.Lent, h.LentBy = true, by
	h.Unlock()
	err := use(ctx, "/data/warehouse.duckdb")
	h.Lock()
	h.Lent = false
	h.Unlock()
	select {
	case h.Returned <- struct{}{}:
	default: // nobody took the news of the time before
	}
	return err
}
