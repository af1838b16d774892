package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	destall "github.com/tidegate/tidegate/destinations/all"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

const twoWarehouses = `
warehouse: {kind: duckdb}
warehouses:
  - {name: lake, kind: postgres, config: {host: "HOST", port: PORT, user: loads, database: shop}}
  - {name: mart, kind: duckdb}
settings: {allow_private: [127.0.0.0/8]}
destinations:
  - {name: crm, kind: hubspot, config: {token: "${env:TIDEGATE_TEST_TOKEN}", base_url: "URL"}}
models:
  - {name: customers, warehouse: lake, table: shop.customers, primary_key: [id], incremental: changed, full_every: 1h}
  - {name: here, sql: SELECT 1 AS id, primary_key: [id]}
syncs:
  - name: customers_to_crm
    model: customers
    destination: crm
    object: contacts
    mapping:
      identifier: email
      fields: [{field: email, column: email}, {field: jobtitle, column: title}]
`

// TestModelsInAnotherWarehouse syncs rows of PostgreSQL while events go to DuckDB:
// model, ledger and previews are in PostgreSQL, and a ledger beside it finds the same.
func TestModelsInAnotherWarehouse(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_TOKEN", "token")
	var shared pgtest.Shared
	defer shared.Stop()
	pg := shared.Get(t, warehousetest.Missing)
	pg.Exec(t, "postgres", "CREATE DATABASE shop")
	pg.Exec(t, "postgres", "CREATE ROLE loads LOGIN SUPERUSER")
	pg.Exec(t, "shop", "CREATE SCHEMA shop; CREATE TABLE shop.customers (id bigint primary key, email text, title text, changed bigint)")
	pg.Exec(t, "shop", "INSERT INTO shop.customers SELECT n, 'c' || n || '@x.io', 'free', n * 10000 FROM generate_series(1, 5) n")
	kind, _ := destall.Find("hubspot")
	sim, err := kind.Simulate(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	definitions := strings.NewReplacer("URL", srv.URL, "HOST", pg.Host, "PORT", strconv.Itoa(pg.Port)).Replace(twoWarehouses)
	o := options(t, definitions)
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := a.Hub.PreviewModel(ctx, "customers", 2); err != nil || p.Count != 5 || len(p.Rows) != 2 {
		t.Errorf("the preview: %+v, %v", p, err)
	}
	run := ran(t, a, "customers_to_crm")
	if run.State != tidegate.RunSucceeded || run.Counts.Delivered != 5 {
		t.Fatalf("%+v %+v", run, run.Fault)
	}
	pg.Exec(t, "shop", "UPDATE shop.customers SET title = 'pro', changed = 90000 WHERE id = 3")
	if run = ran(t, a, "customers_to_crm"); run.Counts.Changed != 1 || run.Counts.Delivered != 1 || run.Counts.Read != 2 {
		t.Errorf("only what is newer than the mark (and the mark's own row) is to be read: %+v %+v", run.Counts, run.Fault)
	}
	if where := countIn(t, a, "lake", "SELECT count(*) FROM information_schema.tables WHERE table_schema = '_tidegate' AND table_name LIKE 'ledger%'"); where == 0 {
		t.Error("the ledger is not in the model's warehouse")
	}
	if where := countIn(t, a, "", "SELECT count(*) FROM information_schema.tables WHERE table_schema = '_tidegate' AND table_name LIKE 'ledger%'"); where != 0 {
		t.Error("the ledger is where the events are")
	}
	if _, err := a.Hub.Query(ctx, "lakee", "SELECT 1"); tidegate.FaultOf(err).Code != "warehouse.not_found" {
		t.Error(err)
	}
	if n := countIn(t, a, "mart", "SELECT 7"); n != 7 {
		t.Errorf("a further file answers %d", n)
	}
	edges, err := a.Hub.Lineage(ctx, "")
	if err != nil || !slices.ContainsFunc(edges.Edges, func(e api.LineageEdge) bool { return e.From == "lake:shop.customers" && e.To == "customers" }) {
		t.Errorf("lineage %+v, %v", edges, err)
	}
	var answered []string
	for _, f := range a.Hub.Doctor(ctx) {
		if strings.HasPrefix(f.Check, "warehouse ") {
			answered = append(answered, f.Check+" "+f.Level)
		}
	}
	if d := cmp.Diff([]string{"warehouse lake ok", "warehouse mart ok"}, answered); d != "" {
		t.Error(d)
	}
	now, _, err := a.Catalog.Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	now.Warehouses[0].Config = json.RawMessage(fmt.Sprintf(`{"host":%q,"user":"other","database":"shop"}`, pg.Host))
	if err := a.Hub.Activate(ctx, now); tidegate.FaultOf(err).Code != "warehouse.conflict" {
		t.Errorf("an open warehouse was replaced: %v", err)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}

	// The ledger moves out of the warehouse without sending anything again.
	data := o.Data
	o = options(t, definitions+"    ledger: {placement: local}\n")
	o.Data = data
	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	if a, err = app.Start(ctx, o); err != nil {
		t.Fatal(err)
	}
	if run = ran(t, a, "customers_to_crm"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 0 || run.Counts.Unchanged == 0 {
		t.Errorf("after the move: %+v %+v", run.Counts, run.Fault)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
}

// countIn returns the one number that a query gives.
func countIn(t *testing.T, a *app.App, warehouse, sql string) int64 {
	t.Helper()
	rows, err := a.Hub.Query(t.Context(), warehouse, sql)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}()
	row, err := rows.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, _ := row[0].(int64)
	return n
}
