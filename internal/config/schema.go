package config

import (
	"reflect"
)

// Schema returns the JSON Schema (draft 2020-12) of v, a struct or a pointer to
// one, for editors. A document that Decode accepts is valid by it; checks that
// a Validator makes are not in it.
func Schema(v any) map[string]any { return Words(nil).Schema(v) }

// Schema is the function Schema, with what w says.
func (w Words) Schema(v any) map[string]any {
	f := w.describe(elem(v), nil)
	s := f.Schema()
	refs := map[string]reflect.Type{}
	f.refs(refs)
	if len(refs) > 0 {
		defs := map[string]any{}
		for name, inner := range refs {
			defs[name] = w.describe(inner, nil).Schema()
		}
		s["$defs"] = defs
	}
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	return s
}

// Schema returns the JSON Schema of one field's value, for callers that build a
// larger one around it.
func (f Field) Schema() map[string]any {
	s := map[string]any{}
	put := func(name, value string) {
		if value != "" {
			s[name] = value
		}
	}
	put("description", f.Doc)
	if f.Ref != "" {
		s["$ref"] = "#/$defs/" + f.Ref
		return s
	}
	if f.Type != "any" {
		s["type"] = f.Type
	}
	put("pattern", f.Pattern)
	put("format", schemaFormat(f.Format))
	if f.Format == "duration" { // Go's notation, which is not JSON Schema's
		put("pattern", durationPattern)
	}
	if len(f.Enum) > 0 {
		s["enum"] = f.Enum
	}
	if f.Secret {
		s["writeOnly"] = true
	}
	if f.Default != "" {
		s["default"] = f.defaultValue()
	}
	f.bounds(s)
	switch {
	case f.Type == "array":
		s["items"] = f.Items.Schema()
	case f.Type == "object" && f.Items != nil:
		s["additionalProperties"] = f.Items.Schema()
	case f.Type == "object":
		f.properties(s)
	}
	return s
}

// refs collects the structs inside f that contain themselves.
func (f Field) refs(into map[string]reflect.Type) {
	if f.Ref != "" {
		into[f.Ref] = f.typ
	}
	if f.Items != nil {
		f.Items.refs(into)
	}
	for _, inner := range f.Fields {
		inner.refs(into)
	}
}

const durationPattern = `^[-+]?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^0$`

func schemaFormat(format string) string {
	if format == "duration" {
		return ""
	}
	return format
}

func (f Field) bounds(s map[string]any) {
	low, high := "minimum", "maximum"
	switch {
	case f.Type == "array":
		low, high = "minItems", "maxItems"
	case f.Format == "duration":
		return // bounds of a duration are in seconds, its schema is a text
	}
	if f.Min != nil {
		s[low] = *f.Min
	}
	if f.Max != nil {
		s[high] = *f.Max
	}
}

func (f Field) properties(s map[string]any) {
	properties := map[string]any{}
	var required []string
	for _, inner := range f.Fields {
		p := inner.Schema()
		if inner.Required {
			required = append(required, inner.Name)
			if inner.Type == "string" && inner.Pattern == "" && len(inner.Enum) == 0 {
				p["minLength"] = 1
			}
		}
		properties[inner.Name] = p
	}
	s["properties"] = properties
	s["additionalProperties"] = false
	if len(required) > 0 {
		s["required"] = required
	}
}

// defaultValue is the default in its JSON type.
func (f Field) defaultValue() any {
	if f.Type == "string" {
		return f.Default
	}
	doc, err := ParseYAML("default of "+f.Name, []byte(f.Default))
	if err != nil {
		return f.Default
	}
	return doc.root.plain()
}
