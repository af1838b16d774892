package judge_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
)

// rule is a judge that decides by an event's body.
type rule func(body string) judge.Verdict

func (r rule) Judge(_ context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	for i, item := range items {
		verdicts[i] = r(string(item.Event.Body))
	}
	return nil
}

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Judge(context.Context, []judge.Item, []judge.Verdict) error { return errBroken }

func TestChain(t *testing.T) {
	t.Parallel()
	suppress := rule(func(body string) judge.Verdict {
		if body == "private" {
			return judge.Verdict{Fate: judge.Suppress}
		}
		return judge.Verdict{}
	})
	plan := rule(func(body string) judge.Verdict {
		v := judge.Verdict{Route: "elsewhere", Violations: []judge.Violation{{Kind: body}}}
		if body == "bad" {
			v.Fate, v.Code = judge.Dead, "plan.violation"
		}
		return v
	})
	upper := rule(func(body string) judge.Verdict {
		if body == "noise" {
			return judge.Verdict{Fate: judge.Drop}
		}
		return judge.Verdict{Event: &tidegate.Event{Body: []byte(strings.ToUpper(body))}, Violations: []judge.Violation{{Kind: "late"}}}
	})
	var seen []string
	spy := rule(func(body string) judge.Verdict {
		seen = append(seen, body)
		return judge.Verdict{}
	})

	var items []judge.Item
	for _, body := range []string{"private", "bad", "noise", "good"} {
		items = append(items, judge.Item{Event: &tidegate.Event{Body: []byte(body)}})
	}
	got := make([]judge.Verdict, len(items))
	if err := (judge.Chain{suppress, plan, upper, spy}).Judge(t.Context(), items, got); err != nil {
		t.Fatal(err)
	}
	want := []judge.Verdict{
		{Fate: judge.Suppress},
		{Fate: judge.Dead, Code: "plan.violation", Route: "elsewhere", Violations: []judge.Violation{{Kind: "bad"}}},
		{Fate: judge.Drop, Route: "elsewhere", Violations: []judge.Violation{{Kind: "noise"}}},
		{Route: "elsewhere", Event: &tidegate.Event{Body: []byte("GOOD")}, Violations: []judge.Violation{{Kind: "good"}, {Kind: "late"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"GOOD"}, seen); diff != "" {
		t.Errorf("the last judge saw (-want +got):\n%s", diff)
	}
	if string(items[3].Event.Body) != "good" {
		t.Error("a judge changed the event itself")
	}
	if err := (judge.Chain{suppress, broken{}}).Judge(t.Context(), items, make([]judge.Verdict, len(items))); !errors.Is(err, errBroken) {
		t.Errorf("a judge that fails: %v", err)
	}
	if err := (judge.Chain{}).Judge(t.Context(), items, make([]judge.Verdict, len(items))); err != nil {
		t.Errorf("no judge at all: %v", err)
	}
}
