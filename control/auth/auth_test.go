package auth_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/store"
)

func newStore(t *testing.T, path string, now func() time.Time) *store.Workspace {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Path: path, Log: slog.New(slog.DiscardHandler), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.In("default")
}

func request(token, remote, host string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
	r.RemoteAddr, r.Host = remote, host
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func TestAdminTokenFile(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	dir := t.TempDir()
	w := newStore(t, filepath.Join(dir, "control.db"), func() time.Time { return now })
	k := auth.New(w, func() time.Time { return now })
	ensure := func(k *auth.Keeper) string {
		t.Helper()
		if err := k.EnsureAdmin(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		token, err := auth.ReadTokenFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := k.Identify(request(token, "", "")); err != nil || id.Role != auth.RoleAdmin {
			t.Fatalf("the file's token is %+v, %v", id, err)
		}
		return token
	}
	first := ensure(k)
	path := filepath.Join(dir, auth.TokenFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode: %v, %v", info.Mode(), err)
	}
	if again := ensure(k); again != first {
		t.Error("the second start made another token")
	}
	fresh := newStore(t, filepath.Join(t.TempDir(), "control.db"), func() time.Time { return now })
	if kept := ensure(auth.New(fresh, func() time.Time { return now })); kept != first {
		t.Error("a lost store made another token although the file is there")
	}
	tokens, err := w.Tokens(t.Context())
	if err != nil || len(tokens) != 1 {
		t.Fatalf("%v, %v", tokens, err)
	}
	if err := w.RevokeToken(t.Context(), "ann", tokens[0].ID); err != nil {
		t.Fatal(err)
	}
	if renewed := ensure(k); renewed == first {
		t.Error("a revoked token came back")
	}
	if _, err := k.Identify(request(first, "", "")); tidegate.FaultOf(err).Code != "auth.invalid_token" {
		t.Errorf("a revoked token: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // that is the fault
		t.Fatal(err)
	}
	if err := k.EnsureAdmin(t.Context(), dir); tidegate.FaultOf(err).Code != "auth.token_file_open" {
		t.Errorf("a file that others can read: %v", err)
	}
}

func TestTokensExpire(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := func() time.Time { return now }
	k := auth.New(newStore(t, filepath.Join(t.TempDir(), "control.db"), clock), clock)
	token, err := k.Issue(t.Context(), "ann", "ci", auth.RoleOperator, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := k.Identify(request(token, "", "")); err != nil || id.Name != "ci" || !id.May(auth.Operate) || id.May(auth.Edit) {
		t.Errorf("%+v, %v", id, err)
	}
	now = now.Add(time.Hour)
	if _, err := k.Identify(request(token, "", "")); tidegate.FaultOf(err).Code != "auth.invalid_token" {
		t.Errorf("an expired token: %v", err)
	}
	if _, err := k.Issue(t.Context(), "ann", "x", "root", time.Time{}); tidegate.FaultOf(err).Code != "token.invalid" {
		t.Errorf("an unknown role: %v", err)
	}
	basic := request("", "", "")
	basic.SetBasicAuth("a", "b")
	if _, err := k.Identify(basic); tidegate.FaultOf(err).Code != "auth.invalid_token" {
		t.Errorf("another scheme: %v", err)
	}
}

func TestObserveIsForThisMachine(t *testing.T) {
	t.Parallel()
	nobody := auth.Identity{}
	for _, tt := range []struct {
		remote, host, forwarded string
		may                     bool
	}{
		{"127.0.0.1:5000", "localhost:8081", "", true},
		{"127.0.0.1:5000", "127.0.0.1:8081", "", true},
		{"[::1]:5000", "[::1]:8081", "", true},
		{"[::ffff:127.0.0.1]:5000", "localhost", "", true},
		{"127.0.0.1:5000", "evil.example:8081", "", false}, // a name that was rebound to loopback
		{"127.0.0.1:5000", "localhost", "203.0.113.9", false},
		{"203.0.113.9:5000", "localhost", "", false},
		{"", "localhost", "", false},
	} {
		r := request("", tt.remote, tt.host)
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		if err := auth.Allow(r, nobody, auth.Observe); (err == nil) != tt.may {
			t.Errorf("%+v: %v", tt, err)
		}
		if err := auth.Allow(r, nobody, auth.Read); tidegate.FaultOf(err).Code != "auth.required" {
			t.Errorf("%+v may read: %v", tt, err)
		}
	}
	viewer := auth.Identity{Name: "v", Role: auth.RoleViewer}
	if err := auth.Allow(request("", "", ""), viewer, auth.Edit); tidegate.FaultOf(err).Code != "auth.denied" {
		t.Errorf("a viewer may edit: %v", err)
	}
}

// TestRolesGrow: each role may do what the one before it may.
func TestRolesGrow(t *testing.T) {
	t.Parallel()
	order := []auth.Role{"", auth.RoleViewer, auth.RoleAnalyst, auth.RoleOperator, auth.RoleEditor, auth.RoleAdmin}
	for i := 1; i < len(order); i++ {
		more := false
		for _, p := range auth.Permissions() {
			before, after := auth.Identity{Role: order[i-1]}.May(p), auth.Identity{Role: order[i]}.May(p)
			if before && !after {
				t.Errorf("%s lost %s", order[i], p)
			}
			more = more || !before && after
		}
		if !more {
			t.Errorf("%s may no more than %q", order[i], order[i-1])
		}
	}
}
