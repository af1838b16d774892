package app_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
)

// TestStatusSaysThatACanaryIsLookedAt: a run that waits on purpose says until when, and how
// the rest is kept.
func TestStatusSaysThatACanaryIsLookedAt(t *testing.T) {
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer hook.Close()
	o := options(t, oneSource+fmt.Sprintf(`settings: {allow_private: [127.0.0.0/8]}
destinations: [{name: hook, kind: webhook, config: {url: %q}}]
models: [{name: people, sql: "select range as id from range(20)", primary_key: [id]}]
syncs: [{name: crm, model: people, destination: hook, object: records, mapping: {identifier: id, fields: [{field: id, column: id}]}, delivery: {canary_records: 2, canary_wait: 1h}}]
`, hook.URL))
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Hub.SyncRun(ctx, "crm"); err != nil {
		t.Fatal(err)
	}
	status := func(ctx context.Context) (api.SyncStatus, error) { return a.Hub.Sync(ctx, "crm") }
	s := await(t, status, func(s api.SyncStatus) bool { return s.Progress != nil && !s.Progress.CanaryUntil.IsZero() })
	if !strings.Contains(s.Reason, "canary of 2 records") || !strings.Contains(s.Reason, "tidegate sync cancel "+s.Current.ID) || s.Progress.Left != 18 {
		t.Errorf("%s, %+v", s.Reason, s.Progress)
	}
	if runs, err := a.Hub.Runs(ctx, "crm", "", 10); err != nil || len(runs) != 1 || runs[0].Counts.Delivered != 2 {
		t.Errorf("the list lags behind: %+v, %v", runs, err)
	}
	if _, err := a.Hub.Cancel(ctx, s.Current.ID); err != nil {
		t.Fatal(err)
	}
	s = await(t, status, func(s api.SyncStatus) bool { return s.Current == nil })
	if s.Last.Counts.Delivered != 2 || s.Last.Counts.Deferred != 18 {
		t.Errorf("%+v", s.Last)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
}
