package app_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/app"
)

// TestAPauseOutlivesTheProcess: a sync that somebody paused stays so over a restart
// and over changes of the project, until it is resumed; what the definition pauses
// is resumed there only.
func TestAPauseOutlivesTheProcess(t *testing.T) {
	o := options(t, oneSource+`destinations: [{name: hook, kind: webhook, config: {url: "https://example.com"}}]
models: [{name: people, sql: "select 1 as id", primary_key: [id]}]
syncs:
  - {name: crm, model: people, destination: hook, object: records, mapping: {identifier: id, fields: [{field: id, column: id}]}, schedule: {cron: "0 6 1 1 *"}}
  - {name: still, model: people, destination: hook, object: records, mapping: {identifier: id, fields: [{field: id, column: id}]}, paused: true}
`)
	state := func(a *app.App, name string) (string, string) {
		t.Helper()
		st, err := a.Hub.Sync(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return st.State, st.Reason
	}
	run := func(act func(ctx context.Context, a *app.App)) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		a, err := app.Start(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		act(ctx, a)
		stop()
		if err := a.Wait(); err != nil {
			t.Error(err)
		}
	}
	run(func(ctx context.Context, a *app.App) {
		if err := a.Hub.PauseSync(ctx, "crm", true); err != nil {
			t.Fatal(err)
		}
		if s, why := state(a, "crm"); s != "paused" || !strings.Contains(why, "tidegate sync resume crm") {
			t.Errorf("after the pause: %s, %s", s, why)
		}
		if err := a.Hub.PauseSync(ctx, "still", false); tidegate.FaultOf(err).Code != "sync.conflict" {
			t.Errorf("resuming what its definition pauses: %v", err)
		}
		if err := a.Hub.PauseSync(ctx, "nobody", true); tidegate.FaultOf(err).Code != "sync.not_found" {
			t.Errorf("pausing what is not there: %v", err)
		}
	})
	file := filepath.Join(o.Project, "tidegate.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "0 6 1 1 *", "0 7 1 1 *", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	run(func(ctx context.Context, a *app.App) {
		if s, _ := state(a, "crm"); s != "paused" {
			t.Errorf("after a restart with a changed project: %s, want paused", s)
		}
		if err := a.Hub.PauseSync(ctx, "crm", false); err != nil {
			t.Fatal(err)
		}
		if s, why := state(a, "crm"); s != "idle" || !strings.Contains(why, "T07:00:00Z") {
			t.Errorf("after the end of the pause: %s, %s", s, why)
		}
	})
}
