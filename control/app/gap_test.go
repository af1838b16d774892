package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/alert"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/cli"
)

// channel is where an alert's messages go.
type channel struct {
	mu   sync.Mutex
	told []string
}

func (c *channel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var n alert.Notice
	if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range n.Raised {
		c.told = append(c.told, "raised "+s.Sync+" "+string(s.Condition))
	}
	for _, s := range n.Resolved {
		c.told = append(c.told, "resolved "+s.Sync+" "+string(s.Condition))
	}
}

func (c *channel) list(context.Context) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.told...), nil
}

// TestTheGapAlert: a gap in the books is told once, and so is its end.
func TestTheGapAlert(t *testing.T) {
	t.Parallel()
	told := &channel{}
	srv := httptest.NewServer(told)
	t.Cleanup(srv.Close)
	o := options(t, oneSource+"settings: {allow_private: [127.0.0.0/8]}\nalerts: [{name: oncall, on: [gap], webhook: {url: '"+srv.URL+"'}}]\n")
	var later atomic.Int64
	o.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	a := hubOf(t, o)
	sendAll(t, a, sold("m1", "u1"), sold("m2", "u2"))
	for _, step := range []struct {
		sql  string
		want []string
	}{
		{"UPDATE _tidegate.hourly SET loaded = loaded - 1 WHERE source = 'web'", []string{"raised source web gap"}},
		{"UPDATE _tidegate.hourly SET loaded = loaded + 1 WHERE source = 'web'", []string{"raised source web gap", "resolved source web gap"}},
	} {
		a.Hub.Doctor(t.Context())          // the books as they are: what was told does not change
		later.Add(int64(10 * time.Minute)) // between two messages an alert is quiet
		if _, err := a.Hub.Exec(t.Context(), step.sql); err != nil {
			t.Fatal(err)
		}
		a.Hub.Doctor(t.Context()) // looks at the books now, not within 15 minutes
		got := await(t, told.list, func(told []string) bool { return len(told) >= len(step.want) })
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("told after %q (-want +got):\n%s", step.sql, diff)
		}
	}
	raised := func(context.Context) ([]alert.State, error) { return a.Hub.Alerts(t.Context()), nil }
	await(t, raised, func(list []alert.State) bool { return len(list) == 0 })
}

// TestABlockedStreamSlowsNobody: while the reader of a stream takes nothing, events come
// in and are loaded, and afterwards it gets them all.
func TestABlockedStreamSlowsNobody(t *testing.T) {
	t.Parallel()
	a := hubOf(t, options(t, planless))
	sendAll(t, a, sold("m1", "u1"))
	blocked, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var ids []string // of the goroutine below, until ended
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		ended <- a.Hub.Stream(ctx, "sales", api.StreamFrom{Next: &tidegate.Offset{}, Follow: true}, func(i api.StreamItem) error {
			if i.Event == nil {
				return nil
			}
			if ids = append(ids, i.Event.MessageID); len(ids) == 1 {
				close(blocked)
				<-goOn
			}
			if len(ids) == 4 {
				cancel()
			}
			return nil
		})
	}()
	<-blocked
	sendAll(t, a, sold("m2", "u1"), sold("m3", "u1"), sold("m4", "u1")) // acknowledged and loaded
	if got := one(t, a, "SELECT count(*) FROM web.sold"); got != "4" {
		t.Errorf("%s events are loaded while a reader is blocked, want 4", got)
	}
	close(goOn)
	<-ended
	if got := strings.Join(ids, " "); got != "m1 m2 m3 m4" {
		t.Errorf("the reader got %s", got)
	}
}

// tidegateCommand runs the command line against the hub that serves o.
func tidegateCommand(t *testing.T, o app.Options, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Run(t.Context(), cli.Env{
		Args: append([]string{"--data", o.Data}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(string) string { return "" }, Now: time.Now, Version: "test", HTTP: &http.Client{}, Local: cli.Local{Kinds: app.Kinds()},
	})
	return code, out.String(), errs.String()
}

// TestTrackingCommandsOfAHub: what a running hub says of violations, and the plan that
// is proposed from its events, to which they then keep.
func TestTrackingCommandsOfAHub(t *testing.T) {
	t.Parallel()
	o := options(t, `
warehouse: {kind: duckdb}
sources: [{name: web, write_key: WK, tracking_plan: shop}, {name: other, write_key: WK2}]
tracking_plans: [{name: shop, version: 4, events: {Sold: {properties: {total: string!}}}}]
`)
	a := hubOf(t, o)
	sendAll(t, a, sold("m1", "u1"), sold("m2", "u2"), `{"event":"Viewed","messageId":"m3","userId":"u1","properties":{"page":"home"}}`)

	code, out, errs := tidegateCommand(t, o, "tracking", "violations", "--source", "web", "--json")
	var first map[string]any
	line, _, _ := strings.Cut(out, "\n")
	if err := json.Unmarshal([]byte(line), &first); code != 0 || err != nil {
		t.Fatalf("violations: %d, %v\n%s%s", code, err, out, errs)
	}
	if first["event"] != "Sold" || first["kind"] != "type" || first["events"] != 2.0 || !strings.Contains(first["path"].(string), "total") || first["version"] == nil {
		t.Errorf("violations: %s", out)
	}
	if code, out, _ = tidegateCommand(t, o, "tracking", "violations", "--source", "web", "--limit", "1"); code != 0 || !strings.Contains(out, "Sold") || strings.Contains(out, "Viewed") {
		t.Errorf("the most frequent kind only: %d\n%s", code, out)
	}
	if code, out, errs = tidegateCommand(t, o, "tracking", "violations", "--source", "other"); code != 0 || out != "No event has broken the plan.\n" {
		t.Errorf("of a source without violations: %d %s%s", code, out, errs)
	}
	if code, _, errs = tidegateCommand(t, o, "tracking", "violations", "--source", "wbe"); code != 1 || !strings.Contains(errs, `did you mean "web"?`) {
		t.Errorf("of no source: %d %s", code, errs)
	}
	if code, _, errs = tidegateCommand(t, o, "tracking", "violations"); code != 2 || !strings.Contains(errs, "--source") {
		t.Errorf("of two sources none is named: %d, %s", code, errs)
	}

	var more []string
	for i := range 100 {
		more = append(more, sold(fmt.Sprintf("x%d", i), "u1"))
	}
	sendAll(t, a, more...)
	code, out, errs = tidegateCommand(t, o, "tracking", "infer", "--source", "web", "--json")
	var plan tidegate.TrackingPlan
	if err := json.Unmarshal([]byte(out), &plan); code != 0 || err != nil || len(plan.Events) != 2 {
		t.Fatalf("infer: %d, %v\n%s%s", code, err, out, errs)
	}
	code, out, errs = tidegateCommand(t, o, "tracking", "infer", "--source", "web", "--name", "seen")
	if code != 0 || !strings.Contains(out, "name: seen") || !strings.Contains(out, "Viewed:") || !strings.Contains(errs, "103 events") {
		t.Errorf("infer as a file: %d\n%s%s", code, out, errs)
	}
	if code, out, _ = tidegateCommand(t, o, "tracking", "infer", "--source", "other"); code == 0 && strings.Contains(out, "Sold") {
		t.Errorf("infer of another source: %s", out)
	}
}

// TestDoctorNamesSourcesThatWereSentBack: that a source comes above its rate is seen, and
// what it was sent back is not in the books.
func TestDoctorNamesSourcesThatWereSentBack(t *testing.T) {
	t.Parallel()
	a := hubOf(t, options(t, "warehouse: {kind: duckdb}\nsettings: {limits: {batch_events: 2}}\nsources: [{name: web, write_key: WK, events_per_second: 0.001}]\n"))
	sendAll(t, a, sold("m1", "u1"), sold("m2", "u1")) // the burst is one batch
	if status, err := send(t, a, sold("m3", "u1")); err != nil || status != http.StatusTooManyRequests {
		t.Fatalf("%d, %v", status, err)
	}
	for _, f := range a.Hub.Doctor(t.Context()) {
		if f.Check == "source web" {
			if f.Level != "warning" || !strings.HasPrefix(f.Detail, "1 times an event above its rate was answered 429") || !strings.Contains(f.Hint, "events_per_second") {
				t.Errorf("%+v", f)
			}
			return
		}
	}
	t.Error("doctor does not name the source")
}
