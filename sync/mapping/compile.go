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
)

// Compile checks def against the model's columns and the destination's object.
// All problems come at once, as joined Halt faults of the code
// "mapping.invalid" whose subjects are config paths
// (`mapping.fields[2].column`).
func Compile(def tidegate.Mapping, m *model.Model, obj destinations.Object) (*Mapping, error) {
	c := &compiler{def: def, schema: m.Schema, obj: obj, mapped: map[string]int{}}
	c.out = &Mapping{identifier: def.Identifier, columns: slices.Clone(m.PrimaryKey), keys: len(m.PrimaryKey)}
	if len(def.Fields) == 0 {
		c.problem("mapping.fields", "no field is mapped", "map at least the identifier")
	}
	for i := range def.Fields {
		c.field(i)
	}
	c.identifier()
	c.required()
	if len(c.problems) > 0 {
		return nil, errors.Join(c.problems...)
	}
	c.out.seal(def, obj)
	return c.out, nil
}

// compiler gathers the problems of one Compile.
type compiler struct {
	def      tidegate.Mapping
	schema   tidegate.Schema
	obj      destinations.Object
	mapped   map[string]int // field name → its index in the mapping
	out      *Mapping
	problems []error
}

func (c *compiler) problem(path, message, hint string) {
	c.problems = append(c.problems, &tidegate.Fault{Action: tidegate.Halt, Code: "mapping.invalid", Subject: path, Message: message, Hint: hint})
}

func (c *compiler) field(i int) {
	def := c.def.Fields[i]
	path := fmt.Sprintf("mapping.fields[%d]", i)
	f := field{name: def.Field, skipNull: def.SkipNull, cell: -1}
	target, known := c.target(def.Field)
	switch first, twice := c.mapped[def.Field]; {
	case def.Field == "":
		c.problem(path+".field", "the field has no name", "name the destination's field")
	case twice:
		c.problem(path+".field", fmt.Sprintf("field %q is mapped already by mapping.fields[%d]", def.Field, first), "map every field once")
	case known && target.ReadOnly:
		c.problem(path+".field", fmt.Sprintf("field %q of %s is read-only", def.Field, c.obj.Name), "leave it out of the mapping")
	case !known && !c.obj.Open:
		c.problem(path+".field", fmt.Sprintf("%s has no field %q", c.obj.Name, def.Field), config.DidYouMean(def.Field, c.writable()))
	}
	if _, twice := c.mapped[def.Field]; !twice {
		c.mapped[def.Field] = i
	}
	f.kind, f.required = target.Type.Kind, target.Required
	c.source(path, def, &f)
	c.out.fields = append(c.out.fields, f)
}

// source compiles where the field's value comes from.
func (c *compiler) source(path string, def tidegate.FieldMapping, f *field) {
	given := 0
	for _, set := range []bool{def.Column != "", def.Constant != nil, def.Template != ""} {
		if set {
			given++
		}
	}
	if given != 1 {
		c.problem(path, fmt.Sprintf("field %q must have exactly one of column, constant and template", def.Field), "remove all but one of them")
		return
	}
	switch {
	case def.Column != "":
		c.column(path+".column", def.Column, f)
	case def.Template != "":
		c.template(path+".template", def.Template, f)
	default:
		c.constant(path+".constant", def.Constant, f)
	}
}

func (c *compiler) column(path, name string, f *field) {
	at := c.schema.Index(name)
	if at < 0 {
		c.problem(path, fmt.Sprintf("the model has no column %q", name), config.DidYouMean(name, c.schema.Names()))
		return
	}
	if kind := c.schema[at].Type.Kind; !canFit(kind, f.kind) {
		c.problem(path, fmt.Sprintf("column %q is %s and field %q takes %s", name, kind, f.name, f.kind), "cast the column in the model's query, or map another")
	}
	f.cell = c.use(name)
}

func (c *compiler) template(path, text string, f *field) {
	t, variables, err := parseTemplate(text)
	if err != nil {
		c.problem(path, err.Error(), "")
		return
	}
	for _, name := range variables {
		if c.schema.Index(name) < 0 {
			c.problem(path, fmt.Sprintf("the model has no column %q", name), config.DidYouMean(name, c.schema.Names()))
			continue
		}
		c.use(name)
	}
	f.template = t
}

func (c *compiler) constant(path string, text []byte, f *field) {
	v, err := model.ParseJSON(text)
	if err != nil {
		c.problem(path, err.Error(), "write the constant as a JSON value")
		return
	}
	fitted, err := fit(v, f.kind)
	if err != nil {
		c.problem(path, fmt.Sprintf("field %q: %v", f.name, err), "")
		return
	}
	if fitted == nil && f.required {
		c.problem(path, fmt.Sprintf("field %q is required and the constant is null", f.name), "")
	}
	f.constant = fitted
}

// use adds a column to those that are read and returns its position.
func (c *compiler) use(name string) int {
	if at := slices.Index(c.out.columns, name); at >= 0 {
		return at
	}
	c.out.columns = append(c.out.columns, name)
	return len(c.out.columns) - 1
}

func (c *compiler) identifier() {
	const path = "mapping.identifier"
	name := c.def.Identifier
	target, known := c.target(name)
	_, mapped := c.mapped[name]
	switch {
	case name == "":
		c.problem(path, "no identifier is named", "name the field by which the destination matches records: "+strings.Join(c.identifiers(), ", "))
	case !known && !c.obj.Open:
		c.problem(path, fmt.Sprintf("%s has no field %q", c.obj.Name, name), config.DidYouMean(name, c.identifiers()))
	case known && !target.Identifier && len(c.identifiers()) > 0:
		c.problem(path, fmt.Sprintf("field %q of %s cannot match records", name, c.obj.Name), "use one of "+strings.Join(c.identifiers(), ", "))
	case known && !target.Identifier && !c.obj.Open:
		c.problem(path, fmt.Sprintf("field %q of %s cannot match records", name, c.obj.Name), "")
	case !mapped:
		c.problem(path, fmt.Sprintf("the identifier %q is not among mapping.fields", name), "map a column to it")
	}
}

func (c *compiler) required() {
	for _, f := range c.obj.Fields {
		if _, mapped := c.mapped[f.Name]; f.Required && !f.ReadOnly && !mapped {
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
