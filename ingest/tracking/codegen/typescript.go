package codegen

import (
	"fmt"
	"regexp"
	"strconv"
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
	b.WriteString("};\n" + tsVersions(p))
	return []byte(b.String())
}

// tsVersions is the plugin that says the versions of events; sdk-js takes it as Segment's
// analytics.js does.
func tsVersions(p *tracking.Plan) string {
	var events, calls strings.Builder
	for _, s := range p.Shapes() {
		switch {
		case s.Version == 0:
		case s.Type == tidegate.Track:
			fmt.Fprintf(&events, "\n  [%s, %d],", quoted(s.Name), s.Version)
		default:
			fmt.Fprintf(&calls, "\n  [%s, %d],", quoted(string(s.Type)), s.Version)
		}
	}
	lines := func(b *strings.Builder) string {
		if b.Len() == 0 {
			return ""
		}
		return b.String() + "\n"
	}
	return fmt.Sprintf(tsPlugin, lines(&events), lines(&calls), quoted("tracking plan "+p.Name()), quoted(strconv.Itoa(p.Definition().Version)))
}

const tsPlugin = `
const versionsOfEvents = new Map<string, number>([%s]);
const versionsOfCalls = new Map<string, number>([%s]);

function sayVersion<
  Passing extends { event: { type?: string; event?: string; context?: object }; updateEvent(path: string, value: unknown): unknown },
>(passing: Passing): Passing {
  const { type, event, context } = passing.event;
  const version = type === 'track' ? versionsOfEvents.get(event ?? '') : versionsOfCalls.get(type ?? '');
  const said = (context as { protocols?: { event_version?: unknown } } | undefined)?.protocols?.event_version;
  if (version !== undefined && said === undefined) passing.updateEvent('context.protocols.event_version', version);
  return passing;
}

/** A plugin that says in each event which of the plan's versions of it this code is for: ` + "`load<Events>({ …, plugins: [eventVersions] })`" + `. */
export const eventVersions = {
  name: %s,
  version: %s,
  type: 'enrichment' as const,
  isLoaded: () => true,
  load: () => Promise.resolve(),
  track: sayVersion,
  identify: sayVersion,
  group: sayVersion,
  page: sayVersion,
  screen: sayVersion,
};
`

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
