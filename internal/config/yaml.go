package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// ParseYAML reads one YAML document. Anchors, aliases and merge keys are
// followed; tags are refused. An empty document is an empty mapping. The error
// is an *Error.
func ParseYAML(file string, data []byte) (*Document, error) {
	if err := readable(file, data); err != nil {
		return nil, err
	}
	parsed, err := parseTolerant(data)
	if err != nil {
		return nil, &Error{Problems: []Problem{syntaxProblem(file, err)}}
	}
	empty := &Document{file: file, root: &node{kind: mapNode, line: 1, column: 1}}
	if len(parsed.Docs) == 0 || parsed.Docs[0].Body == nil {
		return empty, nil
	}
	if len(parsed.Docs) > 1 {
		p := Problem{File: file, Line: 1, Column: 1, Message: "the file has more than one document", Hint: "split it at the `---` lines into files of their own"}
		if start := parsed.Docs[1].Start; start != nil && start.Position != nil {
			p.Line, p.Column = start.Position.Line, start.Position.Column
		}
		return nil, &Error{Problems: []Problem{p}}
	}
	r := &yamlReader{file: file, anchors: map[string]ast.Node{}}
	root := r.node(parsed.Docs[0].Body, 0)
	if err := errorOf(r.problems); err != nil {
		return nil, err
	}
	if root.kind == nullNode {
		return empty, nil
	}
	return &Document{file: file, root: root}, nil
}

func readable(file string, data []byte) error {
	switch {
	case len(data) > maxDocumentBytes:
		return &Error{Problems: []Problem{{File: file, Message: fmt.Sprintf("the file has %d bytes, %d are allowed", len(data), maxDocumentBytes)}}}
	case !utf8.Valid(data):
		return &Error{Problems: []Problem{{File: file, Message: "the file is not UTF-8 text", Hint: "save it as UTF-8"}}}
	}
	return nil
}

// parseTolerant calls the parser and turns a panic of it into an error: the
// document is a stranger's and must not end the process.
func parseTolerant(data []byte) (f *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML cannot be read: %v", r)
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey()) // repeats are reported with the rest
}

func syntaxProblem(file string, err error) Problem {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		p := Problem{File: file, Message: "the YAML cannot be read: " + syntax.Message}
		if syntax.Token != nil && syntax.Token.Position != nil {
			p.Line, p.Column = syntax.Token.Position.Line, syntax.Token.Position.Column
		}
		return p
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return Problem{File: file, Message: first}
}

// yamlReader copies the parser's tree into ours.
type yamlReader struct {
	file     string
	nodes    int
	anchors  map[string]ast.Node
	problems []Problem
}

func (r *yamlReader) problem(t *token.Token, path, message, hint string) {
	p := Problem{File: r.file, Path: path, Message: message, Hint: hint}
	if t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	r.problems = append(r.problems, p)
}

// at returns a node of kind k placed where n stands.
func at(n ast.Node, k nodeKind, text string) *node {
	out := &node{kind: k, text: text}
	t := n.GetToken()
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		t = m.Values[0].Key.GetToken()
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		t = m.Key.GetToken()
	}
	if t != nil && t.Position != nil {
		out.line, out.column = t.Position.Line, t.Position.Column
	}
	return out
}

func (r *yamlReader) node(n ast.Node, depth int) *node {
	r.nodes++
	if depth > maxDepth || r.nodes > maxNodes {
		if r.nodes <= maxNodes+1 { // say it once
			r.problem(n.GetToken(), "", fmt.Sprintf("the document is too deep or too large (%d levels, %d values)", maxDepth, maxNodes), "")
		}
		r.nodes = maxNodes + 1
		return at(n, nullNode, "")
	}
	switch v := n.(type) {
	case *ast.NullNode:
		return at(n, nullNode, "")
	case *ast.BoolNode:
		return asWritten(at(n, boolNode, strconv.FormatBool(v.Value)), v.Token)
	case *ast.IntegerNode:
		return asWritten(at(n, numberNode, fmt.Sprint(v.Value)), v.Token)
	case *ast.FloatNode:
		return r.float(v)
	case *ast.StringNode:
		return at(n, stringNode, v.Value)
	case *ast.LiteralNode:
		return at(n, stringNode, v.Value.Value)
	case *ast.SequenceNode:
		list := at(n, listNode, "")
		for _, item := range v.Values {
			list.values = append(list.values, r.node(item, depth+1))
		}
		return list
	case *ast.MappingNode:
		return r.mapping(n, v.Values, depth)
	case *ast.MappingValueNode:
		return r.mapping(n, []*ast.MappingValueNode{v}, depth)
	case *ast.AnchorNode:
		r.anchors[v.Name.String()] = v.Value
		return r.node(v.Value, depth+1)
	case *ast.AliasNode:
		target, ok := r.anchors[v.Value.String()]
		if !ok {
			r.problem(n.GetToken(), "", fmt.Sprintf("no anchor &%s stands above this alias", v.Value.String()), "")
			return at(n, nullNode, "")
		}
		return r.node(target, depth+1)
	case *ast.TagNode:
		r.problem(n.GetToken(), "", "YAML tags are not supported", "write the value without the tag")
		return at(n, nullNode, "")
	}
	r.problem(n.GetToken(), "", fmt.Sprintf("a %s cannot stand here", strings.ToLower(n.Type().String())), "")
	return at(n, nullNode, "")
}

func asWritten(n *node, t *token.Token) *node {
	n.source = t.Value
	return n
}

func (r *yamlReader) float(v *ast.FloatNode) *node {
	if math.IsInf(v.Value, 0) || math.IsNaN(v.Value) {
		r.problem(v.Token, "", "the number is out of range", "")
		return at(v, nullNode, "")
	}
	if text := v.Token.Value; json.Valid([]byte(text)) {
		return at(v, numberNode, text) // as written, no digit lost
	}
	return asWritten(at(v, numberNode, strconv.FormatFloat(v.Value, 'g', -1, 64)), v.Token)
}

func (r *yamlReader) mapping(n ast.Node, values []*ast.MappingValueNode, depth int) *node {
	m := at(n, mapNode, "")
	seen := map[string]int{}
	var merged []*node
	for _, v := range values {
		if v.Key.IsMergeKey() {
			merged = append(merged, r.node(v.Value, depth+1))
			continue
		}
		t := v.Key.GetToken()
		name, ok := keyName(v.Key)
		if !ok {
			r.problem(t, "", "a key must be a plain text", "")
			continue
		}
		k := key{name: name}
		if t != nil && t.Position != nil {
			k.line, k.column = t.Position.Line, t.Position.Column
		}
		if line, twice := seen[name]; twice {
			r.problem(t, "", fmt.Sprintf("the key %q stands twice", name), fmt.Sprintf("the first is on line %d", line))
			continue
		}
		seen[name] = k.line
		m.keys = append(m.keys, k)
		m.values = append(m.values, r.node(v.Value, depth+1))
	}
	for _, from := range merged {
		r.merge(m, from, seen)
	}
	return m
}

// merge adds the keys of a merge value that m does not have itself.
func (r *yamlReader) merge(m, from *node, seen map[string]int) {
	if from.kind == listNode {
		for _, item := range from.values {
			r.merge(m, item, seen)
		}
		return
	}
	if from.kind != mapNode {
		r.problems = append(r.problems, Problem{File: r.file, Line: from.line, Column: from.column, Message: "only a mapping can be merged with <<"})
		return
	}
	for i, k := range from.keys {
		if _, have := seen[k.name]; !have {
			seen[k.name] = k.line
			m.keys, m.values = append(m.keys, k), append(m.values, from.values[i])
		}
	}
}

func keyName(k ast.MapKeyNode) (string, bool) {
	switch v := k.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.IntegerNode, *ast.BoolNode, *ast.NullNode, *ast.FloatNode:
		return k.GetToken().Value, true
	}
	return "", false
}
