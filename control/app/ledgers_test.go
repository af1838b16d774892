package app_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/app"
	destall "github.com/tidegate/tidegate/destinations/all"
	"github.com/tidegate/tidegate/sync/ledger"
)

const ledgerProject = `
warehouse: {kind: duckdb}
sources: [{name: web, write_key: WK}]
models:
  - {name: people, file: people.csv, primary_key: [id]}
destinations:
  - {name: crm, kind: hubspot, config: {token: "${env:TIDEGATE_TEST_TOKEN}", base_url: "URL"}}
syncs:
  - name: people_to_crm
    model: people
    destination: crm
    object: contacts
    mapping: {identifier: email, fields: [{field: email, column: email}, {field: jobtitle, column: name}]}
    ledger: {placement: PLACEMENT, keep_log: 24h}
    first_run: FIRST
settings: {allow_private: [127.0.0.0/8]}
`

// TestALedgerFollowsItsPlacement: the first result is taken for confirmed, the
// ledger moves with its definition and sends nothing again, and a resync sends all.
func TestALedgerFollowsItsPlacement(t *testing.T) {
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
	placed := func(where string) string {
		return strings.NewReplacer("URL", srv.URL, "PLACEMENT", where, "FIRST", "baseline").Replace(ledgerProject)
	}
	o := options(t, placed("local"))
	people := func(csv string) {
		t.Helper()
		write(t, filepath.Join(o.Project, "people.csv"), []byte("id,name,email\n"+csv))
	}
	people("1,Ada,ada@x.io\n2,Bob,bob@x.io\n")
	runs := func(a *app.App, delivered int64) {
		t.Helper()
		run := ran(t, a, "people_to_crm")
		if run.State != tidegate.RunSucceeded || run.Counts.Delivered != delivered {
			t.Fatalf("%+v, fault %+v; want %d delivered", run.Counts, run.Fault, delivered)
		}
	}
	a, stop := running(t, o)
	runs(a, 0)
	people("1,Ada,ada@x.io\n2,Bobby,bob@x.io\n")
	runs(a, 1)
	if _, err := os.Stat(filepath.Join(o.Data, "ledgers.duckdb")); err != nil {
		t.Error(err)
	}
	stop()
	write(t, filepath.Join(o.Project, "tidegate.yaml"), []byte(placed("warehouse")))
	a, stop = running(t, o)
	defer stop()
	runs(a, 0)
	list, err := a.Hub.SyncLog(t.Context(), "people_to_crm", ledger.LogFilter{})
	if err != nil || len(list) != 1 || list[0].Before["jobtitle"] != "Bob" || list[0].After["jobtitle"] != "Bobby" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := a.Hub.Resync(t.Context(), "people_to_crm"); err != nil {
		t.Fatal(err)
	}
	runs(a, 2)
	if err := a.Hub.Resync(t.Context(), "nobody"); tidegate.FaultOf(err).Code != "sync.not_found" {
		t.Error(err)
	}
}
