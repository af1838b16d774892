package tracking

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// The actions.
const (
	allow = "allow"
	mark  = "mark"
	omit  = "omit"
	block = "block"
	route = "route"
)

// Plan is a compiled tracking plan.
type Plan struct {
	def    tidegate.TrackingPlan
	events map[string]*event
	types  map[tidegate.EventType]*event // of the calls without a name; of track: what holds for events that the plan does not know
}

// event is what holds for one event, or for the calls of one type.
type event struct {
	actions   tidegate.PlanActions // with everything filled
	versions  []version            // from the oldest to the newest, at least one
	versioned bool                 // the plan lists versions
	accept    []int                // indexes into versions, the newest first: what an event may be that claims none
	strict    bool                 // and no other may be claimed
}

type version struct {
	number  int
	schemas partSchemas
	payload *rule // nil: anything
	context *rule
}

// Check says what is wrong with a plan; the paths are those of the definition.
func Check(def tidegate.TrackingPlan) []config.Problem {
	_, problems := build(def)
	return problems
}

// New compiles a plan that Check finds nothing wrong with.
func New(def tidegate.TrackingPlan) (*Plan, error) {
	p, problems := build(def)
	if len(problems) > 0 {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "plan.invalid", Subject: "tracking plan " + def.Name,
			Message: problems[0].Path + ": " + problems[0].Message, Hint: problems[0].Hint,
		}
	}
	return p, nil
}

// Name is the plan's name.
func (p *Plan) Name() string { return p.def.Name }

// Target is the source into whose schema the plan routes events; "" when it routes none.
func (p *Plan) Target() string { return p.def.Actions.Route }

func build(def tidegate.TrackingPlan) (*Plan, []problem) {
	b := builder{plan: &Plan{def: def, events: map[string]*event{}, types: map[tidegate.EventType]*event{}}}
	b.actions("actions", def.Actions)
	for _, t := range []tidegate.EventType{tidegate.Track, tidegate.Identify, tidegate.Group, tidegate.Page, tidegate.Screen} {
		b.global(t)
	}
	for _, name := range slices.Sorted(maps.Keys(def.Events)) {
		planned := def.Events[name]
		if name == "" {
			b.problems = append(b.problems, problem{Path: "events", Message: "an event has no name"})
		}
		b.plan.events[name] = b.event(planned, tidegate.Track, "events."+name)
	}
	for t, planned := range map[tidegate.EventType]*tidegate.PlannedEvent{
		tidegate.Identify: def.Identify, tidegate.Group: def.Group, tidegate.Page: def.Page, tidegate.Screen: def.Screen,
	} {
		if planned != nil {
			b.plan.types[t] = b.event(*planned, t, string(t))
		}
	}
	slices.SortStableFunc(b.problems, func(x, y problem) int { return compareText(x.Path, y.Path) })
	return b.plan, b.problems
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

type builder struct {
	plan     *Plan
	problems []problem
}

// global makes what holds for calls of type t of which the plan says nothing more.
func (b *builder) global(t tidegate.EventType) {
	schemas, problems := schemasOf(b.plan.def.Global, t, "global")
	if t == tidegate.Track || t == tidegate.Identify { // the others say the same
		b.problems = append(b.problems, problems...)
	}
	v := b.version(schemas, "global", allow)
	b.plan.types[t] = &event{actions: b.filled(tidegate.PlanActions{}), versions: []version{v}, accept: []int{0}}
}

func (b *builder) event(planned tidegate.PlannedEvent, t tidegate.EventType, at string) *event {
	b.actions(at+".actions", planned.Actions)
	e := &event{actions: b.filled(planned.Actions), versioned: len(planned.Versions) > 0, strict: len(planned.Accept) > 0}
	shared, problems := schemasOf(planned.EventRules, t, at)
	b.problems = append(b.problems, problems...)
	base, _ := schemasOf(b.plan.def.Global, t, "global")
	base = partSchemas{both(base.payload, shared.payload), both(base.context, shared.context)}
	if !e.versioned {
		v := b.version(base, at, e.actions.UnplannedProperty)
		v.number = 1
		e.versions = []version{v}
	}
	for text, rules := range planned.Versions {
		at := at + ".versions." + text
		number, err := strconv.Atoi(text)
		if err != nil || number < 1 {
			b.problems = append(b.problems, problem{Path: at, Message: fmt.Sprintf("%q is no version", text), Hint: "versions are the numbers 1, 2, 3, …"})
			continue
		}
		own, problems := schemasOf(rules, t, at)
		b.problems = append(b.problems, problems...)
		v := b.version(partSchemas{both(base.payload, own.payload), both(base.context, own.context)}, at, e.actions.UnplannedProperty)
		v.number = number
		e.versions = append(e.versions, v)
	}
	slices.SortFunc(e.versions, func(x, y version) int { return x.number - y.number })
	b.accept(e, planned.Accept, at)
	return e
}

func (b *builder) accept(e *event, accept []int, at string) {
	for i, number := range accept {
		found := slices.IndexFunc(e.versions, func(v version) bool { return v.number == number })
		if found < 0 {
			b.problems = append(b.problems, problem{Path: fmt.Sprintf("%s.accept[%d]", at, i), Message: fmt.Sprintf("the event has no version %d", number), Hint: "list it under versions"})
			continue
		}
		e.accept = append(e.accept, found)
	}
	if len(e.accept) == 0 && len(e.versions) > 0 {
		e.accept = []int{len(e.versions) - 1}
	}
	slices.Sort(e.accept)
	slices.Reverse(e.accept)
}

func (b *builder) version(schemas partSchemas, at, unplanned string) version {
	v := version{schemas: schemas}
	payload := schemas.payload
	if unplanned != allow {
		payload = closed(payload)
	}
	v.payload = b.compile(payload, at)
	v.context = b.compile(schemas.context, at+".context")
	return v
}

func (b *builder) compile(schema map[string]any, at string) *rule {
	if schema == nil {
		return nil
	}
	r, problems := compile(schema, at)
	b.problems = append(b.problems, dedupe(b.problems, problems)...)
	return r
}

// dedupe leaves out what was said: global rules are part of every event's.
func dedupe(said, problems []problem) []problem {
	return slices.DeleteFunc(problems, func(p problem) bool {
		return slices.ContainsFunc(said, func(q problem) bool { return q.Message == p.Message })
	})
}

// closed is schema with what it does not list told apart, when it does not say
// itself what else there may be.
func closed(schema map[string]any) map[string]any {
	if schema == nil {
		return map[string]any{"type": "object", "additionalProperties": false}
	}
	for _, key := range []string{"additionalProperties", "unevaluatedProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref", "if"} {
		if _, says := schema[key]; says {
			return schema
		}
	}
	out := maps.Clone(schema)
	out["additionalProperties"] = false
	return out
}

// filled are the actions of an event with the plan's, and then the usual ones, where
// it says nothing.
func (b *builder) filled(a tidegate.PlanActions) tidegate.PlanActions {
	plan := b.plan.def.Actions
	return tidegate.PlanActions{
		Violation:         first(a.Violation, plan.Violation, mark),
		UnplannedEvent:    first(a.UnplannedEvent, plan.UnplannedEvent, mark),
		UnplannedProperty: first(a.UnplannedProperty, plan.UnplannedProperty, allow),
		Route:             first(a.Route, plan.Route),
	}
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

func (b *builder) actions(at string, a tidegate.PlanActions) {
	if at != "actions" && a.UnplannedEvent != "" {
		b.problems = append(b.problems, problem{Path: at + ".unplanned_event", Message: "a planned event is not unplanned", Hint: "write it under the plan's own actions"})
	}
	if at != "actions" && a == (tidegate.PlanActions{}) {
		return // the plan's own, which were looked at
	}
	full := b.filled(a)
	routes := full.Violation == route || full.UnplannedEvent == route || full.UnplannedProperty == route
	switch {
	case routes && full.Route == "":
		b.problems = append(b.problems, problem{Path: at, Message: "events are routed, but nothing says where", Hint: "write `route: NAME`, the schema that takes them"})
	case full.Route != "" && !namePattern.MatchString(full.Route):
		b.problems = append(b.problems, problem{Path: at + ".route", Message: fmt.Sprintf("%q cannot be a schema", full.Route)})
	}
}
