package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
)

// TestSnowflake: the whole loop of the built binary against a double of Snowflake:
// the warehouse's check, events in, a model, a sync out, a change, a restart.
func TestSnowflake(t *testing.T) {
	t.Parallel()
	double := sftest.New(t)
	endpoint := freeAddr(t)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(sftest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, map[string]string{
		"tidegate.yaml": `warehouse:
  kind: snowflake
  config: {account: acme-test, user: ` + sftest.User + `, password: "${file:` + password + `}", database: analytics, warehouse: compute, role: loader, read_role: reader, endpoint: "` + double.URL + `", tag: growth}
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
		"syncs/people.yaml": "name: people\nmodel: people\ndestination: hook\nobject: records\nmode: upsert\nmapping: {identifier: email, fields: [{field: email, column: email}, {field: plan, column: plan}]}\n",
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
	var records map[string]any
	resp, err := http.Get("http://" + endpoint + "/records")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&records); err != nil || len(records) != people {
		t.Errorf("the destination holds %d records, %v", len(records), err)
	}
	for _, c := range double.Calls() {
		if c.SQL != "" && !strings.Contains(c.Tag, `"tag":"growth"`) || strings.Contains(c.Path, "telemetry") {
			t.Fatalf("call %+v", c)
		}
	}
	if left := double.Staged(); len(left) > 0 {
		t.Errorf("the stage holds %v", left)
	}
}
