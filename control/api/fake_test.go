package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/catalog"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/sync/ledger"
)

// fakeHub remembers what it was asked and answers from its fields.
type fakeHub struct {
	mu        sync.Mutex
	activated []*project.Project
	refuse    error // what Activate returns
	ready     bool
	rows      tidegate.RowReader
	events    []api.TailedEvent
	tailed    api.TailRequest
	runs      map[string]tidegate.Run
	lent      bool // the file is out
	returned  chan struct{}
}

func (h *fakeHub) Activate(_ context.Context, p *project.Project) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse != nil {
		return h.refuse
	}
	h.activated = append(h.activated, p)
	return nil
}

func (h *fakeHub) Ready(context.Context) api.Readiness {
	return api.Readiness{Ready: h.ready, Stages: []api.Stage{{Name: "loader", Ready: h.ready, LagEvents: 7}}, Sources: []api.SourceCounts{{Source: "web", Accepted: 3, Loaded: 3}}}
}

func (h *fakeHub) Doctor(context.Context) []api.Finding {
	return []api.Finding{{Check: "journal.fsync", Level: "ok", Detail: "168 µs"}}
}

func (h *fakeHub) Query(_ context.Context, sql string) (tidegate.RowReader, error) {
	if sql == "DROP TABLE t" {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "query.not_read_only", Message: "only SELECT", Hint: "write a SELECT"}
	}
	return h.rows, nil
}

func (h *fakeHub) Tables(context.Context) ([]api.TableInfo, error) {
	return []api.TableInfo{{Schema: "web", Name: "tracks", Columns: []api.ColumnInfo{{Name: "id", Type: "string"}}}}, nil
}

func (h *fakeHub) Tail(ctx context.Context, req api.TailRequest, emit func(api.TailedEvent) error) error {
	h.mu.Lock()
	h.tailed = req
	h.mu.Unlock()
	for i, e := range h.events {
		if req.Limit > 0 && i == req.Limit {
			return nil
		}
		if err := emit(e); err != nil {
			return err
		}
	}
	if req.Follow {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (h *fakeHub) Explain(_ context.Context, source string, event json.RawMessage) (api.Explanation, error) {
	return api.Explanation{Tables: []api.ExplainedTable{{Schema: source, Name: "tracks", Columns: []api.ExplainedColumn{{Name: "event", Type: "string", Value: string(event)}}}}}, nil
}

func (h *fakeHub) Syncs(context.Context) ([]api.SyncStatus, error) {
	return []api.SyncStatus{{Name: "crm", State: "idle"}}, nil
}

func (h *fakeHub) Sync(_ context.Context, name string) (api.SyncStatus, error) {
	if name != "crm" {
		return api.SyncStatus{}, &tidegate.Fault{Action: tidegate.Halt, Code: "sync.not_found", Subject: "sync " + name, Message: "there is no such sync"}
	}
	return api.SyncStatus{Name: "crm", State: "idle", Reason: "waiting for 06:00"}, nil
}

func (h *fakeHub) SyncPlan(_ context.Context, name string, sample int) (api.SyncPlan, error) {
	return api.SyncPlan{Sync: name, Summary: ledger.Summary{Added: int64(sample)}, Sample: []api.SampleChange{{Op: tidegate.Added, Key: `["1"]`, Fields: []api.SampleField{{Field: "email", After: "a@b.c"}}}}}, nil
}

func (h *fakeHub) SyncRun(_ context.Context, name string) (tidegate.Run, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.runs {
		if r.Sync == name && !r.State.Finished() {
			return tidegate.Run{}, &tidegate.Fault{Action: tidegate.Retry, Code: "run.conflict", Subject: "sync " + name, Message: "a run is going on"}
		}
	}
	r := tidegate.Run{ID: "run_2", Workspace: "default", Sync: name, State: tidegate.RunHeld}
	h.runs[r.ID] = r
	return r, nil
}

func (h *fakeHub) change(id string, to tidegate.RunState) (tidegate.Run, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.runs[id]
	if !ok {
		return tidegate.Run{}, &tidegate.Fault{Action: tidegate.Halt, Code: "run.not_found", Subject: "run " + id, Message: "there is no such run"}
	}
	if to != "" {
		r.State = to
		h.runs[id] = r
	}
	return r, nil
}

func (h *fakeHub) Approve(_ context.Context, id string) (tidegate.Run, error) {
	return h.change(id, tidegate.RunRunning)
}

func (h *fakeHub) Cancel(_ context.Context, id string) (tidegate.Run, error) {
	return h.change(id, tidegate.RunCanceled)
}

func (h *fakeHub) Run(_ context.Context, id string) (tidegate.Run, error) { return h.change(id, "") }

func (h *fakeHub) Runs(_ context.Context, sync, _ string, limit int) ([]tidegate.Run, error) {
	return []tidegate.Run{{ID: "run_1", Sync: sync, State: tidegate.RunSucceeded}}[:min(1, limit)], nil
}

func (h *fakeHub) Rejections(context.Context, string, int) ([]ledger.Rejection, error) {
	return nil, nil
}

func (h *fakeHub) RetryRejections(_ context.Context, _, cluster string) (int64, error) {
	return int64(len(cluster)), nil
}

func (h *fakeHub) Lend(ctx context.Context, use func(ctx context.Context, path string) error) error {
	h.mu.Lock()
	h.lent = true
	h.mu.Unlock()
	err := use(ctx, "/data/warehouse.duckdb")
	h.mu.Lock()
	h.lent = false
	h.mu.Unlock()
	close(h.returned)
	return err
}

// brokenRows ends in an error after some rows.
type brokenRows struct {
	tidegate.RowReader
	left int
	err  error
}

func (b *brokenRows) Next(ctx context.Context) (tidegate.Row, error) {
	if b.left == 0 {
		return nil, b.err
	}
	b.left--
	return b.RowReader.Next(ctx)
}

type rig struct {
	hub    *fakeHub
	store  *store.Workspace
	server *httptest.Server
	keeper *auth.Keeper
	admin  *api.Client
	token  string
	now    func() time.Time
}

func kinds() project.Kinds {
	return project.Kinds{
		Warehouses:   map[string]func() any{"duckdb": func() any { return new(struct{}) }},
		Destinations: map[string]func() any{"webhook": func() any { return new(struct{}) }},
	}
}

func newRig(t *testing.T) *rig {
	t.Helper()
	now := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	dir := t.TempDir()
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "control.db"), Log: slog.New(slog.DiscardHandler), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{hub: &fakeHub{runs: map[string]tidegate.Run{}, ready: true, returned: make(chan struct{})}, store: st.In("default"), now: now}
	r.keeper = auth.New(r.store, now)
	if err := r.keeper.EnsureAdmin(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if r.token, err = auth.ReadTokenFile(dir); err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(r.options())
	if err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewUnstartedServer(handler)
	r.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	r.server.Start()
	t.Cleanup(r.server.Close)
	r.admin = r.client(r.token)
	return r
}

func (r *rig) options() api.Options {
	return api.Options{
		Hub: r.hub, Store: r.store, Keeper: r.keeper, Kinds: kinds(), Version: "test", Log: slog.New(slog.DiscardHandler), Now: r.now,
		Catalog: catalog.New(catalog.Options{Store: r.store, Kinds: kinds(), Activate: r.hub.Activate}),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "tidegate_up 1\n") }),
	}
}

func (r *rig) client(token string) *api.Client {
	return api.NewClient(r.server.URL, token, r.server.Client())
}

func (r *rig) project(t *testing.T, yaml string) *project.Project {
	t.Helper()
	p, err := project.Parse([]byte(yaml), kinds())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var errBoom = errors.New("the disk is gone")

func clientOf(t *testing.T, h http.Handler) *api.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return api.NewClient(server.URL, "", server.Client())
}
