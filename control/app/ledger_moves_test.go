package app_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
	destall "github.com/tidegate/tidegate/destinations/all"
)

// TestLedgersMoveAround moves a hub through all kinds of warehouses, each time with what its destinations have confirmed: after each move
// a sync sends nothing again, and then the one row that changes. Where a ledger is published, the hub's own copy is
// lost before the move, so that it comes from the warehouse.
func TestLedgersMoveAround(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("in short tests")
	}
	kind, _ := destall.Find("hubspot")
	sim, err := kind.Simulate(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	token := inFile(t, "token")
	round := []string{"duckdb", "clickhouse", "postgres", "bigquery", "redshift", "snowflake", "duckdb"}
	configs := make([]string, len(round))
	for i, kind := range round {
		config := map[string]any{"memory_limit": "300MB", "threads": 1}
		if i > 0 && i < len(round)-1 {
			config = everywhere[kind](t)
		} else if i > 0 {
			config["path"] = filepath.Join(t.TempDir(), "again.duckdb")
		}
		raw, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		configs[i] = "kind: " + kind + ", config: " + string(raw)
	}
	definitions := func(warehouse, further string) string {
		return strings.NewReplacer("URL", srv.URL, "WAREHOUSE", "{"+warehouse+"}", "FURTHER", "{name: further, "+further+"}", "${env:TIDEGATE_TEST_TOKEN}", token).Replace(movingProject) + "    ledger: {placement: warehouse}\n"
	}
	const people = 12
	data := t.TempDir()
	for i, kind := range round {
		o := options(t, definitions(configs[i], configs[(i+1)%len(round)]))
		o.Data = data
		a := started(t, o)
		if i == 0 {
			for n := range people {
				mustSend(t, a, fmt.Sprintf(`{"type":"identify","messageId":"i%d","userId":"u%d","traits":{"email":"u%d@x.io","plan":"free"}}`, n, n, n))
			}
		} else if run := ran(t, a, "people_to_crm"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 0 || run.Counts.Unchanged != people {
			t.Fatalf("after the move from %s to %s: %+v %+v", round[i-1], kind, run.Counts, run.Fault)
		}
		mustSend(t, a, fmt.Sprintf(`{"type":"identify","messageId":"on %d","userId":"u%d","traits":{"plan":"seen by warehouse %d"}}`, i, i, i))
		if err := a.Hub.WaitLoaded(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := int64(1)
		if i == 0 {
			want = people
		}
		if run := ran(t, a, "people_to_crm"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != want {
			t.Fatalf("in %s: %+v %+v", kind, run.Counts, run.Fault)
		}
		ended(t, a)
		if i == len(round)-1 {
			break
		}
		if err := os.Remove(filepath.Join(data, "ledgers.duckdb")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		p, err := project.LoadDir(o.Project, app.Kinds())
		if err != nil {
			t.Fatal(err)
		}
		done := map[string]api.Migrated{}
		if err := app.Migrate(t.Context(), p, data, "", "further", time.Now, func(m api.Migrated) { done[m.Table] = m }); err != nil {
			t.Fatalf("from %s to %s: %v", kind, round[i+1], err)
		}
		if done["ledger of people_to_crm"].Rows != people || done["web.users"].Rows != people {
			t.Errorf("from %s to %s: %+v", kind, round[i+1], done)
		}
	}
}
