package project

import (
	"maps"
	"slices"

	"github.com/tidegate/tidegate"
)

// Schemas lists the names that Schema knows: the project file and the kinds of
// files in its folders.
func Schemas() []string {
	return []string{"project", KindSource, KindDestination, KindModel, KindSync, KindForward, KindPlan, KindTransform}
}

// Schema returns the JSON Schema (draft 2020-12) of one kind of file, for
// editors, with the configuration of every connector in it. It returns nil for
// a name that Schemas does not list.
func Schema(name string, kinds Kinds) map[string]any {
	var s map[string]any
	switch name {
	case "project":
		s = words().Schema(Project{})
		byKind(property(s, "warehouse"), kinds.Warehouses)
		further := property(s, "warehouses")["items"].(map[string]any) //nolint:forcetypeassert // made above
		byKind(further, kinds.Warehouses)
		item := property(s, "destinations")["items"].(map[string]any) //nolint:forcetypeassert // made above
		byKind(item, kinds.Destinations)
	case KindSource:
		s = optionalName(words().Schema(tidegate.Source{}))
	case KindDestination:
		s = optionalName(words().Schema(tidegate.Connection{}))
		byKind(s, kinds.Destinations)
	case KindModel:
		s = optionalName(words().Schema(tidegate.Model{}))
	case KindForward:
		s = optionalName(words().Schema(tidegate.Forward{}))
	case KindSync:
		s = optionalName(words().Schema(tidegate.Sync{}))
	case KindPlan:
		s = optionalName(words().Schema(tidegate.TrackingPlan{}))
	case KindTransform:
		s = optionalName(words().Schema(tidegate.Transform{}))
	default:
		return nil
	}
	s["title"] = "Tidegate " + name
	return s
}

func property(s map[string]any, name string) map[string]any {
	return s["properties"].(map[string]any)[name].(map[string]any) //nolint:forcetypeassert // config.Schema of a struct
}

// optionalName drops `name` from the required fields: a file's name stands in for it.
func optionalName(s map[string]any) map[string]any {
	if required, ok := s["required"].([]string); ok {
		s["required"] = slices.DeleteFunc(slices.Clone(required), func(f string) bool { return f == "name" })
	}
	return s
}

// byKind makes the schema of `config` depend on `kind`.
func byKind(connection map[string]any, kinds map[string]func() any) {
	connection["allOf"] = perKind(kinds)
	if kind, ok := connection["properties"].(map[string]any)["kind"].(map[string]any); ok {
		kind["enum"] = slices.Sorted(maps.Keys(kinds))
	}
}

func perKind(kinds map[string]func() any) []any {
	var rules []any
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		of := words().Schema(kinds[name]())
		delete(of, "$schema")
		rules = append(rules, map[string]any{
			"if":   map[string]any{"properties": map[string]any{"kind": map[string]any{"const": name}}, "required": []string{"kind"}},
			"then": map[string]any{"properties": map[string]any{"config": of}},
		})
	}
	return rules
}
