package ledger

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
)

func TestTargets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		then, now aimedAt
		same      bool
	}{
		{aimedAt{"contacts of crm", ""}, aimedAt{"contacts of crm", ""}, true},
		{aimedAt{"contacts of crm", ""}, aimedAt{"contacts of crm", "hubspot 1"}, true},
		{aimedAt{"contacts of crm", "hubspot 1"}, aimedAt{"contacts of crm", ""}, true},
		{aimedAt{"contacts of crm", "hubspot 1"}, aimedAt{"contacts of sales", "hubspot 1"}, true}, // a new name for the account
		{aimedAt{"contacts of crm", "hubspot 1"}, aimedAt{"contacts of crm", "hubspot 2"}, false},  // the name leads elsewhere
		{aimedAt{"contacts of crm", "hubspot 1"}, aimedAt{"deals of crm", "hubspot 1"}, false},
		{aimedAt{"contacts of crm", "hubspot 1"}, aimedAt{"contacts of sales", ""}, false},
		{aimedAt{"contacts of crm", ""}, aimedAt{"contacts of sales", "hubspot 1"}, false},
		{aimedAt{"audience best of (all) of contacts of crm", "hubspot 1"}, aimedAt{"audience best of (all) of contacts of sales", "hubspot 1"}, true},
		{aimedAt{"audience best (of all) of contacts of crm", ""}, aimedAt{"audience best (of some) of contacts of crm", ""}, false},
	} {
		if got := c.then.same(c.now); got != c.same {
			t.Errorf("%s and %s are the same: %v", c.then, c.now, got)
		}
		for _, a := range []aimedAt{c.then, c.now} {
			if got := parseAim(a.String()); got != a {
				t.Errorf("%q is read as %+v", a, got)
			}
		}
	}
}

// TestTheAccountCountsNotItsName: a name that leads to another account is another target, and
// another name for the account is not; an account that cannot be told once is not forgotten.
func TestTheAccountCountsNotItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec("CREATE TABLE people (id BIGINT, email VARCHAR, age BIGINT)")
	w.exec("INSERT INTO people VALUES (1, 'a@x.io', 10), (2, 'b@x.io', 20)")
	unchanged := Summary{Read: 2, Unchanged: 2, LedgerRows: 2}
	to := func(target, account string) { w.l.opts.Target, w.l.opts.Account = target, account }
	to("contacts of crm", "")
	w.run() // by a version that did not ask for accounts
	for _, target := range [][2]string{{"contacts of crm", "hubspot 1"}, {"contacts of sales", "hubspot 1"}, {"contacts of sales", ""}} {
		to(target[0], target[1])
		want(t, w.run(), unchanged)
	}
	to("contacts of sales", "hubspot 2")
	_, err := w.l.Plan(w.ctx, w.request("another"))
	if tidegate.FaultOf(err).Code != "ledger.other_target" || !strings.Contains(err.Error(), "contacts of sales (hubspot 2)") || !strings.Contains(err.Error(), "contacts of sales (hubspot 1)") {
		t.Error(err)
	}
	if err := w.l.Resync(w.ctx); err != nil {
		t.Fatal(err)
	}
	want(t, w.run(), Summary{Read: 2, Added: 2})
}

// TestAPublishedLedgerSaysWhoseItIs: a hub that takes it over checks that it writes there too, as
// a hub does whose ledger another one has carried on elsewhere.
func TestAPublishedLedgerSaysWhoseItIs(t *testing.T) {
	t.Parallel()
	for _, place := range someHome() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := publishedPeople(t, place)
			w.l.opts.Target = "contacts of crm"
			w.run()
			first := w.store
			w.opts.Target = "contacts of other"
			w.anotherDesk()
			if _, err := w.l.Plan(w.ctx, w.request("taken")); tidegate.FaultOf(err).Code != "ledger.other_target" {
				t.Fatal(err)
			}
			if err := w.l.Resync(w.ctx); err != nil {
				t.Fatal(err)
			}
			want(t, w.run(), Summary{Read: 3, Added: 3})
			w.opts.Target, w.store = "contacts of crm", first
			w.open()
			if _, err := w.l.Plan(w.ctx, w.request("back")); tidegate.FaultOf(err).Code != "ledger.other_target" || !strings.Contains(err.Error(), "what contacts of other confirmed") {
				t.Fatal(err)
			}
			w.opts.Target = "contacts of other"
			w.open()
			want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
			w.publishedIsDesk()
		})
	}
}
