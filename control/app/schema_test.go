package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
)

// TestSchemaIsWidened: through a running hub, what did not fit is listed, and after the
// proposal is accepted it is in its row and later values fit.
func TestSchemaIsWidened(t *testing.T) {
	o := options(t, oneSource)
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		stop()
		if err := a.Wait(); err != nil {
			t.Error(err)
		}
	}()
	load := func(bodies ...string) {
		t.Helper()
		for _, body := range bodies {
			if status, err := send(t, a, body); err != nil || status != http.StatusOK {
				t.Fatalf("status %d, %v", status, err)
			}
		}
		if err := a.Hub.WaitLoaded(ctx); err != nil {
			t.Fatal(err)
		}
	}
	load(`{"event":"Order","userId":"u","messageId":"m1","properties":{"total":1}}`, `{"event":"Order","userId":"u","messageId":"m2","properties":{"total":2.5}}`)
	tables, err := a.Hub.EventTables(ctx, "web", "order")
	if err != nil || len(tables) != 0 { // a reserved word
		t.Fatalf("%+v, %v", tables, err)
	}
	if tables, err = a.Hub.EventTables(ctx, "web", "_order"); err != nil || len(tables) != 1 || len(tables[0].Conflicts) != 1 || tables[0].Conflicts[0].Proposal != "float" {
		t.Fatalf("%+v, %v", tables, err)
	}
	result, err := a.Hub.WidenColumn(ctx, api.WidenRequest{Schema: "web", Table: "_order", Column: "total"}, "ada")
	if err != nil || result.NewType != "float" || result.Backfilled != 1 || !result.Done {
		t.Fatalf("%+v, %v", result, err)
	}
	load(`{"event":"Order","userId":"u","messageId":"m3","properties":{"total":0.25}}`)
	rows, err := a.Hub.Tables(ctx)
	if err != nil {
		t.Fatal(err)
	}
	typ := ""
	for _, table := range rows {
		for _, c := range table.Columns {
			if table.Name == "_order" && c.Name == "total" {
				typ = c.Type
			}
		}
	}
	if typ != "float" {
		t.Errorf("the column is %q", typ)
	}
	if tables, err = a.Hub.EventTables(ctx, "web", "_order"); err != nil || len(tables[0].Conflicts) != 0 {
		t.Errorf("%+v, %v", tables, err)
	}
	history, err := a.Hub.SchemaHistory(ctx, "web", "_order", 1)
	if err != nil || len(history) != 1 || history[0].By != "ada" || history[0].Backfilled != 1 {
		t.Errorf("%+v, %v", history, err)
	}
	_, err = a.Hub.WidenColumn(ctx, api.WidenRequest{Schema: "main", Table: "x", Column: "y"}, "ada")
	if f := tidegate.FaultOf(err); f == nil || f.Code != "schema.not_found" {
		t.Errorf("a table of no source: %v", err)
	}
}

// TestExplainInEveryProfile: the command says what the loader does, by the rules of the source.
func TestExplainInEveryProfile(t *testing.T) {
	o := options(t, `warehouse: {kind: duckdb}
sources:
  - {name: rs, write_key: A, tables: {skip_tracks_table: true}}
  - {name: sg, write_key: B, schema_profile: segment}
  - {name: own, write_key: C, schema_profile: native, tables: {hot_columns: [properties.total]}}
`)
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		stop()
		if err := a.Wait(); err != nil {
			t.Error(err)
		}
	}()
	p, _, err := a.Catalog.Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	event := json.RawMessage(`{"type":"track","event":"Order Done","userId":"u","channel":"web","properties":{"productIDs":"x","total":1}}`)
	want := map[string][]string{
		"rs":  {"rs.order_done product_i_ds"},
		"sg":  {"sg.tracks", "sg.order_done product_ids"},
		"own": {"own.events"},
	}
	for source := range want {
		e, err := a.Hub.Explain(ctx, source, event)
		if err != nil {
			t.Fatal(err)
		}
		if alone, err := app.Explain(ctx, o, p, source, event); err != nil || len(alone.Tables) != len(e.Tables) {
			t.Errorf("%s without a server: %+v, %v", source, alone, err)
		}
		var got []string
		for _, table := range e.Tables {
			line := table.Name
			for _, c := range table.Columns {
				if c.Value == "x" {
					line += " " + c.Name
				}
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(want[source], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source, diff)
		}
	}
}
