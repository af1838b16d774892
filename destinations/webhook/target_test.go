package webhook

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

func TestTargetsThatAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                "must begin with",
		"ftp://h/x":                       "must begin with",
		"//h/x":                           "must begin with",
		"https://":                        "no host",
		"https://u:p@h/x":                 "holds a user",
		"https://h/x#y":                   "fragment",
		"https://{identifier}/x":          "no host",
		"https://h{identifier}/x":         "behind the host",
		"https://h:{record.port}/x":       "behind the host",
		"https://h.example{record.x}.com": "behind the host",
		"https://h/{nobody}":              "unknown",
		"https://h/{record.}":             "unknown",
		"https://h/{identifier":           "without a }",
		"https://h/identifier}":           "without a {",
		"https://h/%zz":                   "cannot be read",
		"https://h/{identifier}/%z":       "cannot be read",
	} {
		_, err := parseTarget(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		} else if len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("%q is quoted by its error", text)
		}
	}
}

func TestTargetsExpand(t *testing.T) {
	t.Parallel()
	item := destinations.Item{Op: tidegate.Changed, Identifier: int64(42), DestinationID: "a/b", Record: tidegate.Record{
		"email": "ä+b@x.de", "n": 1.5, "yes": true, "none": nil, "empty": "", "dots": "..", "list": []any{1}, "slash": "../../admin?x=1#y",
	}}
	for text, want := range map[string]string{
		"https://h/x":                           "https://h/x",
		"https://h/x/{identifier}":              "https://h/x/42",
		"https://h/{op}/{destination_id}/e":     "https://h/changed/a%2Fb/e",
		"https://h/x?email={record.email}&v=1":  "https://h/x?email=%C3%A4%2Bb%40x.de&v=1",
		"https://h/{record.n}/{record.yes}":     "https://h/1.5/true",
		"https://h/x/{record.slash}":            "https://h/x/..%2F..%2Fadmin%3Fx%3D1%23y",
		"https://h/{record.none}":               "missing",
		"https://h/{record.absent}":             "missing",
		"https://h/{record.empty}":              "empty",
		"https://h/a/{record.dots}":             `".."`,
		"https://h/{record.list}":               "cannot stand in a URL",
		"http://[::1]:8080/{identifier}?a={op}": "http://[::1]:8080/42?a=changed",
	} {
		parsed, err := parseTarget(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := parsed.expand(&item)
		var f *tidegate.Fault
		switch {
		case err == nil && got != want:
			t.Errorf("%s: %s, want %s", text, got, want)
		case err != nil && (!errors.As(err, &f) || f.Action != tidegate.Reject || !strings.Contains(f.Message, want)):
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// FuzzTargetValue: no value changes host, number of segments or query keys.
func FuzzTargetValue(f *testing.F) {
	for _, s := range []string{"42", "..", ".", "", "a/b", "%2e%2e", "..%2f", "\x00", "?#&=", "ü", "@evil.example", `\..\`} {
		f.Add(s)
	}
	target, err := parseTarget("https://api.example.com/v1/{identifier}/x?q={record.v}&z=1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		text, err := target.expand(&destinations.Item{Identifier: value, Record: tidegate.Record{"v": value}})
		if err != nil {
			if value != "" && value != "." && value != ".." {
				t.Fatalf("%q is refused: %v", value, err)
			}
			return
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		segments := strings.Split(u.EscapedPath(), "/")
		if u.Host != "api.example.com" || len(segments) != 4 || segments[3] != "x" || u.Fragment != "" {
			t.Fatalf("%q changes the URL to %s", value, text)
		}
		if back, err := url.PathUnescape(segments[2]); err != nil || back != value {
			t.Fatalf("%q comes back as %q, %v", value, back, err)
		}
		if q := u.Query(); len(q) != 2 || q.Get("q") != value || q.Get("z") != "1" {
			t.Fatalf("%q changes the query to %v", value, q)
		}
		if joined := u.JoinPath(".").Path; strings.Count(u.EscapedPath(), "/") != 3 {
			t.Fatalf("%q: %s", value, joined)
		}
	})
}
