package ingest

import (
	"encoding/json"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/scan"
)

// merge is RudderStack's seventh type: it says that two identifiers are of one
// person. It is kept as the track event `merge` with the four columns of
// RudderStack's merge rules, so that it has a table like any other event.
const merge tidegate.EventType = "merge"

// isMerge says whether ev is a merge, by its own type or that of the path.
func isMerge(ev *scan.Event, byPath tidegate.EventType) bool {
	if ev.Type.Empty() {
		return byPath == merge
	}
	text, _ := ev.Type.Text()
	return string(text) == string(merge)
}

// identifier is one of the two that a merge names.
type identifier struct{ kind, value scan.Value }

// identifiersOf returns the two identifiers of a merge; ok is false when it names
// others than two.
func identifiersOf(ev *scan.Event) (two [2]identifier, ok bool) {
	n := 0
	for property := range ev.Raw.Member("mergeProperties").Items {
		id := identifier{property.Member("type"), property.Member("value")}
		if n == len(two) || id.kind.Empty() || !id.kind.IsString() || !identifies(id.value) {
			return two, false
		}
		two[n] = id
		n++
	}
	return two, n == len(two)
}

// unmerged returns the body of the track event that a merge is kept as.
func unmerged(ev *scan.Event) []byte {
	two, _ := identifiersOf(ev)
	body := []byte(`{"type":"track","event":"merge","properties":{"merge_property_1_type":`)
	body = append(append(append(body, two[0].kind...), `,"merge_property_1_value":`...), two[0].value...)
	body = append(append(append(body, `,"merge_property_2_type":`...), two[1].kind...), `,"merge_property_2_value":`...)
	body = append(append(body, two[1].value...), '}')
	for name, value := range ev.Raw.Members {
		switch string(name) {
		case "type", "event", "properties", "mergeProperties":
			continue
		}
		quoted, err := json.Marshal(string(name))
		if err != nil {
			panic("ingest: a name that is no JSON: " + err.Error()) // a string always is: a broken invariant
		}
		body = append(append(append(append(body, ','), quoted...), ':'), value...)
	}
	return append(body, '}')
}
