package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/secret"
)

// Validator is implemented by config structs whose fields depend on each other.
// Validate is called after the struct was decoded without a problem; the
// problems' paths are relative to the struct ("auth.token"), their places are
// filled in.
type Validator interface{ Validate() []Problem }

// DecodeYAML parses a YAML document and decodes it into the struct that into
// points to. The error is an *Error with every problem found. After an error
// the target is partly filled and must not be used.
func DecodeYAML(file string, data []byte, into any) error {
	d, err := ParseYAML(file, data)
	if err != nil {
		return err
	}
	return d.Decode(into)
}

// DecodeJSON does what DecodeYAML does, for JSON.
func DecodeJSON(file string, data []byte, into any) error {
	d, err := ParseJSON(file, data)
	if err != nil {
		return err
	}
	return d.Decode(into)
}

// Decode decodes the document into the value that into points to. It may be
// called more than once and for different types.
func (d *Document) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic(fmt.Sprintf("config: decoding into %T, which is not a pointer", into))
	}
	dec := &decoder{file: d.file}
	dec.value(d.root, v.Elem(), d.path, member{})
	return errorOf(dec.problems)
}

type decoder struct {
	file     string
	problems []Problem
}

func (d *decoder) problem(n *node, path, hint, format string, args ...any) {
	d.problems = append(d.problems, Problem{File: d.file, Line: n.line, Column: n.column, Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// value decodes n into v. m carries the tags of the field that v belongs to.
func (d *decoder) value(n *node, v reflect.Value, path string, m member) {
	t := v.Type()
	switch {
	case t == rawType:
		v.SetBytes(n.appendJSON(nil))
		return
	case t == secretType:
		if d.want(n, path, stringNode, m) {
			v.Set(reflect.ValueOf(secret.New(n.text)))
		}
		return
	case t == durationType:
		d.duration(n, v, path, m)
		return
	case t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(unmarshalType):
		if err := json.Unmarshal(n.appendJSON(nil), v.Addr().Interface()); err != nil {
			d.problem(n, path, "", "is not valid: %s", unmarshalMessage(err, m))
		}
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		if n.kind == nullNode {
			v.SetZero()
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		d.value(n, v.Elem(), path, m)
	case reflect.Interface:
		if plain := n.plain(); plain != nil {
			v.Set(reflect.ValueOf(plain))
		}
	case reflect.Struct:
		d.object(n, v, path)
	case reflect.Map:
		d.dictionary(n, v, path, m)
	case reflect.Slice:
		d.list(n, v, path, m)
	default:
		d.scalar(n, v, path, m)
	}
}

// unmarshalMessage is the message of a custom decoder; of a secret field's only
// that it failed. Invariant 9.
func unmarshalMessage(err error, m member) string {
	if m.secret() {
		return "the secret cannot be read"
	}
	return err.Error()
}

// want reports whether n is of kind k and adds the problem when it is not.
func (d *decoder) want(n *node, path string, k nodeKind, m member) bool {
	if n.kind == k {
		return true
	}
	hint := ""
	switch {
	case n.kind == nullNode:
		hint = "write a value or leave the key out"
	case k == stringNode && (n.kind == numberNode || n.kind == boolNode):
		hint = "put it in quotes"
		if !m.secret() {
			hint = fmt.Sprintf("put it in quotes: %q", cmp.Or(n.source, n.text))
		}
	case k == listNode:
		hint = "write it as a list: `[…]` or lines that start with `- `"
	}
	d.problem(n, path, hint, "must be %s, not %s", k.article(), n.kind.article())
	return false
}

func (d *decoder) scalar(n *node, v reflect.Value, path string, m member) {
	switch v.Kind() {
	case reflect.String:
		if d.want(n, path, stringNode, m) {
			v.SetString(n.text)
			d.checkText(n, path, m)
		}
	case reflect.Bool:
		if d.want(n, path, boolNode, m) {
			v.SetBool(n.text == "true")
		}
	case reflect.Float32, reflect.Float64:
		if d.want(n, path, numberNode, m) {
			f, _ := strconv.ParseFloat(n.text, 64) // out of range was refused when the document was read
			v.SetFloat(f)
			d.checkBounds(n, path, f, "", m)
		}
	default:
		d.integer(n, v, path, m)
	}
}

func (d *decoder) integer(n *node, v reflect.Value, path string, m member) {
	if !d.want(n, path, numberNode, m) {
		return
	}
	f, _ := strconv.ParseFloat(n.text, 64)
	if f != math.Trunc(f) {
		d.problem(n, path, "", "must be a whole number, not %s", n.text)
		return
	}
	i, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil && math.Abs(f) < 1<<53 { // 1e3
		i, err = int64(f), nil
	}
	if v.CanUint() {
		if err != nil || i < 0 || v.OverflowUint(uint64(i)) {
			d.problem(n, path, "", "is out of range: %s", n.text)
			return
		}
		v.SetUint(uint64(i))
	} else {
		if err != nil || v.OverflowInt(i) {
			d.problem(n, path, "", "is out of range: %s", n.text)
			return
		}
		v.SetInt(i)
	}
	d.checkBounds(n, path, f, "", m)
}

func (d *decoder) duration(n *node, v reflect.Value, path string, m member) {
	if n.kind != stringNode {
		d.problem(n, path, "", "must be a duration such as 30s, 15m or 24h, not %s", n.kind.article())
		return
	}
	dur, err := time.ParseDuration(n.text)
	if err != nil {
		d.problem(n, path, "", "%q is not a duration such as 30s, 15m or 24h", n.text)
		return
	}
	v.SetInt(int64(dur))
	d.checkBounds(n, path, dur.Seconds(), " seconds", m)
}

func (d *decoder) checkText(n *node, path string, m member) {
	if m.secret() {
		return
	}
	if e := m.tag.Get("enum"); e != "" {
		if known := strings.Split(e, ","); !slices.Contains(known, n.text) {
			d.problem(n, path, DidYouMean(n.text, known), "%q is not one of the allowed values", n.text)
			return
		}
	}
	if re := m.pattern(); re != nil && !re.MatchString(n.text) {
		d.problem(n, path, "", "%q does not match %s", n.text, re)
		return
	}
	switch m.tag.Get("format") {
	case "uri":
		u, err := url.Parse(n.text)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			d.problem(n, path, "", "must be a URL that starts with https:// or http://")
		} else if u.User != nil { // Invariant 9: a URL is shown, credentials in it would be too
			d.problem(n, path, "use the auth settings instead", "must not hold a user or a password")
		}
	case "duration":
		if _, err := time.ParseDuration(n.text); err != nil {
			d.problem(n, path, "", "%q is not a duration such as 30s, 15m or 24h", n.text)
		}
	}
}

func (d *decoder) checkBounds(n *node, path string, f float64, unit string, m member) {
	if low := m.bound("min"); low != nil && f < *low {
		d.problem(n, path, "", "must be at least %g%s", *low, unit)
	}
	if high := m.bound("max"); high != nil && f > *high {
		d.problem(n, path, "", "must be at most %g%s", *high, unit)
	}
}

func (d *decoder) list(n *node, v reflect.Value, path string, m member) {
	if n.kind == nullNode {
		v.SetZero()
		return
	}
	if !d.want(n, path, listNode, m) {
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.values), len(n.values))
	items := member{typ: v.Type().Elem(), name: m.name, tag: m.tag}
	if items.typ.Kind() != reflect.String {
		items.tag = "" // enum and pattern speak of texts, min and max of the list's length
	}
	for i, item := range n.values {
		d.value(item, list.Index(i), fmt.Sprintf("%s[%d]", path, i), items)
	}
	d.checkBounds(n, path, float64(len(n.values)), " items", m)
	v.Set(list)
}

func (d *decoder) dictionary(n *node, v reflect.Value, path string, m member) {
	if n.kind == nullNode {
		v.SetZero()
		return
	}
	if !d.want(n, path, mapNode, m) {
		return
	}
	if v.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("config: %s has keys that are not texts", v.Type()))
	}
	dict := reflect.MakeMapWithSize(v.Type(), len(n.keys))
	values := member{typ: v.Type().Elem(), name: m.name}
	if m.secret() {
		values.tag = `secret:"true"`
	}
	for i, k := range n.keys {
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(n.values[i], value, join(path, k.name), values)
		dict.SetMapIndex(reflect.ValueOf(k.name).Convert(v.Type().Key()), value)
	}
	v.Set(dict)
}

func (d *decoder) object(n *node, v reflect.Value, path string) {
	if n.kind == nullNode { // `mapping:` with nothing behind it
		n = &node{kind: mapNode, line: n.line, column: n.column}
	}
	if !d.want(n, path, mapNode, member{}) {
		return
	}
	before := len(d.problems)
	known := members(v.Type())
	names := make([]string, len(known))
	for i, m := range known {
		names[i] = m.name
		if child := n.child(m.name); child != nil {
			d.present(child, v.FieldByIndex(m.index), join(path, m.name), m)
		} else {
			d.absent(n, v.FieldByIndex(m.index), join(path, m.name), m)
		}
	}
	for _, k := range n.keys {
		if !slices.Contains(names, k.name) {
			d.problem(&node{line: k.line, column: k.column}, join(path, k.name), DidYouMean(k.name, names), "unknown key")
		}
	}
	if len(d.problems) > before || !v.CanAddr() {
		return
	}
	if check, ok := v.Addr().Interface().(Validator); ok {
		here := &Document{file: d.file, path: path, root: n}
		for _, p := range check.Validate() {
			d.problems = append(d.problems, here.Problem(p.Path, p.Message, p.Hint))
		}
	}
}

func (d *decoder) present(n *node, v reflect.Value, path string, m member) {
	d.value(n, v, path, m)
	if !m.optional && n.kind == stringNode && n.text == "" {
		d.problem(n, path, m.hint(), "must not be empty")
	}
}

// absent applies the default, keeps what the target already holds, or says
// that the field is missing and what to write. The fields of an absent optional struct get their
// defaults too.
func (d *decoder) absent(around *node, v reflect.Value, path string, m member) {
	if !v.IsZero() {
		return
	}
	if text, ok := m.tag.Lookup("default"); ok {
		d.value(defaultNode(text, m), v, path, m)
		return
	}
	if !m.optional {
		d.problem(around, path, m.hint(), "is missing")
		return
	}
	if v.Kind() == reflect.Struct {
		setDefaults(v)
	}
}

// defaultNode reads a default tag: texts as they are, everything else as YAML.
func defaultNode(text string, m member) *node {
	if m.typ.Kind() == reflect.String || m.typ == durationType {
		return &node{kind: stringNode, text: text}
	}
	doc, err := ParseYAML("default of "+m.name, []byte(text))
	if err != nil {
		panic(fmt.Sprintf("config: the default of %s cannot be read: %v", m.name, err))
	}
	return doc.root
}

// setDefaults fills the defaults of an optional struct that is absent; its
// required fields are not missed.
func setDefaults(v reflect.Value) {
	if v.Type() == secretType || v.Type() == timeType {
		return
	}
	for _, m := range members(v.Type()) {
		f := v.FieldByIndex(m.index)
		if text, ok := m.tag.Lookup("default"); ok && f.IsZero() {
			d := &decoder{}
			d.value(defaultNode(text, m), f, m.name, m)
			if len(d.problems) > 0 {
				panic(fmt.Sprintf("config: the default of %s does not fit: %s", m.name, d.problems[0]))
			}
		} else if f.Kind() == reflect.Struct {
			setDefaults(f)
		}
	}
}
