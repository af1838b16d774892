package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/sync/normalize"
)

// Sources names the sources that def sets; a good mapping sets one.
func Sources(def tidegate.FieldMapping) []string {
	var set []string
	for _, s := range []struct {
		name string
		set  bool
	}{
		{"column", def.Column != ""},
		{"constant", len(def.Constant) > 0},
		{"template", def.Template != ""},
		{"expression", def.Expression != ""},
		{"lookup", def.Lookup != nil},
		{"object", def.Object != nil},
		{"items", def.Items != nil},
	} {
		if s.set {
			set = append(set, s.name)
		}
	}
	return set
}

// node compiles where one value comes from.
func (c *compiler) node(path, subject string, def tidegate.FieldMapping, target destinations.Field, depth int) *node {
	c.values++
	n := &node{subject: subject, kind: target.Type.Kind, required: target.Required, skipNull: def.SkipNull, cell: -1}
	n.after = after{normalize: def.Normalize, rules: c.rules(def), country: strings.ToUpper(def.Country), hash: def.Hash}
	if def.Normalize == "" {
		n.after.rules, n.after.country = "", ""
	}
	if set := Sources(def); len(set) != 1 {
		message := fmt.Sprintf("%s has no value", subject)
		if len(set) > 1 {
			message = fmt.Sprintf("%s has %s", subject, strings.Join(set, " and "))
		}
		c.problem(path, message, "set exactly one of column, constant, template, expression, lookup, object and items")
		return n
	}
	if depth > MaxDepth {
		c.problem(path, fmt.Sprintf("%s is nested deeper than %d levels", subject, MaxDepth), "build the object in the model's query and map one JSON column")
		return n
	}
	c.checkAfter(path, def, n)
	switch {
	case def.Column != "":
		c.column(path+".column", def.Column, n)
	case def.Template != "":
		c.template(path+".template", def.Template, n)
	case def.Expression != "":
		c.expression(path+".expression", def.Expression, n)
	case def.Lookup != nil:
		c.lookup(path+".lookup", *def.Lookup, n)
	case def.Object != nil:
		c.object(path+".object", def.Object, n, depth)
	case def.Items != nil:
		c.items(path+".items", def.Items, n, depth)
	default:
		c.constant(path+".constant", def.Constant, n)
	}
	return n
}

func (c *compiler) checkAfter(path string, def tidegate.FieldMapping, n *node) {
	if def.Normalize != "" && !slices.Contains(normalize.Kinds(), def.Normalize) {
		c.problem(path+".normalize", fmt.Sprintf("there is no normal form %q", def.Normalize), config.DidYouMean(def.Normalize, normalize.Kinds()))
	}
	if !normalize.Known(string(n.after.rules)) {
		c.problem(path+".rules", fmt.Sprintf("there are no rules of %q", n.after.rules), "use one of "+strings.Join(normalize.AllRules(), ", "))
	}
	if def.Hash != "" && !slices.Contains(normalize.Algorithms(), def.Hash) {
		c.problem(path+".hash", fmt.Sprintf("there is no digest %q", def.Hash), config.DidYouMean(def.Hash, normalize.Algorithms()))
	}
	if def.Country != "" && def.Normalize == "" {
		c.problem(path+".country", "a country says how a value is normalised", "add normalize, or remove it")
	}
	if def.Normalize == "" && def.Hash == "" {
		return
	}
	if len(def.Constant) > 0 || def.Object != nil || def.Items != nil {
		c.problem(path, fmt.Sprintf("%s is a constant, an object or an array, which cannot be normalised or hashed", n.subject), "normalise and hash the values inside")
	}
	if !canFit(tidegate.String, n.kind) || n.kind != tidegate.String && n.kind != tidegate.Unknown && n.kind != tidegate.JSON {
		c.problem(path, fmt.Sprintf("%s takes %s and a normalised or hashed value is a text", n.subject, n.kind), "remove normalize and hash, or map another field")
	}
}

func (c *compiler) column(path, name string, n *node) {
	at := c.schema.Index(name)
	if at < 0 || model.IsLookupColumn(name) {
		c.problem(path, fmt.Sprintf("the model has no column %q", name), config.DidYouMean(name, c.columns()))
		return
	}
	c.read(path, fmt.Sprintf("column %q", name), at, n)
}

func (c *compiler) lookup(path string, l tidegate.Lookup, n *node) {
	name, joined := c.m.Lookups[l]
	if !joined {
		c.problem(path, fmt.Sprintf("model %s was compiled without the lookup into %q", c.m.Name, l.Model), "compile the model with the mapping's lookups")
		return
	}
	c.read(path, fmt.Sprintf("column %q of model %s", l.Column, l.Model), c.schema.Index(name), n)
}

// read makes n take a column of the rows.
func (c *compiler) read(path, what string, at int, n *node) {
	kind := c.schema[at].Type.Kind
	if n.after == (after{}) && !canFit(kind, n.kind) {
		c.problem(path, fmt.Sprintf("%s is %s and %s takes %s", what, kind, quotedField(n), n.kind), "cast the column in the model's query, or map another")
	}
	n.cell = c.use(c.schema[at].Name)
	n.direct = n.after == (after{}) && goesDirect(kind, n.kind)
}

func quotedField(n *node) string {
	return fmt.Sprintf("field %q", strings.TrimPrefix(n.subject, "field "))
}

func (c *compiler) template(path, text string, n *node) {
	t, variables, err := parseTemplate(text)
	if err != nil {
		c.problem(path, err.Error(), "")
		return
	}
	for _, name := range variables {
		if c.schema.Index(name) < 0 {
			c.problem(path, fmt.Sprintf("the model has no column %q", name), config.DidYouMean(name, c.columns()))
			continue
		}
		if cell := c.use(name); !slices.Contains(c.out.variables, variable{name, cell}) {
			c.out.variables = append(c.out.variables, variable{name, cell})
		}
	}
	n.template = t
}

func (c *compiler) expression(path, text string, n *node) {
	e, problems := compileExpression(text, c.schema, normalize.Rules(c.obj.Rules))
	for _, p := range problems {
		c.problem(path, p.message, p.hint)
	}
	if e == nil {
		return
	}
	if n.after == (after{}) && !canFit(e.kind, n.kind) {
		c.problem(path, fmt.Sprintf("the expression is %s and %s takes %s", e.kind, quotedField(n), n.kind), "convert it: string(x), int(x), double(x)")
	}
	for i := range e.reads {
		e.reads[i].cell = c.use(e.reads[i].column)
	}
	n.expression = e
}

func (c *compiler) constant(path string, text []byte, n *node) {
	v, err := model.ParseJSON(text)
	if err != nil {
		c.problem(path, err.Error(), "write the constant as a JSON value")
		return
	}
	fitted, err := fit(v, n.kind)
	if err != nil {
		c.problem(path, fmt.Sprintf("%s: %v", quotedField(n), err), "")
		return
	}
	if fitted == nil && n.required {
		c.problem(path, fmt.Sprintf("%s is required and the constant is null", quotedField(n)), "")
	}
	n.constant = fitted
}

func (c *compiler) object(path string, defs []tidegate.FieldMapping, n *node, depth int) {
	c.nests(path, n)
	n.object = []*node{}
	for i, def := range defs {
		at := itemPath(path, i)
		switch {
		case def.Field == "":
			c.problem(at+".field", "the member has no name", "name it")
			continue
		case find(n.object, def.Field) != nil:
			c.problem(at+".field", fmt.Sprintf("the member %q stands twice", def.Field), "map every member once")
			continue
		}
		c.inner(at, def)
		child := c.node(at, n.subject+"."+def.Field, def, destinations.Field{}, depth+1)
		child.call(def.Field)
		n.object = append(n.object, child)
	}
	sortMembers(n.object)
}

func (c *compiler) items(path string, defs []tidegate.FieldMapping, n *node, depth int) {
	c.nests(path, n)
	n.items = []*node{}
	for i, def := range defs {
		at := itemPath(path, i)
		if def.Field != "" {
			c.problem(at+".field", "an entry of an array has no name", "remove field, or use object")
		}
		c.inner(at, def)
		n.items = append(n.items, c.node(at, itemPath(n.subject, i), def, destinations.Field{}, depth+1))
	}
}

// nests refuses objects and arrays for fields that take one value.
func (c *compiler) nests(path string, n *node) {
	if n.kind != tidegate.Unknown && n.kind != tidegate.JSON && n.kind != tidegate.String {
		c.problem(path, fmt.Sprintf("%s takes %s, not an object or an array", quotedField(n), n.kind), "map one value to it")
	}
}

func (c *compiler) inner(path string, def tidegate.FieldMapping) {
	if def.Policy != "" && def.Policy != tidegate.Always {
		c.problem(path+".policy", "a part of an object or an array has no policy of its own: it is sent as a whole", "set the policy on the field of the record")
	}
}

// use adds a column to those that are read and returns its position.
func (c *compiler) use(name string) int {
	if at := slices.Index(c.out.columns, name); at >= 0 {
		return at
	}
	c.out.columns = append(c.out.columns, name)
	return len(c.out.columns) - 1
}

// columns are the names that a mapping may use.
func (c *compiler) columns() []string {
	return slices.DeleteFunc(c.schema.Names(), model.IsLookupColumn)
}

// UnknownColumns are the columns that a mapping names and a model's schema lacks. Those
// in templates and expressions are left to Compile.
func UnknownColumns(def tidegate.Mapping, schema tidegate.Schema) []model.Problem {
	known := slices.DeleteFunc(schema.Names(), model.IsLookupColumn)
	var list []model.Problem
	var walk func(path string, fields []tidegate.FieldMapping)
	walk = func(path string, fields []tidegate.FieldMapping) {
		for i, f := range fields {
			at := itemPath(path, i)
			if f.Column != "" && !slices.Contains(known, f.Column) {
				list = append(list, model.Problem{Path: at + ".column", Message: fmt.Sprintf("the model has no column %q", f.Column), Hint: hintOf(f.Column, known)})
			}
			walk(at+".object", f.Object)
			walk(at+".items", f.Items)
		}
	}
	walk("mapping.fields", def.Fields)
	return list
}

// hintOf is the likely column and, where they are few, all of them.
func hintOf(name string, known []string) string {
	suggested := config.Suggest(name, known)
	if suggested == "" || len(known) > 12 {
		return config.DidYouMean(name, known)
	}
	return fmt.Sprintf("did you mean %q? It has %s", suggested, strings.Join(slices.Sorted(slices.Values(known)), ", "))
}

// Joins are the lookups of a mapping, for the compiler of its model.
func Joins(def tidegate.Mapping) []model.Join {
	var joins []model.Join
	var walk func(path string, list []tidegate.FieldMapping)
	walk = func(path string, list []tidegate.FieldMapping) {
		for i, f := range list {
			at := itemPath(path, i)
			if f.Lookup != nil {
				joins = append(joins, model.Join{Path: at + ".lookup", Lookup: *f.Lookup})
			}
			walk(at+".object", f.Object)
			walk(at+".items", f.Items)
		}
	}
	walk("mapping.fields", def.Fields)
	return joins
}
