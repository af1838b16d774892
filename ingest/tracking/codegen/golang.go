package codegen

import (
	"fmt"
	"go/format"
	"go/token"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/tracking"
)

// writer writes one Go file.
type writer struct {
	strings.Builder
	taken names
	later []pending // structs inside others
	times bool
	says  bool // versions
}

type pending struct {
	name, about string
	shape       shape
}

// golang writes a struct per event and a function that makes the message of it.
func golang(p *tracking.Plan) ([]byte, error) {
	w := &writer{taken: names{}}
	for _, name := range []string{"Identify", "Group", "Page", "Screen", "Traits", "GroupTraits", "PageProperties", "ScreenProperties", "Ptr"} {
		w.taken[name] = true
	}
	for _, s := range p.Shapes() {
		w.message(s)
	}
	head := header(p) + fmt.Sprintf("\n// Package %s makes the messages of the events of the tracking plan %s.\npackage %s\n\nimport (\n", packageName(p.Name()), p.Name(), packageName(p.Name()))
	if w.times {
		head += "\t\"time\"\n\n"
	}
	head += "\tanalytics \"github.com/tidegate/tidegate/sdk-go\"\n)\n\n// Ptr returns a pointer to v, for properties that may be left out.\nfunc Ptr[T any](v T) *T { return &v }\n\n"
	if w.says {
		head += goVersion
	}
	text, err := format.Source([]byte(head + w.String()))
	if err != nil {
		return nil, fmt.Errorf("formatting the code of plan %s: %w", p.Name(), err)
	}
	return text, nil
}

const goVersion = `// eventVersion says which version of its event a message is. It stands in Context.Extra,
// to which more can be added.
func eventVersion(n int) *analytics.Context {
	return &analytics.Context{Extra: map[string]any{"protocols": map[string]any{"event_version": n}}}
}

`

// packageName is the plan's name where Go allows it.
func packageName(name string) string {
	if token.IsKeyword(name) || name == "analytics" || name == "time" || name == "main" {
		return name + "plan"
	}
	return strings.ReplaceAll(name, "_", "")
}

func (w *writer) say(format string, args ...any) { fmt.Fprintf(&w.Builder, format, args...) }

func (w *writer) message(s tracking.Shape) {
	name := typeName(w.taken, s)
	w.object(name, aboutOf(s), payload(s))
	for len(w.later) > 0 {
		next := w.later[0]
		w.later = w.later[1:]
		w.object(next.name, next.about, next.shape)
	}
	says := ""
	if s.Version > 0 {
		w.says, says = true, fmt.Sprintf(", Context: eventVersion(%d)", s.Version)
	}
	switch s.Type {
	case tidegate.Track:
		f := w.taken.take("Track "+name, "Track")
		w.say("// %s makes the message that says %s of a user.\nfunc %s(userID string, p %s) analytics.Track {\n\treturn analytics.Track{UserId: userID, Event: %s, Properties: p.values()%s}\n}\n\n", f, oneLine(strconv.Quote(s.Name)), f, name, strconv.Quote(s.Name), says)
	case tidegate.Identify:
		w.say("// Identify makes the message that says who a user is.\nfunc Identify(userID string, t Traits) analytics.Identify {\n\treturn analytics.Identify{UserId: userID, Traits: t.values()%s}\n}\n\n", says)
	case tidegate.Group:
		w.say("// Group makes the message that says to which group a user belongs.\nfunc Group(userID, groupID string, t GroupTraits) analytics.Group {\n\treturn analytics.Group{UserId: userID, GroupId: groupID, Traits: t.values()%s}\n}\n\n", says)
	case tidegate.Page:
		w.say("// Page makes the message that says which page a user saw.\nfunc Page(userID, name string, p PageProperties) analytics.Page {\n\treturn analytics.Page{UserId: userID, Name: name, Properties: p.values()%s}\n}\n\n", says)
	case tidegate.Screen:
		w.say("// Screen makes the message that says which screen a user saw.\nfunc Screen(userID, name string, p ScreenProperties) analytics.Screen {\n\treturn analytics.Screen{UserId: userID, Name: name, Properties: p.values()%s}\n}\n\n", says)
	case tidegate.Alias:
	}
}

func aboutOf(s tracking.Shape) string {
	about := map[tidegate.EventType]string{
		tidegate.Track: "holds the properties of " + strconv.Quote(s.Name), tidegate.Identify: "are those of a user", tidegate.Group: "are those of a group",
		tidegate.Page: "are those of a page", tidegate.Screen: "are those of a screen",
	}[s.Type]
	if s.Description != "" {
		about += ": " + s.Description
	}
	return about
}

// object writes a struct and the method that makes a map of it.
func (w *writer) object(name, about string, s shape) {
	if len(s.fields) == 0 {
		w.say("// %s %s\ntype %s map[string]any\n\nfunc (v %s) values() map[string]any { return v }\n\n", name, oneLine(about), name, name)
		return
	}
	own := names{}
	var members, puts strings.Builder
	for _, f := range s.fields {
		member := own.take(f.name, "X")
		t := w.typeOf(name+member, f.name, f.shape)
		optional := !f.required || f.shape.null
		if f.shape.note != "" {
			fmt.Fprintf(&members, "\t// %s\n", oneLine(f.shape.note))
		}
		key := strconv.Quote(f.name)
		if !optional || t == "any" || strings.HasPrefix(t, "[]") || strings.HasPrefix(t, "map[") {
			fmt.Fprintf(&members, "\t%s %s\n", member, t)
			if optional {
				fmt.Fprintf(&puts, "\tif v.%s != nil {\n\t\tm[%s] = %s\n\t}\n", member, key, w.value("v."+member, f.shape))
			} else {
				fmt.Fprintf(&puts, "\tm[%s] = %s\n", key, w.value("v."+member, f.shape))
			}
			continue
		}
		fmt.Fprintf(&members, "\t%s *%s\n", member, t)
		fmt.Fprintf(&puts, "\tif v.%s != nil {\n\t\tm[%s] = %s\n\t}", member, key, w.value("(*v."+member+")", f.shape))
		if f.required { // null is a value of it
			fmt.Fprintf(&puts, " else {\n\t\tm[%s] = nil\n\t}", key)
		}
		puts.WriteString("\n")
	}
	w.say("// %s %s\ntype %s struct {\n%s}\n\nfunc (v %s) values() map[string]any {\n\tm := make(map[string]any, %d)\n%s\treturn m\n}\n\n", name, oneLine(about), name, members.String(), name, len(s.fields), puts.String())
}

// typeOf is the Go type of a value; name is what it is called when it needs a name.
func (w *writer) typeOf(name, property string, s shape) string {
	switch s.kind {
	case anything:
	case boolean:
		return "bool"
	case whole:
		return "int64"
	case number:
		return "float64"
	case word:
		return "string"
	case moment:
		w.times = true
		return "time.Time"
	case choice:
		return w.choices(name, property, s)
	case list:
		return "[]" + w.typeOf(name+"Item", property, *s.item)
	case object:
		if len(s.fields) == 0 {
			return "map[string]any"
		}
		name = w.taken.take(name, "X")
		w.later = append(w.later, pending{name, "is the value of " + strconv.Quote(property), s})
		return name
	}
	return "any"
}

// choices writes the type of a choice and its values.
func (w *writer) choices(name, property string, s shape) string {
	name = w.taken.take(name, "X")
	w.say("// %s is the value of %s\ntype %s string\n\n// The values of %s\nconst (\n", name, oneLine(strconv.Quote(property)), name, name)
	for _, c := range s.choices {
		w.say("\t%s %s = %s\n", w.taken.take(name+" "+c, "X"), name, strconv.Quote(c))
	}
	w.WriteString(")\n\n")
	return name
}

// value is the expression that makes what is sent of the expression v.
func (w *writer) value(v string, s shape) string {
	switch {
	case s.kind == object && len(s.fields) > 0:
		return v + ".values()"
	case s.kind == list && needsCare(*s.item):
		inner := w.value("x", *s.item)
		return fmt.Sprintf("func() []any {\nlist := make([]any, len(%s))\nfor i, x := range %s {\nlist[i] = %s\n}\nreturn list\n}()", v, v, inner)
	}
	return v
}

func needsCare(s shape) bool {
	return s.kind == object && len(s.fields) > 0 || s.kind == list && needsCare(*s.item)
}
