package tracking

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// types are the type names of JSON Schema.
var types = []string{"array", "boolean", "integer", "null", "number", "object", "string"}

// formats are the formats of texts that are checked.
var formats = []string{"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "json-pointer", "regex", "time", "uri", "uri-reference", "uuid"}

// problem is what is wrong at a path of a plan.
type problem = config.Problem

// expand turns the declared properties into a JSON Schema of the object that holds
// them; nil when none is declared.
func expand(declared map[string]json.RawMessage, at string) (map[string]any, []problem) {
	if len(declared) == 0 {
		return nil, nil
	}
	properties := map[string]any{}
	var required []any
	var problems []problem
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		schema, must, found := property(declared[name], at+"."+name)
		if found == nil {
			if _, err := fullSchema(schema); err != nil {
				found = []problem{schemaProblem(err, at+"."+name)}
			}
		}
		if found != nil {
			schema = map[string]any{} // said once is enough
		}
		problems = append(problems, found...)
		properties[name] = schema
		if must {
			required = append(required, name)
		}
	}
	schema := map[string]any{"type": "object", "properties": properties}
	if required != nil {
		schema["required"] = required
	}
	return schema, problems
}

// property reads one declaration, short or whole.
func property(raw json.RawMessage, at string) (schema any, required bool, problems []problem) {
	v, err := decode(raw)
	if err != nil {
		return nil, false, []problem{{Path: at, Message: err.Error()}}
	}
	switch v := v.(type) {
	case nil:
		return map[string]any{}, false, nil // `name:` alone: anything
	case string:
		return short(v, at)
	case bool:
		return v, false, nil
	case map[string]any:
		required, problems = desugar(v, at)
		return v, required, problems
	}
	return nil, false, []problem{{Path: at, Message: "must be a type such as `string!`, or a JSON Schema", Hint: "write `string`, `number!`, `string[]`, `date-time` or {type: …}"}}
}

// desugar turns `required: true` and short forms inside v into JSON Schema, in place.
func desugar(v map[string]any, at string) (required bool, problems []problem) {
	if must, ok := v["required"].(bool); ok {
		required = must
		delete(v, "required")
	}
	inner, ok := v["properties"].(map[string]any)
	if ok {
		for _, name := range slices.Sorted(maps.Keys(inner)) {
			where := at + ".properties." + name
			var must bool
			var found []problem
			switch p := inner[name].(type) {
			case string:
				inner[name], must, found = short(p, where)
			case map[string]any:
				must, found = desugar(p, where)
			case nil:
				inner[name] = map[string]any{}
			}
			problems = append(problems, found...)
			if must {
				list, _ := v["required"].([]any)
				v["required"] = append(list, name)
			}
		}
	}
	switch items := v["items"].(type) {
	case string:
		schema, _, found := short(items, at+".items")
		v["items"] = schema
		problems = append(problems, found...)
	case map[string]any:
		_, found := desugar(items, at+".items")
		problems = append(problems, found...)
	}
	return required, problems
}

// short reads `TYPE`, `TYPE!`, `TYPE[]`, `A|B`.
func short(text, at string) (schema any, required bool, problems []problem) {
	rest, required := strings.CutSuffix(strings.TrimSpace(text), "!")
	if one, many := strings.CutSuffix(rest, "[]"); many {
		items, _, problems := short(one, at)
		return map[string]any{"type": "array", "items": items}, required, problems
	}
	if rest == "any" {
		return map[string]any{}, required, nil
	}
	var names []any
	for part := range strings.SplitSeq(rest, "|") {
		part = strings.TrimSpace(part)
		switch {
		case slices.Contains(types, part):
			names = append(names, part)
		case slices.Contains(formats, part) && part == rest:
			return map[string]any{"type": "string", "format": part}, required, nil
		case slices.Contains(formats, part):
			return nil, false, []problem{{Path: at, Message: fmt.Sprintf("a choice is of types, and %q is a format of texts", part), Hint: fmt.Sprintf("write {anyOf: [{type: string, format: %s}, …]}", part)}}
		default:
			known := append(append(slices.Clone(types), formats...), "any")
			return nil, false, []problem{{Path: at, Message: fmt.Sprintf("there is no type %q", part), Hint: config.DidYouMean(part, known)}}
		}
	}
	if len(names) == 1 {
		return map[string]any{"type": names[0]}, required, nil
	}
	return map[string]any{"type": names}, required, nil
}

// decode decodes JSON with its numbers as they are written.
func decode(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("is no JSON: %w", err)
	}
	return v, nil
}

// partSchemas are the JSON Schemas of an event's two parts, nil where nothing is declared.
type partSchemas struct {
	payload map[string]any // properties or traits
	context map[string]any
}

// schemasOf expands rules for a call of type t; at is their path.
func schemasOf(rules tidegate.EventRules, t tidegate.EventType, at string) (partSchemas, []problem) {
	declared, field := rules.Properties, "properties"
	other, otherField := rules.Traits, "traits"
	if t == tidegate.Identify || t == tidegate.Group {
		declared, other, field, otherField = other, declared, otherField, field
	}
	var problems []problem
	if len(other) > 0 && at != "global" {
		problems = append(problems, problem{Path: join(at, otherField), Message: fmt.Sprintf("%s calls have no %s", t, otherField), Hint: "write " + field})
	}
	payload, found := expand(declared, join(at, field))
	problems = append(problems, found...)
	if len(rules.Schema) > 0 {
		at := join(at, "schema")
		whole, err := decode(rules.Schema)
		schema, ok := whole.(map[string]any)
		switch {
		case err != nil || !ok:
			problems = append(problems, problem{Path: at, Message: "must be a JSON Schema of an object"})
		case payload != nil:
			problems = append(problems, problem{Path: at, Message: "the event has both " + field + " and a schema", Hint: "keep one"})
		default:
			_, found := desugar(schema, at)
			problems = append(problems, found...)
			payload = schema
		}
	}
	context, found := expand(rules.Context, join(at, "context"))
	return partSchemas{payload, context}, append(problems, found...)
}

func join(at, field string) string {
	if at == "" {
		return field
	}
	return at + "." + field
}

// both is the schema of what satisfies a and b. Properties of lists meet by name,
// so that what neither knows can still be told apart.
func both(a, b map[string]any) map[string]any {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case !isList(a):
		return map[string]any{"allOf": []any{a, b}}
	}
	out := maps.Clone(b)
	theirs, _ := b["properties"].(map[string]any)
	properties := maps.Clone(theirs)
	if properties == nil {
		properties = map[string]any{}
	}
	mine, _ := a["properties"].(map[string]any)
	for name, schema := range mine {
		if other, clash := properties[name]; clash {
			schema = map[string]any{"allOf": []any{schema, other}}
		}
		properties[name] = schema
	}
	out["properties"] = properties
	var required []any
	for _, list := range []any{a["required"], b["required"]} {
		names, _ := list.([]any)
		for _, n := range names {
			if !slices.Contains(required, n) {
				required = append(required, n)
			}
		}
	}
	if required != nil {
		out["required"] = required
	}
	return out
}

// isList says whether schema is one that expand makes.
func isList(schema map[string]any) bool {
	for key := range schema {
		if key != "type" && key != "properties" && key != "required" {
			return false
		}
	}
	return true
}
