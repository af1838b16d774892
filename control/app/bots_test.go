package app_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
)

// What a source drops of bots is in the books as dropped and nowhere else: it is no
// dead letter, and no replay brings it back.
func TestBotsAreDropped(t *testing.T) {
	t.Parallel()
	o := options(t, strings.Replace(oneSource, "write_key: WK", "write_key: WK, bots: drop", 1))
	states := func(a *app.App) []string {
		var got []string
		err := a.Hub.Tail(t.Context(), api.TailRequest{From: &tidegate.Offset{}}, opened, func(e api.TailedEvent) error {
			got = append(got, strings.Join([]string{e.MessageID, e.Became.State, e.Became.Code}, " "))
			if e.Became.State == "dropped" && strings.Contains(string(e.Event), "Sold") {
				t.Errorf("the journal kept what a bot's event says: %s", e.Event)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	bot := strings.Replace(sold("b1", "u1"), `{`, `{"context":{"userAgent":"Mozilla/5.0 (compatible; Googlebot/2.1)"},`, 1)
	sendAll(t, a, sold("m1", "u1"), bot, bot, sold("m2", "u1"))
	want := []string{"m1 loaded ", "b1 dropped event.bot", "b1 dropped event.bot", "m2 loaded "}
	if d := cmp.Diff(want, states(a)); d != "" {
		t.Errorf("tail (-want +got):\n%s", d)
	}
	r, err := a.Hub.Reconcile(t.Context(), api.ReconcilePeriod{})
	if err != nil {
		t.Fatal(err)
	}
	var sum api.SourceCounts
	for _, h := range r.Hours {
		sum.Accepted, sum.Loaded, sum.Dropped, sum.Dead = sum.Accepted+h.Accepted, sum.Loaded+h.Loaded, sum.Dropped+h.Dropped, sum.Dead+h.Dead
	}
	if d := cmp.Diff(api.SourceCounts{Accepted: 4, Loaded: 2, Dropped: 2}, sum); d != "" || !r.Balanced {
		t.Errorf("books, balanced %t (-want +got):\n%s", r.Balanced, d)
	}
	dead, err := a.Hub.DeadLetters(t.Context(), api.DeadQuery{Limit: 10})
	if err != nil || dead.Total > 0 || len(dead.Items) > 0 {
		t.Errorf("dead letters: %+v, %v", dead, err)
	}

	// A hub that does not remember tells it by the journal.
	stop()
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
	a = hubOf(t, o)
	sendAll(t, a)
	want = []string{"m1 unknown ", "b1 dropped event.bot", "b1 dropped event.bot", "m2 unknown "}
	if d := cmp.Diff(want, states(a)); d != "" {
		t.Errorf("tail after a restart (-want +got):\n%s", d)
	}
}
