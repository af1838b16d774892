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
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
)

// hosted are the warehouses that only their makers run. Each is a double here, whose
// config the binary is given; check looks at the double afterwards.
var hosted = []struct {
	kind  string
	start func(t *testing.T) (config string, check func(t *testing.T))
}{
	{"bigquery", startBigQuery}, {"redshift", startRedshift}, {"snowflake", startSnowflake},
}

func startBigQuery(t *testing.T) (config string, check func(t *testing.T)) {
	t.Helper()
	double := bqtest.New(t)
	config = fmt.Sprintf(`{project: %s, location: EU, endpoint: %q, storage_endpoint: %q, max_bytes_billed: 1000000000, labels: ["team:growth"]}`, bqtest.Project, double.URL, double.WriteURL)
	return config, func(t *testing.T) {
		t.Helper()
		for _, j := range double.Jobs() {
			if j.Configuration.Load != nil { // what is loaded outside of transactions here is little
				t.Errorf("the load job %s was made", j.JobReference.JobId)
			}
			if j.JobReference.Location != "EU" || j.Configuration.Labels["team"] != "growth" {
				t.Fatalf("job %s: location %s, labels %v", j.JobReference.JobId, j.JobReference.Location, j.Configuration.Labels)
			}
		}
		if len(double.Committed()) == 0 {
			t.Error("nothing was streamed")
		}
	}
}

func startRedshift(t *testing.T) (config string, check func(t *testing.T)) {
	t.Helper()
	var shared pgtest.Shared
	t.Cleanup(shared.Stop)
	double := rstest.New(t, shared.Get(t, missing))
	config = fmt.Sprintf("{host: %s, port: %d, database: %s, user: %s, tls: disable, bucket: %s, region: %s, access_key_id: %s, secret_access_key: %q, iam_role: %q, endpoint: %q}",
		double.Host, double.Port, double.Database, double.User, rstest.Bucket, rstest.Region, rstest.AccessKey, secretFile(t, rstest.SecretKey), rstest.Role, double.S3.URL)
	return config, func(*testing.T) {}
}

func startSnowflake(t *testing.T) (config string, check func(t *testing.T)) {
	t.Helper()
	double := sftest.New(t)
	config = fmt.Sprintf("{account: acme-test, user: %s, password: %q, database: analytics, warehouse: compute, role: loader, read_role: reader, endpoint: %q, tag: growth}",
		sftest.User, secretFile(t, sftest.Password), double.URL)
	return config, func(t *testing.T) {
		t.Helper()
		for _, c := range double.Calls() {
			if c.SQL != "" && !strings.Contains(c.Tag, `"tag":"growth"`) || strings.Contains(c.Path, "telemetry") {
				t.Fatalf("call %+v", c)
			}
		}
		if left := double.Staged(); len(left) > 0 {
			t.Errorf("the stage holds %v", left)
		}
	}
}

// secretFile is a reference to a file that holds a secret.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "${file:" + path + "}"
}

const hostedProject = `warehouse:
  kind: %s
  config: %s
sources:
  - name: web
    write_key: WK
destinations:
  - name: hook
    kind: webhook
    config: {url: "http://%s/records", batch: true}
settings: {allow_private: [127.0.0.0/8]}
`

const hostedSync = `name: people
model: people
destination: hook
object: records
mode: upsert
mapping: {identifier: email, fields: [{field: email, column: email}, {field: plan, column: plan}]}
ledger: {placement: warehouse}
`

// TestHostedWarehouses: the whole loop of the built binary against the double of each:
// the warehouse's check, events in, a model, a sync out, a kill and the loss of the
// desk of ledgers, a change, a second sync.
func TestHostedWarehouses(t *testing.T) {
	t.Parallel()
	for _, c := range hosted {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			config, check := c.start(t)
			endpoint := freeAddr(t)
			n := newNode(t, map[string]string{
				"tidegate.yaml":     fmt.Sprintf(hostedProject, c.kind, config, endpoint),
				"models/people.sql": "-- primary_key: id\nSELECT id, email, plan FROM web.users WHERE email IS NOT NULL\n",
				"syncs/people.yaml": hostedSync,
			})
			sim := exec.Command(n.bin, "simulate", "webhook", "--addr", endpoint)
			if err := sim.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = sim.Process.Kill(); _ = sim.Wait() })
			if out := n.mustCLI("warehouse", "check", "--project", n.project, "--data", n.data, "--json"); strings.Contains(out, `"error"`) {
				t.Fatalf("the check of the warehouse fails: %s", out)
			}
			driveHosted(t, n, endpoint)
			check(t)
		})
	}
}

func driveHosted(t *testing.T, n *node, endpoint string) {
	t.Helper()
	const people = 30
	n.start()
	identify := func(i int, plan string) {
		t.Helper()
		body := fmt.Sprintf(`{"userId":"u%d","messageId":"%.4s-%d","traits":{"email":"p%d@example.com","plan":%q}}`, i, plan, i, i, plan)
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
		identify(i, strings.Repeat("pro", 300)) // longer than a column of Redshift is at first
	}
	n.waitFor(2*time.Minute, "the changes to be loaded", func() bool {
		changed, err := n.queryInt("SELECT COUNT(*) FROM web.users WHERE plan LIKE 'pro%'")
		return err == nil && changed == 5
	})
	if r := run(); r.State != tidegate.RunSucceeded || r.Counts.Changed != 5 || r.Counts.Delivered != 5 || r.Counts.Unchanged != people-5 {
		t.Errorf("the second run is %s with %+v", r.State, r.Counts)
	}
	if logged, err := n.queryInt("SELECT COUNT(*) FROM _tidegate.sync_log WHERE sync = 'people' AND disposition = 'delivered'"); err != nil || logged != people+5 {
		t.Errorf("the published log has %d entries, %v", logged, err)
	}
	resp, err := http.Get("http://" + endpoint + "/records")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var records map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&records); err != nil || len(records) != people {
		t.Errorf("the destination holds %d records, %v", len(records), err)
	}
}
