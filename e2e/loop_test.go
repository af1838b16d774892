package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type demoResult struct {
	EventsSent       int64     `json:"events_sent"`
	EventsLoaded     int64     `json:"events_loaded"`
	CustomersChanged int64     `json:"customers_changed"`
	FirstRun         runResult `json:"first_run"`
	SecondRun        runResult `json:"second_run"`
}

type runResult struct {
	Added     int64 `json:"added"`
	Changed   int64 `json:"changed"`
	Removed   int64 `json:"removed"`
	Delivered int64 `json:"delivered"`
	Rejected  int64 `json:"rejected"`
}

// TestDemoOnce holds the demo to its word: the second run delivers the
// customers that changed and no others.
func TestDemoOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	got := runDemo(t, ctx, t.TempDir())
	if got.EventsSent == 0 || got.EventsLoaded != got.EventsSent {
		t.Errorf("events sent %d, loaded %d: want the same, and more than none", got.EventsSent, got.EventsLoaded)
	}
	if got.FirstRun.Added == 0 || got.FirstRun.Delivered != got.FirstRun.Added || got.FirstRun.Rejected != 0 {
		t.Errorf("first run %+v: want every added customer delivered", got.FirstRun)
	}
	if got.CustomersChanged == 0 || got.CustomersChanged == got.FirstRun.Added {
		t.Errorf("customers changed %d of %d: want some, not all", got.CustomersChanged, got.FirstRun.Added)
	}
	want := runResult{Changed: got.CustomersChanged, Delivered: got.CustomersChanged}
	if got.SecondRun != want {
		t.Errorf("second run %+v, want %+v", got.SecondRun, want)
	}
}

func runDemo(t *testing.T, ctx context.Context, data string, extraEnv ...string) demoResult {
	t.Helper()
	cmd := exec.CommandContext(ctx, binary(t), "demo", "--once", "--json", "--data", data)
	cmd.Env = append(os.Environ(), extraEnv...)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tidegate demo: %v\n%s", err, errOut.String())
	}
	var got demoResult
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("the demo must print one JSON object, got %q: %v", out, err)
	}
	return got
}

// TestDemoKilledAndStarted kills the demo in the middle, at different moments,
// and starts it again on the same data: the destination ends in the same state
// as that of a demo that nobody killed.
func TestDemoKilledAndStarted(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	whole := t.TempDir()
	runDemo(t, ctx, whole)
	want := crmState(t, whole)
	if len(want) == 0 {
		t.Fatal("the undisturbed demo left no contacts")
	}
	for _, point := range []string{"load.afterCommit:1", "sync.afterPlan:1", "sync.afterIntent:1", "sync.afterSend:2", "sync.afterOutcome:1", "sync.afterSend:4"} {
		t.Run(point, func(t *testing.T) {
			data := t.TempDir()
			cmd := exec.CommandContext(ctx, binary(t), "demo", "--once", "--json", "--data", data)
			cmd.Env = append(os.Environ(), "TIDEGATE_CRASHPOINT="+point)
			out, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.Exited() {
				t.Fatalf("the demo was not killed at %s: %v\n%s", point, err, tail(string(out), 2000))
			}
			runDemo(t, ctx, data)
			got := crmState(t, data)
			if len(got) != len(want) {
				t.Fatalf("%d contacts after the restart, want %d", len(got), len(want))
			}
			for id, fields := range want {
				if got[id] != fields {
					t.Errorf("contact %s is %s after the restart, want %s", id, got[id], fields)
				}
			}
		})
	}
}

// crmState reads what the HubSpot simulator keeps in the demo's data folder:
// e-mail address → its properties in canonical JSON. The record ids and times
// that HubSpot gives are left out, since they say when and not what.
func crmState(t *testing.T, data string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(data, "crm.json"))
	if err != nil {
		t.Fatal(err)
	}
	var contacts map[string]map[string]any
	if err := json.Unmarshal(raw, &contacts); err != nil {
		t.Fatalf("reading what the simulator holds: %v", err)
	}
	state := map[string]string{}
	for _, fields := range contacts {
		email, _ := fields["email"].(string)
		for name := range fields {
			if strings.HasPrefix(name, "hs_") || strings.HasSuffix(name, "date") && name != "last_order_at" {
				delete(fields, name)
			}
		}
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if state[email] != "" {
			t.Errorf("the simulator holds %s twice", email)
		}
		state[email] = string(text)
	}
	return state
}

// TestExecLendsTheWarehouse runs another program on the warehouse file while
// clients go on sending.
func TestExecLendsTheWarehouse(t *testing.T) {
	n := newNode(t, map[string]string{"tidegate.yaml": smallProject})
	n.start()
	if status, answer, err := n.post("/v1/track", `{"event":"Before","userId":"u","messageId":"before"}`); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %q, %v", status, answer, err)
	}
	n.waitFor(10*time.Second, "the event to be loaded", func() bool {
		got, err := n.queryInt("select count(*) from web.before")
		return err == nil && got == 1
	})
	// The borrower holds the file while it sends an event to the running server:
	// accepted, although nothing can be loaded.
	script := `curl -s -o /dev/null -w '%{http_code}' -u WK: -d '{"event":"During","userId":"u","messageId":"during"}' http://` + n.ingest + `/v1/track; ls "$TIDEGATE_WAREHOUSE_PATH" >/dev/null`
	out := n.mustCLI("exec", "--data", n.data, "--project", n.project, "--", "sh", "-c", script)
	if !strings.Contains(out, "200") {
		t.Errorf("the event sent while the file was lent was answered %q, want 200", out)
	}
	n.waitFor(10*time.Second, "the event sent meanwhile to be loaded", func() bool {
		got, err := n.queryInt("select count(*) from web.during")
		return err == nil && got == 1
	})
}

// TestQueryableWithinTwoSeconds measures from the 200 to the row.
func TestQueryableWithinTwoSeconds(t *testing.T) {
	n := newNode(t, map[string]string{"tidegate.yaml": smallProject})
	n.start()
	for i, id := range []string{"first", "second", "third"} {
		status, answer, err := n.post("/v1/track", `{"event":"Fresh","userId":"u","messageId":"`+id+`"}`)
		if err != nil || status != http.StatusOK {
			t.Fatalf("status %d, %q, %v", status, answer, err)
		}
		n.waitFor(2*time.Second, "event "+id+" to be queryable", func() bool {
			got, err := n.queryInt("select count(*) from web.fresh")
			return err == nil && got == int64(i+1)
		})
	}
}
