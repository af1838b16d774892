package e2e

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/e2e/faultproxy"
)

// program is an unmodified SDK of Segment or RudderStack, through the harness's eyes.
type program interface {
	tracker
	// reported are the steps that the SDK, once closed, says it delivered; ok is false when it says nothing.
	reported() (steps []string, ok bool)
}

// officialSDK is a row of the matrix: an SDK, the source that it writes to, and
// what its makers promise when the network is bad.
type officialSDK struct {
	name, source, promise string
	// traits is what stands before the columns of a person's traits: RudderStack's SDKs
	// have them in the context.
	traits string
	// endless SDKs have no end of their own: they go on until the page is closed, so
	// that the harness waits for them as a visitor would.
	endless bool
	open    func(host, writeKey string) (program, error)
}

// plan is what becomes of an SDK's next requests; after it the network is good and
// only the server is killed. No SDK meets more than two faults in a row, so
// that the slowest backoff of them stays bounded.
func plan() []faultproxy.Fault {
	return []faultproxy.Fault{
		faultproxy.Wait, faultproxy.None, faultproxy.Away, faultproxy.ResetBefore, faultproxy.None, faultproxy.ResetAfter, faultproxy.None,
		faultproxy.BrokenAfter, faultproxy.TooMany, faultproxy.None, faultproxy.Broken, faultproxy.Slow,
	}
}

// TestOfficialSDKs lets every official SDK make one of each call, and then track
// through bad networks to a server that is killed and started again under them, all
// at once. Then it compares the warehouse with what each was told: nothing that the server answered with 200, or
// the SDK reported as delivered, is missing, and nothing is there twice. What an
// SDK gave up by its own rules is counted.
func TestOfficialSDKs(t *testing.T) {
	sdks := officialSDKs(t)
	kills := 2
	if long() {
		kills = 40
	}
	sources := strings.Builder{}
	sources.WriteString("  - {name: web, write_key: WK}\n") // for the harness's own markers
	for _, s := range sdks {
		fmt.Fprintf(&sources, "  - {name: %s, write_key: KEY_%s}\n", s.source, s.source)
	}
	n := newNode(t, map[string]string{"tidegate.yaml": "warehouse: {kind: duckdb}\nsources:\n" + sources.String()})
	begun := time.Now()
	n.start()
	runs := make([]*officialRun, len(sdks))
	var opening sync.WaitGroup
	for i, s := range sdks {
		runs[i] = newOfficialRun(t, n, s)
		opening.Go(func() { runs[i].open(t) })
	}
	if opening.Wait(); t.Failed() {
		return
	}
	t.Logf("every SDK is open after %v", time.Since(begun).Round(time.Millisecond))
	for _, r := range runs {
		if err := r.client.track("u0", -1, "-"); err != nil {
			t.Fatalf("%s: %v", r.sdk.name, err)
		}
	}
	n.waitFor(patience, "one of each call from every SDK", func() bool {
		return !slices.ContainsFunc(runs, func(r *officialRun) bool { return !r.witness.allTypes() })
	})
	for _, r := range runs {
		r.proxy.Plan(plan()...)
	}
	stop := make(chan struct{})
	var feeds sync.WaitGroup
	for _, r := range runs {
		feeds.Go(func() { r.feed(t, stop) })
	}
	answered := func() (sum int) {
		for _, r := range runs {
			sum += r.witness.count()
		}
		return sum
	}
	for range kills {
		before := answered()
		n.waitFor(patience, "answers to the SDKs", func() bool { return answered() > before+5*len(runs) })
		n.kill()
		n.start()
	}
	n.waitFor(patience, "every SDK to meet its faults", func() bool {
		return !slices.ContainsFunc(runs, func(r *officialRun) bool { return r.proxy.Planned() > 0 })
	})
	t.Logf("fed after %v", time.Since(begun).Round(time.Millisecond))
	close(stop)
	feeds.Wait()
	var closing sync.WaitGroup
	for _, r := range runs {
		closing.Go(func() { r.close(t) })
	}
	closing.Wait()
	(&sender{node: n, acked: map[string]bool{}}).awaitLoader(t)
	var table strings.Builder
	for _, r := range runs {
		fmt.Fprintf(&table, "\n%-28s %s", r.sdk.name, r.judge(t))
	}
	t.Log(table.String())
}

// officialRun is one SDK at work.
type officialRun struct {
	sdk     officialSDK
	node    *node
	proxy   *faultproxy.Proxy
	witness *witness
	front   *httptest.Server
	client  program
	taken   []string      // the steps that the SDK took
	took    time.Duration // to close
}

func newOfficialRun(t *testing.T, n *node, s officialSDK) *officialRun {
	r := &officialRun{sdk: s, node: n, proxy: faultproxy.NewPlanned("http://"+n.ingest, 1500*time.Millisecond)}
	r.witness = &witness{next: r.proxy, told: map[string]bool{}, types: map[string]bool{}}
	r.front = httptest.NewServer(r.witness)
	t.Cleanup(func() { r.front.Close(); r.proxy.Close() })
	return r
}

func (r *officialRun) open(t *testing.T) {
	var err error
	if r.client, err = r.sdk.open(r.front.URL, "KEY_"+r.sdk.source); err != nil {
		t.Errorf("%s: opening: %v", r.sdk.name, err)
	}
}

// feed tracks steps until stop is closed.
func (r *officialRun) feed(t *testing.T, stop <-chan struct{}) {
	for i := range 100_000 {
		select {
		case <-stop:
			return
		default:
		}
		id := fmt.Sprintf("%s-%d", r.sdk.source, i)
		if err := r.client.track(fmt.Sprintf("u%d", i%5), i, id); err != nil {
			t.Errorf("%s: step %d: %v", r.sdk.name, i, err)
			return
		}
		r.taken = append(r.taken, id)
		time.Sleep(25 * time.Millisecond) // a user, not a benchmark
	}
}

// patience is for how long the harness waits for what must happen.
const patience = 5 * time.Minute

// drain is for how long an SDK without an end of its own may go on.
const drain = 90 * time.Second

func (r *officialRun) close(t *testing.T) {
	began := time.Now()
	for end := time.Now().Add(drain); r.sdk.endless && r.witness.count() < len(r.taken) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond) // another process has no signal to wait for
	}
	if err := r.client.close(); err != nil {
		t.Errorf("%s: closing: %v", r.sdk.name, err)
	}
	r.front.Close() // waits for the last request: from here on nothing more is told
	r.took = time.Since(began)
}

// judge compares the warehouse with what the SDK was told and what it reports.
func (r *officialRun) judge(t *testing.T) string {
	t.Helper()
	number := func(sql string) int {
		t.Helper()
		got, err := r.node.queryInt(strings.ReplaceAll(sql, "TABLE", r.sdk.source+".step"))
		if err != nil {
			t.Fatal(err)
		}
		return int(got)
	}
	missing := func(steps []string) (sum int) {
		for chunk := range slices.Chunk(steps, 2000) {
			sum += number("select count(*) from (values ('" + strings.Join(chunk, "'),('") + "')) v(id) where id not in (select step from TABLE)")
		}
		return sum
	}
	plan := r.sdk.traits + "plan_name = 'pro'"
	for table, where := range map[string]string{
		"identifies": plan, "users": plan, "groups": "group_id = 'g1' and seat_count = 5",
		"pages": "name = 'Home' and page_kind = 'shop'", "aliases": "previous_id = 'u0'",
	} {
		if got := number("select count(*) from " + r.sdk.source + "." + table + " where " + where); got != 1 {
			t.Errorf("%s: %d rows of %s are as they were called, want 1", r.sdk.name, got, table)
		}
	}
	told := r.witness.steps()
	lost, twice := missing(told), number("select count(*) - count(distinct step) from TABLE")
	reported, ok := r.client.reported()
	unkept := missing(reported)
	if lost+twice+unkept > 0 || len(told) == 0 {
		t.Errorf("%s: of %d steps answered with 200 %d are missing, of %d reported as delivered %d, and %d are there twice",
			r.sdk.name, len(told), lost, len(reported), unkept, twice)
	}
	said := "reports nothing"
	if ok {
		said = fmt.Sprintf("reported %d", len(reported))
	}
	return fmt.Sprintf("took %d, was told 200 for %d, %s; gave up %d (%s); lost %d, twice %d; closed in %v", len(r.taken), len(told), said, len(r.taken)-number("select count(distinct step) from TABLE"), r.sdk.promise, lost+unkept, twice, r.took.Round(100*time.Millisecond))
}
