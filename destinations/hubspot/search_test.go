package hubspot

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// firms creates companies with the domains and returns their ids.
func firms(t *testing.T, d *Destination, domains ...string) []string {
	t.Helper()
	b := destinations.Batch{Object: "companies", Mode: tidegate.Insert, IdentifierField: "name"}
	for i, domain := range domains {
		b.Items = append(b.Items, destinations.Item{Op: tidegate.Added, Key: tidegate.Key(fmt.Sprint(i)), Identifier: fmt.Sprint(i), Record: tidegate.Record{"name": fmt.Sprint(i), "domain": domain}})
	}
	var ids []string
	for _, o := range write(t, d, b) {
		ids = append(ids, o.DestinationID)
	}
	return ids
}

func byDomain(op tidegate.Op, mode tidegate.Mode, domains ...string) destinations.Batch {
	b := destinations.Batch{Object: "companies", Mode: mode, IdentifierField: "domain"}
	for _, domain := range domains {
		b.Items = append(b.Items, destinations.Item{Op: op, Key: tidegate.Key(domain), Identifier: domain, Record: tidegate.Record{"domain": domain, "city": "of " + domain}})
	}
	return b
}

func TestCompaniesAreUpdatedByDomain(t *testing.T) {
	t.Parallel()
	sim := simulator(t, "")
	d := connect(t, sim)
	ids := firms(t, d, "acme.io", "Twice.io", "twice.io", "other.io")
	out := write(t, d, byDomain(tidegate.Changed, tidegate.Update, "ACME.io", "twice.io", "absent.io"))
	if out[0].Disposition != destinations.Delivered || out[0].DestinationID != ids[0] {
		t.Errorf("the one with the domain: %+v", out[0])
	}
	if f := out[1].Fault; out[1].Disposition != destinations.Rejected || f.Code != "hubspot.ambiguous" || !strings.Contains(f.Message, ids[1]+", "+ids[2]) {
		t.Errorf("two have the domain: %+v, %v", out[1], f)
	}
	if f := out[2].Fault; out[2].Disposition != destinations.Rejected || f.Code != "hubspot.object_not_found" {
		t.Errorf("none has the domain: %+v, %v", out[2], f)
	}
	held := sim.Records("companies")
	if len(held) != 4 || held[ids[0]]["city"] != "of ACME.io" || held[ids[1]]["city"] != nil || held[ids[2]]["city"] != nil {
		t.Errorf("the account holds %v", held)
	}
	known := byDomain(tidegate.Changed, tidegate.Update, "twice.io")
	known.Items[0].DestinationID = ids[2] // an earlier outcome named it: nothing has to be searched
	if out := write(t, d, known); out[0].Disposition != destinations.Delivered || sim.Records("companies")[ids[2]]["city"] != "of twice.io" {
		t.Errorf("by its id: %+v", out)
	}
}

func TestADomainNeitherCreatesNorRemoves(t *testing.T) {
	t.Parallel()
	sim := simulator(t, "")
	d := connect(t, sim)
	firms(t, d, "acme.io")
	for _, b := range []destinations.Batch{byDomain(tidegate.Added, tidegate.Upsert, "new.io"), byDomain(tidegate.Added, tidegate.Insert, "new.io"), byDomain(tidegate.Removed, tidegate.Mirror, "acme.io"), byDomain(tidegate.Added, tidegate.Full, "new.io")} {
		if _, err := d.Write(t.Context(), b); tidegate.FaultOf(err).Code != "hubspot.identifier" || tidegate.FaultOf(err).Action != tidegate.Halt {
			t.Errorf("%s: %v", b.Mode, err)
		}
	}
	if n := len(sim.Records("companies")); n != 1 {
		t.Errorf("%d companies", n)
	}
}

// TestReadByDomain reads more domains than one search takes, in several searches,
// with duplicates over more than one page.
func TestReadByDomain(t *testing.T) {
	t.Parallel()
	d := connect(t, simulator(t, ""))
	const firm, copies = 60, 5
	var domains, long []string
	for i := range firm {
		long = append(long, fmt.Sprintf("%s-%02d.example.com", strings.Repeat("long", 10), i)) // 2,400 characters hold 40 of them
	}
	for range copies {
		domains = append(domains, long...)
	}
	var ids []string
	for start := 0; start < len(domains); start += maxInputs {
		ids = append(ids, firms(t, d, domains[start:min(start+maxInputs, len(domains))]...)...)
	}
	want := make([]any, 0, firm+1)
	for _, domain := range long {
		want = append(want, domain)
	}
	got, err := d.Read(t.Context(), "companies", "domain", append(want, "absent.io"), []string{"name"})
	if err != nil || len(got) != firm+1 || got[firm] != nil {
		t.Fatalf("%d records, %v", len(got), err)
	}
	for i := range firm {
		if got[i]["domain"] != long[i] || got[i][recordID] != ids[i] {
			t.Errorf("%d: %v is not the oldest, %s", i, got[i], ids[i])
		}
	}
}

func TestASearchThatIsNotWholeIsNoAbsence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   string
		action tidegate.Action
	}{
		"cut off":       {`{"total":2,"results":[{"id":"1","properties":{"domain":"x.io"}}]}`, tidegate.Retry},
		"without total": {`{"results":[]}`, tidegate.Retry},
		"too many":      {`{"total":10001,"results":[{"id":"1","properties":{"domain":"x.io"}}],"paging":{"next":{"after":"1"}}}`, tidegate.Reject},
		"another API":   {`[]`, tidegate.Retry},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen []string
			d := connect(t, script{"search": {200, c.body}}.serve(&seen))
			if _, err := d.Write(t.Context(), byDomain(tidegate.Changed, tidegate.Update, "x.io")); tidegate.FaultOf(err).Action != c.action {
				t.Errorf("%v", err)
			}
			if diff := cmp.Diff([]string{"search"}, seen); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSimulatorSearch holds the simulator to the API's own limits.
func TestSimulatorSearch(t *testing.T) {
	t.Parallel()
	sim := simulator(t, `{"search_lag_ms":3600000}`)
	d := connect(t, sim)
	firms(t, d, "new.io")
	ask := func(body string) (int, string) {
		r := httptest.NewRequest(http.MethodPost, "/crm/v3/objects/companies/search", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		sim.looked = nil // every case has a second of its own
		sim.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	if status, body := ask(`{"filterGroups":[]}`); status != http.StatusOK || !strings.Contains(body, `"total":0`) {
		t.Errorf("what is not in the index yet is found: %d %s", status, body)
	}
	sim.o.SearchLagMS = 0
	firms(t, d, "old.io", "older.io", "oldest.io")
	for name, c := range map[string]struct {
		body string
		want string // in the answer; "" for a refusal
	}{
		"all":                 {`{}`, `"total":4`},
		"the second page":     {`{"limit":3,"after":"3"}`, `{"results":[{"id":"1003"`},
		"a page and its next": {`{"limit":3}`, `"paging":{"next":{"after":"3"}}`},
		"equal":               {`{"filterGroups":[{"filters":[{"propertyName":"domain","operator":"EQ","value":"OLD.io"}]}]}`, `"total":1`},
		"any of two groups":   {`{"filterGroups":[{"filters":[{"propertyName":"domain","operator":"EQ","value":"old.io"}]},{"filters":[{"propertyName":"name","operator":"GTE","value":"1"}]}]}`, `"total":3`},
		"both of two filters": {`{"filterGroups":[{"filters":[{"propertyName":"domain","operator":"HAS_PROPERTY"},{"propertyName":"name","operator":"BETWEEN","value":"1","highValue":"1"}]}]}`, `"total":1`},
		"in, lower case only": {`{"filterGroups":[{"filters":[{"propertyName":"domain","operator":"IN","values":["OLD.io","older.io"]}]}]}`, `"total":1`},
		"newest first":        {`{"limit":1,"sorts":[{"propertyName":"hs_object_id","direction":"DESCENDING"}]}`, `"id":"1003"`},
		"a page too large":    {`{"limit":201}`, ""},
		"beyond 10,000":       {`{"limit":200,"after":"9900"}`, ""},
		"no such property":    {`{"filterGroups":[{"filters":[{"propertyName":"x","operator":"EQ","value":"1"}]}]}`, ""},
		"no such operator":    {`{"filterGroups":[{"filters":[{"propertyName":"name","operator":"LIKE","value":"1"}]}]}`, ""},
		"an empty group":      {`{"filterGroups":[{"filters":[]}]}`, ""},
		"six groups":          {`{"filterGroups":[` + strings.Repeat(`{"filters":[{"propertyName":"name","operator":"HAS_PROPERTY"}]},`, 5) + `{"filters":[{"propertyName":"name","operator":"HAS_PROPERTY"}]}]}`, ""},
		"too many values":     {`{"filterGroups":[{"filters":[{"propertyName":"name","operator":"IN","values":["1"` + strings.Repeat(`,"1"`, 100) + `]}]}]}`, ""},
		"too long":            {`{"query":"` + strings.Repeat("x", 3000) + `"}`, ""},
	} {
		status, body := ask(c.body)
		if c.want == "" && status != http.StatusBadRequest || c.want != "" && (status != http.StatusOK || !strings.Contains(body, c.want)) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func TestSimulatorLimitsSearchesAndDays(t *testing.T) {
	t.Parallel()
	d := connect(t, simulator(t, `{"calls_per_day":3}`))
	left := func() *int64 {
		return d.Cost("contacts", destinations.Spending{Mode: tidegate.Update, Calls: 10})[0].Left
	}
	if left() != nil {
		t.Error("nobody has said what is left")
	}
	write(t, d, contacts(tidegate.Added, tidegate.Upsert, "a@x.io"))
	if got := left(); got == nil || *got != 2 {
		t.Errorf("%v calls are left of the day", got)
	}
	for range 2 {
		write(t, d, contacts(tidegate.Added, tidegate.Upsert, "a@x.io"))
	}
	_, err := d.Write(t.Context(), contacts(tidegate.Added, tidegate.Upsert, "a@x.io"))
	if f := tidegate.FaultOf(err); f.Action != tidegate.Throttle || f.After <= 10*time.Second {
		t.Errorf("a day without calls left: %v", err)
	}
	if got := left(); got == nil || *got != 0 {
		t.Errorf("%v calls are left of the day", got)
	}

	sim := simulator(t, "")
	for range searchesPerSecond {
		sim.looked = append(sim.looked, time.Now().Add(time.Hour)) // so that they are of the last second whenever it is
	}
	_, err = connect(t, sim).search(t.Context(), "companies", "domain", []string{"x.io"})
	if f := tidegate.FaultOf(err); f.Action != tidegate.Throttle || f.Code != "hubspot.rate_limit" || f.After != time.Second {
		t.Errorf("a sixth search in a second: %v", err)
	}
}

func TestCostCountsLookups(t *testing.T) {
	t.Parallel()
	d := connect(t, simulator(t, ""))
	for mode, want := range map[tidegate.Mode]int64{tidegate.Upsert: 7, tidegate.Mirror: 7, tidegate.Update: 14, tidegate.Audience: 14} {
		costs := d.Cost("contacts", destinations.Spending{Mode: mode, Records: 700, Calls: 7})
		if len(costs) != 1 || costs[0].Amount != want || costs[0].Unit != "daily HubSpot call" {
			t.Errorf("%s: %+v", mode, costs)
		}
	}
	if costs := d.Cost("contacts", destinations.Spending{Mode: tidegate.Upsert}); costs != nil {
		t.Errorf("nothing costs %+v", costs)
	}
}
