package codegen

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/tracking"
)

// typeScript writes the types of the events and the map that sdk-js takes.
func typeScript(p *tracking.Plan) []byte {
	var b strings.Builder
	b.WriteString(header(p) + "/* eslint-disable */\n\n")
	taken := names{"Events": true, "Traits": true, "GroupTraits": true, "PageProperties": true, "ScreenProperties": true, "Record": true, "Array": true, "Date": true}
	type entry struct{ event, name string }
	var entries []entry
	for _, s := range p.Shapes() {
		name := typeName(taken, s)
		about := map[tidegate.EventType]string{
			tidegate.Track: "Properties of " + s.Name, tidegate.Identify: "Traits of a user", tidegate.Group: "Traits of a group",
			tidegate.Page: "Properties of pages", tidegate.Screen: "Properties of screens",
		}[s.Type]
		if s.Description != "" {
			about += ": " + s.Description
		}
		fmt.Fprintf(&b, "/** %s */\nexport type %s = %s;\n\n", oneLine(about), name, tsObject(payload(s), ""))
		if s.Type == tidegate.Track {
			entries = append(entries, entry{s.Name, name})
		}
	}
	b.WriteString("/** The events of the plan, for `load<Events>(…)` and `new Analytics<Events>(…)`. */\nexport type Events = {\n")
	for _, e := range entries {
		fmt.Fprintf(&b, "  %s: %s;\n", quoted(e.event), e.name)
	}
	b.WriteString("};\n")
	return []byte(b.String())
}

var tsPlain = regexp.MustCompile(`^[A-Za-z$][A-Za-z0-9_$]*$`)

// tsName is a member's name, in quotes where it needs them.
func tsName(name string) string {
	if tsPlain.MatchString(name) {
		return name
	}
	return quoted(name)
}

// tsObject is the type of an object. One without declared members takes any.
func tsObject(s shape, indent string) string {
	if len(s.fields) == 0 {
		return "Record<string, unknown>"
	}
	var b strings.Builder
	b.WriteString("{\n")
	for _, f := range s.fields {
		if f.shape.note != "" {
			fmt.Fprintf(&b, "%s  /** %s */\n", indent, oneLine(f.shape.note))
		}
		mark := "?"
		if f.required {
			mark = ""
		}
		fmt.Fprintf(&b, "%s  %s%s: %s;\n", indent, tsName(f.name), mark, tsType(f.shape, indent+"  "))
	}
	return b.String() + indent + "}"
}

func tsType(s shape, indent string) string {
	out := "unknown"
	switch s.kind {
	case anything:
		return out
	case boolean:
		out = "boolean"
	case whole, number:
		out = "number"
	case word:
		out = "string"
	case moment:
		out = "string | Date"
	case choice:
		list := make([]string, len(s.choices))
		for i, c := range s.choices {
			list[i] = quoted(c)
		}
		out = strings.Join(list, " | ")
	case list:
		out = "Array<" + tsType(*s.item, indent) + ">"
	case object:
		out = tsObject(s, indent)
	}
	if s.null {
		out += " | null"
	}
	return out
}
