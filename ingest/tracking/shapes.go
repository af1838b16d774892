package tracking

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tidegate/tidegate"
)

// Shape is what code that sends an event needs to know of it.
type Shape struct {
	Type        tidegate.EventType
	Name        string // of a tracked event
	Description string
	// Schema is the JSON Schema of the properties, or traits, of the newest version; nil: anything.
	Schema map[string]any
}

// Shapes are the planned events, tracked ones first, sorted by name.
func (p *Plan) Shapes() []Shape {
	var out []Shape
	for _, name := range slices.Sorted(maps.Keys(p.def.Events)) {
		out = append(out, Shape{tidegate.Track, name, p.def.Events[name].Description, p.events[name].newest()})
	}
	for _, one := range []struct {
		t       tidegate.EventType
		planned *tidegate.PlannedEvent
	}{{tidegate.Identify, p.def.Identify}, {tidegate.Group, p.def.Group}, {tidegate.Page, p.def.Page}, {tidegate.Screen, p.def.Screen}} {
		if one.planned != nil {
			out = append(out, Shape{one.t, "", one.planned.Description, p.types[one.t].newest()})
		}
	}
	return out
}

func (e *event) newest() map[string]any {
	return slices.MaxFunc(e.versions, func(a, b version) int { return cmp.Compare(a.number, b.number) }).schemas.payload
}

// Definition is what the plan was compiled from.
func (p *Plan) Definition() tidegate.TrackingPlan { return p.def }
