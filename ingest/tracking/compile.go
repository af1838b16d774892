package tracking

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tidegate/tidegate/internal/config"
)

// known are the keywords that a rule checks by itself; notes say nothing about values.
var (
	known = []string{
		"type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern", "format",
		"properties", "required", "additionalProperties", "items", "minItems", "maxItems",
	}
	notes = []string{"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$schema", "$id"}
)

// compile makes the rule of a schema; of a wrong one the problem is at path at.
func compile(schema any, at string) (*rule, []problem) {
	full, problems := compileFull(schema, at) // what the full validator cannot read nobody can
	if problems != nil {
		return nil, problems
	}
	if refers(schema) {
		return full, nil // its references are relative to it
	}
	return compileAt(schema, at)
}

// refers says whether a schema refers to parts of itself.
func refers(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if key == "$ref" || key == "$dynamicRef" || refers(inner) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, refers)
	}
	return false
}

func compileAt(schema any, at string) (*rule, []problem) {
	r := &rule{maxLength: -1, maxItems: -1}
	switch s := schema.(type) {
	case bool:
		r.never = !s
		return r, nil
	case map[string]any:
		for key := range s {
			if !slices.Contains(known, key) && !slices.Contains(notes, key) {
				return compileFull(s, at)
			}
		}
		c := compiler{rule: r, schema: s, at: at}
		if !c.scalars() {
			return compileFull(s, at)
		}
		c.members()
		return r, c.problems
	}
	return nil, []problem{{Path: at, Message: "must be a JSON Schema"}}
}

// compiler fills one rule.
type compiler struct {
	rule     *rule
	schema   map[string]any
	at       string
	problems []problem
}

// scalars reads everything but members and items; false: the schema needs the full validator.
func (c *compiler) scalars() bool {
	r, s := c.rule, c.schema
	names := listOf(s["type"])
	if one, ok := s["type"].(string); ok {
		names = []string{one}
	}
	for _, name := range names {
		r.types |= kindsOf[name]
	}
	r.want = strings.Join(names, " or ")
	if list, ok := s["enum"].([]any); ok {
		if r.choices, ok = choicesOf(list); !ok {
			return false
		}
	}
	if one, is := s["const"]; is {
		list, ok := choicesOf([]any{one})
		if !ok || r.choices != nil {
			return false
		}
		r.choices = list
	}
	for key, b := range map[string]*bound{"minimum": &r.minimum, "maximum": &r.maximum} {
		exclusive := "exclusive" + strings.ToUpper(key[:1]) + key[1:]
		if s[key] != nil && s[exclusive] != nil {
			return false
		}
		if s[key] != nil && !b.take(s[key], false) || s[exclusive] != nil && !b.take(s[exclusive], true) {
			return false
		}
	}
	for key, into := range map[string]*int{"minLength": &r.minLength, "maxLength": &r.maxLength, "minItems": &r.minItems, "maxItems": &r.maxItems} {
		if n, ok := s[key].(json.Number); ok {
			f, err := n.Float64()
			if err != nil || f > 1<<31 {
				return false
			}
			*into = int(f)
		}
	}
	if p, ok := s["pattern"].(string); ok {
		r.pattern = regexp.MustCompile(p) // the full validator has compiled it
	}
	return c.format()
}

func (c *compiler) format() bool {
	name, ok := c.schema["format"].(string)
	if !ok {
		return true
	}
	schema, err := fullSchema(map[string]any{"format": name})
	if err != nil {
		return false
	}
	c.rule.format, c.rule.formatSchema = name, schema
	return true
}

func (c *compiler) members() {
	r, s := c.rule, c.schema
	required := listOf(s["required"])
	if inner, ok := s["properties"].(map[string]any); ok {
		r.fields = make(map[string]int, len(inner))
		for _, name := range slices.Sorted(maps.Keys(inner)) {
			r.fields[name] = len(r.properties)
			r.properties = append(r.properties, field{name: name, rule: c.inner(inner[name], "properties."+name), required: slices.Contains(required, name)})
		}
	}
	for _, name := range required {
		if _, is := r.fields[name]; !is {
			r.required = append(r.required, name)
		}
	}
	switch rest := s["additionalProperties"].(type) {
	case bool:
		r.closed = !rest
	case map[string]any:
		r.rest = c.inner(rest, "additionalProperties")
	}
	if items, ok := s["items"]; ok {
		r.items = c.inner(items, "items")
	}
}

func (c *compiler) inner(schema any, field string) *rule {
	r, problems := compileAt(schema, join(c.at, field))
	c.problems = append(c.problems, problems...)
	return r
}

func listOf(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, item := range list {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (b *bound) take(v any, exclusive bool) bool {
	n, ok := v.(json.Number)
	if !ok {
		return false
	}
	f, err := n.Float64()
	exact, ok := new(big.Rat).SetString(n.String())
	if err != nil || !ok || math.IsInf(f, 0) {
		return false
	}
	*b = bound{set: true, exclusive: exclusive, value: f, exact: exact, shown: n.String()}
	return true
}

const maxShown = 200

// choicesOf reads the scalars of an enum; ok is false when there are others.
func choicesOf(list []any) (c *choices, ok bool) {
	c = &choices{texts: map[string]bool{}}
	var shown []string
	for _, v := range list {
		switch v := v.(type) {
		case string:
			c.texts[v] = true
		case nil:
			c.other |= null
		case bool:
			c.yes, c.no = c.yes || v, c.no || !v
		case json.Number:
			f, err := v.Float64()
			exact, ok := new(big.Rat).SetString(v.String())
			if err != nil || !ok {
				return nil, false
			}
			c.numbers, c.exact = append(c.numbers, f), append(c.exact, exact)
		default:
			return nil, false
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, false
		}
		shown = append(shown, string(text))
	}
	c.shown = strings.Join(shown, ", ")
	if r := []rune(c.shown); len(r) > maxShown {
		c.shown = string(r[:maxShown]) + "…"
	}
	return c, true
}

// compileFull makes the rule of a schema by the full validator.
func compileFull(schema any, at string) (*rule, []problem) {
	compiled, err := fullSchema(schema)
	if err != nil {
		return nil, []problem{schemaProblem(err, at)}
	}
	return &rule{full: compiled}, nil
}

const schemaURL = "plan:///schema.json"

func fullSchema(schema any) (*jsonschema.Schema, error) {
	if err := knownFormats(schema); err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseLoader(noLoader{})
	if err := c.AddResource(schemaURL, schema); err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return c.Compile(schemaURL)
}

// knownFormats refuses formats that the validator would pass over in silence.
func knownFormats(v any) error {
	switch v := v.(type) {
	case map[string]any:
		if name, ok := v["format"].(string); ok && !slices.Contains(formats, name) {
			return &formatError{name}
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if key == "enum" || key == "const" || key == "default" || key == "examples" {
				continue
			}
			if err := knownFormats(v[key]); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range v {
			if err := knownFormats(item); err != nil {
				return err
			}
		}
	}
	return nil
}

type formatError struct{ name string }

func (e *formatError) Error() string { return fmt.Sprintf("there is no format %q", e.name) }

// noLoader keeps schemas from reading files and the network.
type noLoader struct{}

var errOutside = errors.New("a schema of a plan may refer to itself only")

func (noLoader) Load(string) (any, error) { return nil, errOutside }

// schemaProblem says in one sentence what is wrong with a schema.
func schemaProblem(err error, at string) problem {
	var format *formatError
	var invalid *jsonschema.SchemaValidationError
	var shape *jsonschema.ValidationError
	switch {
	case errors.As(err, &format):
		return problem{Path: at, Message: format.Error(), Hint: config.DidYouMean(format.name, formats)}
	case strings.Contains(err.Error(), errOutside.Error()): // the validator hides what it wraps
		return problem{Path: at, Message: errOutside.Error(), Hint: "put what is shared under $defs"}
	case errors.As(err, &invalid) && errors.As(invalid.Err, &shape):
		leaf := shape
		for len(leaf.Causes) > 0 {
			leaf = leaf.Causes[0]
		}
		where := strings.Join(leaf.InstanceLocation, ".")
		return problem{Path: at, Message: fmt.Sprintf("is no JSON Schema: %s %s", orThis(where), describe(leaf.ErrorKind)), Hint: "the keywords are those of draft 2020-12"}
	}
	message := err.Error()
	if cut, _, ok := strings.Cut(message, "\n"); ok {
		message = cut
	}
	return problem{Path: at, Message: "is no JSON Schema: " + message}
}

func orThis(where string) string {
	if where == "" {
		return "it"
	}
	return where
}
