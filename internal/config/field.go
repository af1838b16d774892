package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/secret"
)

// Field describes one field of a config struct to forms and documentation. Type
// is one of string, boolean, integer, number, array, object and any.
type Field struct {
	Name     string   `json:"name,omitempty"`
	Doc      string   `json:"doc,omitempty"`
	Type     string   `json:"type"`
	Format   string   `json:"format,omitempty"`
	Pattern  string   `json:"pattern,omitempty"`
	Enum     []string `json:"enum,omitempty"`
	Default  string   `json:"default,omitempty"` // as written in YAML
	Min      *float64 `json:"min,omitempty"`
	Max      *float64 `json:"max,omitempty"`
	Required bool     `json:"required,omitempty"`
	Secret   bool     `json:"secret,omitempty"`
	// Fields are the fields of an object with a fixed set of keys.
	Fields []Field `json:"fields,omitempty"`
	// Items describes the items of an array, or the values of an object whose keys are free.
	Items *Field `json:"items,omitempty"`
	// Ref names the struct that this is, where that struct contains itself: its
	// Fields stand in an outer Field.
	Ref string `json:"ref,omitempty"`
	typ reflect.Type
}

// Fields returns the fields of v, a struct or a pointer to one, in their order.
// It panics on a type or a tag that cannot be a config: that is a bug of the
// struct's author, found by the first test that touches it.
func Fields(v any) []Field { return Words(nil).Fields(v) }

// Words says what the fields of structs without `doc` tags mean, by "Struct.key".
type Words map[string]string

// Fields is the function Fields, with what w says.
func (w Words) Fields(v any) []Field { return w.describe(elem(v), nil).Fields }

func elem(v any) reflect.Type {
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

var (
	secretType    = reflect.TypeFor[secret.Secret]()
	rawType       = reflect.TypeFor[json.RawMessage]()
	durationType  = reflect.TypeFor[time.Duration]()
	timeType      = reflect.TypeFor[time.Time]()
	unmarshalType = reflect.TypeFor[json.Unmarshaler]()
)

// describe returns what a value of type t looks like, without what tags say. A
// struct inside itself is a Ref; around holds the structs around t.
func (w Words) describe(t reflect.Type, around []reflect.Type) Field {
	switch {
	case t == secretType:
		return Field{Type: "string", Secret: true}
	case t == rawType:
		return Field{Type: "any"}
	case t == durationType:
		return Field{Type: "string", Format: "duration"}
	case t == timeType:
		return Field{Type: "string", Format: "date-time"}
	case reflect.PointerTo(t).Implements(unmarshalType):
		return Field{Type: "any"}
	}
	switch t.Kind() { //nolint:exhaustive // the other kinds cannot be configured and panic below
	case reflect.String:
		return Field{Type: "string"}
	case reflect.Bool:
		return Field{Type: "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return Field{Type: "integer"}
	case reflect.Float32, reflect.Float64:
		return Field{Type: "number"}
	case reflect.Interface:
		return Field{Type: "any"}
	case reflect.Pointer:
		return w.describe(t.Elem(), around)
	case reflect.Slice, reflect.Array:
		items := w.describe(t.Elem(), around)
		return Field{Type: "array", Items: &items}
	case reflect.Map:
		items := w.describe(t.Elem(), around)
		return Field{Type: "object", Items: &items}
	case reflect.Struct:
		if slices.Contains(around, t) {
			return Field{Type: "object", Ref: t.Name(), typ: t}
		}
		f := Field{Type: "object", Fields: []Field{}}
		for _, m := range members(t) {
			inner := m.describe(w, append(slices.Clone(around), t))
			if inner.Doc == "" {
				inner.Doc = w[t.Name()+"."+m.name]
			}
			f.Fields = append(f.Fields, inner)
		}
		return f
	}
	panic(fmt.Sprintf("config: a field of type %s cannot be configured", t))
}

// member is one key of a struct: its place in the struct and its tags.
type member struct {
	name     string
	index    []int
	typ      reflect.Type
	tag      reflect.StructTag
	optional bool
}

// members lists the keys of t; the fields of embedded structs count as t's own.
func members(t reflect.Type) []member {
	var out []member
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() || (f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct) {
			continue
		}
		if name == "" {
			name = f.Name
		}
		_, hasDefault := f.Tag.Lookup("default")
		out = append(out, member{
			name: name, index: f.Index, typ: f.Type, tag: f.Tag,
			optional: hasDefault || strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero"),
		})
	}
	return out
}

func (m member) describe(w Words, around []reflect.Type) Field {
	f := w.describe(m.typ, around)
	f.Name, f.Doc, f.Required = m.name, m.tag.Get("doc"), !m.optional
	f.Default = m.tag.Get("default")
	f.Min, f.Max = m.bound("min"), m.bound("max")
	f.Secret = f.Secret || m.tag.Get("secret") == "true"
	if s := m.tag.Get("format"); s != "" {
		f.Format = s
	}
	target := &f // of a list of texts, enum and pattern speak of the items
	if f.Type == "array" {
		target = f.Items
	}
	target.Pattern = m.tag.Get("pattern")
	if s := m.tag.Get("enum"); s != "" {
		target.Enum = strings.Split(s, ",")
	}
	return f
}

func (m member) bound(tag string) *float64 {
	s, ok := m.tag.Lookup(tag)
	if !ok {
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(fmt.Sprintf("config: %s of %s is not a number: %q", tag, m.name, s))
	}
	return &f
}

// pattern returns the compiled pattern tag, or nil.
func (m member) pattern() *regexp.Regexp {
	if s := m.tag.Get("pattern"); s != "" {
		return regexp.MustCompile(s)
	}
	return nil
}

func (m member) secret() bool { return m.typ == secretType || m.tag.Get("secret") == "true" }
