package app_test

import (
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/app"
	destall "github.com/tidegate/tidegate/destinations/all"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
)

const publishedProject = `
warehouse: {kind: duckdb}
warehouses:
  - {name: lake, kind: bigquery, config: {project: "PROJECT", endpoint: "ENDPOINT"}}
settings: {allow_private: [127.0.0.0/8]}
destinations:
  - {name: crm, kind: hubspot, config: {token: "${env:TIDEGATE_TEST_TOKEN}", base_url: "URL"}}
models:
  - {name: people, warehouse: lake, sql: "SELECT n AS id, CONCAT('p', CAST(n AS STRING), '@x.io') AS email FROM UNNEST(GENERATE_ARRAY(1, 3)) AS n", primary_key: [id]}
syncs:
  - name: people_to_crm
    model: people
    destination: crm
    object: contacts
    mapping: {identifier: email, fields: [{field: email, column: email}]}
    ledger: {PLACEMENT}
`

// TestALedgerIsPublished: in a warehouse without cheap transactions a ledger stays with the hub
// unless its sync says otherwise, and neither way sends anything again.
func TestALedgerIsPublished(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_TOKEN", "token")
	kind, _ := destall.Find("hubspot")
	sim, err := kind.Simulate(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	double := bqtest.New(t)
	placed := func(placement string) string {
		return strings.NewReplacer("URL", srv.URL, "PROJECT", bqtest.Project, "ENDPOINT", double.URL, "PLACEMENT", placement).Replace(publishedProject)
	}
	o := options(t, placed("keep_log: 24h"))
	for i, step := range []struct {
		placement string
		delivered int64
		published bool
	}{{"keep_log: 24h", 3, false}, {"placement: warehouse", 0, true}, {"placement: local", 0, false}} {
		write(t, filepath.Join(o.Project, "tidegate.yaml"), []byte(placed(step.placement)))
		func() {
			a, stop := running(t, o)
			defer stop()
			run := ran(t, a, "people_to_crm")
			if run.State != tidegate.RunSucceeded || run.Counts.Delivered != step.delivered {
				t.Errorf("step %d: %+v %+v", i, run.Counts, run.Fault)
			}
			if step.published {
				if n := countIn(t, a, "lake", "SELECT COUNT(*) FROM _tidegate.sync_snapshot WHERE sync = 'people_to_crm' AND state = 'acked'"); n != 3 {
					t.Errorf("step %d: %d keys are published", i, n)
				}
				return
			}
			if n := publishedKeys(t, a); n != 0 {
				t.Errorf("step %d: %d keys are published", i, n)
			}
		}()
	}
}

// publishedKeys is how many keys the view shows, 0 without a view.
func publishedKeys(t *testing.T, a *app.App) int64 {
	t.Helper()
	rows, err := a.Hub.Query(t.Context(), "lake", "SELECT COUNT(*) FROM _tidegate.sync_snapshot")
	if err != nil {
		return 0
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	return countIn(t, a, "lake", "SELECT COUNT(*) FROM _tidegate.sync_snapshot")
}
