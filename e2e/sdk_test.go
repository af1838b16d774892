package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	official "gopkg.in/segmentio/analytics-go.v3"

	"github.com/tidegate/tidegate/e2e/faultproxy"
	tidegate "github.com/tidegate/tidegate/sdk-go"
)

// tracker is one SDK as the harness sees it.
type tracker interface {
	// track accepts step n of a user under the message id, or returns an error.
	track(user string, n int, id string) error
	// close delivers what is left, for as long as the SDK thinks right.
	close() error
}

// sdk is a column of the comparison. Ours are held to the promises; the others
// are told of.
type sdk struct {
	name string
	ours bool
	open func(endpoint, spool string) (tracker, error)
	// program runs it as a program of its own, which tracks until it is killed; see TestSDKChild.
	// Nil for sdk-js, whose own suite kills it: it tells a dead process by a lease that runs out after 30 s.
	program func(endpoint, spool string, generation int, last bool) *exec.Cmd
}

// goSDKs come first: TestSDKChild knows them by their place.
var goSDKs = []sdk{
	{"sdk-go", true, openOurs, nil},
	{"analytics-go.v3", false, openOfficial, nil},
}

// sdks are all columns that this machine can show.
func sdks(t *testing.T) []sdk {
	t.Helper()
	list := slices.Clone(goSDKs)
	for i := range list {
		list[i].program = func(endpoint, spool string, generation int, last bool) *exec.Cmd {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(exe, "-test.run=^TestSDKChild$")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %s %d %v", childVariable, i, endpoint, spool, generation, last))
			return cmd
		}
	}
	return append(list, nodeSDKs(t)...)
}

type ourTracker struct{ client *tidegate.Client }

func openOurs(endpoint, spool string) (tracker, error) {
	client, err := tidegate.New(tidegate.Config{
		WriteKey: "WK", Endpoint: endpoint, SpoolDir: spool, Interval: 100 * time.Millisecond, BatchSize: 50, AttemptTimeout: time.Second,
		Logger: slog.New(slog.DiscardHandler),
	})
	return ourTracker{client}, err
}

func (o ourTracker) track(user string, n int, id string) error {
	return o.client.Enqueue(tidegate.Track{UserId: user, MessageId: id, Event: "Step", Properties: tidegate.Properties{"n": n}})
}

func (o ourTracker) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	return o.client.Close(ctx)
}

type officialTracker struct{ client official.Client }

type silent struct{}

func (silent) Logf(string, ...any)   {}
func (silent) Errorf(string, ...any) {}

func openOfficial(endpoint, _ string) (tracker, error) {
	client, err := official.NewWithConfig("WK", official.Config{Endpoint: endpoint, Interval: 100 * time.Millisecond, BatchSize: 50, Logger: silent{}})
	return officialTracker{client}, err
}

func (o officialTracker) track(user string, n int, id string) error {
	return o.client.Enqueue(official.Track{UserId: user, MessageId: id, Event: "Step", Properties: official.Properties{"n": n}})
}

func (o officialTracker) close() error { return o.client.Close() }

// verdict is what the warehouse says of one run.
type verdict struct {
	accepted, missing, twice, disorder int64
}

func (v verdict) String() string {
	return fmt.Sprintf("%d accepted, %d missing, %d twice, %d out of order", v.accepted, v.missing, v.twice, v.disorder)
}

// accepts is a list of message ids that an SDK accepted.
type accepts struct {
	mu  sync.Mutex
	ids []string
}

func (a *accepts) add(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = append(a.ids, id)
}

// judge waits for the loader and compares the warehouse with what was accepted.
func (a *accepts) judge(t *testing.T, n *node) verdict {
	t.Helper()
	(&sender{node: n, acked: map[string]bool{}}).awaitLoader(t)
	v := verdict{accepted: int64(len(a.ids))}
	number := func(sql string) int64 {
		t.Helper()
		got, err := n.queryInt(sql)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for start := 0; start < len(a.ids); start += 2000 {
		chunk := a.ids[start:min(start+2000, len(a.ids))]
		v.missing += number("select count(*) from (values ('" + strings.Join(chunk, "'),('") + "')) v(id) where id not in (select id from web.step)")
	}
	v.twice = number("select count(*) - count(distinct id) from web.step")
	v.disorder = number(`select count(*) from (
		select n, lag(n) over (partition by user_id order by received_at, rowid) as before from web.step) where before > n`)
	return v
}

// TestSDKsThroughFaults drives the SDKs through a network that fails a third
// of the requests, and a server that is killed, stopped and started, also while
// the client closes.
func TestSDKsThroughFaults(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rounds := 2
	if long() {
		rounds = 50
	}
	var table strings.Builder
	for _, sdk := range sdks(t) {
		v, faults := throughFaults(t, sdk.open, rounds, seed)
		fmt.Fprintf(&table, "\n%-16s %s (%v)", sdk.name, v, faults)
		if sdk.ours && (v.missing+v.twice+v.disorder > 0 || v.accepted == 0) {
			t.Errorf("%s: %s", sdk.name, v)
		}
	}
	t.Log(table.String())
}

func throughFaults(t *testing.T, open func(endpoint, spool string) (tracker, error), rounds int, seed uint64) (verdict, map[faultproxy.Fault]int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 2))
	n := newNode(t, map[string]string{"tidegate.yaml": smallProject})
	n.start()
	proxy := faultproxy.New("http://"+n.ingest, 0.35, 1500*time.Millisecond, seed)
	front := httptest.NewServer(proxy)
	defer front.Close()
	defer proxy.Close()
	client, err := open(front.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	var got accepts
	stop := make(chan struct{})
	var users sync.WaitGroup
	for u := range 8 {
		users.Go(func() { use(t, client, fmt.Sprintf("u%d", u), 0, &got, stop) })
	}
	for range rounds {
		time.Sleep(time.Duration(300+rng.IntN(900)) * time.Millisecond) // the random moment
		n.kill()
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond) // requests meet a dead server
		n.start()
		time.Sleep(time.Duration(300+rng.IntN(500)) * time.Millisecond)
		if code := n.stop(); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		n.start()
	}
	close(stop)
	users.Wait()
	n.kill() // the program ends while the server is away
	closed := make(chan error, 1)
	go func() { closed <- client.close() }()
	time.Sleep(500 * time.Millisecond)
	n.start()
	if err := <-closed; err != nil {
		t.Errorf("closing: %v", err)
	}
	return got.judge(t, n), proxy.Counts()
}

// use is one user of a program: steps in order, each accepted before the next.
func use(t *testing.T, client tracker, user string, from int, got *accepts, stop <-chan struct{}) {
	t.Helper()
	for n := from; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		id := fmt.Sprintf("%s-%d", user, n)
		if err := client.track(user, n, id); err != nil {
			t.Errorf("step %d of %s: %v", n, user, err)
			return
		}
		got.add(id)
		time.Sleep(8 * time.Millisecond) // a user, not a benchmark
	}
}

// TestSDKsKilled kills the program that uses the SDK, at random moments and
// through the same faults, and lets its last run end properly.
func TestSDKsKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	kills := 6
	if long() {
		kills = 200
	}
	var table strings.Builder
	for _, sdk := range sdks(t) {
		if sdk.program == nil {
			continue
		}
		v := killed(t, sdk, kills, seed)
		fmt.Fprintf(&table, "\n%-16s %s", sdk.name, v)
		if sdk.ours && (v.missing+v.twice+v.disorder > 0 || v.accepted == 0) {
			t.Errorf("%s: %s", sdk.name, v)
		}
	}
	t.Log(table.String())
}

func killed(t *testing.T, sdk sdk, kills int, seed uint64) verdict {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	n := newNode(t, map[string]string{"tidegate.yaml": smallProject})
	n.start()
	proxy := faultproxy.New("http://"+n.ingest, 0.2, 100*time.Millisecond, seed)
	front := httptest.NewServer(proxy)
	defer front.Close()
	defer proxy.Close()
	spool := filepath.Join(t.TempDir(), "spool")
	var got accepts
	for generation := range kills + 1 {
		child := startChild(t, sdk.program(front.URL, spool, generation, generation == kills))
		lines := bufio.NewScanner(child.out)
		if generation < kills {
			after := 50 + rng.IntN(600)
			for i := 0; i < after && lines.Scan(); i++ {
				got.add(lines.Text())
			}
			_ = child.cmd.Process.Kill()
		}
		for lines.Scan() { // what was accepted before the kill arrived
			got.add(lines.Text())
		}
		err := child.cmd.Wait()
		if generation == kills && err != nil {
			t.Fatalf("the last run of the program: %v", err)
		}
	}
	return got.judge(t, n)
}

type childProcess struct {
	cmd *exec.Cmd
	out io.Reader
}

const childVariable = "TIDEGATE_E2E_SDK_CHILD"

// startChild starts a program that tells of accepted messages in file 3.
func startChild(t *testing.T, cmd *exec.Cmd) childProcess {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close() })
	cmd.ExtraFiles = []*os.File{write}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	return childProcess{cmd, read}
}

// TestSDKChild is the program that TestSDKsKilled kills: it tells of every
// message that the SDK accepted, after it was accepted.
func TestSDKChild(t *testing.T) {
	var sdk, generation int
	var endpoint, spool, last string
	if _, err := fmt.Sscan(os.Getenv(childVariable), &sdk, &endpoint, &spool, &generation, &last); err != nil {
		t.Skip("runs as a child of TestSDKsKilled")
	}
	out := os.NewFile(3, "accepted")
	client, err := goSDKs[sdk].open(endpoint, spool)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2000 {
		user := "u" + strconv.Itoa(n%5)
		step := generation*1_000_000 + n
		id := fmt.Sprintf("%s-%d", user, step)
		if err := client.track(user, step, id); errors.Is(err, tidegate.ErrQueueFull) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(out, id); err != nil {
			t.Fatal(err)
		}
		if n%10 == 0 {
			time.Sleep(time.Millisecond) // so that the kill comes between
		}
	}
	if last != "true" {
		select {} // until killed
	}
	if err := client.close(); err != nil {
		t.Fatal(err)
	}
}
