package transform

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/edit"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/scan"
	"github.com/tidegate/tidegate/internal/config"
)

// rulesOf reads transformations as a project would.
func rulesOf(t testing.TB, o Options, yaml string) *Rules {
	t.Helper()
	def := tidegate.Transform{Name: "mine"}
	if err := config.DecodeYAML("mine.yaml", []byte(yaml), &def); err != nil {
		t.Fatal(err)
	}
	r, err := New([]tidegate.Transform{def}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const visited = `{"type":"track","event":"Visited","messageId":"m1","anonymousId":"a1","properties":{"email":" Ada@Example.com ","card":"4111111111111111","n":12345678901234567890,"list":[{"k":1,"p":"x"},{"k":2}],"flag":true,"none":null},"context":{"ip":"203.0.113.77","userAgent":"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1"}}`

func TestSteps(t *testing.T) {
	t.Parallel()
	o := Options{
		Secret: func(ref string) (string, error) { return strings.TrimPrefix(ref, "secret:"), nil },
		Geo:    func(string) (*Geo, error) { return OpenGeo(places(t)) },
	}
	for step, want := range map[string]string{ // what is at properties, or at the path that is named
		`{drop: [properties.card, "properties.list[].p", properties.absent]}`:                                     `{"email":" Ada@Example.com ","n":12345678901234567890,"list":[{"k":1},{"k":2}],"flag":true,"none":null}`,
		`{rename: {properties.card: properties.pay.card}}`:                                                        `{"email":" Ada@Example.com ","n":12345678901234567890,"list":[{"k":1,"p":"x"},{"k":2}],"flag":true,"none":null,"pay":{"card":"4111111111111111"}}`,
		`{rename_event: {Visited: Came, Other: X}}`:                                                               `event="Came"`,
		`{hash: {fields: [properties.email], normalize: true}}`:                                                   `properties.email="b5fc85e55755f9e0d030a14ab4429b6b2944855f1a0c6c3f7f2e6d24d5f6a5e1"`,
		`{hash: {fields: [properties.none, properties.flag], algorithm: md5, salt: "secret:pepper"}}`:             `properties.none=null`,
		`{hash: {fields: [properties.n], algorithm: sha1}}`:                                                       `properties.n="e2e2e2"`,
		`{mask: {fields: [properties.card], keep_last: 4}}`:                                                       `properties.card="***1111"`,
		`{mask: {fields: [properties.card], keep_first: 20}}`:                                                     `properties.card="***"`,
		`{mask: {fields: [properties.list, properties.none]}}`:                                                    `properties.list="***"`,
		`{mask: {fields: [properties.email], as: email}}`:                                                         `properties.email=" ***@Example.com "`,
		`{mask: {fields: [context.ip], as: ip}}`:                                                                  `context.ip="203.0.113.0"`,
		`{mask: {fields: [properties.email], as: ip}}`:                                                            `properties.email="***"`,
		`{set: {properties.tier: {a: [1]}}}`:                                                                      `properties.tier={"a":[1]}`,
		`{compute: {properties.who: 'name + "/" + source + "/" + type', properties.no: event.properties.absent}}`: `properties.who="Visited/web/track"`,
		`{compute: {properties.sum: 'event.properties.list.map(x, x.k * 2.0)'}}`:                                  `properties.sum=[2,4]`,
		`{user_agent: {}}`:                                   `context.client={"browser":"Safari","browser_version":"17.0","os":"iOS","os_version":"17.0","device":"iPhone","kind":"mobile"}`,
		`{geoip: {database: x.mmdb}}`:                        `context.geo={"country":"DE","country_name":"Germany","city":"Berlin","latitude":52.5}`,
		`{geoip: {database: x.mmdb, from: properties.card}}`: `context.geo=`,
		`{filter: "event.properties.flag"}`:                  `kept`,
		`{filter: "event.properties.absent > 1.0"}`:          `dropped`,
		`{filter: "event.properties.email > 1.0"}`:           `dead transform.failed`,
		`{filter: "event.properties.email"}`:                 `dead transform.failed`,
		`{sample: {percent: 0}}`:                             `dropped`,
		`{sample: {percent: 100}}`:                           `kept`,
		`{drop: [event]}`:                                    `dead transform.failed`,
		`{drop: [anonymousId]}`:                              `dead transform.failed`,
		`{set: {type: nonsense}}`:                            `dead transform.failed`,
	} {
		v := judged(t, rulesOf(t, o, "steps: ["+step+"]"), itemOf(visited))[0]
		got := strings.TrimSpace(v.Fate.String() + " " + v.Code)
		path, value, named := strings.Cut(want, "=")
		if v.Event != nil {
			if !named {
				path, value = "properties", want
			}
			p, err := edit.Path(path)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := edit.Open(scan.Value(v.Event.Body))
			got = string(body.Get(p...))
		} else if named && value == "" {
			value = got
			if got != "kept" {
				t.Errorf("%s: %s %s", step, got, v.Reason)
			}
		} else {
			value = want
		}
		switch {
		case strings.HasPrefix(step, "{hash: {fields: [properties.email]"):
			value = `"` + sha("ada@example.com") + `"`
		case strings.HasPrefix(step, "{hash: {fields: [properties.n]"):
			value = fmt.Sprintf("%q", sha1Of("12345678901234567890"))
		}
		if d := cmp.Diff(value, got); d != "" {
			t.Errorf("%s (-want +got) %s:\n%s", step, v.Reason, d)
		}
	}
}

// A salted digest is an HMAC: nobody can compare guesses without the salt.
// TestNobodyStaysNobody: a merge names no person, and the door takes it. Rules that leave
// that as it is leave an event; those that take the person out of another do not.
func TestNobodyStaysNobody(t *testing.T) {
	t.Parallel()
	rules := rulesOf(t, Options{}, "steps: [{drop: [userId]}, {set: {properties.seen: true}}]")
	for body, want := range map[string]string{
		`{"type":"track","event":"merge","properties":{"merge_property_1_type":"email"}}`: "kept",
		`{"type":"track","event":"Sold","userId":"u1"}`:                                   "dead",
		`{"type":"track","event":"Sold","userId":"u1","anonymousId":"a1"}`:                "kept",
	} {
		if v := judged(t, rules, itemOf(body))[0]; v.Fate.String() != want {
			t.Errorf("%s: %s (%s), want %s", body, v.Fate, v.Reason, want)
		}
	}
}

func TestSalt(t *testing.T) {
	t.Parallel()
	digest := func(salt string) string {
		o := Options{Secret: func(string) (string, error) { return salt, nil }}
		v := judged(t, rulesOf(t, o, `steps: [{hash: {fields: [properties.card], salt: "${env:S}"}}]`), itemOf(visited))[0]
		return string(scan.Value(v.Event.Body).Member("properties").Member("card"))
	}
	if a, b := digest("one"), digest("two"); a == b || len(a) != 66 {
		t.Errorf("%s and %s", a, b)
	}
	def := tidegate.Transform{Name: "mine", Steps: []tidegate.TransformStep{{Hash: &tidegate.HashStep{Fields: []string{"userId"}, Salt: "${env:S}"}}}}
	for _, o := range []Options{{}, {Secret: func(string) (string, error) { return "", nil }}, {Secret: func(string) (string, error) { return "", errors.New("none") }}} {
		if _, err := New([]tidegate.Transform{def}, o); tidegate.FaultOf(err).Code != "transform.needs" {
			t.Errorf("without a salt: %v", err)
		}
	}
}

// A sample keeps about its share, the same events each time, and all events of a person or none.
func TestSample(t *testing.T) {
	t.Parallel()
	r := rulesOf(t, Options{}, "steps: [{sample: {percent: 30, by: user}}]")
	var items []judge.Item
	for i := range 4000 {
		items = append(items, itemOf(fmt.Sprintf(`{"type":"track","event":"E","messageId":"m%d","userId":"u%d"}`, i, i/2)))
	}
	first, again := judged(t, r, items...), judged(t, r, items...)
	kept := 0
	for i := range first {
		if first[i].Fate != again[i].Fate || first[i].Fate != first[i^1].Fate {
			t.Fatalf("event %d is %s, then %s; its person's other %s", i, first[i].Fate, again[i].Fate, first[i^1].Fate)
		}
		if first[i].Fate == judge.Keep {
			kept++
		}
	}
	if share := float64(kept) / float64(len(items)); math.Abs(share-0.3) > 0.05 {
		t.Errorf("kept %.2f", share)
	}
}

// Order, sources, names, conditions and what the batch says.
func TestSelection(t *testing.T) {
	t.Parallel()
	set := func(name string) []tidegate.TransformStep {
		return []tidegate.TransformStep{{Compute: map[string]string{"properties.trace": `(has(event.properties) && has(event.properties.trace) ? event.properties.trace : "") + "` + name + `"`}}}
	}
	r, err := New([]tidegate.Transform{
		{Name: "z", Order: 1, Steps: set("z")},
		{Name: "a", Order: 2, Steps: set("a")},
		{Name: "b", Order: 2, Sources: []string{"app"}, Steps: set("b")},
		{Name: "c", Order: 3, Events: []string{"identify", "Other"}, Steps: set("c")},
		{Name: "d", Order: 3, Events: []string{"E"}, Where: `event.context.app.name == "shop"`, Steps: set("d")},
		{Name: "e", Order: 4, Where: "event.absent.deep", Steps: set("e")},
		{Name: "f", Disabled: true, Steps: set("f")},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	item := itemOf(`{"event":"E","messageId":"m","userId":"u","properties":{},"context":{"app":{"version":"1"}}}`)
	item.Type, item.Event.Type = tidegate.Track, tidegate.Track // the path named it
	item.Event.Context, item.Event.Integrations = []byte(`{"app":{"name":"shop","version":"0"}}`), []byte(`{"All":false}`)
	v := judged(t, r, item)[0]
	if v.Event == nil {
		t.Fatalf("verdict %+v", v)
	}
	want := `{"event":"E","messageId":"m","userId":"u","properties":{"trace":"zad"},"context":{"app":{"version":"1","name":"shop"}},"integrations":{"All":false}}`
	if d := cmp.Diff(want, string(v.Event.Body)); d != "" || v.Event.Context != nil || v.Event.Integrations != nil {
		t.Errorf("became (-want +got):\n%s", d)
	}
	if v := judged(t, r, itemOf(`{"type":"identify","messageId":"m","userId":"u"}`))[0]; !strings.Contains(string(v.Event.Body), `"zac"`) {
		t.Errorf("became %s", v.Event.Body)
	}
}

// What no transformation touches is given back as it was.
func TestUntouched(t *testing.T) {
	t.Parallel()
	r := rulesOf(t, Options{}, "steps: [{drop: [properties.absent]}, {filter: 'true'}]")
	if v := judged(t, r, itemOf(visited))[0]; v.Event != nil || v.Fate != judge.Keep {
		t.Errorf("verdict %+v", v)
	}
}

func BenchmarkSteps(b *testing.B) {
	for name, steps := range map[string]string{
		"drop_hash": `steps: [{drop: [context.ip]}, {hash: {fields: [anonymousId]}}]`,
		"filter":    `steps: [{filter: "event.properties.total > 100.0"}]`,
	} {
		b.Run(name, func(b *testing.B) {
			r := rulesOf(b, Options{}, steps)
			items := []judge.Item{itemOf(fmt.Sprintf(tenProperties, 1))}
			verdicts := make([]judge.Verdict, 1)
			b.ReportAllocs()
			for b.Loop() {
				verdicts[0] = judge.Verdict{}
				if err := r.Judge(b.Context(), items, verdicts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
