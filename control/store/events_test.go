package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/ingest/forward"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/ingest/teller"
)

func TestCountsAndTheirPlaceGoTogether(t *testing.T) {
	t.Parallel()
	w := open(t, filepath.Join(t.TempDir(), "control.db"), newClock()).In("default")
	hour := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	if end, err := w.JournalEnd(t.Context()); end != 0 || err != nil {
		t.Errorf("a place in the journal before any was kept: %d, %v", end, err)
	}
	if _, found, err := w.TellerPlace(t.Context()); found || err != nil {
		t.Errorf("a place before anything was counted: %v, %v", found, err)
	}
	for _, c := range []struct {
		next   int64
		counts map[teller.Key]int64
	}{{5, map[teller.Key]int64{{Source: "web", Hour: hour}: 5}}, {9, map[teller.Key]int64{{Source: "web", Hour: hour}: 1, {Source: "app", Hour: hour.Add(time.Hour)}: 3}}} {
		if err := w.AddAccepted(t.Context(), c.next, c.counts); err != nil {
			t.Fatal(err)
		}
	}
	if next, found, err := w.TellerPlace(t.Context()); next != 9 || !found || err != nil {
		t.Errorf("the place is %d, %v, %v", next, found, err)
	}
	if end, err := w.JournalEnd(t.Context()); end != 9 || err != nil {
		t.Errorf("the journal came to %d as far as is known here, %v", end, err)
	}
	if _, err := w.AddSuppressions(t.Context(), []privacy.Entry{{Person: privacy.Person{Kind: privacy.UserID, ID: "u"}, Below: 30}}); err != nil {
		t.Fatal(err)
	}
	if end, err := w.JournalEnd(t.Context()); end != 30 || err != nil {
		t.Errorf("with an erased person the journal came to %d, %v", end, err)
	}
	if err := w.Letters("f").Put(t.Context(), []forward.Letter{{Position: 40, Event: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	if end, err := w.JournalEnd(t.Context()); end != 41 || err != nil {
		t.Errorf("with a letter the journal came to %d, %v", end, err)
	}
	got, err := w.Accepted(t.Context(), "", hour, hour.Add(2*time.Hour))
	want := map[teller.Key]int64{{Source: "web", Hour: hour}: 6, {Source: "app", Hour: hour.Add(time.Hour)}: 3}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("counts (-want +got), %v:\n%s", err, diff)
	}
	if got, err = w.Accepted(t.Context(), "web", hour, hour.Add(time.Hour)); len(got) != 1 || err != nil {
		t.Errorf("one source, one hour: %v, %v", got, err)
	}
	if got, err = open(t, filepath.Join(t.TempDir(), "control.db"), newClock()).In("other").Accepted(t.Context(), "", hour, hour.Add(time.Hour)); len(got) != 0 || err != nil {
		t.Errorf("another workspace: %v, %v", got, err)
	}
}

func TestSuppressionsAndJobs(t *testing.T) {
	t.Parallel()
	w := open(t, filepath.Join(t.TempDir(), "control.db"), newClock()).In("default")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e := privacy.Entry{Source: "web", Person: privacy.Person{Kind: privacy.UserID, ID: "u1"}, At: at, Actor: "a", Reason: "asked"}
	erased := e
	erased.Below = 7
	if n, err := w.AddSuppressions(t.Context(), []privacy.Entry{e, erased, e}); n != 2 || err != nil {
		t.Errorf("%d new, %v", n, err)
	}
	if n, err := w.RemoveSuppressions(t.Context(), []privacy.Entry{e}); n != 1 || err != nil {
		t.Errorf("%d removed, %v", n, err)
	}
	list, err := w.Suppressions(t.Context())
	if diff := cmp.Diff([]privacy.Entry{erased}, list); diff != "" || err != nil {
		t.Errorf("left (-want +got), %v:\n%s", err, diff)
	}
	for i, state := range []string{"done", "waiting", "running"} {
		j := store.Job{ID: state, Kind: "replay", State: state, Document: []byte(`{"n":1}`), Actor: "a", CreatedAt: at.Add(time.Duration(i) * time.Second), UpdatedAt: at}
		if err := w.PutJob(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	open, err := w.OpenJobs(t.Context(), "replay")
	if err != nil || len(open) != 2 || open[0].ID != "waiting" {
		t.Errorf("open: %+v, %v", open, err)
	}
	all, err := w.Jobs(t.Context(), "replay", 2)
	if err != nil || len(all) != 2 || all[0].ID != "running" {
		t.Errorf("newest first: %+v, %v", all, err)
	}
	if _, err := w.Job(t.Context(), "deletion", "done"); tidegate.FaultOf(err).Code != "deletion.not_found" {
		t.Errorf("a job of another kind: %v", err)
	}
}
