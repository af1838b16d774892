package app_test

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	destall "github.com/tidegate/tidegate/destinations/all"
	"github.com/tidegate/tidegate/ingest/privacy"
)

const deletingProject = `
warehouse: {kind: duckdb}
sources: [{name: web, write_key: WK}]
settings: {allow_private: [127.0.0.0/8]}
destinations:
  - {name: crm, kind: hubspot, config: {token: "${env:TIDEGATE_TEST_TOKEN}", base_url: "URL"}}
models:
  - {name: people, sql: "SELECT id, email, plan FROM web.users", primary_key: [id]}
syncs:
  - name: people_to_crm
    model: people
    destination: crm
    object: contacts
    mapping:
      identifier: email
      fields: [{field: email, column: email}, {field: jobtitle, column: plan}]
`

// TestDeletionReachesDestinations deletes a person whom a sync has delivered, at the
// destination too, and nobody else.
func TestDeletionReachesDestinations(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_TOKEN", "token")
	kind, _ := destall.Find("hubspot")
	sim, err := kind.Simulate(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	a := hubOf(t, options(t, strings.ReplaceAll(deletingProject, "URL", srv.URL)))
	var events []string
	for _, id := range []string{"u1", "u2", "u3"} {
		events = append(events, `{"type":"identify","messageId":"i`+id+`","userId":"`+id+`","traits":{"email":"`+id+`@example.com","plan":"free"}}`)
	}
	sendAll(t, a, events...)
	if run := ran(t, a, "people_to_crm"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 3 {
		t.Fatalf("%+v %+v", run.Counts, run.Fault)
	}
	d, err := a.Hub.Delete(t.Context(), "test", api.DeleteRequest{SuppressRequest: api.SuppressRequest{People: []privacy.Person{{Kind: privacy.UserID, ID: "u2"}}}})
	if err != nil {
		t.Fatal(err)
	}
	d = await(t, func(ctx context.Context) (api.Deletion, error) { return a.Hub.DeletionOf(ctx, d.ID) }, func(d api.Deletion) bool { return d.State == "done" })
	var mails []string
	for _, r := range sim.Records("contacts") {
		mails = append(mails, text(r["email"]))
	}
	slices.Sort(mails)
	if !slices.Equal(mails, []string{"u1@example.com", "u3@example.com"}) {
		t.Errorf("the destination has %v", mails)
	}
	at := slices.IndexFunc(d.Receipt.Places, func(p privacy.Place) bool { return strings.HasPrefix(p.Name, "crm: contacts") })
	if at < 0 {
		t.Fatalf("the receipt has no place for the destination: %+v", d.Receipt)
	}
	if p := d.Receipt.Places[at]; p.Found != 1 || p.Deleted != 1 || p.Left != 0 || p.VerifiedAt.IsZero() {
		t.Errorf("%+v", p)
	}
	// The next run finds the row gone, and nothing more to do about it.
	if run := ran(t, a, "people_to_crm"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 0 || run.Counts.Rejected != 0 {
		t.Errorf("the run after the deletion: %s %+v %+v", run.State, run.Counts, run.Fault)
	}
}
