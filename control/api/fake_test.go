package api_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/api/apitest"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/catalog"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/control/vault"
)

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
	hub    *apitest.Hub
	dir    string
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
	r := &rig{dir: dir, hub: apitest.New(), store: st.In("default"), now: now}
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
		Hub: r.hub, Store: r.store, Keeper: r.keeper, Vault: vault.New(vault.Options{Store: r.store, Data: r.dir, Env: func(string) (string, bool) { return "", false }}), Kinds: kinds(), Version: "test", Log: slog.New(slog.DiscardHandler), Now: r.now,
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
