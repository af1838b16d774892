package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/tidegate/tidegate/internal/celvalue"
)

const (
	hintVariables = "the variables are event, source, type and name: `event.properties.total > 100.0`"
	maxCost       = 100_000
)

// expression is a compiled CEL expression over an event.
type expression struct {
	program cel.Program
}

func compileExpression(text string) (*expression, error) {
	env, err := cel.NewEnv(
		cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)), cel.Variable("source", cel.StringType), cel.Variable("type", cel.StringType), cel.Variable("name", cel.StringType),
		cel.ParserExpressionSizeLimit(8<<10), cel.ParserRecursionLimit(100), cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true), ext.Strings(),
	)
	if err != nil {
		return nil, fmt.Errorf("building the language: %w", err)
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		var said []string
		for _, e := range issues.Errors() {
			said = append(said, fmt.Sprintf("%d:%d: %s", e.Location.Line(), e.Location.Column()+1, e.Message))
		}
		return nil, fmt.Errorf("the expression cannot be compiled: %s", strings.Join(said, "; "))
	}
	program, err := env.Program(checked, cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("the expression cannot be compiled: %w", err)
	}
	return &expression{program}, nil
}

// errAbsent says that the event lacks what the expression needs.
var errAbsent = errors.New("the event lacks a member that the expression needs")

func (e *expression) eval(s *subject) (ref.Val, error) {
	if s.vars == nil {
		var event map[string]any
		if err := json.Unmarshal(s.open().Append(nil), &event); err != nil {
			return nil, fmt.Errorf("decoding the event: %w", err)
		}
		s.vars = map[string]any{"event": event, "source": s.item.Event.Source, "type": string(s.item.Type), "name": s.name()}
	}
	out, _, err := e.program.Eval(s.vars)
	if err != nil && strings.Contains(err.Error(), "no such key") {
		return nil, errAbsent
	}
	return out, err
}

// holds evaluates a condition. A member that the event lacks makes it false.
func (e *expression) holds(s *subject) (bool, error) {
	out, err := e.eval(s)
	if errors.Is(err, errAbsent) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	yes, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the condition is a %s, neither true nor false", out.Type().TypeName())
	}
	return bool(yes), nil
}

// value evaluates to JSON; nil without an error when the event lacks what it needs.
func (e *expression) value(s *subject) ([]byte, error) {
	out, err := e.eval(s)
	if errors.Is(err, errAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := celvalue.Plain(out, func(v ref.Val) (any, error) {
		if text, ok := v.ConvertToType(types.StringType).(types.String); ok { // times
			return string(text), nil
		}
		return nil, celvalue.Foreign(v)
	})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("the result cannot be written: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
