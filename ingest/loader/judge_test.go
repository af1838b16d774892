package loader

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
)

// byName judges an event by its id, and fails as often as it is told.
type byName struct{ fail int }

func (j *byName) Judge(_ context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	if j.fail > 0 {
		j.fail--
		return errors.New("the rules cannot be read")
	}
	for i, item := range items {
		switch v := &verdicts[i]; item.ID {
		case "dropped":
			v.Fate = judge.Drop
		case "suppressed":
			v.Fate = judge.Suppress
		case "blocked":
			v.Fate, v.Code, v.Reason = judge.Dead, "plan.violation", "total is missing"
			v.Violations = []judge.Violation{{Plan: "shop", Version: 2, Event: "Sold", Kind: "required", Path: "properties.total", Message: "total is missing", Action: "block"}}
		case "routed":
			v.Route = "quarantine"
		case "changed":
			v.Event = &tidegate.Event{Body: []byte(strings.Replace(string(item.Event.Body), "Sold", "Order Sold", 1))}
		case "retyped":
			v.Event = &tidegate.Event{Body: []byte(`{"type":"page","messageId":"retyped","anonymousId":"a","name":"Home"}`)}
		}
	}
	return nil
}

func TestVerdictsDecide(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	tp := newTape()
	var events []string
	for _, id := range []string{"kept", "dropped", "suppressed", "blocked", "routed", "changed", "retyped", "kept", "blocked"} {
		events = append(events, track("Sold", id, "u1", map[string]any{"n": 1}))
	}
	end := tp.add("web", epoch(), append(events, judge.CodeSuppressed+`!!{"messageId":"at the door"}`)...)
	o := options(tp, wh)
	o.Judge = &byName{fail: 1}
	l := loadAll(t, o, end)
	for sql, want := range map[string][]string{
		"SELECT id FROM web.sold":                                {"id=kept"},
		"SELECT id FROM web.order_sold":                          {"id=changed"},
		"SELECT id, name FROM web.pages":                         {"id=retyped name=Home"},
		"SELECT id, _tidegate_offset AS at FROM quarantine.sold": {"id=routed at=0:4"},
		"SELECT message_id, code, reason FROM web.tidegate_dead_letters": {
			"message_id=blocked code=plan.violation reason=total is missing",
		},
		"SELECT plan, plan_version, event, kind, path, action, message_id, journal_offset AS at FROM web.tidegate_violations": {
			"plan=shop plan_version=2 event=Sold kind=required path=properties.total action=block message_id=blocked at=0:3",
		},
	} {
		if diff := cmp.Diff(want, table(t, wh, sql)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sql, diff)
		}
	}
	counts, err := ReadCounts(t.Context(), wh)
	want := []Counts{{Source: "web", Accepted: 10, Loaded: 4, Duplicate: 2, Dead: 1, Suppressed: 2, Dropped: 1}}
	if diff := cmp.Diff(want, counts); diff != "" || err != nil {
		t.Errorf("counts (-want +got), error %v:\n%s", err, diff)
	}
	if s := l.Stats(); s.Loaded != 4 || s.Dead != 1 || s.Suppressed != 2 || s.Dropped != 1 {
		t.Errorf("stats %+v", s)
	}
}

// The counts of a version that knew neither suppressed nor dropped events go on.
func TestCountsOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	wh := tempDuck(t)
	for _, sql := range []string{
		"CREATE TABLE _tidegate.counts (source VARCHAR, accepted BIGINT, loaded BIGINT, duplicate BIGINT, dead BIGINT, updated_at TIMESTAMPTZ)",
		"INSERT INTO _tidegate.counts VALUES ('web', 3, 3, 0, 0, now())",
	} {
		if _, err := wh.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	counts, err := ReadCounts(t.Context(), wh)
	if diff := cmp.Diff([]Counts{{Source: "web", Accepted: 3, Loaded: 3}}, counts); diff != "" || err != nil {
		t.Errorf("before (-want +got), error %v:\n%s", err, diff)
	}
	tp := newTape()
	o := options(tp, wh)
	o.Judge = &byName{}
	loadAll(t, o, tp.add("web", epoch(), track("Sold", "dropped", "u1", nil), track("Sold", "kept", "u1", nil)))
	counts, err = ReadCounts(t.Context(), wh)
	if diff := cmp.Diff([]Counts{{Source: "web", Accepted: 5, Loaded: 4, Dropped: 1}}, counts); diff != "" || err != nil {
		t.Errorf("after (-want +got), error %v:\n%s", err, diff)
	}
}
