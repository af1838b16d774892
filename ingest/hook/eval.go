package hook

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/tidegate/tidegate/internal/celvalue"
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

func value(program cel.Program, vars map[string]any) (any, error) {
	out, _, err := program.Eval(vars)
	if err != nil {
		return nil, err
	}
	return celvalue.Plain(out, func(v ref.Val) (any, error) {
		if at, ok := v.(types.Timestamp); ok {
			return at.UTC().Format(time.RFC3339Nano), nil
		}
		return nil, celvalue.Foreign(v)
	})
}
