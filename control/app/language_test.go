package app_test

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/app"
	destall "github.com/tidegate/tidegate/destinations/all"
)

const languageProject = `
warehouse: {kind: duckdb}
settings: {allow_private: [127.0.0.0/8]}
destinations:
  - {name: crm, kind: hubspot, config: {token: "${env:TIDEGATE_TEST_TOKEN}", base_url: "URL"}}
models:
  - {name: people, file: people.csv, primary_key: [id]}
  - {name: plans, file: plans.ndjson, primary_key: [id]}
  - name: active
    sql: SELECT * FROM people WHERE score >= {{ least }}
    uses: [people]
    params: {least: 10}
    primary_key: [id]
syncs:
  - name: people_to_crm
    model: active
    destination: crm
    object: contacts
    mapping:
      identifier: email
      create_fields: true
      fields:
        - {field: email, column: email, normalize: email}
        - {field: tier, expression: 'score > 80 ? "hot" : "cold"'}
        - {field: plan_title, lookup: {model: plans, key: plan_id, column: title}}
        - {field: email_hash, column: email, normalize: email, hash: md5}
        - {field: jobtitle, template: "{{ name | upcase }}"}
`

// finished waits until a run has ended and returns it.
func finished(t *testing.T, a *app.App, run tidegate.Run) tidegate.Run {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !run.State.Finished() {
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-tick.C:
		}
		var err error
		if run, err = a.Hub.Run(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
	}
	return run
}

// ran starts a run as soon as none is going on, and waits for its end.
func ran(t *testing.T, a *app.App, name string) tidegate.Run {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		run, err := a.Hub.SyncRun(t.Context(), name)
		if err == nil {
			return finished(t, a, run)
		}
		if tidegate.FaultOf(err).Code != "run.conflict" {
			t.Fatal(err)
		}
		<-tick.C
	}
}

// TestTheMappingLanguage sends files through parameters, another model, lookups
// and expressions into fields that the destination did not have.
func TestTheMappingLanguage(t *testing.T) {
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
	o := options(t, strings.ReplaceAll(languageProject, "URL", srv.URL))
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(o.Project, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("people.csv", "id,name,email,score,plan_id\n1,Ada,ADA@x.io,90,10\n2,Bob,bob@x.io,20,11\n3,Cy,cy@x.io,5,10\n")
	write("plans.ndjson", `{"id":10,"title":"Gold"}`+"\n")
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Hub.PreviewModel(ctx, "active", 1)
	if err != nil || p.Count != 2 || len(p.Rows) != 1 || len(p.Columns) != 5 {
		t.Errorf("%+v, %v", p, err)
	}
	s, err := a.Hub.SuggestMapping(ctx, "active", "crm", "contacts")
	if err != nil || s.Mapping.Identifier != "email" || s.Mapping.Fields[0].Column != "email" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := a.Hub.SuggestMapping(ctx, "active", "crm", "contact"); tidegate.FaultOf(err).Code != "sync.object" {
		t.Error(err)
	}
	plan, err := a.Hub.SyncPlan(ctx, "people_to_crm", 10, false)
	if err != nil || plan.Summary.Added != 2 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if _, records := sim.Calls(); records != 0 {
		t.Error("looking at a plan sent records")
	}
	run := ran(t, a, "people_to_crm")
	if run.State != tidegate.RunSucceeded || run.Counts.Delivered != 2 {
		t.Fatalf("%+v %+v", run, run.Fault)
	}
	if d := cmp.Diff("hot Gold ada@x.io ADA / cold <nil> bob@x.io BOB", contact(sim.Records("contacts"), "ada@x.io")+" / "+contact(sim.Records("contacts"), "bob@x.io")); d != "" {
		t.Error(d)
	}
	lineage, err := a.Hub.Lineage(ctx, "active")
	if err != nil {
		t.Fatal(err)
	}
	var way []string
	for _, e := range lineage.Edges {
		if e.ToKind != "field" {
			way = append(way, e.FromKind+" "+e.From+" → "+e.ToKind+" "+e.To)
		}
	}
	if d := cmp.Diff([]string{"file people.csv → model people", "model active → sync people_to_crm", "model people → model active"}, way); d != "" {
		t.Error("the lineage of active: ", d)
	}
	write("people.csv", "id,name,email,score,plan_id\n1,Ada,ADA@x.io,90,10\n2,Bob,bob@x.io,99,10\n3,Cy,cy@x.io,5,10\n")
	if run = ran(t, a, "people_to_crm"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 1 || run.Counts.Changed != 1 {
		t.Fatalf("%+v %+v", run, run.Fault)
	}
	if got := contact(sim.Records("contacts"), "bob@x.io"); got != "hot Gold bob@x.io BOB" {
		t.Error(got)
	}
	if err := os.Remove(filepath.Join(o.Project, "people.csv")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Hub.PreviewModel(ctx, "active", 0); tidegate.FaultOf(err).Code != "model.file" { // Invariant 6
		t.Errorf("a file that is gone: %v", err)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
}

func contact(records map[string]tidegate.Record, email string) string {
	for _, r := range records {
		if r["email"] == email {
			return strings.Join([]string{text(r["tier"]), text(r["plan_title"]), text(r["email"]), text(r["jobtitle"])}, " ")
		}
	}
	return "no contact " + email
}

func text(v any) string {
	if s, ok := v.(string); ok && s != "" {
		return s
	}
	return "<nil>"
}

const incrementalProject = `
warehouse: {kind: duckdb}
settings: {allow_private: [127.0.0.0/8]}
destinations:
  - {name: crm, kind: hubspot, config: {token: "${env:TIDEGATE_TEST_TOKEN}", base_url: "URL"}}
models:
  - {name: people, file: people.csv, primary_key: [id], incremental: changed, full_every: 1h}
syncs:
  - name: people_to_crm
    model: people
    destination: crm
    object: contacts
    mode: mirror
    mapping:
      identifier: email
      fields: [{field: email, column: email}, {field: jobtitle, column: title}]
`

// TestAnIncrementalModel reads only what changed, finds removals when it reads
// all of it again, and reads all of it when anything is in doubt.
func TestAnIncrementalModel(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_TOKEN", "token")
	kind, _ := destall.Find("hubspot")
	sim, err := kind.Simulate(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	o := options(t, strings.ReplaceAll(incrementalProject, "URL", srv.URL))
	var ahead atomic.Int64
	o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(o.Project, "people.csv"), []byte("id,email,title,changed\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1,a@x.io,A,2024-01-01T00:00:00Z\n2,b@x.io,B,2024-01-02T00:00:00Z\n3,c@x.io,C,2024-01-03T00:00:00Z\n")
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, read, delivered int64) {
		t.Helper()
		run := ran(t, a, "people_to_crm")
		if c := run.Counts; run.State != tidegate.RunSucceeded || c.Read != read || c.Delivered != delivered {
			t.Errorf("%s: %s, %d read, %d delivered (%+v); want %d and %d", what, run.State, c.Read, c.Delivered, run.Fault, read, delivered)
		}
	}
	expect("the first run reads all", 3, 3)
	expect("the second what reaches the mark", 1, 0)
	write("1,a@x.io,A,2024-01-01T00:00:00Z\n2,b@x.io,BB,2024-01-04T00:00:00Z\n") // 2 changed, 3 went
	expect("another table is another query", 2, 2)
	expect("the mark moved on", 1, 0)
	ahead.Store(int64(2 * time.Hour))
	expect("after full_every all is read", 2, 0)
	expect("and then a part again", 1, 0)
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
}
