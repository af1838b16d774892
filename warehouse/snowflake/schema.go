package snowflake

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// table is a table as it is now.
type table struct {
	warehouse.Table
	quoted  sqltext.Text
	columns []column
}

// Describe implements warehouse.Warehouse.
func (w *Warehouse) Describe(ctx context.Context, t warehouse.Table) (tidegate.Schema, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	defer w.door.Leave()
	found, err := w.describe(ctx, on{}, t)
	if err != nil {
		return nil, fmt.Errorf("describing table %s: %w", t, err)
	}
	return schemaOf(found.columns), nil
}

// describe asks for the columns of a query of everything, which Snowflake
// compiles and does not run: that needs no virtual warehouse and costs nothing.
func (w *Warehouse) describe(ctx context.Context, o on, t warehouse.Table) (*table, error) {
	if t.Schema == "" {
		t.Schema = w.schema
	}
	quoted, err := w.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	a, err := w.do(ctx, o, request{op: "schema", sql: "SELECT * FROM " + string(quoted), describe: true})
	if missing(err) {
		return nil, noTable(t, err)
	}
	if err != nil {
		return nil, err
	}
	return &table{Table: t, quoted: quoted, columns: a.columns}, nil
}

// Ensure implements warehouse.Warehouse. In this process one caller at a time
// changes a table; what other processes do at the same time converges, because a
// change that another was quicker with is looked at again.
func (w *Warehouse) Ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	defer w.door.Leave()
	have, err := w.ensure(ctx, on{}, t, s)
	if err != nil {
		return nil, fmt.Errorf("ensuring table %s: %w", t, err)
	}
	return have, nil
}

// maxChanges bounds how often a table is looked at again because others change it.
const maxChanges = 20

func (w *Warehouse) ensure(ctx context.Context, o on, t warehouse.Table, want tidegate.Schema) (tidegate.Schema, error) {
	if err := w.checkSchema(t, want); err != nil {
		return nil, err
	}
	if have, err := w.describe(ctx, o, t); err == nil && changeOf(have.columns, want).none() {
		return schemaOf(have.columns), nil
	}
	done, err := w.altering.Alone(ctx, t)
	if err != nil {
		return nil, err
	}
	defer done()
	for range maxChanges {
		have, err := w.describe(ctx, o, t)
		if errors.Is(err, warehouse.ErrNoTable) {
			if err = w.create(ctx, o, t, want); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		change := changeOf(have.columns, want)
		if change.none() {
			return schemaOf(have.columns), nil
		}
		if err := w.alter(ctx, o, have, change); err != nil && !exists(err) {
			return nil, err
		}
	}
	return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.conflict", Message: "others keep changing the table"}
}

func (w *Warehouse) checkSchema(t warehouse.Table, want tidegate.Schema) error {
	if err := sqltext.CheckDistinct(want); err != nil {
		return err
	}
	if _, err := w.dialect.Table(t.Schema, t.Name); err != nil {
		return err
	}
	_, err := w.dialect.Columns(want)
	return err
}

// ddl runs a statement that changes the catalogue.
func (w *Warehouse) ddl(ctx context.Context, o on, sql sqltext.Text) error {
	_, err := w.do(ctx, o, request{op: "schema", sql: string(sql)})
	return err
}

// create makes a table, and its schema where that is missing. Two that do it at once both succeed.
func (w *Warehouse) create(ctx context.Context, o on, t warehouse.Table, s tidegate.Schema) error {
	if len(s) == 0 {
		return errors.New("creating a table: it has no columns")
	}
	name, err := w.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return err
	}
	defs, err := w.dialect.Columns(s)
	if err != nil {
		return err
	}
	sql := "CREATE TABLE IF NOT EXISTS " + name + " (" + defs + ")"
	if err = w.ddl(ctx, o, sql); !missing(err) || t.Schema == "" {
		return err
	}
	// The role may not be one that makes schemas, where there is one already: so only now.
	schema, err := w.dialect.Ident(t.Schema)
	if err != nil {
		return err
	}
	if err := w.ddl(ctx, o, "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil {
		return err
	}
	return w.ddl(ctx, o, sql)
}

// change is what a table needs to have room for more.
type change struct {
	add     tidegate.Schema
	lengths []int                 // places of texts that get the full length
	widen   map[int]tidegate.Type // by the place of the column
}

func (c change) none() bool { return len(c.add) == 0 && len(c.widen) == 0 && len(c.lengths) == 0 }

func changeOf(have []column, want tidegate.Schema) change {
	c := change{widen: make(map[int]tidegate.Type)}
	schema := schemaOf(have)
	for _, col := range want {
		at := sqltext.IndexFold(schema, col.Name)
		if at < 0 {
			c.add = append(c.add, col)
			continue
		}
		if wide := have[at].widened(col.Type); wide != have[at].typ {
			c.widen[at] = wide
		} else if have[at].engine == "text" && have[at].length > 0 && have[at].length < longest {
			c.lengths = append(c.lengths, at)
		}
	}
	return c
}

func (w *Warehouse) alter(ctx context.Context, o on, t *table, c change) error {
	if len(c.add) > 0 {
		actions := make([]sqltext.Text, len(c.add))
		for i, col := range c.add {
			name, err := w.dialect.Ident(col.Name)
			if err != nil {
				return err
			}
			typ, err := w.dialect.Type(col.Type)
			if err != nil {
				return fmt.Errorf("column %q: %w", col.Name, err)
			}
			actions[i] = name + " " + typ
		}
		if err := w.ddl(ctx, o, "ALTER TABLE "+t.quoted+" ADD COLUMN "+sqltext.Join(actions, ", ")); err != nil {
			return err
		}
	}
	inPlace, others := make(map[int]tidegate.Type), false
	for _, at := range c.lengths {
		inPlace[at] = tidegate.Type{Kind: tidegate.String}
	}
	for at, typ := range c.widen {
		from := t.columns[at]
		// More digits before the point are a change of the catalogue, more after it are not.
		if from.engine == "fixed" && typ.Kind == tidegate.Decimal && typ.Scale == from.scale {
			inPlace[at] = typ
		} else {
			others = true
		}
	}
	for at, typ := range inPlace {
		name, err := w.dialect.Type(typ)
		if err != nil {
			return err
		}
		if err := w.ddl(ctx, o, "ALTER TABLE "+t.quoted+" ALTER COLUMN "+t.columns[at].quoted()+" SET DATA TYPE "+name); err != nil {
			return err
		}
	}
	if others {
		return w.rewrite(ctx, o, t.Table, c)
	}
	return nil
}

// rewrite writes the table anew and puts it in the place of the old, in one statement. Nothing of this
// process loads into it meanwhile: rows that came between the reading and the replacing would be lost.
func (w *Warehouse) rewrite(ctx context.Context, o on, name warehouse.Table, c change) error {
	done, err := w.tables.Alone(ctx, name)
	if err != nil {
		return fmt.Errorf("waiting for loads of the table: %w", err)
	}
	defer done()
	t, err := w.describe(ctx, o, name)
	if err != nil {
		return err
	}
	cluster, why, err := w.foreign(ctx, o, t)
	if err != nil {
		return err
	}
	if why != "" {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "sql.unsupported", Subject: "table " + t.String(), Message: "the table must be written anew to widen a column, and is not one that Tidegate makes: " + why,
			Hint: "widen the column yourself: ALTER TABLE … ADD COLUMN, UPDATE, DROP COLUMN, RENAME COLUMN",
		}
	}
	defs, values := make([]sqltext.Text, len(t.columns)), make([]sqltext.Text, len(t.columns))
	for i := range t.columns {
		from := &t.columns[i]
		typ := from.typ
		values[i] = from.quoted()
		if wide, ok := c.widen[i]; ok && from.typ != wide {
			typ, values[i] = wide, cast(from, wide)
		}
		engine, err := w.dialect.Type(typ)
		if err != nil {
			return err
		}
		if typ == from.typ {
			engine = from.declaration(engine)
		}
		defs[i] = from.quoted() + " " + engine
	}
	sql := "CREATE OR REPLACE TABLE " + t.quoted + " (" + sqltext.Join(defs, ", ") + ")"
	if cluster != "" {
		sql += " CLUSTER BY " + cluster
	}
	return w.ddl(ctx, o, sql+" COPY GRANTS AS SELECT "+sqltext.Join(values, ", ")+" FROM "+t.quoted)
}

// declaration is the type of a column that stays what it is; ours is what we would make.
func (c *column) declaration(ours sqltext.Text) sqltext.Text {
	switch c.engine {
	case "fixed":
		return sqltext.Text(fmt.Sprintf("NUMBER(%d,%d)", c.precision, c.scale))
	case "text":
		return sqltext.Text(fmt.Sprintf("VARCHAR(%d)", c.length))
	case "timestamp_ntz", "timestamp_ltz", "timestamp_tz":
		return sqltext.Text(fmt.Sprintf("%s(%d)", c.engine, c.scale))
	case "time":
		return sqltext.Text(fmt.Sprintf("TIME(%d)", c.scale))
	case "binary", "real", "boolean", "date", "variant":
		return ours
	}
	return sqltext.Text(c.engine) // object, array, geography: one of kinds
}

// foreign says what a table has that ours do not, and that a rewrite would lose; cluster
// is by what it is clustered.
func (w *Warehouse) foreign(ctx context.Context, o on, t *table) (cluster sqltext.Text, why string, err error) {
	for _, c := range t.columns {
		if _, known := kinds[c.engine]; !known && c.engine != "time" || c.engine == "map" || c.engine == "vector" {
			return "", fmt.Sprintf("column %q is a %s", c.name, c.engine), nil
		}
	}
	rows, err := w.all(ctx, o, request{
		op: "schema", sql: "SELECT table_type, is_transient, clustering_key FROM information_schema.tables WHERE table_schema = :1 AND table_name = :2",
		args: []any{sqltext.Upper(t.Schema), sqltext.Upper(t.Name)},
	})
	if err != nil {
		return "", "", fmt.Errorf("asking what the table is: %w", err)
	}
	switch {
	case len(rows) != 1:
		return "", "it is not in the information schema", nil
	case rows[0][0] != "BASE TABLE":
		return "", fmt.Sprintf("it is a %v", rows[0][0]), nil
	case rows[0][1] == "YES":
		return "", "it is transient", nil
	}
	if key, ok := rows[0][2].(string); ok && key != "" {
		cluster = sqltext.Text(key) // as the catalogue writes it: LINEAR(TO_DATE(RECEIVED_AT))
	}
	rows, err = w.all(ctx, o, request{
		op: "schema", sql: "SELECT column_name FROM information_schema.columns WHERE table_schema = :1 AND table_name = :2 AND (is_nullable = 'NO' OR column_default IS NOT NULL OR is_identity = 'YES') LIMIT 1",
		args: []any{sqltext.Upper(t.Schema), sqltext.Upper(t.Name)},
	})
	if err != nil {
		return "", "", fmt.Errorf("asking for the columns of the table: %w", err)
	}
	if len(rows) > 0 {
		return "", fmt.Sprintf("column %v has a constraint or a default", rows[0][0]), nil
	}
	return cluster, "", nil
}
