package mapping

import (
	"encoding/base64"
	"errors"
	"math"
	"strings"

	"github.com/osteele/liquid"

	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/sync/normalize"
)

// newEngine is Liquid's with the standard filters that the library lacks, and
// with those for digests and JSON that people know from other sync tools.
func newEngine() *liquid.Engine {
	e := liquid.NewEngine()
	e.RegisterFilter("at_least", func(a, b any) (any, error) { return choose(a, b, func(x, y float64) bool { return x >= y }) })
	e.RegisterFilter("at_most", func(a, b any) (any, error) { return choose(a, b, func(x, y float64) bool { return x <= y }) })
	e.RegisterFilter("newline_to_br", func(s string) string { return strings.ReplaceAll(s, "\n", "<br />\n") })
	e.RegisterFilter("sum", sum)
	e.RegisterFilter("where", where)
	for _, algorithm := range normalize.Algorithms() {
		e.RegisterFilter(algorithm, func(s string) (string, error) { return normalize.Digest(algorithm, s) })
	}
	e.RegisterFilter("base64_encode", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) })
	e.RegisterFilter("base64_decode", func(s string) (string, error) {
		text, err := base64.StdEncoding.DecodeString(s)
		return string(text), err
	})
	e.RegisterFilter("json", func(v any) (string, error) {
		text, err := asJSON(v)
		return string(text), err
	})
	return e
}

var errNumber = errors.New("the filter takes numbers")

// choose returns a where better says that it is, else b.
func choose(a, b any, better func(x, y float64) bool) (any, error) {
	x, okA := number(a)
	y, okB := number(b)
	switch {
	case !okA || !okB:
		return nil, errNumber
	case better(x, y):
		return a, nil
	}
	return b, nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case string:
		f, err := asFloat(v)
		n, ok := f.(float64)
		return n, err == nil && ok
	}
	return 0, false
}

func sum(list []any) (any, error) {
	var total float64
	for _, v := range list {
		n, ok := number(v)
		if !ok {
			return nil, errNumber
		}
		total += n
	}
	if total == math.Trunc(total) && math.Abs(total) < 1<<53 {
		return int64(total), nil
	}
	return total, nil
}

// where keeps the objects of a list whose member has a value, or is true.
func where(list []any, member string, value func(any) any) []any {
	want := value(true)
	kept := []any{}
	for _, v := range list {
		object, ok := v.(map[string]any)
		if !ok {
			continue
		}
		a, errA := asJSON(object[member])
		b, errB := asJSON(want)
		if errA == nil && errB == nil && string(a) == string(b) {
			kept = append(kept, object)
		}
	}
	return kept
}

// asJSON writes a value of a template.
func asJSON(v any) ([]byte, error) {
	switch v := v.(type) {
	case nil, bool, int64, float64, string, []any, map[string]any:
		return appendChecked(v)
	case int:
		return model.AppendJSON(nil, int64(v)), nil
	}
	return nil, errors.New("the value has no JSON form")
}

// appendChecked is model.AppendJSON for values that a template may have made.
func appendChecked(v any) (text []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			text, err = nil, errors.New("the value has no JSON form")
		}
	}()
	return model.AppendJSON(nil, v), nil
}
