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
	h := newLives(t, oneSource)
	live, post, rejoin, o := h.live, h.post, h.rejoin, h.o
	live(func(ctx context.Context, a *app.App) {
		post(a, "a", "b", "c")
		if err := a.Hub.WaitLoaded(ctx); err != nil {
			t.Fatal(err)
		}
	})
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
			if f.Check == "loader" && (f.Level != "error" || !strings.HasPrefix(f.Detail, "2 events wait") || !strings.Contains(f.Detail, "journal.replaced") || !strings.Contains(f.Hint, "tidegate warehouse rejoin") || strings.Contains(f.Hint, "goes on by itself")) {
				t.Errorf("doctor says %+v", f)
			}
			if f.Check == "books.hourly" && f.Level != "ok" { // what waits is not missing
				t.Errorf("doctor says %+v", f)
			}
		}
		if ctx.Err() != nil {
			t.Error("doctor waits for counts that cannot come")
		}
	})
	for _, do := range []bool{false, true} {
		r, err := rejoin(do)
		if err != nil || r.Before.Position != 3 || r.After.Position != 10_000_000_000 || r.Events != 2 {
			t.Errorf("rejoining (%t): %+v, %v", do, r, err)
		}
	}
	live(func(ctx context.Context, a *app.App) { h.loaded(ctx, a, 4, 1) })
}

// TestAJournalLostAndRegrownIsNotPassedOver: with the whole data folder the hub lost everything that remembers
// how far the journal had come but the warehouse, and the new journal outgrows the place that stands there.
func TestAJournalLostAndRegrownIsNotPassedOver(t *testing.T) {
	h := newLives(t, "warehouse: {kind: duckdb, config: {path: "+filepath.Join(t.TempDir(), "w.duckdb")+"}}\nsources: [{name: web, write_key: WK}]\n")
	h.live(func(ctx context.Context, a *app.App) {
		h.post(a, "a", "b", "c")
		if err := a.Hub.WaitLoaded(ctx); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.RemoveAll(h.o.Data); err != nil {
		t.Fatal(err)
	}
	for life := range 2 {
		h.live(func(ctx context.Context, a *app.App) {
			if life == 0 {
				h.post(a, "c", "d", "e", "f", "g")
			}
			var s api.Readiness
			wait(t, "the loader to stop", func() bool { s = a.Hub.Ready(ctx); return !s.Ready })
			if detail := s.Stages[1].Detail; !strings.Contains(detail, "journal.replaced") {
				t.Errorf("life %d: the loader says %q", life, detail)
			}
			if len(s.Sources) != 1 || s.Sources[0].Loaded != 3 || s.Sources[0].Waiting != 5 {
				t.Errorf("life %d: %+v", life, s.Sources)
			}
		})
	}
	for _, do := range []bool{false, true} {
		if r, err := h.rejoin(do); err != nil || r.Before.Position != 3 || r.After.Position != 0 || r.Events != 5 {
			t.Errorf("rejoining (%t): %+v, %v", do, r, err)
		}
	}
	if _, err := h.rejoin(true); tidegate.FaultOf(err).Code != "warehouse.joined" {
		t.Errorf("once more: %v", err)
	}
	h.live(func(ctx context.Context, a *app.App) { h.loaded(ctx, a, 7, 1) })
}

// lives run a hub several times over one data folder.
type lives struct {
	t *testing.T
	o app.Options
}

func newLives(t *testing.T, yaml string) *lives { return &lives{t, options(t, yaml)} }

func (l *lives) live(act func(ctx context.Context, a *app.App)) {
	l.t.Helper()
	ctx, stop := context.WithCancel(l.t.Context())
	a, err := app.Start(ctx, l.o)
	if err != nil {
		l.t.Fatal(err)
	}
	act(ctx, a)
	stop()
	if err := a.Wait(); err != nil {
		l.t.Error(err)
	}
}

func (l *lives) post(a *app.App, ids ...string) {
	l.t.Helper()
	for _, id := range ids {
		if status, err := send(l.t, a, `{"event":"A","userId":"u","messageId":"`+id+`"}`); err != nil || status != 200 {
			l.t.Fatalf("status %d, %v", status, err)
		}
	}
}

func (l *lives) rejoin(do bool) (api.Rejoined, error) {
	l.t.Helper()
	p, err := project.LoadDir(l.o.Project, app.Kinds())
	if err != nil {
		l.t.Fatal(err)
	}
	return app.Rejoin(l.t.Context(), p, l.o.Data, time.Now, do)
}

// loaded waits until everything is, and compares how many events that are.
func (l *lives) loaded(ctx context.Context, a *app.App, events, repeats int64) {
	l.t.Helper()
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := a.Hub.WaitLoaded(waiting); err != nil {
		l.t.Errorf("%v: %+v", err, a.Hub.Doctor(ctx))
		return
	}
	if r := a.Hub.Ready(ctx); !r.Ready || len(r.Sources) != 1 || r.Sources[0].Loaded != events || r.Sources[0].Duplicates != repeats {
		l.t.Errorf("after the repair: %+v", r)
	}
}
