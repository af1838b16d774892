package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// ParseJSON reads one JSON value. Repeated keys and anything after the value
// are problems. The error is an *Error.
func ParseJSON(file string, data []byte) (*Document, error) {
	if err := readable(file, data); err != nil {
		return nil, err
	}
	r := &jsonReader{file: file, data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	root, err := r.value(0)
	if err == nil {
		if _, err = r.dec.Token(); err == nil {
			err = errors.New("something stands after the end of the value")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		line, column := r.place(r.dec.InputOffset())
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line, column = r.place(syntax.Offset - 1)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends too early")
		}
		r.problems = append(r.problems, Problem{File: file, Line: line, Column: column, Message: "the JSON cannot be read: " + err.Error()})
	}
	if err := errorOf(r.problems); err != nil {
		return nil, err
	}
	return &Document{file: file, root: root}, nil
}

type jsonReader struct {
	file     string
	data     []byte
	dec      *json.Decoder
	scanned  int64 // the place cache: line and column of this offset
	line     int
	column   int
	problems []Problem
}

// place returns line and column of a byte offset; offsets mostly grow, so the
// count goes on from the last one.
func (r *jsonReader) place(offset int64) (line, column int) {
	offset = max(0, min(offset, int64(len(r.data))))
	if offset < r.scanned || r.line == 0 {
		r.scanned, r.line, r.column = 0, 1, 1
	}
	for ; r.scanned < offset; r.scanned++ {
		r.column++
		if r.data[r.scanned] == '\n' {
			r.line, r.column = r.line+1, 1
		}
	}
	return r.line, r.column
}

// next returns the next token and where it starts.
func (r *jsonReader) next() (t json.Token, line, column int, err error) {
	start := r.dec.InputOffset()
	for start < int64(len(r.data)) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[start]) >= 0 {
		start++
	}
	t, err = r.dec.Token()
	line, column = r.place(start)
	return t, line, column, err
}

func (r *jsonReader) value(depth int) (*node, error) {
	t, line, column, err := r.next()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("it is deeper than %d levels", maxDepth)
	}
	n := &node{line: line, column: column}
	switch v := t.(type) {
	case nil:
		n.kind = nullNode
	case bool:
		n.kind, n.text = boolNode, strconv.FormatBool(v)
	case json.Number:
		n.kind, n.text = numberNode, v.String()
		if _, err := v.Float64(); err != nil {
			return nil, errors.New("a number is out of range")
		}
	case string:
		n.kind, n.text = stringNode, v
	case json.Delim:
		if v == '[' {
			n.kind = listNode
			return n, r.list(n, depth)
		}
		n.kind = mapNode
		return n, r.object(n, depth)
	}
	return n, nil
}

func (r *jsonReader) list(n *node, depth int) error {
	for r.dec.More() {
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.values = append(n.values, v)
	}
	_, err := r.dec.Token()
	return err
}

func (r *jsonReader) object(n *node, depth int) error {
	seen := map[string]int{}
	for r.dec.More() {
		t, line, column, err := r.next()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return errors.New("a key must be a text")
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		if first, twice := seen[name]; twice {
			r.problems = append(r.problems, Problem{
				File: r.file, Line: line, Column: column,
				Message: fmt.Sprintf("the key %q stands twice", name), Hint: fmt.Sprintf("the first is on line %d", first),
			})
			continue
		}
		seen[name] = line
		n.keys, n.values = append(n.keys, key{name: name, line: line, column: column}), append(n.values, v)
	}
	_, err := r.dec.Token()
	return err
}
