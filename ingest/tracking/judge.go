package tracking

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/edit"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/scan"
)

// CodeViolation is the code of events that a plan blocks.
const CodeViolation = "plan.violation"

// Plans holds the events of each source to the source's plan. It is a judge.Judge.
type Plans map[string]*Plan

var _ judge.Judge = Plans(nil)

// Judge implements judge.Judge. It never fails.
func (ps Plans) Judge(_ context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	var found findings
	for i := range items {
		p := ps[items[i].Event.Source]
		if p == nil {
			continue
		}
		found = p.judge(&items[i], &verdicts[i], found[:0])
	}
	return nil
}

// parts are what a plan looks at in an event.
type parts struct {
	name    scan.Value
	payload scan.Value
	context scan.Value
	field   string // of the payload: properties or traits
}

func partsOf(item *judge.Item) parts {
	p := parts{field: "properties"}
	if item.Type == tidegate.Identify || item.Type == tidegate.Group {
		p.field = "traits"
	}
	for name, value := range scan.Value(item.Event.Body).Members {
		switch string(name) {
		case "event":
			p.name = value
		case "context":
			p.context = value
		case p.field:
			p.payload = value
		}
	}
	return p
}

// merges says whether the event is one of RudderStack's merges, as ingest keeps them. An
// app tracks no such thing: no plan speaks of it, unless it names it.
func (p *parts) merges(name []byte) bool {
	return string(name) == "merge" && p.payload.Member("merge_property_1_type") != nil
}

const maxEventName = 255

// eventName is how violations name the event.
func (p *parts) eventName(t tidegate.EventType) string {
	if t != tidegate.Track {
		return string(t)
	}
	text, ok := p.name.Text()
	if !ok {
		text = p.name
	}
	if len(text) > maxEventName {
		text = text[:maxEventName]
	}
	return strings.ToValidUTF8(string(text), "")
}

// judge decides about one event. It returns the room of found for the next.
func (p *Plan) judge(item *judge.Item, verdict *judge.Verdict, found findings) findings {
	if item.Type == tidegate.Alias || !item.Type.Valid() {
		return found
	}
	ps := partsOf(item)
	e, planned := p.types[item.Type], true
	if item.Type == tidegate.Track {
		name, _ := ps.name.Text()
		if e, planned = p.events[string(name)]; !planned {
			if ps.merges(name) {
				return found
			}
			e = p.types[tidegate.Track]
			if e.actions.UnplannedEvent != allow {
				found.add(nil, kindUnplannedEvent, "the plan has no event of this name")
			}
		}
	}
	if item.Type == tidegate.Identify && ps.payload == nil { // where servers' libraries put them
		if ps.payload = ps.context.Member("traits"); ps.payload == nil {
			ps.payload = scan.Value(item.Event.Context).Member("traits")
		}
		if ps.payload != nil {
			ps.field = "context.traits"
		}
	}
	number := 0
	if planned {
		var ok bool
		if number, ok = e.check(item, &ps, &found); !ok {
			found.add(nil, kindUnplannedVersion, "the plan accepts no such version of the event")
		}
	} else {
		e.versions[0].check(item, &ps, &found)
	}
	if len(found) > 0 {
		p.decide(e, number, item, &ps, verdict, found)
	}
	return found
}

// check holds an event to the version that it claims, or to the best of those that
// are accepted. ok is false when it claims one that is not.
func (e *event) check(item *judge.Item, ps *parts, found *findings) (number int, ok bool) {
	if e.versioned {
		if claim, claims := claimed(item, ps); claims {
			at := slices.IndexFunc(e.versions, func(v version) bool { return v.number == claim })
			if at < 0 || e.strict && !slices.Contains(e.accept, at) {
				return claim, false
			}
			e.versions[at].check(item, ps, found)
			return claim, true
		}
	}
	before := len(*found)
	for _, i := range e.accept {
		v := &e.versions[i]
		if v.check(item, ps, found); len(*found) == before {
			return v.number, true
		}
		*found = (*found)[:before]
	}
	newest := &e.versions[e.accept[0]] // what it misses of the newest is what people want to know
	newest.check(item, ps, found)
	return newest.number, true
}

// claimed is the version that the event says it is.
func claimed(item *judge.Item, ps *parts) (number int, ok bool) {
	for _, context := range [...]scan.Value{ps.context, item.Event.Context} {
		v := context.Member("protocols").Member("event_version")
		said, isText := v.Text()
		if !isText {
			said = v
		}
		major, _, _ := strings.Cut(string(said), ".")
		if n, err := strconv.Atoi(major); err == nil {
			return n, true
		}
	}
	return 0, false
}

var (
	noObject      = scan.Value("{}")
	contextPlace  = &place{name: "context"}
	payloadPlaces = map[string]*place{"properties": {name: "properties"}, "traits": {name: "traits"}, "context.traits": {up: contextPlace, name: "traits"}}
)

func (v *version) check(item *judge.Item, ps *parts, found *findings) {
	if v.payload != nil {
		payload := ps.payload
		if payload == nil || payload[0] == 'n' {
			payload = noObject
		}
		v.payload.check(payload, payloadPlaces[ps.field], found)
	}
	if v.context != nil {
		v.context.check(wholeContext(item, ps), contextPlace, found)
	}
}

// wholeContext is the event's context over that of its batch.
func wholeContext(item *judge.Item, ps *parts) scan.Value {
	shared := scan.Value(item.Event.Context)
	switch {
	case !shared.IsObject():
		if ps.context == nil || ps.context[0] == 'n' {
			return noObject
		}
		return ps.context
	case !ps.context.IsObject():
		return shared
	}
	own, _ := edit.Open(ps.context)
	batch, _ := edit.Open(shared)
	own.Under(batch)
	return own.Append(nil)
}

// weight orders the actions by what they do to the event.
var weight = map[string]int{mark: 1, omit: 1, route: 2, block: 3}

// action is what becomes of an event for a violation of a kind.
func (e *event) action(f *finding) string {
	switch f.kind {
	case kindUnplannedEvent:
		return e.actions.UnplannedEvent
	case kindUnplannedProperty:
		if a := e.actions.UnplannedProperty; a != allow {
			if a == omit && slices.ContainsFunc(f.path, func(step string) bool { return strings.HasPrefix(step, "[") }) {
				return mark // of an item of a list nothing is taken out
			}
			return a
		}
	}
	return e.actions.Violation
}

// decide makes the verdict of what was found.
func (p *Plan) decide(e *event, number int, item *judge.Item, ps *parts, verdict *judge.Verdict, found findings) {
	name := ps.eventName(item.Type)
	verdict.Violations = make([]judge.Violation, len(found))
	strongest, marked := "", false
	for i := range found {
		f := &found[i]
		action := e.action(f)
		if weight[action] > weight[strongest] {
			strongest = action
		}
		marked = marked || action != omit
		verdict.Violations[i] = judge.Violation{
			Plan: p.def.Name, Version: number, Event: name, Kind: f.kind, Path: strings.ToValidUTF8(pathText(f.path), ""), Message: strings.ToValidUTF8(f.message, ""), Action: action,
		}
	}
	if strongest == block {
		verdict.Fate, verdict.Code, verdict.Reason = judge.Dead, CodeViolation, reason(verdict.Violations)
		return
	}
	if strongest == route {
		verdict.Route = e.actions.Route
	}
	verdict.Event = p.changed(item, found, verdict.Violations, marked)
}

// reason says in one line why an event was blocked.
func reason(violations []judge.Violation) string {
	at := slices.IndexFunc(violations, func(v judge.Violation) bool { return v.Action == block })
	v := violations[at]
	text := v.Message
	if v.Path != "" {
		text = v.Path + " " + v.Message
	}
	if more := len(violations) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}
