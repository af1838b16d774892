package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
)

// jobsProject syncs 50 rows to an endpoint that takes writes as jobs.
func jobsProject(endpoint string) map[string]string {
	return map[string]string{
		"tidegate.yaml": smallProject + `destinations:
  - name: hook
    kind: webhook
    config:
      url: "http://` + endpoint + `/records"
      batch: true
      limits: {records: 5, concurrency: 2}
      jobs: {id: job, url: "http://` + endpoint + `/jobs/{job}", state: state}
      read: {url: "http://` + endpoint + `/records/{identifier}"}
      results: {path: result.results, index: index, status: status, error: error, id: id}
settings: {allow_private: [127.0.0.0/8]}
`,
		"models/people.sql": "-- primary_key: id\nselect i as id, 'p' || i || '@example.com' as email, i % 7 as age from range(50) as t(i)\n",
		"syncs/people.yaml": "name: people\nmodel: people\ndestination: hook\nobject: records\nmode: mirror\nmapping: {identifier: email, fields: [{field: email, column: email}, {field: age, column: age}]}\n",
	}
}

// jobsNode is a node with such a project, and the endpoint beside it.
func jobsNode(t *testing.T) (n *node, held func() int) {
	t.Helper()
	endpoint := freeAddr(t)
	n = newNode(t, jobsProject(endpoint))
	sim := exec.Command(n.bin, "simulate", "webhook", "--addr", endpoint, "--options", `{"job_polls":2}`)
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Process.Kill(); _ = sim.Wait() })
	held = func() int {
		resp, err := http.Get("http://" + endpoint + "/records")
		if err != nil {
			return -1
		}
		defer resp.Body.Close()
		var records map[string]any
		if json.NewDecoder(resp.Body).Decode(&records) != nil {
			return -1
		}
		return len(records)
	}
	n.waitFor(20*time.Second, "the endpoint", func() bool { return held() == 0 })
	return n, held
}

// newest returns the sync's newest run.
func (n *node) newest(sync string) (run tidegate.Run) {
	n.t.Helper()
	var runs []tidegate.Run
	out, err := n.cli("sync", "runs", sync, "--data", n.data, "--json")
	if err == nil && json.Unmarshal([]byte(out), &runs) == nil && len(runs) > 0 {
		return runs[0]
	}
	return tidegate.Run{}
}

// killedAt runs a command against a server that dies at point, and starts the server again.
func (n *node) killedAt(point string, args ...string) {
	n.t.Helper()
	n.env = append(n.env, "TIDEGATE_CRASHPOINT="+point)
	n.start()
	_, _ = n.cli(append(args, "--data", n.data)...) // the server dies under it
	if state := n.exited(60 * time.Second); state.Exited() {
		n.t.Fatalf("the server was not killed at %s: %v", point, state)
	}
	n.env = n.env[:len(n.env)-1]
	n.start()
}

// some are the first two of points; all of them in a long campaign.
func some(points ...string) []string {
	if os.Getenv("TIDEGATE_LONG") != "" {
		return points
	}
	return points[:2]
}

// TestJobsKilledAndResumed kills the server while the destination works on jobs,
// and in the middle of taking a run back.
func TestJobsKilledAndResumed(t *testing.T) {
	for _, point := range some("sync.afterOutcome:1", "sync.afterPoll:2", "sync.afterSend:3", "sync.afterPoll:9") {
		t.Run(point, func(t *testing.T) {
			n, held := jobsNode(t)
			n.killedAt(point, "sync", "run", "people")
			n.waitFor(60*time.Second, "the resumed run to end", func() bool { return n.newest("people").State.Finished() })
			if run := n.newest("people"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 50 || held() != 50 {
				t.Fatalf("the run is %s with %+v, %d records", run.State, run.Counts, held())
			}
		})
	}
	for _, point := range some("sync.afterPoll:3", "sync.afterIntent:1", "sync.afterPlan:1") {
		t.Run("revert "+point, func(t *testing.T) {
			n, held := jobsNode(t)
			n.start()
			n.mustCLI("sync", "run", "people", "--data", n.data)
			first := n.newest("people")
			if n.stop() != 0 || held() != 50 {
				t.Fatalf("%d records", held())
			}
			n.killedAt(point, "sync", "revert", first.ID)
			n.waitFor(60*time.Second, "the revert to end", func() bool { run := n.newest("people"); return run.ID != first.ID && run.State.Finished() })
			if run := n.newest("people"); run.State != tidegate.RunSucceeded || run.Trigger != tidegate.TriggerRevert || held() != 0 {
				t.Errorf("the revert is %s %s with %+v, %d records", run.Trigger, run.State, run.Counts, held())
			}
		})
	}
}

// TestPlanApplyDrift stores a plan, applies it, and finds what somebody changed in the destination.
func TestPlanApplyDrift(t *testing.T) {
	n, held := jobsNode(t)
	n.start()
	var run tidegate.Run
	out, err := n.cli("sync", "plan", "people", "--store", "--json", "--data", n.data)
	if err != nil || json.Unmarshal([]byte(out), &run) != nil || run.State != tidegate.RunHeld || held() != 0 {
		t.Fatalf("storing a plan: %v, %s, %d records", err, out, held())
	}
	n.mustCLI("sync", "apply", run.ID, "--data", n.data)
	if held() != 50 {
		t.Fatalf("%d records after the apply", held())
	}
	if out := n.mustCLI("sync", "drift", "people", "--sample", "0", "--data", n.data); !strings.Contains(out, "50 records looked at: 0 drifted, 0 gone") {
		t.Errorf("nothing drifted, and it says %q", out)
	}
	endpoint := endpointOf(t, n)
	resp, err := http.Post("http://"+endpoint+"/records/p3@example.com", "application/json", strings.NewReader(`{"age": 99}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	out, err = n.cli("sync", "drift", "people", "--sample", "0", "--data", n.data)
	if err == nil || !strings.Contains(out, "it holds 99") {
		t.Errorf("somebody's change is not found: %v %q", err, out)
	}
	n.mustCLI("sync", "drift", "people", "--sample", "0", "--restore", "--data", n.data)
	if out := n.mustCLI("sync", "drift", "people", "--sample", "0", "--data", n.data); !strings.Contains(out, "0 drifted") {
		t.Errorf("after the restore: %q", out)
	}
}

// endpointOf finds the endpoint's address in the project.
func endpointOf(t *testing.T, n *node) string {
	t.Helper()
	out := n.mustCLI("export", "--data", n.data)
	_, rest, found := strings.Cut(out, "http://")
	if !found {
		t.Fatalf("no endpoint in %q", out)
	}
	address, _, _ := strings.Cut(rest, "/")
	return address
}
