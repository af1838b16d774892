package tracking

import (
	"maps"
	"slices"

	"github.com/tidegate/tidegate"
)

// Shape is what code that sends an event needs to know of it.
type Shape struct {
	Type        tidegate.EventType
	Name        string // of a tracked event
	Description string
	// Version is the newest that the plan accepts; 0: the plan lists no versions of the event.
	Version int
	// Schema is the JSON Schema of the properties, or traits, of that version; nil: anything.
	Schema map[string]any
}

// Shapes are the planned events, tracked ones first, sorted by name.
func (p *Plan) Shapes() []Shape {
	var out []Shape
	for _, name := range slices.Sorted(maps.Keys(p.def.Events)) {
		out = append(out, p.events[name].shape(tidegate.Track, name, p.def.Events[name].Description))
	}
	for _, one := range []struct {
		t       tidegate.EventType
		planned *tidegate.PlannedEvent
	}{{tidegate.Identify, p.def.Identify}, {tidegate.Group, p.def.Group}, {tidegate.Page, p.def.Page}, {tidegate.Screen, p.def.Screen}} {
		if one.planned != nil {
			out = append(out, p.types[one.t].shape(one.t, "", one.planned.Description))
		}
	}
	return out
}

func (e *event) shape(t tidegate.EventType, name, description string) Shape {
	v := e.versions[e.accept[0]]
	s := Shape{Type: t, Name: name, Description: description, Schema: v.schemas.payload}
	if e.versioned {
		s.Version = v.number
	}
	return s
}

// Definition is what the plan was compiled from.
func (p *Plan) Definition() tidegate.TrackingPlan { return p.def }
