package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Limits on documents of strangers. A project folder of a thousand syncs stays
// far below them.
const (
	maxDocumentBytes = 4 << 20
	maxDepth         = 64
	maxNodes         = 500_000 // after aliases are followed, so that a small file cannot become a huge tree
)

type nodeKind uint8

const (
	nullNode nodeKind = iota
	boolNode
	numberNode
	stringNode
	listNode
	mapNode
)

// article is the kind as problems name it.
func (k nodeKind) article() string {
	return [...]string{"empty", "true or false", "a number", "a text", "a list", "a mapping"}[k]
}

// node is one value of a document, whatever its notation was.
type node struct {
	kind         nodeKind
	line, column int
	text         string  // string: the value; number: canonical JSON; bool: true or false
	source       string  // as the file has it where that differs: 007
	keys         []key   // map
	values       []*node // map: one per key; list: the items
}

type key struct {
	name         string
	line, column int
}

func (n *node) child(name string) *node {
	for i := range n.keys {
		if n.keys[i].name == name {
			return n.values[i]
		}
	}
	return nil
}

// appendJSON appends the value as compact JSON.
func (n *node) appendJSON(b []byte) []byte {
	switch n.kind {
	case nullNode:
		return append(b, "null"...)
	case boolNode, numberNode:
		return append(b, n.text...)
	case stringNode:
		return appendString(b, n.text)
	case listNode:
		b = append(b, '[')
		for i, v := range n.values {
			if i > 0 {
				b = append(b, ',')
			}
			b = v.appendJSON(b)
		}
		return append(b, ']')
	case mapNode:
		b = append(b, '{')
		for i, v := range n.values {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, n.keys[i].name), ':')
			b = v.appendJSON(b)
		}
		return append(b, '}')
	}
	return b
}

// appendString quotes s without the HTML escapes that would make templates unreadable.
func appendString(b []byte, s string) []byte {
	var quoted bytes.Buffer
	enc := json.NewEncoder(&quoted)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // a string always marshals
		panic(fmt.Sprintf("config: marshalling a string: %v", err))
	}
	return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
}

// plain returns the value as encoding/json would decode it into an any, with
// whole numbers as int64 where they fit.
func (n *node) plain() any {
	switch n.kind {
	case nullNode:
		return nil
	case boolNode:
		return n.text == "true"
	case numberNode:
		if i, err := strconv.ParseInt(n.text, 10, 64); err == nil {
			return i
		}
		f, _ := strconv.ParseFloat(n.text, 64) // out of range gives ±Inf, refused when the tree was built
		return f
	case stringNode:
		return n.text
	case listNode:
		list := make([]any, len(n.values))
		for i, v := range n.values {
			list[i] = v.plain()
		}
		return list
	case mapNode:
		m := make(map[string]any, len(n.keys))
		for i, v := range n.values {
			m[n.keys[i].name] = v.plain()
		}
		return m
	}
	return nil
}

// Document is a parsed document, or a part of one, that knows where each of its
// values stands. It is immutable.
type Document struct {
	file string
	path string
	root *node
}

// At returns the part at a dotted path such as `destinations[0].config`,
// relative to d, or nil when there is none. A mapping's part keeps its place in the
// file, so that decoding it later still reports file, line and column.
func (d *Document) At(path string) *Document {
	n := d.root
	for _, step := range steps(path) {
		switch {
		case n == nil:
			return nil
		case step.name != "":
			n = n.child(step.name)
		case n.kind == listNode && step.index < len(n.values):
			n = n.values[step.index]
		default:
			return nil
		}
	}
	if n == nil {
		return nil
	}
	return &Document{file: d.file, path: join(d.path, path), root: n}
}

// JSON returns the document as compact JSON, keys in the order of the file.
func (d *Document) JSON() json.RawMessage { return d.root.appendJSON(nil) }

// Problem returns a problem at path (relative to d), with the place of the
// value there, or of the nearest value around it that exists.
func (d *Document) Problem(path, message, hint string) Problem {
	at := d
	for _, p := range prefixes(path) {
		if inner := d.At(p); inner != nil {
			at = inner
		}
	}
	return Problem{File: d.file, Line: at.root.line, Column: at.root.column, Path: join(d.path, path), Message: message, Hint: hint}
}

type step struct {
	name  string
	index int
}

// steps splits a path; a part that is not an index is a name.
func steps(path string) []step {
	var out []step
	for path != "" {
		path = strings.TrimPrefix(path, ".")
		if strings.HasPrefix(path, "[") {
			if end := strings.IndexByte(path, ']'); end > 0 {
				if i, err := strconv.Atoi(path[1:end]); err == nil && i >= 0 {
					out = append(out, step{index: i})
					path = path[end+1:]
					continue
				}
			}
		}
		end := strings.IndexAny(path[min(1, len(path)):], ".[")
		if end < 0 {
			return append(out, step{name: path})
		}
		out = append(out, step{name: path[:end+1]})
		path = path[end+1:]
	}
	return out
}

// prefixes returns the paths that lead to path, shortest first: a, a[0], a[0].b.
func prefixes(path string) []string {
	var out []string
	at := ""
	for _, s := range steps(path) {
		if s.name != "" {
			at = join(at, s.name)
		} else {
			at += "[" + strconv.Itoa(s.index) + "]"
		}
		out = append(out, at)
	}
	return out
}

func join(path, name string) string {
	if path == "" || name == "" || strings.HasPrefix(name, "[") {
		return path + name
	}
	return path + "." + name
}
