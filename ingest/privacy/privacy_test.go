package privacy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
)

func event(source string, position int64, body string) *tidegate.Event {
	return &tidegate.Event{Source: source, Offset: tidegate.Offset{Position: position}, Body: []byte(body)}
}

func TestTheSetSaysTheSameEverywhere(t *testing.T) {
	t.Parallel()
	var s Set
	if s.Suppressed("web", []byte("u1"), nil) || s.Out(event("web", 0, `{"userId":"u1"}`)) {
		t.Error("the empty set suppresses")
	}
	s.Replace([]Entry{
		{Person: Person{UserID, "u1"}},
		{Source: "app", Person: Person{AnonymousID, "a1"}},
		{Person: Person{UserID, "erased"}, Below: 10},
	})
	for _, c := range []struct {
		source, user, device string
		position             int64
		door, out            bool
	}{
		{"web", "u1", "", 99, true, true},
		{"web", "a1", "", 99, false, false}, // an anonymous id is no user id
		{"app", "u2", "a1", 99, true, true},
		{"web", "u2", "a1", 99, false, false},
		{"web", "erased", "", 9, false, true},
		{"web", "erased", "", 10, false, false},
	} {
		if got := s.Suppressed(c.source, []byte(c.user), []byte(c.device)); got != c.door {
			t.Errorf("%+v at the door: %v", c, got)
		}
		ev := event(c.source, c.position, fmt.Sprintf(`{"type":"track","userId":%q,"anonymousId":%q,"batch":[1]}`, c.user, c.device))
		if got := s.Out(ev); got != c.out {
			t.Errorf("%+v in a reader: %v", c, got)
		}
		verdicts := make([]judge.Verdict, 1)
		if err := s.Judge(context.Background(), []judge.Item{{Event: ev}}, verdicts); err != nil || (verdicts[0].Fate == judge.Suppress) != c.out {
			t.Errorf("%+v judged: %v, %v", c, verdicts[0].Fate, err)
		}
	}
	if !s.Out(event("web", 1, `{"type":"alias","userId":"u3","previousId":"u1"}`)) {
		t.Error("an alias of a suppressed person is let through")
	}
	if got := string(Redact(event("web", 1, `{"messageId":"m1","userId":"u1"}`))); got != `{"messageId":"m1"}` {
		t.Errorf("redacted: %s", got)
	}
}

func TestParsePeople(t *testing.T) {
	t.Parallel()
	got, err := ParsePeople("\ufeff# people\nu1\n\nuser_id, u,2 \r\nanonymous_id,a1\n")
	want := []Person{{UserID, "u1"}, {UserID, "u,2"}, {AnonymousID, "a1"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("(-want +got), %v:\n%s", err, diff)
	}
	if _, err := ParsePeople("u1\nuser_id,\n"); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("an empty id: %v", err)
	}
	if _, err := ParsePeople("u1\nuserid,u2\n"); err == nil || !strings.Contains(err.Error(), `line 2: "userid" is neither`) {
		t.Errorf("a misspelt kind: %v", err)
	}
}

func TestKindsOfPersonalData(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"write to ada.lovelace@example.co.uk please": {"email"},
		"@ada or a@b":                 nil,
		"call +49 30 901820 now":      {"phone"},
		"(555) 123-4567":              {"phone"},
		"order 4111 1111 1111 1111":   {"card"},
		"order 4111 1111 1111 1112":   nil, // no check digit
		"DE89 3704 0044 0532 0130 00": {"iban"},
		"DE88 3704 0044 0532 0130 00": nil,
		"078-05-1120":                 {"ssn"},
		"000-05-1120":                 nil,
		"from 203.0.113.7":            {"ip"},
		"version 1.2.3":               nil,
		"at 12:30:15":                 nil,
		"2001:db8::ff00:42:8329":      {"ip"},
		"127.0.0.1":                   nil,
		"2026-11-21T12:30:00.000Z":    nil,
		"1763728200000":               nil,
		"hello":                       nil,
	} {
		if got := kindsOf(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestTheFinderLeavesOutWhatBelongsThere(t *testing.T) {
	t.Parallel()
	var f Finder
	f.Look("web", "", tidegate.Identify, []byte(`{"userId":"ada@example.com","traits":{"email":"ada@example.com","note":"ada@example.com"},"context":{"ip":"203.0.113.7"}}`))
	f.Look("web", "Asked", tidegate.Track, []byte(`{"properties":{"items":[{"by":"ada@example.com"},{"by":"ada@example.com"}],"email":"ada@example.com"}}`))
	f.Look("web", "Asked", tidegate.Track, []byte(`{"properties":{"email":"bob@example.com"}}`))
	f.Look("web", "Bad", tidegate.Track, []byte(`no json ada@example.com`))
	f.Skip()
	want := Report{Looked: 4, Skipped: 1, Findings: []Found{
		{"web", "Asked", "properties.email", "email", 2},
		{"web", "Asked", "properties.items[].by", "email", 1},
		{"web", "identify", "traits.note", "email", 1},
	}}
	if diff := cmp.Diff(want, f.Report()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if text := fmt.Sprintf("%+v", f.Report()); strings.Contains(text, "ada") {
		t.Errorf("the report holds a value: %s", text)
	}
}

func FuzzFinder(f *testing.F) {
	f.Add([]byte(`{"properties":{"a":"ada@example.com 4111111111111111 DE89370400440532013000"}}`))
	f.Add([]byte(`{"a":[[[`))
	f.Fuzz(func(_ *testing.T, body []byte) {
		var finder Finder
		finder.Look("s", "e", tidegate.Track, body)
		_ = finder.Report()
	})
}
