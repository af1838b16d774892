package app_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/ingest/privacy"
)

// TestDeletionReachesRoutedEvents: schemas that tracking plans route to, and those whose
// name the warehouse does not take as it is, are a person's events' too.
func TestDeletionReachesRoutedEvents(t *testing.T) {
	t.Parallel()
	a := hubOf(t, options(t, `
warehouse: {kind: duckdb}
sources:
  - {name: order, write_key: WK, tracking_plan: shop}
  - {name: other, write_key: WK2, tracking_plan: other}
tracking_plans:
  - {name: shop, actions: {unplanned_event: route, route: quarantine}, events: {Sold: {actions: {violation: route, route: wrong}, properties: {total: string!}}, Fine: {}}}
  - {name: other, actions: {unplanned_event: route, route: quarantine}}
`))
	sendAll(t, a, sold("m1", "u1"), sold("m2", "u2"), `{"event":"Surprise","messageId":"m3","userId":"u1"}`, `{"event":"Fine","messageId":"m4","userId":"u1"}`)
	if got := one(t, a, "SELECT (SELECT count(*) FROM wrong.sold) || ' ' || (SELECT count(*) FROM quarantine.surprise) || ' ' || (SELECT count(*) FROM _order.fine)"); got != "2 1 1" {
		t.Fatalf("before: %s", got)
	}
	tables, err := a.Hub.EventTables(t.Context(), "", "")
	var named []string
	for _, table := range tables {
		named = append(named, table.Schema+"."+table.Table)
	}
	if list := strings.Join(named, " "); err != nil || !strings.Contains(list, "quarantine.surprise") || !strings.Contains(list, "wrong.sold") || !strings.Contains(list, "_order.fine") {
		t.Errorf("the tables of events: %s, %v", list, err)
	}
	gone := func(source string) string {
		t.Helper()
		d, err := a.Hub.Delete(t.Context(), "test", api.DeleteRequest{SuppressRequest: api.SuppressRequest{Source: source, People: []privacy.Person{{Kind: privacy.UserID, ID: "u1"}}}})
		if err != nil {
			t.Fatal(err)
		}
		d = await(t, func(ctx context.Context) (api.Deletion, error) { return a.Hub.DeletionOf(ctx, d.ID) }, func(d api.Deletion) bool { return d.State == "done" })
		text, err := json.Marshal(d.Receipt.Remains)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "tables that others made") {
			t.Errorf("of %q: %s", source, text)
		}
		return string(text) + one(t, a, "SELECT (SELECT count(*) FROM wrong.sold) || ' ' || (SELECT count(*) FROM quarantine.surprise) || ' ' || (SELECT count(*) FROM _order.fine)")
	}
	if got := gone("order"); !strings.HasSuffix(got, "1 1 0") || !strings.Contains(got, "the schemas quarantine, which were left alone") {
		t.Errorf("of one source: %s", got)
	}
	if got := gone(""); !strings.HasSuffix(got, "1 0 0") || strings.Contains(got, "left alone") {
		t.Errorf("of all sources: %s", got)
	}
}
