package tracking

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/scan"
)

// Limits of what is inferred: what lies beyond is left to people.
const (
	maxInferredEvents     = 500
	maxInferredProperties = 300
	maxInferredDepth      = 3
	minRequired           = 10 // events before what all of them have counts as required
)

// Inference gathers what events look like. The zero value is ready; it belongs to one
// goroutine.
type Inference struct {
	events map[string]*seen
	types  map[tidegate.EventType]*seen
}

// seen is what was seen of one object.
type seen struct {
	count  int
	fields map[string]*values
}

type valuesOf struct {
	kinds  kinds
	times  bool // every text was a date-time
	texts  int
	object *seen
	items  *values
}

type values struct {
	count int
	valuesOf
}

// Add looks at one event, a JSON object that was scanned.
func (f *Inference) Add(event []byte) {
	v := scan.Value(event)
	kind, _ := v.Member("type").Text()
	t := tidegate.EventType(kind)
	if !t.Valid() || t == tidegate.Alias {
		return
	}
	field := "properties"
	if t == tidegate.Identify || t == tidegate.Group {
		field = "traits"
	}
	payload := v.Member(field)
	if f.types == nil {
		f.events, f.types = map[string]*seen{}, map[tidegate.EventType]*seen{}
	}
	if t != tidegate.Track {
		if f.types[t] == nil {
			f.types[t] = &seen{}
		}
		f.types[t].add(payload, 0)
		return
	}
	name, _ := v.Member("event").Text()
	s := f.events[string(name)]
	if s == nil {
		if len(name) == 0 || len(f.events) >= maxInferredEvents {
			return
		}
		s = &seen{}
		f.events[string(name)] = s
	}
	s.add(payload, 0)
}

func (s *seen) add(v scan.Value, depth int) {
	s.count++
	for name, value := range v.Members {
		p := s.fields[string(name)]
		if p == nil {
			if len(s.fields) >= maxInferredProperties || len(name) == 0 || strings.ContainsAny(string(name), ".[") {
				continue
			}
			if s.fields == nil {
				s.fields = map[string]*values{}
			}
			p = &values{valuesOf: valuesOf{times: true}}
			s.fields[string(name)] = p
		}
		p.add(value, depth)
	}
}

func (p *values) add(v scan.Value, depth int) {
	p.count++
	got := kindOf(v)
	p.kinds |= got
	switch got { //nolint:exhaustive // of the others the kind says all
	case text:
		p.texts++
		s, _ := v.Text()
		if p.times {
			_, err := time.Parse(time.RFC3339, string(s))
			p.times = err == nil
		}
	case object:
		if p.object == nil {
			p.object = &seen{}
		}
		if depth < maxInferredDepth {
			p.object.add(v, depth+1)
		}
	case array:
		if p.items == nil {
			p.items = &values{valuesOf: valuesOf{times: true}}
		}
		n := 0
		for item := range v.Items {
			if n++; n > 100 {
				break
			}
			p.items.add(item, depth+1)
		}
	}
}

// Plan proposes a plan that what was seen fits. It marks what does not, and takes a
// property for required when at least ten events were seen and all of them had it.
func (f *Inference) Plan(name string) tidegate.TrackingPlan {
	plan := tidegate.TrackingPlan{Name: name, Version: 1, Actions: tidegate.PlanActions{Violation: mark, UnplannedEvent: mark, UnplannedProperty: mark}}
	for _, event := range slices.Sorted(maps.Keys(f.events)) {
		if plan.Events == nil {
			plan.Events = map[string]tidegate.PlannedEvent{}
		}
		plan.Events[event] = tidegate.PlannedEvent{EventRules: tidegate.EventRules{Properties: f.events[event].declare()}}
	}
	for t, into := range map[tidegate.EventType]**tidegate.PlannedEvent{tidegate.Identify: &plan.Identify, tidegate.Group: &plan.Group, tidegate.Page: &plan.Page, tidegate.Screen: &plan.Screen} {
		s := f.types[t]
		if s == nil {
			continue
		}
		*into = &tidegate.PlannedEvent{}
		if t == tidegate.Identify || t == tidegate.Group {
			(*into).Traits = s.declare()
		} else {
			(*into).Properties = s.declare()
		}
	}
	return plan
}

// declare writes the properties as a plan does.
func (s *seen) declare() map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for name, p := range s.fields {
		schema := p.schema()
		required := s.count >= minRequired && p.count >= s.count
		v := schema
		if short, ok := schema.(string); ok && required {
			v = short + "!"
		} else if whole, ok := schema.(map[string]any); ok && required {
			whole["required"] = true
		}
		if raw, err := json.Marshal(v); err == nil { // texts and maps always marshal
			out[name] = raw
		}
	}
	return out
}

// schema is the short form where there is one.
func (p *values) schema() any {
	var names []string
	for _, k := range []struct {
		kind kinds
		name string
	}{{text, "string"}, {integer | fraction, "number"}, {boolean, "boolean"}, {array, "array"}, {object, "object"}, {null, "null"}} {
		if p.kinds&k.kind != 0 {
			names = append(names, k.name)
		}
	}
	if i := slices.Index(names, "number"); i >= 0 && p.kinds&fraction == 0 {
		names[i] = "integer"
	}
	switch {
	case len(names) > 1 || len(names) == 0:
		if len(names) == 0 || names[0] == "null" {
			return "any"
		}
		return strings.Join(names, "|")
	case names[0] == "null":
		return "any" // nobody has seen what it is when it is something
	case names[0] == "string" && p.times && p.texts > 1:
		return "date-time"
	case names[0] == "array":
		item := p.items.schema()
		if short, ok := item.(string); ok && p.items.count > 0 && !strings.Contains(short, "|") && short != "any" {
			return short + "[]"
		} else if !ok {
			return map[string]any{"type": "array", "items": item}
		}
		return "array"
	case names[0] == "object" && p.object != nil && len(p.object.fields) > 0:
		inner := map[string]any{}
		for name, raw := range p.object.declare() {
			inner[name] = raw
		}
		return map[string]any{"type": "object", "properties": inner}
	}
	return names[0]
}
