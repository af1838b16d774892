// Package celvalue turns what a CEL expression gives into values that encoding/json writes.
//
// Invariants: a result is as deep as it is bounded to be, and what is no number is an error rather
// than a null. It evaluates nothing. Everything here is pure.
package celvalue

import (
	"errors"
	"fmt"
	"math"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

const maxDepth = 32

// Plain is v as nil, bool, int64, uint64, float64, string, []any or map[string]any. What JSON has no
// form for, a time say, is other's to tell; it may refuse it with Foreign.
func Plain(v ref.Val, other func(ref.Val) (any, error)) (any, error) { return plain(v, other, 0) }

// Foreign is the error of a result that has no form as JSON.
func Foreign(v ref.Val) error { return fmt.Errorf("the result is a %s", v.Type().TypeName()) }

func plain(v ref.Val, other func(ref.Val) (any, error), depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("the result is nested deeper than %d levels", maxDepth)
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool, types.Int, types.Uint, types.String:
		return v.Value(), nil
	case types.Double:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, errors.New("the result is no number")
		}
		return float64(v), nil
	case traits.Mapper:
		out := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			name, ok := key.Value().(string)
			if !ok {
				return nil, errors.New("a key of the result is no text")
			}
			inner, err := plain(v.Get(key), other, depth+1)
			if err != nil {
				return nil, err
			}
			out[name] = inner
		}
		return out, nil
	case traits.Lister:
		out := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			inner, err := plain(it.Next(), other, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, inner)
		}
		return out, nil
	}
	return other(v)
}
