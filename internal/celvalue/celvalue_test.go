package celvalue

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/google/go-cmp/cmp"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	env, err := cel.NewEnv(cel.ParserRecursionLimit(200))
	if err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat("[", maxDepth) + "1" + strings.Repeat("]", maxDepth)
	for _, c := range []struct {
		expression string
		want       any
		err        string
	}{
		{`{"a": [1, 2u, 0.5, true, null, "x"], "b": {}}`, map[string]any{"a": []any{int64(1), uint64(2), 0.5, true, nil, "x"}, "b": map[string]any{}}, ""},
		{`[timestamp("2026-01-02T03:04:05Z")]`, []any{"a time"}, ""},
		{`duration("5s")`, nil, "the result is a google.protobuf.Duration"},
		{`[0.0 / 0.0]`, nil, "the result is no number"},
		{`1.0 / 0.0`, nil, "the result is no number"},
		{`{1: "x"}`, nil, "a key of the result is no text"},
		{"[" + deep + "]", nil, "the result is nested deeper than 32 levels"},
	} {
		checked, issues := env.Compile(c.expression)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		program, err := env.Program(checked)
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := program.Eval(cel.NoVars())
		if err != nil {
			t.Fatal(err)
		}
		got, err := Plain(v, func(v ref.Val) (any, error) {
			if at, ok := v.(types.Timestamp); ok && at.Equal(types.Timestamp{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}) == types.True {
				return "a time", nil
			}
			return nil, Foreign(v)
		})
		if err == nil {
			err = errors.New("")
		}
		if diff := cmp.Diff(c.want, got); diff != "" || err.Error() != c.err {
			t.Errorf("%.40s: got %v, want %s; %s", c.expression, err, c.err, diff)
		}
	}
}
