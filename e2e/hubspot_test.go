package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
)

// hubspotProject syncs people by their e-mail address, and firms by their domain, which HubSpot has to search.
func hubspotProject(endpoint string) map[string]string {
	return map[string]string{
		"tidegate.yaml": smallProject + `destinations:
  - {name: hubspot, kind: hubspot, config: {token: "${env:HUBSPOT_TOKEN}", base_url: "http://` + endpoint + `", calls_per_ten_seconds: 1000}}
settings: {allow_private: [127.0.0.0/8]}
`,
		"models/people.sql": "-- primary_key: id\nselect i as id, 'p' || i || '@example.com' as email, 'City ' || i as city from range(250) as t(i)\n",
		"models/firms.sql":  "-- primary_key: domain\nselect * from (values ('acme.io', 'Berlin'), ('twice.io', 'Paris'), ('absent.io', 'Rome')) as t(domain, city)\n",
		"syncs/people.yaml": "name: people\nmodel: people\ndestination: hubspot\nobject: contacts\nmode: mirror\nmapping: {identifier: email, fields: [{field: email, column: email}, {field: city, column: city}]}\n",
		"syncs/firms.yaml":  "name: firms\nmodel: firms\ndestination: hubspot\nobject: companies\nmode: update\nmapping: {identifier: domain, fields: [{field: domain, column: domain}, {field: city, column: city}]}\n",
	}
}

// vendor calls the simulator as somebody else would.
func vendor(t *testing.T, endpoint, path, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+endpoint+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer pat-somebody")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode > 299 {
		t.Fatalf("%s answers %d %s, %v", path, resp.StatusCode, answer, err)
	}
	return string(answer)
}

// TestHubSpotDrift looks at plans with their cost, also beside a held one, updates
// firms that the search finds, and finds and restores what somebody changed.
func TestHubSpotDrift(t *testing.T) {
	endpoint := freeAddr(t)
	n := newNode(t, hubspotProject(endpoint))
	n.env = append(n.env, "HUBSPOT_TOKEN=pat-simulated")
	sim := exec.Command(n.bin, "simulate", "hubspot", "--addr", endpoint, "--options", `{"calls_per_ten_seconds":1000}`)
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Process.Kill(); _ = sim.Wait() })
	n.waitFor(20*time.Second, "the simulator", func() bool {
		resp, err := http.Get("http://" + endpoint + "/")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	vendor(t, endpoint, "/crm/v3/objects/companies/batch/create", `{"inputs":[{"properties":{"name":"Acme","domain":"acme.io"}},{"properties":{"name":"One","domain":"twice.io"}},{"properties":{"name":"Two","domain":"twice.io"}}]}`)
	n.start()

	if out := n.mustCLI("sync", "plan", "people", "--data", n.data); !strings.Contains(out, "250 added") || !strings.Contains(out, "It costs about 3 daily HubSpot calls, of 6") {
		t.Errorf("the plan says %q", out)
	}
	var run tidegate.Run
	out, err := n.cli("sync", "plan", "people", "--store", "--json", "--data", n.data)
	if err != nil || json.Unmarshal([]byte(out), &run) != nil || run.State != tidegate.RunHeld {
		t.Fatalf("storing a plan: %v, %s", err, out)
	}
	if out := n.mustCLI("sync", "plan", "people", "--data", n.data); !strings.Contains(out, "This is the plan of run "+run.ID) {
		t.Errorf("the held plan is shown as %q", out)
	}
	if out := n.mustCLI("sync", "plan", "people", "--fresh", "--data", n.data); !strings.Contains(out, "Run "+run.ID+" is held") || !strings.Contains(out, "250 added") {
		t.Errorf("beside the held plan: %q", out)
	}
	n.mustCLI("sync", "apply", run.ID, "--data", n.data)

	_, _ = n.cli("sync", "run", "firms", "--data", n.data) // two of three are rejected
	if run := n.newest("firms"); run.Counts.Delivered != 1 || run.Counts.Rejected != 2 {
		t.Errorf("the run of the firms is %s with %+v", run.State, run.Counts)
	}
	if out := n.mustCLI("sync", "rejections", "firms", "--data", n.data); !strings.Contains(out, "2 companies have this domain") || !strings.Contains(out, "there is no record with this domain") {
		t.Errorf("the rejections are %q", out)
	}

	for _, c := range []struct{ sync, path, body, says string }{
		{"people", "/crm/v3/objects/contacts/batch/upsert", `{"inputs":[{"idProperty":"email","id":"p7@example.com","properties":{"city":"Nowhere"}}]}`, "it holds Nowhere"},
		{"firms", "/crm/v3/objects/companies/batch/update", `{"inputs":[{"id":"1000","properties":{"city":"Nowhere"}}]}`, "it holds Nowhere"},
	} {
		if out := n.mustCLI("sync", "drift", c.sync, "--sample", "0", "--data", n.data); !strings.Contains(out, "0 drifted, 0 gone") {
			t.Errorf("%s: nothing drifted, and it says %q", c.sync, out)
		}
		vendor(t, endpoint, c.path, c.body)
		if out, err := n.cli("sync", "drift", c.sync, "--sample", "0", "--data", n.data); err == nil || !strings.Contains(out, c.says) {
			t.Errorf("%s: somebody's change is not found: %v %q", c.sync, err, out)
		}
		n.mustCLI("sync", "drift", c.sync, "--sample", "0", "--restore", "--data", n.data)
		if out := n.mustCLI("sync", "drift", c.sync, "--sample", "0", "--data", n.data); !strings.Contains(out, "0 drifted, 0 gone") {
			t.Errorf("%s: after the restore: %q", c.sync, out)
		}
	}
}
