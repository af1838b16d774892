package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/internal/obs"
	"github.com/tidegate/tidegate/internal/vfs"
)

// options serve a one-source project from folders of the test's own.
func options(t *testing.T, project string) app.Options {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tidegate.yaml"), []byte(project), 0o600); err != nil {
		t.Fatal(err)
	}
	tel, err := obs.New(t.Context(), "test", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return app.Options{
		Project: dir, Data: filepath.Join(dir, "data"), IngestAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Version: "test",
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Telemetry: tel,
	}
}

const oneSource = "warehouse: {kind: duckdb}\nsources: [{name: web, write_key: WK}]\n"

func send(t *testing.T, a *app.App, body string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+a.Addresses.Ingest+"/v1/track", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("WK", "")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// TestAFailedFsyncEndsTheProcess: nobody in the group is told that it is safe,
// and the exit code says what the supervisor must do.
func TestAFailedFsyncEndsTheProcess(t *testing.T) {
	o := options(t, oneSource)
	disk := vfs.NewMem(1)
	var broken atomic.Bool
	disk.Inject(func(op vfs.Op) error {
		if broken.Load() && op.Kind == vfs.OpSync {
			return syscall.EIO
		}
		return nil
	})
	o.FS = disk
	a, err := app.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := send(t, a, `{"event":"A","userId":"u"}`); err != nil || status != http.StatusOK {
		t.Fatalf("on a sound disk: status %d, %v", status, err)
	}
	broken.Store(true)
	if status, err := send(t, a, `{"event":"B","userId":"u"}`); err == nil && status == http.StatusOK {
		t.Error("an event whose fsync failed was answered 200")
	}
	err = a.Wait()
	var failed *app.DiskError
	if !errors.As(err, &failed) || failed.ExitCode() != 74 || !errors.Is(err, syscall.EIO) {
		t.Errorf("the hub ended with %v, want a DiskError with exit code 74 around EIO", err)
	}
}

// TestDefinitionsAreActivatedAllOrNone: after a refused change the hub runs
// what it ran before.
func TestDefinitionsAreActivatedAllOrNone(t *testing.T) {
	o := options(t, oneSource)
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := a.Catalog.Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	changed := *p
	changed.Sources = nil
	changed.Warehouse.Config = json.RawMessage(`{"threads":1}`)
	if _, err := a.Catalog.Apply(ctx, &changed, "test", -1); err == nil || !strings.Contains(fmt.Sprint(err), "cannot be replaced") {
		t.Errorf("replacing a running warehouse: %v, want a refusal", err)
	}
	if status, err := send(t, a, `{"event":"A","userId":"u"}`); err != nil || status != http.StatusOK {
		t.Errorf("the source is gone after a refused change: status %d, %v", status, err)
	}
	r := a.Hub.Ready(ctx)
	if !r.Ready {
		t.Errorf("not ready: %+v", r.Stages)
	}
	if err := a.Hub.WaitLoaded(ctx); err != nil {
		t.Fatal(err)
	}
	if r = a.Hub.Ready(ctx); len(r.Sources) != 1 || r.Sources[0].Accepted != 1 || r.Sources[0].Loaded != 1 {
		t.Errorf("the books say %+v, want one event accepted and loaded", r.Sources)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Errorf("a polite end: %v", err)
	}
}
