package app_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/internal/vfs"
)

// waitsLog tells once that a hub waits for its warehouse.
type waitsLog struct {
	slog.Handler

	once  sync.Once
	waits chan struct{}
}

func (l *waitsLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *waitsLog) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "the warehouse cannot be opened") {
		l.once.Do(func() { close(l.waits) })
	}
	return nil
}

// away takes the warehouse of o away, and returns a log that tells when a hub waits for it.
func away(t *testing.T, o *app.Options) (back func(), waits chan struct{}) {
	t.Helper()
	disk := vfs.OS()
	if err := disk.MkdirAll(o.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := disk.Lock(filepath.Join(o.Data, "warehouse.duckdb.lock"))
	if err != nil {
		t.Fatal(err)
	}
	waits = make(chan struct{})
	o.Log = slog.New(&waitsLog{Handler: slog.DiscardHandler, waits: waits})
	return func() {
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
	}, waits
}

// sendEarly sends an event to the hub of o that waits for its warehouse.
func sendEarly(t *testing.T, o app.Options) *api.Announcement {
	t.Helper()
	there, err := api.Announced(o.Data)
	if err != nil || there == nil {
		t.Fatal("it is not announced: ", err)
	}
	early := &app.App{Addresses: app.Addresses{Ingest: strings.TrimPrefix(there.IngestURL, "http://")}}
	if status, err := send(t, early, `{"event":"Sold","userId":"u","messageId":"m1"}`); err != nil || status != http.StatusOK {
		t.Errorf("an event: %d, %v", status, err)
	}
	return there
}

// TestStartWithoutItsWarehouse: a hub that is started while its warehouse is away collects
// events, says what it waits for, and loads them when the warehouse is there.
func TestStartWithoutItsWarehouse(t *testing.T) {
	t.Parallel()
	o := options(t, oneSource)
	back, waits := away(t, &o)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	started := make(chan *app.App, 1)
	go func() {
		a, err := app.Start(ctx, o)
		if err != nil {
			t.Error(err)
		}
		started <- a
	}()
	select {
	case <-waits:
	case <-started: // it has said why, or nothing was away
		t.Fatal("it did not wait for its warehouse")
	}
	there := sendEarly(t, o)
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/healthz": {http.StatusOK, `"ok"`}, "/readyz": {http.StatusServiceUnavailable, `"lag_events":1`}, "/v1/syncs": {http.StatusServiceUnavailable, "hub.starting"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, there.AdminURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != want.status || !strings.Contains(string(text), want.text) {
			t.Errorf("%s: %d %s %v", path, resp.StatusCode, text, err)
		}
	}
	if code, _, errs := commandOf(t, o, "sync", "status"); code == 0 || !strings.Contains(errs, "the warehouse is open already") || !strings.Contains(errs, "collects events meanwhile") {
		t.Errorf("a command: %d, %s", code, errs)
	}
	back()
	a := <-started
	if a == nil {
		t.FailNow()
	}
	sendAll(t, a, `{"event":"Sold","userId":"u","messageId":"m2"}`)
	if got := one(t, a, "SELECT count(*) FROM web.sold"); got != "2" {
		t.Errorf("%s rows", got)
	}
	if code, _, errs := commandOf(t, o, "sync", "status"); code != 0 {
		t.Errorf("a command afterwards: %s", errs)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
}

// TestEndWithoutItsWarehouse: a hub that is ended while it waits for its warehouse ends as
// any other, and what it collected is there at the next start.
func TestEndWithoutItsWarehouse(t *testing.T) {
	t.Parallel()
	o := options(t, oneSource)
	back, waits := away(t, &o)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Serve(ctx, o) }()
	select {
	case <-waits:
	case err := <-ended:
		t.Fatal("it did not wait for its warehouse: ", err)
	}
	sendEarly(t, o)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the end: %v", err)
	}
	if there, err := api.Announced(o.Data); there != nil || err != nil {
		t.Errorf("it is announced still: %v, %v", there, err)
	}
	back()
	a := hubOf(t, o)
	sendAll(t, a, `{"event":"Sold","userId":"u","messageId":"m2"}`)
	if got := one(t, a, "SELECT count(*) FROM web.sold"); got != "2" {
		t.Errorf("%s rows", got)
	}
}
