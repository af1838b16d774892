package model

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Catalog is what a model may refer to. The zero value knows no other model, no
// file and no dbt project.
type Catalog struct {
	// Models are those that uses and lookups name.
	Models map[string]tidegate.Model
	// Dbt turns a model that names a dbt model into one of SQL or a table, with
	// its primary key where the definition has none.
	Dbt func(ctx context.Context, def tidegate.Model) (tidegate.Model, error)
	// File brings the rows of a file model into the warehouse and returns their table.
	File func(ctx context.Context, def tidegate.Model) (warehouse.Table, error)
}

// Join asks for a lookup. Path is the place that asks, for messages.
type Join struct {
	Path   string
	Lookup tidegate.Lookup
}

// Compile checks the model called name against wh, with all that it uses and
// with the values of joins as further columns. What is wrong with the definition
// comes as Halt faults, several joined, with the codes "model.invalid" (shape and
// references), "model.param", "model.limit", "model.query" (the warehouse refuses
// the statement), "model.key" and "mapping.invalid" (a join). An error of another
// action (the warehouse is away) is returned as it came.
func (c Catalog) Compile(ctx context.Context, wh warehouse.Warehouse, name string, joins ...Join) (*Model, error) {
	def, ok := c.Models[name]
	if !ok {
		return nil, fault(name, "model.invalid", fmt.Sprintf("there is no model %q", name), config.DidYouMean(name, slices.Sorted(maps.Keys(c.Models))))
	}
	return c.compile(ctx, wh, def, joins)
}

func (c Catalog) compile(ctx context.Context, wh warehouse.Warehouse, def tidegate.Model, joins []Join) (*Model, error) {
	r := &resolver{Catalog: c, dialect: dialectOf(wh), resolved: map[string]tidegate.Model{}}
	def, err := r.resolve(ctx, def)
	if err != nil {
		return nil, err
	}
	text := &text{}
	if err := r.write(ctx, text, def, nil); err != nil {
		return nil, err
	}
	m := &Model{Name: def.Name, SQL: text.String(), Args: text.args, PrimaryKey: slices.Clone(def.PrimaryKey)}
	if m.Schema, err = describe(ctx, wh, def.Name, m.SQL, m.Args); err != nil {
		return nil, err
	}
	if err := errors.Join(checkSchema(def.Name, m.Schema), checkKey(def, m.Schema), m.checkIncremental(def)); err != nil {
		return nil, err
	}
	if len(joins) > 0 {
		if err := r.join(ctx, wh, m, def, joins); err != nil {
			return nil, err
		}
	}
	if finder, ok := wh.(warehouse.TableFinder); ok {
		if m.Tables, err = finder.TablesOf(ctx, m.SQL); err != nil {
			return nil, fmt.Errorf("finding the tables of model %q: %w", def.Name, err)
		}
	}
	return m, nil
}

// resolver follows the references of one model.
type resolver struct {
	Catalog
	dialect  sqltext.Dialect
	resolved map[string]tidegate.Model
}

// dialectOf is that of the warehouse, or the one that most engines understand.
func dialectOf(wh warehouse.Warehouse) sqltext.Dialect {
	if speaker, ok := wh.(interface{ Dialect() string }); ok {
		if d, ok := sqltext.Find(speaker.Dialect()); ok {
			return d
		}
	}
	return sqltext.DuckDB()
}

// resolve checks the shape of def and turns a dbt model or a file into SQL or a table.
func (r *resolver) resolve(ctx context.Context, def tidegate.Model) (tidegate.Model, error) {
	if done, ok := r.resolved[def.Name]; ok {
		return done, nil
	}
	name := def.Name
	if def.Dbt != "" && def.SQL == "" && def.Table == "" && def.File == "" {
		if r.Dbt == nil {
			return def, fault(name, "model.invalid", fmt.Sprintf("it names the dbt model %q, and the project has no dbt artefacts", def.Dbt), "tell where dbt writes its artefacts in tidegate.yaml: dbt: {target: PATH}")
		}
		found, err := r.Dbt(ctx, def)
		if err != nil {
			return def, fmt.Errorf("resolving model %s: %w", name, err)
		}
		found.Name, found.Dbt = name, ""
		def = found
	}
	if err := checkShape(def); err != nil {
		return def, err
	}
	if def.File != "" {
		if r.File == nil {
			return def, fault(name, "model.file", fmt.Sprintf("the file %q cannot be read here", def.File), "run the command where the project folder is, or load the file as a table")
		}
		table, err := r.File(ctx, def)
		if err != nil {
			return def, fmt.Errorf("loading the file of model %s: %w", name, err)
		}
		quoted, err := r.dialect.Table(table.Schema, table.Name)
		if err != nil {
			return def, fmt.Errorf("naming the table of model %s: %w", name, err)
		}
		def.File, def.SQL = "", "SELECT * FROM "+string(quoted)
	}
	if def.Table != "" {
		quoted, err := r.table(def)
		if err != nil {
			return def, err
		}
		def.Table, def.SQL = "", "SELECT * FROM "+string(quoted)
	}
	r.resolved[name] = def
	return def, nil
}

func (r *resolver) table(def tidegate.Model) (sqltext.Text, error) {
	schema, name, found := strings.Cut(def.Table, ".")
	if !found {
		schema, name = r.dialect.DefaultSchema(), def.Table
	}
	quoted, err := r.dialect.Table(schema, name)
	if err != nil {
		return "", fault(def.Name, "model.invalid", fmt.Sprintf("the table %q cannot be a name: %v", def.Table, err), "write the table as schema.table")
	}
	return quoted, nil
}

// text is a statement that grows, with the values that are bound in it.
type text struct {
	strings.Builder
	args []any
}

// write appends def as a query. What it uses stands before it as common table
// expressions under names that nobody writes, and gets its own name only after the
// last of them: so a name hides a table of that name for the model that uses it, and
// for no other. trail is the way here.
func (r *resolver) write(ctx context.Context, b *text, def tidegate.Model, trail []string) error {
	if slices.Contains(trail, def.Name) {
		return fault(trail[0], "model.invalid", "models use each other in a circle: "+strings.Join(append(trail, def.Name), " → "), "take one of them out of uses")
	}
	trail = append(slices.Clone(trail), def.Name)
	if len(trail) > MaxUseDepth {
		return fault(trail[0], "model.limit", fmt.Sprintf("models use each other more than %d deep: %s", MaxUseDepth, strings.Join(trail, " → ")), "make a view of the lower ones")
	}
	if len(def.Uses) > 0 {
		if err := r.writeUses(ctx, b, def, trail); err != nil {
			return err
		}
		b.WriteString("\nSELECT * FROM (\n")
	}
	if err := r.bind(b, def); err != nil {
		return err
	}
	if len(def.Uses) > 0 {
		b.WriteString("\n) AS model")
	}
	if n := utf8.RuneCountInString(b.String()); n > MaxExpandedChars {
		return fault(trail[0], "model.limit", fmt.Sprintf("the query has %d characters with what it uses, the limit is %d", n, MaxExpandedChars), "make a view of the larger part")
	}
	return nil
}

func (r *resolver) writeUses(ctx context.Context, b *text, def tidegate.Model, trail []string) error {
	var names sqltext.Text
	for i, name := range def.Uses {
		used, ok := r.Models[name]
		if !ok {
			return fault(def.Name, "model.invalid", fmt.Sprintf("it uses %q, and there is no such model", name), config.DidYouMean(name, slices.Sorted(maps.Keys(r.Models))))
		}
		if slices.Index(def.Uses, name) < i {
			return fault(def.Name, "model.invalid", fmt.Sprintf("it uses %q twice", name), "name every model once")
		}
		used, err := r.resolve(ctx, used)
		if err != nil {
			return err
		}
		quoted, err := r.dialect.Ident(name)
		if err != nil {
			return fmt.Errorf("naming model %s: %w", name, err)
		}
		hidden := sqltext.Text(fmt.Sprintf("_used_%d", i))
		names += ",\n" + quoted + " AS (SELECT * FROM " + hidden + ")"
		b.WriteString(map[bool]string{true: "WITH ", false: ",\n"}[i == 0] + string(hidden) + " AS (\n")
		if err := r.write(ctx, b, used, trail); err != nil {
			return err
		}
		b.WriteString("\n)")
	}
	b.WriteString(string(names))
	return nil
}

// bind appends def's own SQL with a placeholder for each use of a parameter.
func (r *resolver) bind(b *text, def tidegate.Model) error {
	sql := strings.TrimRight(strings.TrimSpace(def.SQL), "; \t\r\n")
	var problems []error
	found := func(code string, of []Problem) {
		for _, p := range of {
			problems = append(problems, &tidegate.Fault{Action: tidegate.Halt, Code: code, Subject: subject(def.Name) + ": " + p.Path, Message: p.Message, Hint: p.Hint})
		}
	}
	found("model.param", CheckParams(def))
	found("model.query", CheckQuery(sql))
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	pieces, _ := splitParams(sql, def.Params)
	for _, p := range pieces {
		if p.param == "" {
			b.WriteString(p.text)
			continue
		}
		v, err := paramValue(def.Params[p.param])
		if err != nil {
			return fmt.Errorf("binding parameter %s: %w", p.param, err)
		}
		b.args = append(b.args, v)
		if err := r.placeholder(b, v); err != nil {
			return err
		}
	}
	return nil
}

// placeholder writes the place of the last value. Numbers and truth values say
// their type; a text takes the type of its place, so that it can be a date.
func (r *resolver) placeholder(b *text, v any) error {
	mark := r.dialect.Placeholder(len(b.args))
	var kind tidegate.Kind
	switch v.(type) {
	case bool:
		kind = tidegate.Bool
	case int64:
		kind = tidegate.Int
	case float64:
		kind = tidegate.Float
	default:
		b.WriteString(string(mark))
		return nil
	}
	typ, err := r.dialect.Type(tidegate.Type{Kind: kind})
	if err != nil {
		return err
	}
	b.WriteString(string("CAST(" + mark + " AS " + typ + ")"))
	return nil
}
