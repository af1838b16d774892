package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/store"
)

// clock is a settable clock; it ticks one microsecond per reading so that
// times tell the order of calls.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Microsecond)
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func open(t *testing.T, path string, c *clock) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Path: path, Log: slog.New(slog.DiscardHandler), Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func fresh(t *testing.T) (*store.Workspace, *clock) {
	t.Helper()
	c := newClock()
	return open(t, filepath.Join(t.TempDir(), "control store.db"), c).In("default"), c
}

func wantFault(t *testing.T, err error, code string) *tidegate.Fault {
	t.Helper()
	f := tidegate.FaultOf(err)
	if f == nil || f.Code != code {
		t.Fatalf("got %v, want the fault %s", err, code)
	}
	return f
}

func TestDefinitionsAreVersioned(t *testing.T) {
	t.Parallel()
	w, _ := fresh(t)
	ctx := t.Context()
	r1, err := w.Commit(ctx, 0, "ann", []store.Edit{
		{Kind: "source", Name: "web", Body: json.RawMessage(`{"name":"web"}`)},
		{Kind: "sync", Name: "crm", Body: json.RawMessage(`{"name":"crm"}`)},
	})
	if err != nil || r1 != 1 {
		t.Fatalf("first commit: %d, %v", r1, err)
	}
	if _, err := w.Commit(ctx, 0, "bob", nil); err == nil {
		t.Fatal("a commit over an old base was accepted")
	} else {
		wantFault(t, err, "project.conflict")
	}
	if _, err := w.Commit(ctx, 1, "bob", []store.Edit{{Kind: "sync", Name: "crm"}, {Kind: "source", Name: "web", Body: json.RawMessage(`{"name":"web","disabled":true}`)}}); err != nil {
		t.Fatal(err)
	}
	got, rev, err := w.Definitions(ctx)
	if err != nil || rev != 2 {
		t.Fatalf("revision %d, %v", rev, err)
	}
	want := []store.Definition{{Kind: "source", Name: "web", Version: 2, Revision: 2, Author: "bob", Body: json.RawMessage(`{"name":"web","disabled":true}`)}}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(store.Definition{}, "At")); d != "" {
		t.Error(d)
	}
	history, err := w.History(ctx, "sync", "crm", 10)
	if err != nil || len(history) != 2 || !history[0].Deleted || history[1].Deleted {
		t.Errorf("history of a deleted sync: %+v, %v", history, err)
	}
	if other, rev, err := w.Sibling("other").Definitions(ctx); err != nil || len(other) != 0 || rev != 0 {
		t.Errorf("another workspace sees %v at %d, %v", other, rev, err)
	}
}

func TestConcurrentCommitsMakeOneRevisionEach(t *testing.T) {
	t.Parallel()
	w, _ := fresh(t)
	const writers = 8
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() {
			_, errs[i] = w.Commit(t.Context(), 0, fmt.Sprint("writer ", i), []store.Edit{{Kind: "source", Name: "web", Body: json.RawMessage(`{}`)}})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantFault(t, err, "project.conflict")
	}
	if won != 1 {
		t.Errorf("%d of %d writers over the same base won", won, writers)
	}
}

func TestAuditIsChainedAndAppendOnly(t *testing.T) {
	t.Parallel()
	w, _ := fresh(t)
	ctx := t.Context()
	for i := range 5 {
		if err := w.Audit(ctx, store.AuditEntry{Actor: "ann", Action: "run.approve", Object: fmt.Sprint("run_", i)}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := w.AuditLog(ctx, 0, 3)
	if err != nil || len(list) != 3 || list[2].Seq != 3 {
		t.Fatalf("first page: %+v, %v", list, err)
	}
	if rest, err := w.AuditLog(ctx, 3, 10); err != nil || len(rest) != 2 || rest[0].Previous != list[2].Hash {
		t.Fatalf("second page: %+v, %v", rest, err)
	}
	if err := w.Raw(ctx, "UPDATE audit SET actor = 'eve' WHERE seq = 2"); err == nil {
		t.Error("an audit entry could be changed")
	}
	if err := w.Raw(ctx, "DELETE FROM audit WHERE seq = 5"); err == nil {
		t.Error("an audit entry could be deleted")
	}
	for _, tamper := range []string{"UPDATE audit SET actor = 'eve' WHERE seq = 2", "DELETE FROM audit WHERE seq = 3"} {
		w, _ := fresh(t)
		for i := range 5 {
			if err := w.Audit(ctx, store.AuditEntry{Actor: "ann", Action: "x", Object: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Raw(ctx, "DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete; "+tamper); err != nil {
			t.Fatal(err)
		}
		_, err := w.AuditLog(ctx, 0, 10)
		wantFault(t, err, "audit.broken")
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	w, c := fresh(t)
	ctx := t.Context()
	for _, tok := range []store.Token{
		{ID: "tok_1", Name: "ci", Role: "viewer", Hash: "h1"},
		{ID: "tok_2", Name: "short", Role: "admin", Hash: "h2", ExpiresAt: c.now().Add(time.Hour)},
	} {
		if err := w.AddToken(ctx, "ann", tok); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := w.TokenByHash(ctx, "nope"); ok || err != nil {
		t.Errorf("an unknown hash: %v, %v", ok, err)
	}
	if _, ok, _ := w.Sibling("other").TokenByHash(ctx, "h1"); ok {
		t.Error("another workspace's token was found")
	}
	short, ok, err := w.TokenByHash(ctx, "h2")
	if !ok || err != nil || !short.Live(c.now()) {
		t.Fatalf("%+v %v %v", short, ok, err)
	}
	c.advance(2 * time.Hour)
	if short.Live(c.now()) {
		t.Error("an expired token is live")
	}
	if err := w.RevokeToken(ctx, "ann", "tok_1"); err != nil {
		t.Fatal(err)
	}
	wantFault(t, w.RevokeToken(ctx, "ann", "tok_1"), "token.not_found")
	list, err := w.Tokens(ctx)
	if err != nil || len(list) != 2 || list[0].Live(c.now()) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestOpenAgainKeepsEverything(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.db")
	c := newClock()
	s, err := store.Open(t.Context(), store.Options{Path: path, Log: slog.New(slog.DiscardHandler), Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.In("default").Commit(t.Context(), 0, "ann", []store.Edit{{Kind: "source", Name: "web", Body: json.RawMessage(`{}`)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	list, _, err := open(t, path, c).In("default").Definitions(t.Context())
	if err != nil || len(list) != 1 {
		t.Errorf("after opening again: %v, %v", list, err)
	}
}

func TestDamagedFileIsAClearFault(t *testing.T) {
	t.Parallel()
	damage := map[string]func(t *testing.T, path string){
		"not a database": func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte("these are not the pages of a database, but some text that is long enough"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"pages overwritten": func(t *testing.T, path string) {
			t.Helper()
			s, err := store.Open(context.WithoutCancel(t.Context()), store.Options{Path: path, Log: slog.New(slog.DiscardHandler), Now: newClock().now})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := 4096; i < len(b); i++ {
				b[i] = 0xA5
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "control.db")
			do(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if f := wantFault(t, store.Check(t.Context(), path), "store.corrupt"); f.Subject != path || f.Hint == "" {
				t.Errorf("checking: %+v", f)
			}
			s, err := store.Open(t.Context(), store.Options{Path: path, Log: slog.New(slog.DiscardHandler), Now: newClock().now})
			if err == nil {
				t.Fatal(errors.Join(errors.New("a damaged file was opened"), s.Close()))
			}
			f := wantFault(t, err, "store.corrupt")
			if f.Action != tidegate.Halt || f.Subject != path || f.Hint == "" {
				t.Errorf("the fault does not say what to do: %+v", f)
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(before, after); d != "" {
				t.Error("the damaged file was changed")
			}
		})
	}
}

func TestNewerStoreIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.db")
	c := newClock()
	w := open(t, path, c).In("default")
	if err := w.Raw(t.Context(), "INSERT INTO migrations (version, name, sum, at) VALUES (99, 'future', 'x', 0)"); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), store.Options{Path: path, Log: slog.New(slog.DiscardHandler), Now: c.now})
	wantFault(t, err, "store.newer")
	wantFault(t, store.Check(t.Context(), path), "store.newer") // which is still in the log: the store is open
}
