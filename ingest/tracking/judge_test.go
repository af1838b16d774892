package tracking

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/scan"
	"github.com/tidegate/tidegate/internal/config"
)

// planOf reads a plan as a project would.
func planOf(t testing.TB, yaml string) tidegate.TrackingPlan {
	t.Helper()
	def := tidegate.TrackingPlan{Name: "shop"}
	if err := config.DecodeYAML("plan.yaml", []byte(yaml), &def); err != nil {
		t.Fatal(err)
	}
	return def
}

func compiled(t testing.TB, yaml string) *Plan {
	t.Helper()
	p, err := New(planOf(t, yaml))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func itemOf(body string) judge.Item {
	var d scan.Document
	if err := d.Scan([]byte(body), 1); err != nil {
		panic(body + ": " + err.Error())
	}
	kind, _ := d.Type.Text()
	id, _ := d.MessageID.Text()
	return judge.Item{Event: &tidegate.Event{Source: "web", Body: []byte(body)}, ID: string(id), Type: tidegate.EventType(kind)}
}

func verdictOf(t testing.TB, p *Plan, item judge.Item) judge.Verdict {
	t.Helper()
	verdicts := make([]judge.Verdict, 1)
	if err := (Plans{"web": p}).Judge(context.Background(), []judge.Item{item}, verdicts); err != nil {
		t.Fatal(err)
	}
	return verdicts[0]
}

const shop = `
version: 3
actions: {unplanned_property: mark}
global:
  context: {app: {type: object, properties: {version: string!}}}
events:
  Order Completed:
    properties:
      order_id: {type: string, required: true, pattern: "^o-", maxLength: 8}
      total: number!
      currency: {enum: [EUR, USD, 7, null]}
      at: date-time
      coupon: string|null
      tags: string[]
      products:
        type: array
        items: {type: object, properties: {sku: string!, price: {type: number, minimum: 0, exclusiveMaximum: 100}}, additionalProperties: false}
      odd: {not: {type: string}}
  Strict:
    actions: {violation: block, unplanned_property: omit}
    properties: {n: integer!}
  Away:
    actions: {violation: route, route: quarantine}
    properties: {n: {type: integer, minimum: 1, maximum: 12345678901234567890}}
  Versioned:
    properties: {common: string}
    versions:
      1: {properties: {a: string!}}
      2: {properties: {b: string!}}
  Lenient:
    accept: [1, 2]
    versions: {1: {properties: {a: string!}}, 2: {properties: {b: string!}}, 3: {properties: {c: string!}}}
identify: {traits: {email: email!}}
page: {properties: {url: uri!}}
`

func TestVerdicts(t *testing.T) {
	t.Parallel()
	p := compiled(t, shop)
	for body, want := range map[string][]string{
		`{"type":"track","event":"Order Completed","properties":{"order_id":"o-1","total":1.5,"currency":7.0,"at":"2026-01-02T03:04:05Z","coupon":null,"tags":[],"products":[{"sku":"x","price":99.99}],"odd":1}}`: nil,
		`{"type":"track","event":"Order Completed","properties":{"total":"1","order_id":"x-123456789","currency":"GBP","at":"now","tags":["a",1],"products":[{"price":100},{"sku":"s","price":-1,"z":0}],"odd":"s","more":{}}}`: {
			"properties.more unplanned_property mark is not in the plan",
			"properties.at format mark must have the format date-time",
			`properties.currency enum mark must be one of "EUR", "USD", 7, null`,
			"properties.odd schema mark does not satisfy `not`",
			"properties.order_id length mark must have at most 8 characters",
			"properties.order_id pattern mark must match ^o-",
			"properties.products[0].price range mark must be less than 100",
			"properties.products[0].sku required mark is missing",
			"properties.products[1].z unplanned_property mark is not in the plan",
			"properties.products[1].price range mark must be at least 0",
			"properties.tags[1] type mark must be string, is integer",
			"properties.total type mark must be number, is string",
		},
		`{"type":"track","event":"Order Completed"}`:                                                                    {"properties.order_id required mark is missing", "properties.total required mark is missing"},
		`{"type":"track","event":"Order Completed","properties":[1]}`:                                                   {"properties type mark must be object, is array"},
		`{"type":"track","event":"Order Completed","properties":{"order_id":"o-1","total":1,"total":"last"}}`:           {"properties.total type mark must be number, is string"},
		`{"type":"track","event":"Order Completed","properties":{"order_id":"o-1","total":1},"context":{"app":{}}}`:     {"context.app.version required mark is missing"},
		`{"type":"track","event":"merge","properties":{"merge_property_1_type":"email","merge_property_1_value":"a"}}`:  nil,
		`{"type":"track","event":"merge","properties":{"of":"branches"}}`:                                               {" unplanned_event mark the plan has no event of this name"},
		`{"type":"track","event":"Nobody Planned"}`:                                                                     {" unplanned_event mark the plan has no event of this name"},
		`{"type":"track","event":"Nobody Planned","context":{"app":7}}`:                                                 {" unplanned_event mark the plan has no event of this name", "context.app type mark must be object, is integer"},
		`{"type":"track","event":"Strict","properties":{"n":1.0,"x":1}}`:                                                {"properties.x unplanned_property omit is not in the plan"},
		`{"type":"track","event":"Strict","properties":{"n":1.5,"x":1}}`:                                                {"properties.x unplanned_property omit is not in the plan", "properties.n type block must be integer, is number"},
		`{"type":"track","event":"Away","properties":{"n":12345678901234567890}}`:                                       nil,
		`{"type":"track","event":"Away","properties":{"n":12345678901234567891}}`:                                       {"properties.n range route must be at most 12345678901234567890"},
		`{"type":"track","event":"Away","properties":{"n":1e9999999999}}`:                                               {"properties.n type route must be integer, is number"},
		`{"type":"track","event":"Versioned","properties":{"b":"x"}}`:                                                   nil,
		`{"type":"track","event":"Versioned","properties":{"a":"x"},"context":{"protocols":{"event_version":1}}}`:       nil,
		`{"type":"track","event":"Versioned","properties":{"a":"x"},"context":{"protocols":{"event_version":"1.2.0"}}}`: nil,
		`{"type":"track","event":"Versioned","properties":{"a":"x"}}`:                                                   {"properties.a unplanned_property mark is not in the plan", "properties.b required mark is missing"},
		`{"type":"track","event":"Versioned","context":{"protocols":{"event_version":9}}}`:                              {" unplanned_version mark the plan accepts no such version of the event"},
		`{"type":"track","event":"Lenient","properties":{"a":"x"}}`:                                                     nil,
		`{"type":"track","event":"Lenient","properties":{"b":"x"}}`:                                                     nil,
		`{"type":"track","event":"Lenient","properties":{"c":"x"}}`:                                                     {"properties.c unplanned_property mark is not in the plan", "properties.b required mark is missing"},
		`{"type":"track","event":"Lenient","properties":{"c":"x"},"context":{"protocols":{"event_version":3}}}`:         {" unplanned_version mark the plan accepts no such version of the event"},
		`{"type":"identify","traits":{"email":"a@b.c"}}`:                                                                nil,
		`{"type":"identify","context":{"traits":{"email":"no"}}}`:                                                       {"context.traits.email format mark must have the format email"},
		`{"type":"identify"}`: {"traits.email required mark is missing"},
		`{"type":"page","properties":{"url":"https://x.y/z"}}`: nil,
		`{"type":"screen","properties":{"anything":1}}`:        nil,
		`{"type":"alias","userId":"u"}`:                        nil,
	} {
		v := verdictOf(t, p, itemOf(body))
		var got []string
		for _, x := range v.Violations {
			got = append(got, fmt.Sprintf("%s %s %s %s", x.Path, x.Kind, x.Action, x.Message))
			if x.Plan != "shop" {
				t.Errorf("%s: a violation of the plan %q", body, x.Plan)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", body, d)
		}
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	p := compiled(t, shop)
	type result struct{ Fate, Code, Reason, Route, Body string }
	for body, want := range map[string]result{
		`{"type":"track","event":"Strict","messageId":"m","properties":{"n":1,"x":{"y":2}}}`: {Fate: "kept", Body: `{"type":"track","event":"Strict","messageId":"m","properties":{"n":1}}`},
		`{"type":"track","event":"Strict","properties":{"x":1}}`:                             {Fate: "dead", Code: "plan.violation", Reason: "properties.n is missing (and 1 more)"},
		`{"type":"track","event":"Away","properties":{"n":0}}`: {
			Fate: "kept", Route: "quarantine",
			Body: `{"type":"track","event":"Away","properties":{"n":0},"context":{"violationErrors":[{"type":"Unknown-Violation","message":"must be at least 1","meta":{"instancePath":"/properties/n"}}],"trackingPlanId":"shop","trackingPlanVersion":3}}`,
		},
		`{"type":"identify","context":{"ip":"1.2.3.4"}}`: {
			Fate: "kept",
			Body: `{"type":"identify","context":{"ip":"1.2.3.4","violationErrors":[{"type":"Required-Missing","message":"must have required property 'email'","meta":{"instancePath":"/traits"}}],"trackingPlanId":"shop","trackingPlanVersion":3}}`,
		},
		`{"type":"track","event":"Unknown"}`: {
			Fate: "kept",
			Body: `{"type":"track","event":"Unknown","context":{"violationErrors":[{"type":"Unplanned-Event","message":"the plan has no event of this name","meta":{}}],"trackingPlanId":"shop","trackingPlanVersion":3}}`,
		},
		`{"type":"track","event":"Away"}`: {Fate: "kept"},
	} {
		item := itemOf(body)
		v := verdictOf(t, p, item)
		got := result{Fate: v.Fate.String(), Code: v.Code, Reason: v.Reason, Route: v.Route}
		if v.Event != nil {
			got.Body = string(v.Event.Body)
			if v.Event.Source != "web" {
				t.Errorf("%s: the source became %q", body, v.Event.Source)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", body, d)
		}
		if string(item.Event.Body) != body {
			t.Errorf("the event itself was changed to %s", item.Event.Body)
		}
	}
}

// What a batch says for all its events counts like the event's own words.
func TestContextOfTheBatch(t *testing.T) {
	t.Parallel()
	p := compiled(t, "global: {context: {app: {type: object, required: true, properties: {name: string!, version: string!}}}}\nevents: {E: {versions: {1: {}, 2: {properties: {x: string!}}}}}\n")
	item := itemOf(`{"type":"track","event":"E","context":{"app":{"version":"1"}}}`)
	item.Event.Context = []byte(`{"app":{"name":"shop","version":7},"protocols":{"event_version":1}}`)
	if v := verdictOf(t, p, item); v.Violations != nil {
		t.Errorf("violations %+v", v.Violations)
	}
	item.Event.Context = []byte(`{"protocols":{"event_version":1}}`)
	if v := verdictOf(t, p, item); len(v.Violations) != 1 || v.Violations[0].Path != "context.app.name" || v.Violations[0].Version != 1 {
		t.Errorf("violations %+v", v.Violations)
	}
}

func TestAnotherSourceHasNoPlan(t *testing.T) {
	t.Parallel()
	item := itemOf(`{"type":"track","event":"Nobody Planned"}`)
	item.Event.Source = "app"
	if v := verdictOf(t, compiled(t, shop), item); v.Violations != nil || v.Event != nil {
		t.Errorf("verdict %+v", v)
	}
}

func TestWrongPlans(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string][]string{
		`events: {E: {properties: {a: strng}}}`:                          {`events.E.properties.a: there is no type "strng"`},
		`events: {E: {properties: {a: "date|null"}}}`:                    {`events.E.properties.a: a choice is of types, and "date" is a format of texts`},
		`events: {E: {properties: {a: {type: strng}}}}`:                  {`events.E.properties.a: is no JSON Schema: type must be one of "array", "boolean"`},
		`events: {E: {properties: {a: {format: e-mail}}}}`:               {`events.E.properties.a: there is no format "e-mail"`},
		`events: {E: {properties: {a: [1]}}}`:                            {"events.E.properties.a: must be a type such as `string!`, or a JSON Schema"},
		`events: {E: {properties: {a: {pattern: "("}}}}`:                 {"events.E.properties.a: is no JSON Schema"},
		`events: {E: {traits: {a: string}}}`:                             {"events.E.traits: track calls have no traits"},
		`events: {E: {properties: {a: string}, schema: {type: object}}}`: {"events.E.schema: the event has both properties and a schema"},
		`events: {E: {schema: 7}}`:                                       {"events.E.schema: must be a JSON Schema of an object"},
		`events: {E: {schema: {$ref: "file:///etc/passwd"}}}`:            {"events.E: a schema of a plan may refer to itself only"},
		`events: {E: {versions: {one: {}}}}`:                             {`events.E.versions.one: "one" is no version`},
		`events: {E: {accept: [2], versions: {1: {}}}}`:                  {"events.E.accept[0]: the event has no version 2"},
		`actions: {violation: route}`:                                    {"actions: events are routed, but nothing says where"},
		`events: {E: {actions: {unplanned_event: block}}}`:               {"events.E.actions.unplanned_event: a planned event is not unplanned"},
		`global: {properties: {a: nope}}`:                                {`global.properties.a: there is no type "nope"`},
		`identify: {properties: {a: string}}`:                            {"identify.properties: identify calls have no properties"},
	} {
		problems := Check(planOf(t, yaml))
		var got []string
		for _, p := range problems {
			got = append(got, p.Path+": "+p.Message)
		}
		ok := len(got) == len(want)
		for i := range min(len(got), len(want)) {
			ok = ok && strings.HasPrefix(got[i], want[i])
		}
		if !ok {
			t.Errorf("%s\n got %q\nwant %q", yaml, got, want)
		}
		if _, err := New(planOf(t, yaml)); tidegate.FaultOf(err).Code != "plan.invalid" {
			t.Errorf("%s: New says %v", yaml, err)
		}
	}
}

// The findings of an event are bounded, and those of others do not mix in.
func TestManyFindings(t *testing.T) {
	t.Parallel()
	p := compiled(t, "events: {E: {properties: {list: 'integer[]'}}}\n")
	bad := itemOf(`{"type":"track","event":"E","properties":{"list":["` + strings.Repeat(`a","`, 500) + `"]}}`)
	good := itemOf(`{"type":"track","event":"E","properties":{"list":[1]}}`)
	verdicts := make([]judge.Verdict, 3)
	if err := (Plans{"web": p}).Judge(t.Context(), []judge.Item{bad, good, bad}, verdicts); err != nil {
		t.Fatal(err)
	}
	if n := len(verdicts[0].Violations); n != maxFindings || len(verdicts[1].Violations) != 0 || verdicts[1].Event != nil {
		t.Errorf("%d findings, then %+v", n, verdicts[1])
	}
	if d := cmp.Diff(verdicts[0].Violations, verdicts[2].Violations); d != "" {
		t.Error(d)
	}
}

const tenProperties = `{"type":"track","messageId":"0192f8b6-7c1a-7e02-b0a1-000000000001","anonymousId":"a-0001","event":"Order Completed","properties":{"order_id":"o-1","total":129.5,"currency":"EUR","coupon":"SPRING","items":3,"shipping":4.9,"tax":20.1,"first":true,"channel":"web","store":"berlin"},"context":{"library":{"name":"analytics.js","version":"2"},"page":{"url":"https://shop.example.com/checkout","path":"/checkout","title":"Checkout"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"},"timestamp":"2026-01-02T03:04:05.000Z"}`

const tenPlan = `
actions: {unplanned_property: mark}
events:
  Order Completed:
    properties: {order_id: string!, total: number!, currency: {enum: [EUR, USD]}, coupon: string, items: {type: integer, minimum: 1}, shipping: number, tax: number, first: boolean, channel: string, store: {type: string, maxLength: 40}}
`

func BenchmarkJudge(b *testing.B) {
	for name, body := range map[string]string{"fits": tenProperties, "violates": strings.Replace(tenProperties, `"total":129.5`, `"total":"129.5"`, 1)} {
		b.Run(name, func(b *testing.B) {
			plans := Plans{"web": compiled(b, tenPlan)}
			items := []judge.Item{itemOf(body)}
			verdicts := make([]judge.Verdict, 1)
			b.ReportAllocs()
			for b.Loop() {
				verdicts[0] = judge.Verdict{}
				if err := plans.Judge(b.Context(), items, verdicts); err != nil {
					b.Fatal(err)
				}
			}
			if got := len(verdicts[0].Violations); got != map[string]int{"fits": 0, "violates": 1}[name] {
				b.Fatalf("%d violations", got)
			}
		})
	}
}
