package app_test

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	destall "github.com/tidegate/tidegate/destinations/all"
	"github.com/tidegate/tidegate/ingest/forward"
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

// TestForwardNamesMissingFields: every field that the destination lacks is named once, with
// the setting that creates it.
func TestForwardNamesMissingFields(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_TOKEN", "token")
	kind, ok := destall.Find("hubspot")
	if !ok {
		t.Fatal("no hubspot")
	}
	sim, err := kind.Simulate(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	a := hubOf(t, options(t, strings.Replace(`
warehouse: {kind: duckdb}
sources: [{name: web, write_key: WK}]
settings: {allow_private: [127.0.0.0/8]}
destinations:
  - {name: crm, kind: hubspot, config: {token: "${env:TIDEGATE_TEST_TOKEN}", base_url: "URL"}}
forwards:
  - name: orders
    destination: crm
    object: contacts
    mapping: {identifier: email, fields: [{field: email, column: traits.email}, {field: last_order, column: timestamp}, {field: big_spender, expression: "properties.total > 100"}]}
`, "URL", srv.URL, 1)))
	got := await(t, func(ctx context.Context) (api.ForwardStatus, error) { return a.Hub.Forward(ctx, "orders") }, func(s api.ForwardStatus) bool { return s.State == forward.Halted })
	const want = `mapping.invalid: forward orders: mapping.fields[1].field: contacts has no field "last_order"; mapping.fields[2].field: contacts has no field "big_spender"; `
	if rest, ok := strings.CutPrefix(got.Reason, want); !ok || !strings.Contains(rest, "create_fields") || strings.Contains(rest, "mapping.invalid") {
		t.Errorf("%q", got.Reason)
	}
}

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
