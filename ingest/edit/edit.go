// Package edit changes the text of an event: a member here, a member there, and
// everything else stays as the client wrote it.
//
// Invariants: what no call touches keeps its bytes, numbers of any length
// included; members keep their order; of a repeated name the last value counts and
// the others go. Arbitrary scanned text gives an answer, never a panic (Invariant 7).
//
// It does not judge what an event needs. An Object belongs to one goroutine; the
// values it gives alias the text it was made of.
package edit

import (
	"encoding/json"
	"errors"

	"github.com/tidegate/tidegate/ingest/scan"
)

// Items is the step of a path that stands for every item of an array.
const Items = "[]"

// Object is a JSON object that can be changed. Only objects on the way to a
// change are taken apart.
type Object struct {
	members []member
}

type member struct {
	name   string
	value  scan.Value
	opened *Object // stands for value when it was taken apart
}

// Open takes the object v apart; ok is false when it is none.
func Open(v scan.Value) (o *Object, ok bool) {
	if !v.IsObject() {
		return &Object{}, false
	}
	o = &Object{members: make([]member, 0, 16)}
	for name, value := range v.Members {
		o.put(string(name), value)
	}
	return o, true
}

func (o *Object) put(name string, value scan.Value) {
	if m := o.find(name); m != nil {
		m.value, m.opened = value, nil
		return
	}
	o.members = append(o.members, member{name: name, value: value})
}

func (o *Object) find(name string) *member {
	for i := range o.members {
		if o.members[i].name == name {
			return &o.members[i]
		}
	}
	return nil
}

// open takes the value of m apart; nil when it is no object.
func (m *member) open() *Object {
	if m.opened == nil {
		inner, ok := Open(m.value)
		if !ok {
			return nil
		}
		m.opened = inner
	}
	return m.opened
}

func (m *member) text() scan.Value {
	if m.opened != nil {
		return m.opened.Append(nil)
	}
	return m.value
}

// Get returns the value at path; nil when there is none.
func (o *Object) Get(path ...string) scan.Value {
	m := o.find(path[0])
	switch {
	case m == nil:
		return nil
	case len(path) == 1:
		return m.text()
	}
	if inner := m.open(); inner != nil {
		return inner.Get(path[1:]...)
	}
	return nil
}

// Set puts value, which must be JSON, at path. Objects that lack on the way are
// made; what stands in the way and is no object is replaced.
func (o *Object) Set(value []byte, path ...string) {
	if len(path) == 1 {
		o.put(path[0], value)
		return
	}
	m := o.find(path[0])
	if m == nil {
		o.members = append(o.members, member{name: path[0]})
		m = &o.members[len(o.members)-1]
	}
	inner := m.open()
	if inner == nil {
		inner = &Object{}
		m.value, m.opened = nil, inner
	}
	inner.Set(value, path[1:]...)
}

// Delete takes what is at path out, and says whether something was.
func (o *Object) Delete(path ...string) bool {
	return o.Each(path, func(scan.Value) []byte { return nil })
}

// Each replaces every value at path, in which Items stands for the items of an
// array, by what by makes of it; nil takes it out. It says whether there was one.
func (o *Object) Each(path []string, by func(scan.Value) []byte) (met bool) {
	for i := range o.members {
		m := &o.members[i]
		if m.name != path[0] {
			continue
		}
		if len(path) > 1 && path[1] != Items {
			inner := m.open()
			return inner != nil && inner.Each(path[1:], by)
		}
		value, met := each(m.text(), path[1:], by)
		switch {
		case !met:
		case value == nil:
			o.members = append(o.members[:i], o.members[i+1:]...)
		default:
			m.value, m.opened = value, nil
		}
		return met
	}
	return false
}

// each is Each for a value of any kind.
func each(v scan.Value, path []string, by func(scan.Value) []byte) (out []byte, met bool) {
	if len(path) == 0 {
		return by(v), true
	}
	if path[0] != Items {
		o, ok := Open(v)
		if !ok || !o.Each(path, by) {
			return v, false
		}
		return o.Append(nil), true
	}
	if !v.IsArray() {
		return v, false
	}
	out = append(out, '[')
	for item := range v.Items {
		changed, hit := each(item, path[1:], by)
		met = met || hit
		if changed == nil {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, changed...)
	}
	if !met {
		return v, false
	}
	return append(out, ']'), true
}

// Under adds what shared has and o lacks, object by object: what a batch says for
// all its events.
func (o *Object) Under(shared *Object) {
	for i := range shared.members {
		theirs := &shared.members[i]
		own := o.find(theirs.name)
		if own == nil {
			o.members = append(o.members, member{name: theirs.name, value: theirs.text()})
			continue
		}
		if both := theirs.open(); both != nil && own.open() != nil {
			own.opened.Under(both)
		}
	}
}

// Append appends the object's text to dst.
func (o *Object) Append(dst []byte) []byte {
	dst = append(dst, '{')
	for i := range o.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendText(dst, o.members[i].name), ':')
		if inner := o.members[i].opened; inner != nil {
			dst = inner.Append(dst)
		} else {
			dst = append(dst, o.members[i].value...)
		}
	}
	return append(dst, '}')
}

// AppendText appends s as a JSON string to dst.
func AppendText(dst []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(dst, '"'), s...), '"')
	}
	text, err := json.Marshal(s)
	if err != nil { // a string always marshals
		panic("edit: marshalling a string: " + err.Error())
	}
	return append(dst, text...)
}

// errPath is wrapped by the errors of Path.
var errPath = errors.New("is no path of an event")

// Path reads the path of a value in an event: `properties.products[].sku`. A name
// with a dot or brackets in it stands in double quotes: `properties."a.b"`.
func Path(text string) ([]string, error) {
	var path []string
	rest := text
	for rest != "" {
		var name string
		if rest[0] == '"' {
			end := 1
			for end < len(rest) && rest[end] != '"' {
				end++
			}
			if end >= len(rest) {
				return nil, errPath
			}
			name, rest = rest[1:end], rest[end+1:]
		} else {
			end := 0
			for end < len(rest) && rest[end] != '.' && rest[end] != '[' {
				end++
			}
			name, rest = rest[:end], rest[end:]
		}
		if name == "" {
			return nil, errPath
		}
		path = append(path, name)
		for len(rest) >= 2 && rest[:2] == Items {
			path, rest = append(path, Items), rest[2:]
		}
		if rest == "" {
			return path, nil
		}
		if rest[0] != '.' || len(rest) == 1 {
			return nil, errPath
		}
		rest = rest[1:]
	}
	return nil, errPath
}
