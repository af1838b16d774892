package hook

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// text evaluates an expression to a text; no expression, null, and a member
// that the body lacks are "".
func text(program cel.Program, vars map[string]any) (string, error) {
	if program == nil {
		return "", nil
	}
	v, err := value(program, vars)
	if err != nil || v == nil {
		if err != nil && strings.Contains(err.Error(), "no such key") {
			return "", nil
		}
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case bool, int64:
		return fmt.Sprint(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	}
	return "", errors.New("the expression is no text or number")
}

const maxDepth = 32

func value(program cel.Program, vars map[string]any) (any, error) {
	out, _, err := program.Eval(vars)
	if err != nil {
		return nil, err
	}
	return plain(out, 0)
}

// plain turns a result into what encoding/json writes.
func plain(v ref.Val, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("the result is nested deeper than %d levels", maxDepth)
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return uint64(v), nil
	case types.Double:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, errors.New("the result is no number")
		}
		return float64(v), nil
	case types.String:
		return string(v), nil
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano), nil
	case traits.Mapper:
		out := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			name, ok := key.Value().(string)
			if !ok {
				return nil, errors.New("a key of the result is no text")
			}
			inner, err := plain(v.Get(key), depth+1)
			if err != nil {
				return nil, err
			}
			out[name] = inner
		}
		return out, nil
	case traits.Lister:
		out := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			inner, err := plain(it.Next(), depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, inner)
		}
		return out, nil
	}
	return nil, fmt.Errorf("the result is a %s", v.Type().TypeName())
}
