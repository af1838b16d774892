package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/sync/normalize"
)

// The published limits of a mapping.
const (
	MaxFields = 1000 // mapped values, nested ones included
	MaxDepth  = 8    // levels of objects and arrays
)

// Compile checks def against the model's columns and the destination's object.
// All problems come at once, as joined Halt faults of the code
// "mapping.invalid" whose subjects are config paths
// (`mapping.fields[2].column`).
func Compile(def tidegate.Mapping, m *model.Model, obj destinations.Object) (*Mapping, error) {
	c := &compiler{def: def, m: m, schema: m.Schema, obj: obj, mapped: map[string]int{}, nodes: map[string]*node{}}
	c.out = &Mapping{identifier: def.Identifier, columns: slices.Clone(m.PrimaryKey), keys: len(m.PrimaryKey), policies: map[string]tidegate.FieldPolicy{}}
	if len(def.Fields) == 0 {
		c.problem("mapping.fields", "no field is mapped", "map at least the identifier")
	}
	for i := range def.Fields {
		c.field(i)
	}
	c.identifier()
	c.required()
	if c.values > MaxFields {
		c.problem("mapping.fields", fmt.Sprintf("%d values are mapped, the limit is %d", c.values, MaxFields), "build large objects in the model's query and map one JSON column")
	}
	if len(c.problems) > 0 {
		return nil, errors.Join(c.problems...)
	}
	c.out.members = slices.Clone(c.out.fields)
	sortMembers(c.out.members)
	if err := c.out.seal(def, obj); err != nil {
		return nil, err
	}
	return c.out, nil
}

// compiler gathers the problems of one Compile.
type compiler struct {
	def      tidegate.Mapping
	m        *model.Model
	schema   tidegate.Schema
	obj      destinations.Object
	mapped   map[string]int   // field path → its index in the mapping
	nodes    map[string]*node // fields of the record
	values   int
	out      *Mapping
	problems []error
}

func (c *compiler) problem(path, message, hint string) {
	c.problems = append(c.problems, &tidegate.Fault{Action: tidegate.Halt, Code: "mapping.invalid", Subject: path, Message: message, Hint: hint})
}

func (c *compiler) field(i int) {
	def := c.def.Fields[i]
	path := fmt.Sprintf("mapping.fields[%d]", i)
	target, known := c.target(def.Field)
	steps := c.steps(def.Field, known)
	switch first, twice := c.mapped[def.Field]; {
	case def.Field == "":
		c.problem(path+".field", "the field has no name", "name the destination's field")
		steps = nil
	case twice:
		c.problem(path+".field", fmt.Sprintf("field %q is mapped already by mapping.fields[%d]", def.Field, first), "map every field once")
		steps = nil
	case known && target.ReadOnly:
		c.problem(path+".field", fmt.Sprintf("field %q of %s is read-only", def.Field, c.obj.Name), "leave it out of the mapping")
	case !known && !c.obj.Open:
		c.problem(path+".field", fmt.Sprintf("%s has no field %q", c.obj.Name, def.Field), c.absent(def.Field))
	case slices.Contains(steps, ""):
		c.problem(path+".field", fmt.Sprintf("the path %q has an empty step", def.Field), `write address.city for a nested field, or address\.city for a name with a point`)
		steps = nil
	}
	if _, twice := c.mapped[def.Field]; !twice {
		c.mapped[def.Field] = i
	}
	n := c.node(path, "field "+def.Field, def, target, 1)
	c.policy(path+".policy", def, len(steps) > 1)
	c.place(path+".field", steps, n)
}

// absent says what to do about a field that the destination lacks.
func (c *compiler) absent(name string) string {
	const create = "`create_fields: true` in the mapping creates it, where the destination can"
	switch hint := config.DidYouMean(name, c.writable()); {
	case hint == "":
		return create
	case strings.HasPrefix(hint, "did you mean"):
		return hint
	default:
		return hint + "; " + create
	}
}

// steps are the levels of a dotted field of an open object; a point that is
// written \. belongs to the name.
func (c *compiler) steps(name string, known bool) []string {
	if known || !c.obj.Open || !strings.Contains(name, ".") {
		return []string{name}
	}
	const escaped = "\x00"
	steps := strings.Split(strings.ReplaceAll(name, `\.`, escaped), ".")
	for i := range steps {
		steps[i] = strings.ReplaceAll(steps[i], escaped, ".")
	}
	return steps
}

// place puts n where steps lead, through objects that it makes on the way.
func (c *compiler) place(path string, steps []string, n *node) {
	if len(steps) == 0 {
		return
	}
	at, siblings := c.nodes[steps[0]], &c.out.fields
	for i, step := range steps[:len(steps)-1] {
		if i > 0 {
			at = find(*siblings, step)
		}
		if at == nil {
			at = &node{subject: "field " + strings.Join(steps[:i+1], "."), cell: -1, object: []*node{}, skipNull: true}
			at.call(step)
			c.put(siblings, at, i == 0)
		}
		if at.object == nil {
			c.problem(path, fmt.Sprintf("field %q is mapped as a value and as an object", strings.Join(steps[:i+1], ".")), "map the one or the other")
			return
		}
		at.skipNull = at.skipNull && n.skipNull
		siblings = &at.object
	}
	last := steps[len(steps)-1]
	if find(*siblings, last) != nil {
		c.problem(path, fmt.Sprintf("field %q is mapped as a value and as an object", strings.Join(steps, ".")), "map the one or the other")
		return
	}
	n.call(last)
	c.put(siblings, n, len(steps) == 1)
}

func (c *compiler) put(siblings *[]*node, n *node, top bool) {
	*siblings = append(*siblings, n)
	if top {
		c.nodes[n.name] = n
		return
	}
	sortMembers(*siblings)
}

func (n *node) call(name string) {
	n.name = name
	n.quoted = append(model.AppendJSON(nil, name), ':')
}

func find(nodes []*node, name string) *node {
	if i := slices.IndexFunc(nodes, func(n *node) bool { return n.name == name }); i >= 0 {
		return nodes[i]
	}
	return nil
}

func sortMembers(nodes []*node) {
	slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.name, b.name) })
}

func (c *compiler) policy(path string, def tidegate.FieldMapping, nested bool) {
	switch p := def.Policy; p {
	case "", tidegate.Always:
	case tidegate.IfEmpty, tidegate.OnCreate, tidegate.IfNewer:
		switch {
		case nested:
			c.problem(path, fmt.Sprintf("field %q is part of an object, which is sent as a whole", def.Field), "set the policy on a field of the record itself")
		case def.Field == c.def.Identifier:
			c.problem(path, fmt.Sprintf("the identifier %q is always sent", def.Field), "remove the policy")
		default:
			c.out.policies[def.Field] = p
		}
	default:
		c.problem(path, fmt.Sprintf("there is no policy %q", p), "use one of always, if_empty, on_create, if_newer")
	}
}

// RequireReader refuses policies that look at what the destination holds when
// it cannot be read.
func (m *Mapping) RequireReader(readable bool) error {
	var problems []error
	for _, n := range m.fields {
		if p := m.policies[n.name]; !readable && (p == tidegate.IfEmpty || p == tidegate.IfNewer) {
			problems = append(problems, &tidegate.Fault{
				Action: tidegate.Halt, Code: "mapping.invalid", Subject: "mapping: " + n.subject,
				Message: fmt.Sprintf("the policy %s looks at what the destination holds, and this destination cannot be read", p), Hint: "use always or on_create",
			})
		}
	}
	return errors.Join(problems...)
}

func (c *compiler) identifier() {
	const path = "mapping.identifier"
	name := c.def.Identifier
	target, known := c.target(name)
	_, mapped := c.nodes[name]
	switch {
	case name == "":
		hint := "name the field by which the destination matches records"
		if known := c.identifiers(); len(known) > 0 {
			hint += ": " + strings.Join(known, ", ")
		}
		c.problem(path, "no identifier is named", hint)
	case !known && !c.obj.Open:
		c.problem(path, fmt.Sprintf("%s has no field %q", c.obj.Name, name), config.DidYouMean(name, c.identifiers()))
	case known && !target.Identifier && len(c.identifiers()) > 0:
		c.problem(path, fmt.Sprintf("field %q of %s cannot match records", name, c.obj.Name), "use one of "+strings.Join(c.identifiers(), ", "))
	case known && !target.Identifier && !c.obj.Open:
		c.problem(path, fmt.Sprintf("field %q of %s cannot match records", name, c.obj.Name), "")
	case !mapped:
		c.problem(path, fmt.Sprintf("the identifier %q is not among mapping.fields", name), "map a column to it")
	case c.nodes[name].object != nil || c.nodes[name].items != nil:
		c.problem(path, fmt.Sprintf("the identifier %q is an object or an array", name), "match records by a text or a number")
	}
}

func (c *compiler) required() {
	for _, f := range c.obj.Fields {
		if _, mapped := c.nodes[f.Name]; f.Required && !f.ReadOnly && !mapped {
			c.problem("mapping.fields", fmt.Sprintf("field %q of %s is required and not mapped", f.Name, c.obj.Name), "map a column, a constant or a template to it")
		}
	}
}

func (c *compiler) target(name string) (destinations.Field, bool) {
	i := slices.IndexFunc(c.obj.Fields, func(f destinations.Field) bool { return f.Name == name })
	if i < 0 {
		return destinations.Field{}, false
	}
	return c.obj.Fields[i], true
}

func (c *compiler) writable() []string {
	return c.names(func(f destinations.Field) bool { return !f.ReadOnly })
}

func (c *compiler) identifiers() []string {
	return c.names(func(f destinations.Field) bool { return f.Identifier })
}

func (c *compiler) names(keep func(destinations.Field) bool) []string {
	var names []string
	for _, f := range c.obj.Fields {
		if keep(f) {
			names = append(names, f.Name)
		}
	}
	return names
}

// rules are those of the field's definition, else those of the object.
func (c *compiler) rules(def tidegate.FieldMapping) normalize.Rules {
	if def.Rules != "" {
		return normalize.Rules(def.Rules)
	}
	return normalize.Rules(c.obj.Rules)
}
