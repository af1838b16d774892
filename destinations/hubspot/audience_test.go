package hubspot_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/destinations/hubspot"
	"github.com/tidegate/tidegate/internal/config"
)

// account is a connector on a fresh simulator; what answers say about the limit is noted.
func account(t *testing.T, allow func(destinations.Allowance)) (destinations.Destination, *hubspot.Simulator) {
	t.Helper()
	sim, err := hubspot.NewSimulator(json.RawMessage(`{"poison":"poisoned"}`))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	kind := hubspot.Kind()
	cfg := kind.NewConfig()
	if err := config.DecodeJSON("config", kind.SimulatorConfig(server.URL), cfg); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	d, err := kind.Open(t.Context(), cfg, destinations.Env{Log: slog.New(slog.DiscardHandler), HTTP: client, Now: time.Now, Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	return d, sim
}

func audienceOf(list string, op tidegate.Op, emails ...string) destinations.Batch {
	b := destinations.Batch{Object: "contacts", Mode: tidegate.Audience, IdentifierField: "email", Audience: list}
	for _, e := range emails {
		r := tidegate.Record{"email": e, "city": "Kiel"}
		if e == "bad@example.com" {
			r["city"] = "poisoned"
		}
		b.Items = append(b.Items, destinations.Item{Op: op, Key: tidegate.Key(`["` + e + `"]`), Identifier: e, Record: r})
	}
	return b
}

func TestAudience(t *testing.T) {
	t.Parallel()
	d, sim := account(t, nil)
	list, err := d.(destinations.Audiencer).EnsureAudience(t.Context(), "contacts", "Big spenders")
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.Write(t.Context(), audienceOf(list, tidegate.Added, "a@example.com", "bad@example.com", "b@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	var got []destinations.Disposition
	for _, o := range out {
		got = append(got, o.Disposition)
	}
	if diff := cmp.Diff([]destinations.Disposition{destinations.Delivered, destinations.Rejected, destinations.Delivered}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{out[0].DestinationID, out[2].DestinationID}, sim.Members("Big spenders")); diff != "" {
		t.Errorf("after joining:\n%s", diff)
	}
	if _, err := d.Write(t.Context(), audienceOf(list, tidegate.Removed, "a@example.com", "never@example.com")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{out[2].DestinationID}, sim.Members("Big spenders")); diff != "" {
		t.Errorf("after leaving:\n%s", diff)
	}
	if n := len(sim.Records("contacts")); n != 2 {
		t.Errorf("%d contacts, leaving a list deletes none", n)
	}
}

func TestAllowanceIsPassedOn(t *testing.T) {
	t.Parallel()
	var last destinations.Allowance
	d, _ := account(t, func(a destinations.Allowance) { last = a })
	if err := d.(destinations.Checker).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := (destinations.Allowance{Limit: 190, Remaining: 189, Window: 10 * time.Second}); last != want {
		t.Errorf("the connector told %+v, want %+v", last, want)
	}
}

func TestInsertIsDeclaredUnsafe(t *testing.T) {
	t.Parallel()
	d, _ := account(t, nil)
	list, err := d.Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		if o.SafetyIn(tidegate.Insert) != destinations.Unsafe || o.SafetyIn(tidegate.Upsert) != destinations.Idempotent {
			t.Errorf("%s: insert is %s, upsert %s", o.Name, o.SafetyIn(tidegate.Insert), o.SafetyIn(tidegate.Upsert))
		}
	}
}
