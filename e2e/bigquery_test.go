package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
)

// TestBigQuery: the whole loop of the built binary against a double of BigQuery:
// the warehouse's check, events in, a model, a sync out, a change, a restart.
func TestBigQuery(t *testing.T) {
	t.Parallel()
	double := bqtest.New(t)
	endpoint := freeAddr(t)
	n := newNode(t, map[string]string{
		"tidegate.yaml": `warehouse:
  kind: bigquery
  config: {project: ` + bqtest.Project + `, location: EU, endpoint: "` + double.URL + `", max_bytes_billed: 1000000000, labels: ["team:growth"]}
sources:
  - name: web
    write_key: WK
destinations:
  - name: hook
    kind: webhook
    config: {url: "http://` + endpoint + `/records", batch: true}
settings: {allow_private: [127.0.0.0/8]}
`,
		"models/people.sql": "-- primary_key: id\nSELECT id, email, plan FROM web.users WHERE email IS NOT NULL\n",
		"syncs/people.yaml": "name: people\nmodel: people\ndestination: hook\nobject: records\nmode: upsert\nmapping: {identifier: email, fields: [{field: email, column: email}, {field: plan, column: plan}]}\nledger: {placement: warehouse}\n",
	})
	sim := exec.Command(n.bin, "simulate", "webhook", "--addr", endpoint)
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Process.Kill(); _ = sim.Wait() })
	if out := n.mustCLI("warehouse", "check", "--project", n.project, "--data", n.data, "--json"); strings.Contains(out, `"error"`) {
		t.Fatalf("the check of the warehouse fails: %s", out)
	}
	n.start()
	const people = 30
	identify := func(i int, plan string) {
		t.Helper()
		body := fmt.Sprintf(`{"userId":"u%d","messageId":"%s-%d","traits":{"email":"p%d@example.com","plan":%q}}`, i, plan, i, i, plan)
		if code, answer, err := n.post("/v1/identify", body); err != nil || code != http.StatusOK {
			t.Fatal(code, answer, err)
		}
	}
	for i := range people {
		identify(i, "free")
		identify(i, "free") // the same message again
	}
	n.waitFor(2*time.Minute, "the events to be loaded", func() bool {
		users, err := n.queryInt("SELECT COUNT(*) FROM web.users")
		identifies, err2 := n.queryInt("SELECT COUNT(*) FROM web.identifies")
		return err == nil && err2 == nil && users == people && identifies == people
	})
	run := func() tidegate.Run {
		t.Helper()
		before := n.newest("people").ID
		n.mustCLI("sync", "run", "people", "--data", n.data)
		n.waitFor(2*time.Minute, "the run to end", func() bool { r := n.newest("people"); return r.ID != before && r.State.Finished() })
		return n.newest("people")
	}
	if r := run(); r.State != tidegate.RunSucceeded || r.Counts.Delivered != people {
		t.Fatalf("the first run is %s with %+v", r.State, r.Counts)
	}
	n.kill()
	for _, name := range []string{"ledgers.duckdb", "ledgers.duckdb.wal"} { // the disk is lost: the ledger comes back from the warehouse
		if err := os.Remove(filepath.Join(n.data, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	n.start()
	for i := range 5 {
		identify(i, "pro")
	}
	n.waitFor(2*time.Minute, "the changes to be loaded", func() bool {
		changed, err := n.queryInt("SELECT COUNT(*) FROM web.users WHERE plan = 'pro'")
		return err == nil && changed == 5
	})
	if r := run(); r.State != tidegate.RunSucceeded || r.Counts.Changed != 5 || r.Counts.Delivered != 5 || r.Counts.Unchanged != people-5 {
		t.Errorf("the second run is %s with %+v", r.State, r.Counts)
	}
	if logged, err := n.queryInt("SELECT COUNT(*) FROM _tidegate.sync_log WHERE sync = 'people' AND disposition = 'delivered'"); err != nil || logged != people+5 {
		t.Errorf("the published log has %d entries, %v", logged, err)
	}
	var records map[string]any
	resp, err := http.Get("http://" + endpoint + "/records")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&records); err != nil || len(records) != people {
		t.Errorf("the destination holds %d records, %v", len(records), err)
	}
	for _, j := range double.Jobs() {
		if j.JobReference.Location != "EU" || j.Configuration.Labels["team"] != "growth" {
			t.Fatalf("job %s: location %s, labels %v", j.JobReference.JobId, j.JobReference.Location, j.Configuration.Labels)
		}
	}
}
