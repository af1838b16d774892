package app_test

import (
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	destall "github.com/tidegate/tidegate/destinations/all"
)

const accountProject = `
warehouse: {kind: duckdb}
sources: [{name: web, write_key: WK}]
models:
  - {name: people, file: people.csv, primary_key: [id]}
destinations:
  - {name: NAME, kind: hubspot, config: {token: "${env:TIDEGATE_TEST_TOKEN}", base_url: "URL"}}
syncs:
  - name: people_to_crm
    model: people
    destination: NAME
    object: contacts
    mapping: {identifier: email, fields: [{field: email, column: email}]}
settings: {allow_private: [127.0.0.0/8]}
`

// TestTheAccountBehindAName: what one account confirmed is not taken for another's that has got its
// name, and an account that has got another name is sent nothing again.
func TestTheAccountBehindAName(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_TOKEN", "token")
	kind, ok := destall.Find("hubspot")
	if !ok {
		t.Fatal("no hubspot")
	}
	account := func(options string) string {
		t.Helper()
		sim, err := kind.Simulate([]byte(options))
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(sim)
		t.Cleanup(srv.Close)
		return srv.URL
	}
	one, two := account(`{"portal_id": 1}`), account(`{"portal_id": 2}`)
	project := func(name, url string) string {
		return strings.NewReplacer("NAME", name, "URL", url).Replace(accountProject)
	}
	o := options(t, project("crm", one))
	write(t, filepath.Join(o.Project, "people.csv"), []byte("id,email\n1,ada@x.io\n2,bob@x.io\n"))
	for _, step := range []struct {
		name, url string
		delivered int64
		fault     string
	}{
		{"crm", one, 2, ""},
		{"sales", one, 0, ""},
		{"sales", two, 0, "ledger.other_target"},
		{"crm", one, 0, ""},
	} {
		write(t, filepath.Join(o.Project, "tidegate.yaml"), []byte(project(step.name, step.url)))
		a, stop := running(t, o)
		run := ran(t, a, "people_to_crm")
		if step.fault == "" && (run.State != tidegate.RunSucceeded || run.Counts.Delivered != step.delivered) || step.fault != "" && (run.Fault == nil || run.Fault.Code != step.fault) {
			t.Errorf("%+v: %s, %+v, fault %+v", step, run.State, run.Counts, run.Fault)
		}
		stop()
	}
}
