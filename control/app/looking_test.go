package app_test

import (
	"context"
	"testing"

	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/sync/ledger"
)

// TestLookingAtASyncMakesNothing: the status of syncs that never ran, and what ails them, is asked for by people
// who may only read, for every sync at once, so it creates no tables.
func TestLookingAtASyncMakesNothing(t *testing.T) {
	o := options(t, oneSource+`destinations: [{name: hook, kind: webhook, config: {url: "https://example.com"}}]
models: [{name: people, sql: "select 1 as id", primary_key: [id]}]
syncs:
  - {name: other, model: people, destination: hook, object: records, mapping: {identifier: id, fields: [{field: id, column: idd}]}}
  - {name: crm, model: people, destination: hook, object: records, mapping: {identifier: id, fields: [{field: id, column: id}]}}
`)
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := a.Hub.Syncs(ctx); err != nil || len(list) != 2 || list[0].LedgerRows != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := a.Hub.Rejections(ctx, "crm", 10); err != nil || len(list) != 0 {
		t.Errorf("rejections: %v, %v", list, err)
	}
	if list, err := a.Hub.Causes(ctx, "crm", 10); err != nil || len(list) != 0 {
		t.Errorf("causes: %v, %v", list, err)
	}
	if list, err := a.Hub.SyncLog(ctx, "crm", ledger.LogFilter{}); err != nil || len(list) != 0 {
		t.Errorf("log: %v, %v", list, err)
	}
	levels := map[string]string{}
	for _, f := range a.Hub.Doctor(ctx) {
		levels[f.Check] = f.Level
	}
	if levels["sync crm"] != "ok" || levels["sync other"] != "error" { // what one lacks is not said of all of its model
		t.Errorf("doctor: %v", levels)
	}
	if n := countIn(t, a, "", "SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'crm%'"); n != 0 {
		t.Errorf("looking made %d tables", n)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
}
