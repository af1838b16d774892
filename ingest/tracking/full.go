package tracking

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/tidegate/tidegate/ingest/scan"
)

// checkFull decodes v and asks the full validator.
func (r *rule) checkFull(v scan.Value, at *place, out *findings) {
	dec := json.NewDecoder(bytes.NewReader(v))
	dec.UseNumber()
	var decoded any
	if err := dec.Decode(&decoded); err != nil {
		out.add(at, kindSchema, "cannot be read")
		return
	}
	var invalid *jsonschema.ValidationError
	if err := r.full.Validate(measured(decoded)); errors.As(err, &invalid) {
		leaves(invalid, decoded, at, out)
	} else if err != nil {
		out.add(at, kindSchema, "cannot be validated")
	}
}

// measured replaces numbers whose exponent is beyond measure, which the validator
// could not compare, by the largest and the smallest that it can.
func measured(v any) any {
	switch v := v.(type) {
	case json.Number:
		if _, ok := new(big.Rat).SetString(v.String()); !ok {
			f, _ := strconv.ParseFloat(v.String(), 64)
			switch {
			case f > 1:
				return json.Number("1e400")
			case f < -1:
				return json.Number("-1e400")
			}
			return json.Number("0")
		}
	case map[string]any:
		for key, inner := range v {
			v[key] = measured(inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = measured(inner)
		}
	}
	return v
}

// leaves tells the causes of an error that have none themselves.
func leaves(e *jsonschema.ValidationError, root any, at *place, out *findings) {
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Not, *kind.Contains:
		// Why each of the choices fails is more than anybody wants to know.
	default:
		if len(e.Causes) > 0 {
			for _, cause := range e.Causes {
				leaves(cause, root, at, out)
			}
			return
		}
	}
	where := at
	v := root
	for _, step := range e.InstanceLocation {
		if list, ok := v.([]any); ok {
			i, _ := strconv.Atoi(step)
			where = &place{up: where, index: i}
			if i < len(list) {
				v = list[i]
			}
			continue
		}
		members, _ := v.(map[string]any)
		where, v = &place{up: where, name: step}, members[step]
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			out.add(&place{up: where, name: name}, kindRequired, "is missing")
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			out.add(&place{up: where, name: name}, kindUnplannedProperty, "is not in the plan")
		}
	default:
		out.add(where, wordOf(e.ErrorKind), "%s", describe(e.ErrorKind))
	}
}

// wordOf is the stable word for an error of the validator.
func wordOf(k jsonschema.ErrorKind) string {
	switch k.(type) {
	case *kind.Type:
		return kindType
	case *kind.Enum, *kind.Const:
		return kindEnum
	case *kind.Minimum, *kind.Maximum, *kind.ExclusiveMinimum, *kind.ExclusiveMaximum, *kind.MultipleOf:
		return kindRange
	case *kind.MinLength, *kind.MaxLength, *kind.MinItems, *kind.MaxItems, *kind.MinProperties, *kind.MaxProperties:
		return kindLength
	case *kind.Pattern:
		return kindPattern
	case *kind.Format:
		return kindFormat
	}
	return kindSchema
}

// describe says what the validator asks for, and nothing of the value that it got.
func describe(k jsonschema.ErrorKind) string {
	number := func(r *big.Rat) string {
		f, _ := r.Float64()
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	switch k := k.(type) {
	case *kind.Type:
		return fmt.Sprintf("must be %s, is %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Enum:
		if c, ok := choicesOf(k.Want); ok {
			return "must be one of " + c.shown
		}
		return "must be one of those that the plan lists"
	case *kind.Const:
		if c, ok := choicesOf([]any{k.Want}); ok {
			return "must be " + c.shown
		}
		return "must be what the plan says"
	case *kind.Minimum:
		return "must be at least " + number(k.Want)
	case *kind.Maximum:
		return "must be at most " + number(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be more than " + number(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + number(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + number(k.Want)
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters", k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d items", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d items", k.Want)
	case *kind.Pattern:
		return "must match " + k.Want
	case *kind.Format:
		return "must have the format " + k.Want
	}
	if _, ok := k.(*kind.Not); ok {
		return "does not satisfy `not`"
	}
	if path := k.KeywordPath(); len(path) > 0 {
		return "does not satisfy `" + strings.Join(path, ".") + "`"
	}
	return "does not satisfy the schema"
}
