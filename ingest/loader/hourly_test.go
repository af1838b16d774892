package loader

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// hours tells what the books say, in short.
func hours(t *testing.T, wh duck) []string {
	t.Helper()
	p := Period{From: epoch().Add(-24 * time.Hour), To: epoch().Add(24 * time.Hour)}
	events, err := ReadHourly(t.Context(), wh, sqltext.DuckDB(), p)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := ReadHourlyRows(t.Context(), wh, sqltext.DuckDB(), p)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, h := range events {
		all = append(all, fmt.Sprintf("%s %s accepted %d = %d + %d + %d + %d + %d", h.Source, h.Hour.Format("15h"), h.Accepted, h.Loaded, h.Duplicate, h.Dead, h.Suppressed, h.Dropped))
	}
	for _, r := range rows {
		all = append(all, fmt.Sprintf("%s.%s %s %d rows", r.Schema, r.Table, r.Hour.Format("15h"), r.Rows))
	}
	return all
}

func TestHourlyBooks(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	tp := newTape()
	o := options(tp, wh)
	o.Judge = &byName{}
	loadAll(t, o, tp.add("web", epoch(), track("Sold", "m1", "u1", nil), track("Sold", "dropped", "u1", nil), "event.bad!!{}"))
	tp.add("web", epoch().Add(time.Hour), track("Sold", "m2", "u1", nil), track("Sold", "m1", "u1", nil), track("Sold", "suppressed", "u1", nil), track("Sold", "routed", "u1", nil))
	tp.add("app", epoch().Add(59*time.Minute), track("Sold", "m1", "u1", nil))
	end := tp.add("web", epoch().Add(59*time.Minute), identify("m9", "u1", nil), `event.bot!!{}`)
	o = options(tp, wh)
	o.Judge = &byName{}
	loadAll(t, o, end)
	want := []string{
		"app 12h accepted 1 = 1 + 0 + 0 + 0 + 0",
		"web 12h accepted 5 = 2 + 0 + 1 + 0 + 2",
		"web 13h accepted 4 = 2 + 1 + 0 + 1 + 0",
		"app.sold 12h 1 rows", "app.tracks 12h 1 rows",
		"quarantine.sold 13h 1 rows", "quarantine.tracks 13h 1 rows",
		"web.identifies 12h 1 rows", "web.sold 12h 1 rows", "web.sold 13h 1 rows",
		"web.tidegate_dead_letters 12h 1 rows", "web.tracks 12h 1 rows", "web.tracks 13h 1 rows",
	}
	if diff := cmp.Diff(want, hours(t, wh)); diff != "" {
		t.Errorf("books (-want +got):\n%s", diff)
	}
	// Each Loader checkpointed when it stopped: an hour has one line, and what the tables
	// hold is what the books say.
	if got := table(t, wh, "SELECT count(*) AS n FROM _tidegate.hourly"); got[0] != "n=3" {
		t.Errorf("lines of _tidegate.hourly: %v", got)
	}
	for _, name := range []string{"app.sold", "app.tracks", "quarantine.sold", "web.identifies", "web.sold", "web.tracks", "web.tidegate_dead_letters"} {
		sql := fmt.Sprintf("SELECT (SELECT count(*) FROM %s) - (SELECT CAST(sum(rows) AS BIGINT) FROM _tidegate.hourly_rows WHERE table_schema || '.' || table_name = '%s') AS gap", name, name)
		if got := table(t, wh, sql); got[0] != "gap=0" {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A loader with books of its own leaves those of the hub alone.
func TestBooksOfItsOwn(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	tp := newTape()
	end := tp.add("web", epoch(), track("Sold", "m1", "u1", nil))
	loadAll(t, options(tp, wh), end)
	other := newTape()
	o := options(other, wh)
	o.Books = "shadow"
	loadAll(t, o, other.add("shadow", epoch(), track("Sold", "m1", "u1", nil), track("Sold", "m2", "u1", nil)))
	if got := table(t, wh, "SELECT (SELECT count(*) FROM web.sold) AS live, (SELECT count(*) FROM shadow.sold) AS shadow, (SELECT next_position FROM _tidegate.cursor) AS at"); got[0] != "live=1 shadow=2 at=1" {
		t.Errorf("%v", got)
	}
	if end != (tidegate.Offset{Position: 1}) {
		t.Fatal(end)
	}
}
