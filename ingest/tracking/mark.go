package tracking

import (
	"encoding/json"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/edit"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/scan"
)

// violationError is a violation as RudderStack's readers know it: an entry of
// `context.violationErrors`.
type violationError struct {
	Type    string            `json:"type"`
	Message string            `json:"message"`
	Meta    map[string]string `json:"meta"`
}

// changed is the event without what is omitted and, when it is marked, with its
// violations in its context.
func (p *Plan) changed(item *judge.Item, found findings, violations []judge.Violation, marked bool) *tidegate.Event {
	o, _ := edit.Open(scan.Value(item.Event.Body))
	var errs []violationError
	for i, v := range violations {
		f := &found[i]
		if v.Action == omit {
			o.Delete(f.path...)
			continue
		}
		errs = append(errs, asError(f))
	}
	if marked {
		text, err := json.Marshal(errs)
		if err == nil { // texts always marshal
			o.Set(text, "context", "violationErrors")
		}
		o.Set(edit.AppendText(nil, p.def.Name), "context", "trackingPlanId")
		if version, err := json.Marshal(p.def.Version); err == nil && p.def.Version > 0 {
			o.Set(version, "context", "trackingPlanVersion")
		}
	}
	ev := *item.Event
	ev.Body = o.Append(make([]byte, 0, len(ev.Body)+256))
	return &ev
}

func asError(f *finding) violationError {
	e := violationError{Message: f.message, Meta: map[string]string{}}
	around := f.path
	switch f.kind {
	case kindUnplannedEvent:
		e.Type = "Unplanned-Event"
		return e
	case kindRequired:
		e.Type, e.Message = "Required-Missing", "must have required property '"+f.path[len(f.path)-1]+"'"
		around = f.path[:len(f.path)-1]
	case kindUnplannedProperty:
		e.Type, e.Message = "Additional-Properties", "must NOT have additional properties '"+f.path[len(f.path)-1]+"'"
		around = f.path[:len(f.path)-1]
	case kindType:
		e.Type = "Datatype-Mismatch"
	default:
		e.Type = "Unknown-Violation"
	}
	var at strings.Builder
	for _, step := range around {
		at.WriteString("/" + strings.Trim(step, "[]"))
	}
	if at.Len() > 0 {
		e.Meta["instancePath"] = at.String()
	}
	return e
}
