package app_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
)

// TestALostJournalIsRejoined: the loader stops where the journal does not have its place and says how it goes
// on, doctor does not wait for counts that cannot come, and after the repair nothing that was accepted since stays out.
func TestALostJournalIsRejoined(t *testing.T) {
	o := options(t, oneSource)
	live := func(act func(ctx context.Context, a *app.App)) {
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
	post := func(a *app.App, ids ...string) {
		t.Helper()
		for _, id := range ids {
			if status, err := send(t, a, `{"event":"A","userId":"u","messageId":"`+id+`"}`); err != nil || status != 200 {
				t.Fatalf("status %d, %v", status, err)
			}
		}
	}
	live(func(ctx context.Context, a *app.App) {
		post(a, "a", "b", "c")
		if err := a.Hub.WaitLoaded(ctx); err != nil {
			t.Fatal(err)
		}
	})
	p, err := project.LoadDir(o.Project, app.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	rejoin := func(do bool) (api.Rejoined, error) { return app.Rejoin(t.Context(), p, o.Data, time.Now, do) }
	if _, err := rejoin(true); tidegate.FaultOf(err).Code != "warehouse.joined" {
		t.Errorf("where nothing is wrong: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(o.Data, "journal")); err != nil {
		t.Fatal(err)
	}
	live(func(ctx context.Context, a *app.App) {
		post(a, "c", "d")
		wait(t, "the loader to stop", func() bool { return !a.Hub.Ready(ctx).Ready })
		ctx, cancel := context.WithTimeout(ctx, 15*time.Second) // doctor waited for twice as long
		defer cancel()
		for _, f := range a.Hub.Doctor(ctx) {
			if f.Check == "loader" && (f.Level != "error" || !strings.Contains(f.Detail, "journal.ahead") || !strings.Contains(f.Hint, "tidegate warehouse rejoin") || strings.Contains(f.Hint, "goes on by itself")) {
				t.Errorf("doctor says %+v", f)
			}
		}
		if ctx.Err() != nil {
			t.Error("doctor waits for counts that cannot come")
		}
	})
	for _, do := range []bool{false, true} {
		r, err := rejoin(do)
		if err != nil || r.Before.Position != 3 || r.After.Position != 0 || r.Events != 2 {
			t.Errorf("rejoining (%t): %+v, %v", do, r, err)
		}
	}
	live(func(ctx context.Context, a *app.App) {
		waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := a.Hub.WaitLoaded(waiting); err != nil {
			t.Errorf("%v: %+v", err, a.Hub.Doctor(ctx))
			return
		}
		if r := a.Hub.Ready(ctx); !r.Ready || len(r.Sources) != 1 || r.Sources[0].Loaded != 4 || r.Sources[0].Duplicates != 1 {
			t.Errorf("after the repair: %+v", r)
		}
	})
}
