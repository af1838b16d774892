package file

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
)

// inspectNDJSON reads a file of one JSON object a line. Its columns are the
// members of all objects, by name; objects and arrays are JSON columns, and a
// member of several kinds is one of texts.
func inspectNDJSON(in, again io.Reader, rewind func() error) (*source, error) {
	kinds := map[string]tidegate.Kind{}
	r := newLines(in)
	for {
		object, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for name, v := range object {
			kinds[name] = merge(kinds[name], kindOf(v))
		}
		if len(kinds) > model.MaxColumns {
			return nil, fmt.Errorf("the objects have more than %d different members", model.MaxColumns)
		}
	}
	if len(kinds) == 0 {
		return nil, errors.New("the file holds no object with a member")
	}
	names := slices.Sorted(maps.Keys(kinds))
	schema, err := columns(names, func(i int) tidegate.Type {
		if kind := kinds[names[i]]; kind != tidegate.Unknown {
			return tidegate.Type{Kind: kind}
		}
		return tidegate.Type{Kind: tidegate.String}
	})
	if err != nil {
		return nil, err
	}
	return &source{schema: schema, rows: func(context.Context) (tidegate.RowReader, error) {
		if err := rewind(); err != nil {
			return nil, err
		}
		return &objectRows{schema: schema, in: newLines(io.LimitReader(again, MaxBytes)), row: make(tidegate.Row, len(schema))}, nil
	}}, nil
}

func kindOf(v any) tidegate.Kind {
	switch v.(type) {
	case bool:
		return tidegate.Bool
	case int64:
		return tidegate.Int
	case float64:
		return tidegate.Float
	case string:
		return tidegate.String
	case nil:
		return tidegate.Unknown
	}
	return tidegate.JSON
}

// merge is the narrowest kind that holds values of both.
func merge(a, b tidegate.Kind) tidegate.Kind {
	number := func(k tidegate.Kind) bool { return k == tidegate.Int || k == tidegate.Float }
	switch {
	case a == b || b == tidegate.Unknown:
		return a
	case a == tidegate.Unknown:
		return b
	case a == tidegate.JSON || b == tidegate.JSON:
		return tidegate.JSON
	case number(a) && number(b):
		return tidegate.Float
	}
	return tidegate.String
}

// lines reads one object a line; empty lines are passed over.
type lines struct {
	in   *bufio.Scanner
	line int
}

func newLines(in io.Reader) *lines {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 0, 64<<10), model.MaxRowBytes)
	return &lines{in: s}
}

func (l *lines) next() (map[string]any, error) {
	for l.in.Scan() {
		l.line++
		text := l.in.Bytes()
		if l.line == 1 {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		v, err := model.ParseJSON(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.line, err)
		}
		object, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("line %d: it is not an object", l.line)
		}
		return object, nil
	}
	if err := l.in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d is longer than %d bytes", l.line+1, model.MaxRowBytes)
	} else if err != nil {
		return nil, err
	}
	return nil, io.EOF
}

// objectRows is the second pass.
type objectRows struct {
	schema tidegate.Schema
	in     *lines
	row    tidegate.Row
}

func (r *objectRows) Schema() tidegate.Schema { return r.schema }

func (r *objectRows) Close() error { return nil }

func (r *objectRows) Next(ctx context.Context) (tidegate.Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	object, err := r.in.next()
	if err != nil {
		return nil, err
	}
	for i, column := range r.schema {
		if r.row[i], err = member(column.Type.Kind, object[column.Name]); err != nil {
			return nil, fmt.Errorf("line %d, member %q: %w", r.in.line, column.Name, err)
		}
	}
	return r.row, nil
}

// member is the cell of a member in a column of kind.
func member(kind tidegate.Kind, v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case int64:
		if kind == tidegate.Float {
			return float64(v), nil
		}
	case string:
		if kind == tidegate.String {
			return v, usable(v)
		}
	}
	switch kind {
	case tidegate.JSON:
		return tidegate.JSONText(model.AppendJSON(nil, v)), nil
	case tidegate.String:
		return string(model.AppendJSON(nil, v)), nil
	default:
		if kindOf(v) != kind {
			return nil, fmt.Errorf("the value is %s, the column %s", kindOf(v), kind)
		}
		return v, nil
	}
}
