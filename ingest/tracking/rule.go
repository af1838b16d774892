package tracking

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tidegate/tidegate/ingest/scan"
)

// kinds is a set of the kinds of JSON values.
type kinds uint8

const (
	null kinds = 1 << iota
	boolean
	integer
	fraction // a number that is not whole
	text
	array
	object
)

var kindsOf = map[string]kinds{
	"null": null, "boolean": boolean, "integer": integer, "number": integer | fraction, "string": text, "array": array, "object": object,
}

// rule is one compiled JSON Schema. The zero value lets everything through.
type rule struct {
	types kinds  // 0: any
	want  string // the types, for people
	never bool   // the schema false

	choices *choices
	minimum bound
	maximum bound

	minLength, maxLength int // maxLength -1: any
	pattern              *regexp.Regexp
	format               string
	formatSchema         *jsonschema.Schema

	fields     map[string]int // index into properties
	properties []field
	required   []string // of names that are no property
	closed     bool     // what is not among properties is told
	rest       *rule    // of what is not among properties

	items              *rule
	minItems, maxItems int // maxItems -1: any

	full *jsonschema.Schema // stands for all of the above
}

// field is a member that a rule knows.
type field struct {
	name     string
	rule     *rule
	required bool
}

type bound struct {
	set       bool
	exclusive bool
	value     float64
	exact     *big.Rat
	shown     string
}

// choices are the scalars of an enum.
type choices struct {
	texts   map[string]bool
	numbers []float64
	exact   []*big.Rat
	other   kinds // null; trueValue and falseValue say which booleans
	yes, no bool
	shown   string
}

// maxFindings bounds what is told of one event.
const maxFindings = 20

// finding is one way in which a value breaks a rule.
type finding struct {
	kind    string
	path    []string // names and [index] steps below the event
	message string
}

// findings are those of one event.
type findings []finding

// place is where a check is, as a list that lives on the stack.
type place struct {
	up    *place
	name  string
	index int // of an item when name is empty
}

func (p *place) path() []string {
	if p == nil {
		return nil
	}
	if p.name == "" && p.up != nil {
		return append(p.up.path(), "["+strconv.Itoa(p.index)+"]")
	}
	return append(p.up.path(), p.name)
}

func (f *findings) add(at *place, kind, format string, args ...any) {
	if len(*f) < maxFindings {
		*f = append(*f, finding{kind: kind, path: at.path(), message: fmt.Sprintf(format, args...)})
	}
}

// The kinds of violations, which are stable words.
const (
	kindUnplannedEvent    = "unplanned_event"
	kindUnplannedVersion  = "unplanned_version"
	kindUnplannedProperty = "unplanned_property"
	kindRequired          = "required"
	kindType              = "type"
	kindEnum              = "enum"
	kindRange             = "range"
	kindLength            = "length"
	kindPattern           = "pattern"
	kindFormat            = "format"
	kindSchema            = "schema"
)

// check adds what is wrong with v to out.
func (r *rule) check(v scan.Value, at *place, out *findings) {
	switch {
	case r.full != nil:
		r.checkFull(v, at, out)
		return
	case r.never:
		out.add(at, kindUnplannedProperty, "must not be there")
		return
	}
	got := kindOf(v)
	if r.types != 0 && r.types&got == 0 {
		out.add(at, kindType, "must be %s, is %s", r.want, got)
		return
	}
	if r.choices != nil && !r.choices.have(v, got) {
		out.add(at, kindEnum, "must be one of %s", r.choices.shown)
		return
	}
	switch got { //nolint:exhaustive // of the others the type says all
	case text:
		r.checkText(v, at, out)
	case integer, fraction:
		r.checkNumber(v, at, out)
	case object:
		r.checkObject(v, at, out)
	case array:
		r.checkArray(v, at, out)
	}
}

// kindOf is the kind of a scanned value.
func kindOf(v scan.Value) kinds {
	switch v[0] {
	case '"':
		return text
	case '{':
		return object
	case '[':
		return array
	case 't', 'f':
		return boolean
	case 'n':
		return null
	}
	plain := true
	for _, c := range v {
		if c == '.' || c == 'e' || c == 'E' {
			plain = false
			break
		}
	}
	if plain {
		return integer
	}
	if f, err := strconv.ParseFloat(string(v), 64); err == nil && len(v) <= 17 {
		if f == math.Trunc(f) {
			return integer
		}
		return fraction
	}
	if exact, ok := new(big.Rat).SetString(string(v)); ok && exact.IsInt() {
		return integer
	}
	return fraction
}

func (k kinds) String() string {
	switch k { //nolint:exhaustive // an object is what is left
	case null:
		return "null"
	case boolean:
		return "boolean"
	case integer:
		return "integer"
	case fraction:
		return "number"
	case text:
		return "string"
	case array:
		return "array"
	}
	return "object"
}

func (r *rule) checkText(v scan.Value, at *place, out *findings) {
	if r.minLength == 0 && r.maxLength < 0 && r.pattern == nil && r.formatSchema == nil {
		return
	}
	s, _ := v.Text()
	if r.minLength > 0 || r.maxLength >= 0 {
		n := utf8.RuneCount(s)
		if n < r.minLength {
			out.add(at, kindLength, "must have at least %d characters", r.minLength)
		}
		if r.maxLength >= 0 && n > r.maxLength {
			out.add(at, kindLength, "must have at most %d characters", r.maxLength)
		}
	}
	if r.pattern != nil && !r.pattern.Match(s) {
		out.add(at, kindPattern, "must match %s", r.pattern)
	}
	if r.formatSchema != nil && r.formatSchema.Validate(string(s)) != nil {
		out.add(at, kindFormat, "must have the format %s", r.format)
	}
}

func (r *rule) checkNumber(v scan.Value, at *place, out *findings) {
	if r.minimum.set {
		if c := r.minimum.compare(v); c < 0 || c == 0 && r.minimum.exclusive {
			out.add(at, kindRange, "must be %s %s", map[bool]string{false: "at least", true: "more than"}[r.minimum.exclusive], r.minimum.shown)
		}
	}
	if r.maximum.set {
		if c := r.maximum.compare(v); c > 0 || c == 0 && r.maximum.exclusive {
			out.add(at, kindRange, "must be %s %s", map[bool]string{false: "at most", true: "less than"}[r.maximum.exclusive], r.maximum.shown)
		}
	}
}

// compare says how the number v lies to the bound.
func (b *bound) compare(v scan.Value) int {
	if f, err := strconv.ParseFloat(string(v), 64); err == nil && (len(v) <= 15 || math.Abs(f-b.value) > math.Abs(b.value)*1e-9+1e-300) {
		switch {
		case f < b.value:
			return -1
		case f > b.value:
			return 1
		case len(v) <= 15 && len(b.shown) <= 15: // two decimals of so few digits are one float only when they are one
			return 0
		}
	}
	exact, ok := new(big.Rat).SetString(string(v))
	if !ok { // an exponent beyond measure
		if v[0] == '-' {
			return -1
		}
		return 1
	}
	return exact.Cmp(b.exact)
}

func (c *choices) have(v scan.Value, got kinds) bool {
	switch got { //nolint:exhaustive // choices are scalars
	case text:
		s, _ := v.Text()
		return c.texts[string(s)]
	case null:
		return c.other&null != 0
	case boolean:
		return c.yes && v[0] == 't' || c.no && v[0] == 'f'
	case integer, fraction:
		if len(v) <= 15 {
			f, _ := strconv.ParseFloat(string(v), 64)
			for i, n := range c.numbers {
				if n == f && c.exact[i].Cmp(new(big.Rat).SetFloat64(n)) == 0 {
					return true
				}
			}
		}
		exact, ok := new(big.Rat).SetString(string(v))
		for _, n := range c.exact {
			if ok && n.Cmp(exact) == 0 {
				return true
			}
		}
	}
	return false
}

func (r *rule) checkArray(v scan.Value, at *place, out *findings) {
	if r.items == nil && r.minItems == 0 && r.maxItems < 0 {
		return
	}
	n := 0
	for item := range v.Items {
		if r.items != nil && len(*out) < maxFindings {
			r.items.check(item, &place{up: at, index: n}, out)
		}
		n++
	}
	if n < r.minItems {
		out.add(at, kindLength, "must have at least %d items", r.minItems)
	}
	if r.maxItems >= 0 && n > r.maxItems {
		out.add(at, kindLength, "must have at most %d items", r.maxItems)
	}
}

// small is how many properties an object may have for their values to lie on the stack.
const small = 24

func (r *rule) checkObject(v scan.Value, at *place, out *findings) {
	if r.fields == nil && !r.closed && r.rest == nil && len(r.required) == 0 {
		return
	}
	var room [small]scan.Value
	values := room[:min(len(r.properties), small)]
	if len(r.properties) > small {
		values = make([]scan.Value, len(r.properties))
	}
	for name, value := range v.Members {
		if i, known := r.fields[string(name)]; known {
			values[i] = value // the last of equal names counts
			continue
		}
		if r.rest != nil {
			r.rest.check(value, &place{up: at, name: string(name)}, out)
		} else if r.closed {
			out.add(&place{up: at, name: string(name)}, kindUnplannedProperty, "is not in the plan")
		}
	}
	for i := range r.properties {
		p := &r.properties[i]
		switch {
		case values[i] != nil:
			p.rule.check(values[i], &place{up: at, name: p.name}, out)
		case p.required:
			out.add(&place{up: at, name: p.name}, kindRequired, "is missing")
		}
	}
	for _, name := range r.required {
		if v.Member(name) == nil {
			out.add(&place{up: at, name: name}, kindRequired, "is missing")
		}
	}
}

// pathText writes a path as people read it: properties.products[0].sku.
func pathText(path []string) string {
	var b strings.Builder
	for i, step := range path {
		if i > 0 && !strings.HasPrefix(step, "[") {
			b.WriteByte('.')
		}
		b.WriteString(step)
	}
	return b.String()
}
