package loader

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/warehouse"
)

func TestEventsBecomeRows(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	tp := newTape()
	end := tp.add("web", epoch(),
		track("Order Completed", "m1", "u1", map[string]any{"total": 19.5, "items": []any{1, "two"}, "due": "2026-01-02"}),
		identify("m2", "u1", map[string]any{"email": "a@b.c"}),
		track("Order Completed", "m1", "u1", map[string]any{"total": 20}),
		"event.no_identity!!"+`{"type":"track","event":"x","messageId":"m3"}`,
		`{"type":"track"`,
	)
	var loaded []warehouse.Table
	o := options(tp, wh)
	o.OnLoad = func(tables []warehouse.Table) { loaded = append(loaded, tables...) }
	l := loadAll(t, o, end)
	for sql, want := range map[string][]string{
		"SELECT id, total, items, due FROM web.order_completed":                                    {`id=m1 total=19.5 items=[1,"two"] due=2026-01-02T00:00:00Z`},
		"SELECT id, event FROM web.tracks":                                                         {"id=m1 event=order_completed"},
		"SELECT id, email FROM web.users":                                                          {"id=u1 email=a@b.c"},
		"SELECT user_id, email FROM web.identifies":                                                {"user_id=u1 email=a@b.c"},
		"SELECT message_id, code FROM web.tidegate_dead_letters WHERE message_id NOT LIKE 'auto%'": {"message_id=m3 code=event.no_identity"},
		"SELECT code, body FROM web.tidegate_dead_letters WHERE code = 'event.undecodable'":        {`code=event.undecodable body={"type":"track"`},
		"SELECT next_position FROM _tidegate.cursor":                                               {"next_position=5"},
		"SELECT source, accepted, loaded, duplicate, dead FROM _tidegate.counts":                   {"source=web accepted=5 loaded=2 duplicate=1 dead=2"},
	} {
		if diff := cmp.Diff(want, table(t, wh, sql)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sql, diff)
		}
	}
	s := l.Stats()
	if s.Loaded != 2 || s.Duplicate != 1 || s.Dead != 2 || s.Position.Position != 5 || s.LagEvents != 0 || s.Fault != nil {
		t.Errorf("stats %+v", s)
	}
	want := []warehouse.Table{{Schema: "web", Name: "identifies"}, {Schema: "web", Name: "order_completed"},
		{Schema: "web", Name: "tidegate_dead_letters"}, {Schema: "web", Name: "tracks"}, {Schema: "web", Name: "users"}}
	if diff := cmp.Diff(want, loaded); diff != "" {
		t.Errorf("OnLoad (-want +got):\n%s", diff)
	}
	counts, err := ReadCounts(t.Context(), wh)
	if err != nil || len(counts) != 1 || counts[0] != (Counts{"web", 5, 2, 1, 2}) {
		t.Errorf("ReadCounts = %+v, %v", counts, err)
	}
	// On the way out the loader checkpointed and let the journal go.
	if diff := cmp.Diff(fmt.Sprint([]string{"0:5"}), fmt.Sprint(tp.committed)); diff != "" {
		t.Errorf("committed (-want +got):\n%s", diff)
	}
}

func TestRepeatsAreLeftOutAcrossBatchesAndRestarts(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	tp := newTape()
	for range 3 {
		tp.add("web", epoch(), track("e", "m1", "u", nil), track("e", "m2", "u", nil))
	}
	end := tp.add("app", epoch(), track("e", "m1", "u", nil)) // another source, another event
	o := options(tp, wh)
	o.MaxEvents = 1
	loadAll(t, o, end)
	end = tp.add("web", epoch(), track("e", "m2", "u", nil), track("e", "m3", "u", nil))
	o = options(tp, wh) // a new loader: the filter comes from the warehouse
	loadAll(t, o, end)
	end = tp.add("web", epoch(), track("e", "m3", "u", nil), track("e", "m4", "u", nil))
	o = options(tp, wh)
	o.MaxFilter = 1 // no filter: every batch asks
	loadAll(t, o, end)
	if diff := cmp.Diff([]string{"id=m1", "id=m2", "id=m3", "id=m4"}, table(t, wh, "SELECT id FROM web.e ORDER BY id")); diff != "" {
		t.Errorf("web.e (-want +got):\n%s", diff)
	}
	want := []string{"source=app accepted=1 loaded=1 duplicate=0 dead=0", "source=web accepted=10 loaded=4 duplicate=6 dead=0"}
	if diff := cmp.Diff(want, table(t, wh, "SELECT source, accepted, loaded, duplicate, dead FROM _tidegate.counts ORDER BY source")); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestUsersHoldTheLatestOfEveryColumn(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return epoch().Add(time.Duration(seconds) * time.Second) }
	for _, together := range []bool{true, false} {
		wh := tempDuck(t)
		tp := newTape()
		tp.add("web", at(10), identify("m1", "u", map[string]any{"a": 1, "b": 1}))
		tp.add("web", at(30), identify("m2", "u", map[string]any{"b": 3}))
		tp.add("web", at(20), identify("m3", "u", map[string]any{"a": 2, "b": 2})) // came late: older than m2
		tp.add("web", at(40), identify("m4", "v", map[string]any{"a": 9}), identify("m5", "v", map[string]any{"a": 10}))
		end := tp.add("web", at(5), identify("m6", "u", map[string]any{"c": "old", "a": 0}))
		o := options(tp, wh)
		if !together {
			o.MaxEvents = 1
		}
		loadAll(t, o, end)
		want := []string{"id=u received_at=2026-11-21T12:00:30Z a=2 b=3 c=old", "id=v received_at=2026-11-21T12:00:40Z a=10"}
		got := table(t, wh, "SELECT id, received_at, a, b, c FROM web.users ORDER BY id")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("one batch: %v: users (-want +got):\n%s", together, diff)
		}
	}
}
