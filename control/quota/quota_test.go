package quota_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/quota"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/runner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server starts a real Redis and returns its address.
func server(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("TIDEGATE_REQUIRE"), ","), "redis") {
			t.Fatal("redis-server is not installed, and TIDEGATE_REQUIRE names it")
		}
		t.Skip("NOT TESTED: redis-server is not installed (Debian: apt-get install redis-server)")
	}
	socket := t.TempDir() + "/r.sock"
	if len(socket) > 100 { // what a path of a socket may have
		dir, err := os.MkdirTemp("", "tg")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		socket = dir + "/r.sock"
	}
	cmd := exec.CommandContext(t.Context(), path, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", t.TempDir()) //nolint:gosec // the program that LookPath found
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	for range 500 {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return socket
		}
		pause(t, 10*time.Millisecond)
	}
	t.Fatal("redis-server does not answer")
	return ""
}

func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// node is one process that shares the quotas.
func node(t *testing.T, socket string) *quota.Quotas {
	t.Helper()
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return quota.New(client, "test:")
}

// calls takes as many calls as come within d.
func calls(t *testing.T, q runner.Quotas, c runner.Claim, d time.Duration) (n int) {
	t.Helper()
	for began := time.Now(); time.Since(began) < d; {
		wait, err := q.Take(t.Context(), "crm", c)
		if err != nil {
			t.Error(err)
			return n
		}
		if wait == 0 {
			n++
			continue
		}
		pause(t, min(wait, d))
	}
	return n
}

func TestNodesShareOneLimit(t *testing.T) {
	t.Parallel()
	socket := server(t)
	a, b := node(t, socket), node(t, socket)
	for _, q := range []*quota.Quotas{a, b} { // both declare it, as each does at each run
		if err := q.Declare(t.Context(), "crm", destinations.Limit{Calls: 200, Per: time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	got := [2]int{}
	began := time.Now()
	for i, q := range []*quota.Quotas{a, b} {
		wg.Go(func() { got[i] = calls(t, q, runner.Claim{Sync: fmt.Sprint("s", i), Weight: 10}, time.Second) })
	}
	wg.Wait()
	// Tokens at the start and refill together never pass the limit in its window.
	most := int(200*time.Since(began).Seconds()) + 20
	if sum := got[0] + got[1]; sum > most || sum < 20 || got[0] == 0 || got[1] == 0 {
		t.Errorf("%v calls in %v at 200 a second", got, time.Since(began))
	}
}

// TestWeight asks by turns and never waits: of two who ask whenever they may, the
// one of four times the weight gets about four times as much.
func TestWeight(t *testing.T) {
	t.Parallel()
	q := node(t, server(t))
	if err := q.Declare(t.Context(), "crm", destinations.Limit{Calls: 100, Per: time.Second}); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for began := time.Now(); got["light"] < 30 && time.Since(began) < 20*time.Second; {
		for name, weight := range map[string]int{"light": 10, "heavy": 40} {
			wait, err := q.Take(t.Context(), "crm", runner.Claim{Sync: name, Weight: weight})
			if err != nil {
				t.Fatal(err)
			}
			if wait == 0 {
				got[name]++
			}
		}
	}
	if share := float64(got["heavy"]) / float64(max(got["light"], 1)); share < 1.5 {
		t.Errorf("%v: the heavier has %.1f times as much", got, share)
	}
}

func TestThrottleStopsEveryNode(t *testing.T) {
	t.Parallel()
	socket := server(t)
	a, b := node(t, socket), node(t, socket)
	ctx := t.Context()
	if wait, err := b.Take(ctx, "crm", runner.Claim{Sync: "s"}); err != nil || wait != 0 {
		t.Fatalf("an account without a limit: %v, %v", wait, err)
	}
	if err := a.Learn(ctx, "crm", &tidegate.Fault{Action: tidegate.Throttle, After: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if wait, err := b.Take(ctx, "crm", runner.Claim{Sync: "s"}); err != nil || wait < 59*time.Minute || wait > time.Hour {
		t.Errorf("after a 429 of an hour the other node waits %v, %v", wait, err)
	}
	if wait, err := b.Take(ctx, "erp", runner.Claim{Sync: "s"}); err != nil || wait != 0 {
		t.Errorf("another account waits %v, %v", wait, err)
	}
}

func TestTheRestIsForOthers(t *testing.T) {
	t.Parallel()
	q := node(t, server(t))
	ctx := t.Context()
	if err := q.Allow(ctx, "crm", destinations.Allowance{Limit: 100, Remaining: 35, Reset: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if wait, err := q.Take(ctx, "crm", runner.Claim{Sync: "modest", Percent: 60}); err != nil || wait < 59*time.Minute {
		t.Errorf("with 35 of 100 left, one who leaves 40 waits %v, %v", wait, err)
	}
	if wait, err := q.Take(ctx, "crm", runner.Claim{Sync: "greedy"}); err != nil || wait != 0 {
		t.Errorf("one who leaves nothing waits %v, %v", wait, err)
	}
}

func TestAnswersRaiseTheRateAgain(t *testing.T) {
	t.Parallel()
	socket := server(t)
	q, ctx := node(t, socket), t.Context()
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer func() { _ = client.Close() }()
	rate := func() float64 {
		t.Helper()
		r, err := client.HGet(ctx, "test:quota:{crm}", "rate").Float64()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if err := q.Declare(ctx, "crm", destinations.Limit{Calls: 1000, Per: time.Second}); err != nil {
		t.Fatal(err)
	}
	declared := rate()
	if err := q.Learn(ctx, "crm", &tidegate.Fault{Action: tidegate.Throttle, After: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if rate() >= declared {
		t.Error("a throttle does not lower the rate")
	}
	for range 20 * 10 {
		if err := q.Learn(ctx, "crm", nil); err != nil {
			t.Fatal(err)
		}
	}
	if rate() != declared {
		t.Errorf("after 200 answers the rate is %v, declared is %v", rate(), declared)
	}
}

func TestRedisAway(t *testing.T) {
	t.Parallel()
	q := node(t, t.TempDir()+"/none.sock")
	if _, err := q.Take(t.Context(), "crm", runner.Claim{Sync: "s"}); err == nil {
		t.Error("a quota without its store lets calls through")
	}
}
