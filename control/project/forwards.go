package project

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/ingest/forward"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/model"
)

// forward checks a forward. All columns of an event are known, so that filter and
// mapping are compiled here; fields are checked when the destination is opened.
func (c *checker) forward(it item[tidegate.Forward]) {
	d := it.value
	sources := names(c.sources, func(v tidegate.Source) string { return v.Name })
	for i, s := range d.Sources {
		if !slices.Contains(sources, s) {
			c.add(it.problem(fmt.Sprintf("sources[%d]", i), fmt.Sprintf("there is no source %q", s), config.DidYouMean(s, sources)))
		}
	}
	known := names(c.destinations, func(v tidegate.Connection) string { return v.Name })
	if d.Destination != "" && !slices.Contains(known, d.Destination) {
		c.add(it.problem("destination", fmt.Sprintf("there is no destination %q", d.Destination), config.DidYouMean(d.Destination, known)))
	}
	if len(d.Events) > 0 && len(d.Types) > 0 && !slices.Contains(d.Types, tidegate.Track) {
		c.add(it.problem("events", "names of track events are given, and track is not among the types", "remove one of the two"))
	}
	if tried, err := time.ParseDuration(d.Delivery.RetryFor); err == nil && tried < time.Minute {
		c.add(it.problem("delivery.retry_for", "an event is tried for at least one minute", "write 1h or 72h"))
	}
	c.forwardMapping(it)
}

func (c *checker) forwardMapping(it item[tidegate.Forward]) {
	said := map[string]bool{}
	for _, p := range mapping.Lint(it.value.Mapping) {
		said[p.Path] = true
		c.add(it.problem(p.Path, ofEvent.Replace(p.Message), ofEvent.Replace(p.Hint)))
	}
	for _, j := range mapping.Joins(it.value.Mapping) {
		said[j.Path] = true
		c.add(it.problem(j.Path, "an event is sent without a look at other models", "map a column of the event, or use a sync"))
	}
	for i, f := range it.value.Mapping.Fields {
		if f.Policy != "" && f.Policy != tidegate.Always {
			c.add(it.problem(fmt.Sprintf("mapping.fields[%d].policy", i), "an event is sent without a look at what the destination holds", "remove the policy, or use a sync"))
		}
	}
	if len(it.value.Mapping.Fields) == 0 {
		return // said by the schema
	}
	_, err := CompileForward(it.value, destinations.Object{Name: it.value.Object, Open: true})
	for _, err := range apart(err) {
		if f := tidegate.FaultOf(err); !said[f.Subject] {
			c.add(it.problem(f.Subject, f.Message, f.Hint))
		}
	}
}

// ofEvent speaks of the event where the language of mappings speaks of a model.
var ofEvent = strings.NewReplacer("the model has no column", "an event has no column", "in the model's query", "in the event", "the model's", "the event's", "the model", "the event", "leave rows without it out of the event", "leave events without it out by a filter")

var (
	noColumn  = regexp.MustCompile(`an event has no column "([^"]*)"`)
	noMembers = regexp.MustCompile(`"[^"]*" is a \w+ and has no members`)
)

// nameHint says what an event has instead of the column that message misses, empty where it misses none.
func nameHint(message string) string {
	columns := forward.Schema(nil).Names()
	const objects = "members of properties, traits, context and integrations, such as properties.total"
	switch {
	case strings.Contains(message, `"event" is a`):
		return "an event's values stand without `event.`: write traits.email; it has " + objects
	case noMembers.MatchString(message):
		return "an event has " + objects
	}
	m := noColumn.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	root, rest, nested := strings.Cut(strings.TrimPrefix(m[1], "event."), ".")
	if like := config.Suggest(root, columns); like != "" && nested {
		return fmt.Sprintf("did you mean %q?", like+"."+rest)
	} else if like != "" {
		return fmt.Sprintf("did you mean %q?", like)
	}
	return "an event has " + strings.Join(columns, ", ") + ", and " + objects
}

// absentHint says where an event has the member called name, which an expression looked for
// elsewhere; cell reads the event's columns.
func absentHint(name string, cell func(column string) any) string {
	hint := "read what only some events have by `column:`, which is null then, or test it with has(properties.total)"
	for _, root := range []string{"properties", "traits", "context.traits", "context", "integrations"} {
		if cell(root+"."+name) != nil {
			return "this event has " + root + "." + name + "; " + hint
		}
	}
	return hint
}

// ForwardMapping is the compiled filter and mapping of a forward: a forward.Mapper.
type ForwardMapping struct {
	filter  *mapping.Mapping // nil: everything
	mapping *mapping.Mapping
	mode    tidegate.Mode
}

var _ forward.Mapper = (*ForwardMapping)(nil)

const (
	filterField = "keep"
	filterPath  = "mapping.fields[1].expression"
)

// ForwardModel is the event as the model of a mapping.
func ForwardModel(def tidegate.Mapping) *model.Model {
	var used []string
	var walk func([]tidegate.FieldMapping)
	walk = func(list []tidegate.FieldMapping) {
		for _, f := range list {
			used = append(used, f.Column)
			walk(f.Object)
			walk(f.Items)
		}
	}
	walk(def.Fields)
	return &model.Model{Name: "event", Schema: forward.Schema(used), PrimaryKey: []string{"messageId"}}
}

// CompileForward compiles the filter and the mapping of a forward against an
// object. Problems come as joined Halt faults whose subjects are config paths.
func CompileForward(def tidegate.Forward, object destinations.Object) (*ForwardMapping, error) {
	m := &ForwardMapping{mode: def.Mode}
	var problems []error
	fail := func(err error, rename func(string) string) {
		for _, err := range apart(err) {
			f := *tidegate.FaultOf(err)
			f.Subject, f.Message, f.Hint = rename(f.Subject), ofEvent.Replace(f.Message), ofEvent.Replace(f.Hint)
			if f.Hint == "" {
				f.Hint = nameHint(f.Message)
			}
			problems = append(problems, &f)
		}
	}
	var err error
	if def.Filter != "" {
		m.filter, err = mapping.Compile(tidegate.Mapping{Identifier: "id", Fields: []tidegate.FieldMapping{
			{Field: "id", Constant: []byte(`"-"`)}, {Field: filterField, Expression: def.Filter},
		}}, ForwardModel(tidegate.Mapping{}), destinations.Object{Name: "a filter", Fields: []destinations.Field{
			{Name: "id", Type: tidegate.Type{Kind: tidegate.String}, Identifier: true}, {Name: filterField, Type: tidegate.Type{Kind: tidegate.Bool}},
		}})
		fail(err, func(at string) string { return strings.ReplaceAll(at, filterPath, "filter") })
	}
	m.mapping, err = mapping.Compile(def.Mapping, ForwardModel(def.Mapping), object)
	fail(err, func(at string) string { return at })
	if len(problems) > 0 {
		return nil, joined(problems)
	}
	return m, nil
}

// joined are errors as one, which apart takes apart.
type joined []error

func (j joined) Error() string {
	texts := make([]string, len(j))
	for i, err := range j {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "\n")
}

func (j joined) Unwrap() []error { return j }

// IdentifierField is the destination field by which records are matched.
func (m *ForwardMapping) IdentifierField() string { return m.mapping.IdentifierField() }

// Wants implements forward.Mapper. A filter that reads what the event does not
// have does not take it.
func (m *ForwardMapping) Wants(e *forward.View) (bool, *tidegate.Fault) {
	if m.filter == nil {
		return true, nil
	}
	record, fault := m.filter.Apply(rowOf(e, m.filter.Columns()))
	if fault != nil && strings.Contains(fault.Message, "no such key") {
		return false, nil
	}
	if fault != nil {
		fault.Code, fault.Subject, fault.Hint = "forward.filter", "filter", "write a filter that fits every event, with has(properties.total) for what only some have"
		return false, fault
	}
	return record[filterField] == true, nil
}

// Map implements forward.Mapper.
func (m *ForwardMapping) Map(e *forward.View) (forward.Mapped, *tidegate.Fault) {
	record, fault := m.mapping.Apply(rowOf(e, m.mapping.Columns()))
	if fault != nil {
		fault.Message, fault.Hint = ofEvent.Replace(fault.Message), ofEvent.Replace(fault.Hint)
		if _, name, absent := strings.Cut(fault.Message, "no such key: "); absent {
			fault.Hint = absentHint(name, e.Cell)
		}
		return forward.Mapped{}, fault
	}
	out := forward.Mapped{Record: record, Identifier: record[m.mapping.IdentifierField()]}
	name := out.Identifier
	if m.mode == tidegate.Append {
		name = e.Cell("messageId")
	}
	out.Key = tidegate.Key(model.AppendJSON(nil, []any{name}))
	return out, nil
}

func rowOf(e *forward.View, columns []string) tidegate.Row {
	row := make(tidegate.Row, len(columns))
	for i, c := range columns {
		row[i] = e.Cell(c)
	}
	return row
}
