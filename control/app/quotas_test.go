package app_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/app"
)

// startRedis starts a real Redis and returns the path of its socket.
func startRedis(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("TIDEGATE_REQUIRE"), ","), "redis") {
			t.Fatal("redis-server is not installed, and TIDEGATE_REQUIRE names it")
		}
		t.Skip("NOT TESTED: redis-server is not installed (Debian: apt-get install redis-server)")
	}
	dir, err := os.MkdirTemp("", "tg") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "r.sock")
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir) //nolint:gosec // the program that LookPath found
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it was killed
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return socket
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("redis-server does not answer")
		}
	}
}

// TestTwoHubsShareAnAccount: what one hub has called another one cannot call again.
// The account allows two calls at once and the next one half an hour later.
func TestTwoHubsShareAnAccount(t *testing.T) {
	t.Parallel()
	socket := startRedis(t)
	var mu sync.Mutex
	var called []string
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		called = append(called, r.URL.Path)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(endpoint.Close)
	calls := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(called)
	}
	hub := func(name string) *app.App {
		o := options(t, fmt.Sprintf(`warehouse: {kind: duckdb}
destinations: [{name: crm, kind: webhook, config: {url: "%s/{identifier}", limits: {records: 1, concurrency: 1, calls: 20, per: 10h}}}]
models: [{name: people, sql: "SELECT '%[2]s' || i AS email FROM range(2) AS t(i)", primary_key: [email]}]
syncs: [{name: %[2]s, model: people, destination: crm, object: records, mode: upsert, mapping: {identifier: email, fields: [{field: email, column: email}]}}]
settings: {allow_private: [127.0.0.0/8], redis: "${file:%[3]s}"}
`, endpoint.URL, name, filepath.Join(filepath.Dir(socket), "address")))
		a, end := running(t, o)
		t.Cleanup(end)
		return a
	}
	write(t, filepath.Join(filepath.Dir(socket), "address"), []byte("unix://"+socket))

	if run := ran(t, hub("first"), "first"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 2 {
		t.Fatalf("the first hub's run is %s with %+v, %+v", run.State, run.Counts, run.Fault)
	}
	second := hub("second")
	run, err := second.Hub.SyncRun(t.Context(), "second")
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer func() { _ = client.Close() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !waits(t.Context(), t, client, "second") {
		if run, err = second.Hub.Run(t.Context(), run.ID); err != nil || run.State.Finished() {
			t.Fatalf("the second hub's run is %s with %+v, %+v and never waited; %v", run.State, run.Counts, run.Fault, err)
		}
		<-tick.C
	}
	if d := cmp.Diff([]string{"/first0", "/first1"}, calls()); d != "" {
		t.Error(d)
	}
	if run, err = second.Hub.Run(t.Context(), run.ID); err != nil || run.State != tidegate.RunRunning {
		t.Errorf("the run that waits for the quota is %s, %v", run.State, err)
	}
	for st, err := second.Hub.Sync(t.Context(), "second"); st.State != "waiting" || !strings.Contains(st.Reason, "takes no further call"); st, err = second.Hub.Sync(t.Context(), "second") {
		if err != nil || st.State != "running" {
			t.Fatalf("the sync that waits for the quota is %s: %s, %v", st.State, st.Reason, err)
		}
		<-tick.C // it was told so a moment ago
	}
}

// TestRedisIsAway: doctor says so, and the client writes no line of its own to standard error,
// where the hub's log is.
func TestRedisIsAway(t *testing.T) {
	if os.Getenv("TIDEGATE_TEST_AWAY") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRedisIsAway$") //nolint:gosec // this test
		cmd.Env = append(os.Environ(), "TIDEGATE_TEST_AWAY=redis://127.0.0.1:1/0")
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "redis:") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	a := hubOf(t, options(t, "warehouse: {kind: duckdb}\nsources: [{name: web, write_key: WK}]\nsettings: {redis: \"${env:TIDEGATE_TEST_AWAY}\"}\n"))
	for _, f := range a.Hub.Doctor(t.Context()) {
		if f.Check == "redis" {
			if f.Level != "error" || f.Hint == "" {
				t.Errorf("%+v", f)
			}
			return
		}
	}
	t.Error("doctor does not look at Redis")
}

// waits says whether a sync stands in line for an account.
func waits(ctx context.Context, t *testing.T, client *redis.Client, sync string) bool {
	t.Helper()
	keys, err := client.Keys(ctx, "tidegate:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(keys, func(key string) bool { return client.HExists(ctx, key, "u:"+sync).Val() })
}
