package model

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// lookupPrefix begins the names of the columns that lookups add.
const lookupPrefix = "_lookup_"

// MaxLookups is how many different lookups one mapping may hold.
const MaxLookups = 32

// IsLookupColumn says whether a column of a schema was added by a lookup and is
// not the model's own.
func IsLookupColumn(name string) bool { return strings.HasPrefix(name, lookupPrefix) }

// join puts the values of lookups beside the rows of m. The other model is joined
// from the left by its primary key; a key that it holds twice identifies
// nothing and gives null, like one that it lacks, so that a join never multiplies rows.
func (r *resolver) join(ctx context.Context, wh warehouse.Warehouse, m *Model, def tidegate.Model, joins []Join) error {
	tables, err := r.joined(ctx, wh, m, joins)
	if err != nil {
		return err
	}
	b := &text{}
	b.WriteString("SELECT m.*")
	m.Lookups = map[tidegate.Lookup]string{}
	for i, t := range tables {
		for _, column := range t.columns {
			l := tidegate.Lookup{Model: t.model.Name, Key: t.key, Column: column}
			m.Lookups[l] = fmt.Sprintf("%s%d", lookupPrefix, len(m.Lookups))
			names, err := r.dialect.Idents([]string{column, m.Lookups[l]})
			if err != nil {
				return fmt.Errorf("naming a lookup: %w", err)
			}
			b.WriteString(string(", " + alias(i) + "." + names[0] + " AS " + names[1]))
		}
	}
	b.WriteString(" FROM (\n")
	if err := r.write(ctx, b, def, nil); err != nil {
		return err
	}
	b.WriteString("\n) AS m")
	for i, t := range tables {
		if err := r.leftJoin(ctx, b, alias(i), t); err != nil {
			return err
		}
	}
	m.SQL, m.Args = b.String(), b.args
	m.Schema, err = describe(ctx, wh, m.Name, m.SQL, m.Args)
	return err
}

func alias(i int) sqltext.Text { return sqltext.Text(fmt.Sprintf("l%d", i)) }

// table is one other model, joined over one column.
type table struct {
	model   *Model
	def     tidegate.Model
	key     string
	columns []string
}

// leftJoin writes LEFT JOIN (the rows of t whose key is alone) ON m.key = its primary key.
func (r *resolver) leftJoin(ctx context.Context, b *text, as sqltext.Text, t *table) error {
	pk, err := r.dialect.Ident(t.model.PrimaryKey[0])
	if err != nil {
		return fmt.Errorf("naming a lookup: %w", err)
	}
	key, err := r.dialect.Ident(t.key)
	if err != nil {
		return fmt.Errorf("naming a lookup: %w", err)
	}
	b.WriteString(string("\nLEFT JOIN (SELECT * FROM (SELECT o.*, count(*) OVER (PARTITION BY o." + pk + ") AS " + lookupPrefix + "rows FROM (\n"))
	if err := r.write(ctx, b, t.def, nil); err != nil {
		return err
	}
	b.WriteString(string("\n) AS o) AS o WHERE o." + lookupPrefix + "rows = 1) AS " + as + " ON m." + key + " = " + as + "." + pk))
	return nil
}

// joined checks the lookups and groups them, in the order of the mapping.
func (r *resolver) joined(ctx context.Context, wh warehouse.Warehouse, m *Model, joins []Join) ([]*table, error) {
	var tables []*table
	var problems []error
	seen := map[tidegate.Lookup]bool{}
	for _, j := range joins {
		if seen[j.Lookup] {
			continue
		}
		seen[j.Lookup] = true
		t, err := r.lookupTable(ctx, wh, m, j, &tables)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		t.columns = append(t.columns, j.Lookup.Column)
	}
	if len(seen) > MaxLookups {
		problems = append(problems, joinFault("mapping.fields", fmt.Sprintf("there are %d different lookups, the limit is %d", len(seen), MaxLookups), "join the other models in the model's query"))
	}
	return tables, errors.Join(problems...)
}

func (r *resolver) lookupTable(ctx context.Context, wh warehouse.Warehouse, m *Model, j Join, tables *[]*table) (*table, error) {
	l := j.Lookup
	at := m.Schema.Index(l.Key)
	if at < 0 {
		return nil, joinFault(j.Path+".key", fmt.Sprintf("the model has no column %q", l.Key), config.DidYouMean(l.Key, m.Schema.Names()))
	}
	var t *table
	for _, known := range *tables {
		if known.model.Name == l.Model && known.key == l.Key {
			t = known
		}
	}
	if t == nil {
		def, ok := r.Models[l.Model]
		if !ok {
			return nil, joinFault(j.Path+".model", fmt.Sprintf("there is no model %q", l.Model), config.DidYouMean(l.Model, slices.Sorted(maps.Keys(r.Models))))
		}
		other, err := r.compile(ctx, wh, def, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: compiling model %s: %w", j.Path, l.Model, err)
		}
		if def, err = r.resolve(ctx, def); err != nil {
			return nil, err
		}
		t = &table{model: other, def: def, key: l.Key}
	}
	if len(t.model.PrimaryKey) != 1 {
		return nil, joinFault(j.Path+".model", fmt.Sprintf("model %q has a primary key of %d columns", l.Model, len(t.model.PrimaryKey)), "look values up in a model whose primary key is one column")
	}
	if t.model.Schema.Index(l.Column) < 0 {
		return nil, joinFault(j.Path+".column", fmt.Sprintf("model %q has no column %q", l.Model, l.Column), config.DidYouMean(l.Column, t.model.Schema.Names()))
	}
	mine, theirs := m.Schema[at].Type.Kind, t.model.Schema[t.model.Schema.Index(t.model.PrimaryKey[0])].Type.Kind
	if !joinable(mine, theirs) {
		return nil, joinFault(j.Path+".key", fmt.Sprintf("column %q is %s and the primary key of model %q is %s", l.Key, mine, l.Model, theirs), "cast one of them in its model's query")
	}
	if !slices.Contains(*tables, t) {
		*tables = append(*tables, t)
	}
	return t, nil
}

// joinable says whether values of two kinds can be equal.
func joinable(a, b tidegate.Kind) bool {
	number := func(k tidegate.Kind) bool {
		return k == tidegate.Int || k == tidegate.Decimal || k == tidegate.Float
	}
	return a == b || number(a) && number(b)
}

func joinFault(path, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "mapping.invalid", Subject: path, Message: message, Hint: hint}
}
