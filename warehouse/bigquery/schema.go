package bigquery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	bq "cloud.google.com/go/bigquery"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// table is a table as it is now.
type table struct {
	warehouse.Table
	quoted  sqltext.Text
	columns []column
	meta    *bq.TableMetadata
}

// Describe implements warehouse.Warehouse.
func (w *Warehouse) Describe(ctx context.Context, t warehouse.Table) (tidegate.Schema, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	defer w.door.Leave()
	found, err := w.describe(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("describing table %s: %w", t, err)
	}
	return schemaOf(found.columns), nil
}

func (w *Warehouse) describe(ctx context.Context, t warehouse.Table) (*table, error) {
	if t.Schema == "" {
		t.Schema = w.dataset
	}
	quoted, err := w.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	found := &table{Table: t, quoted: quoted}
	err = w.try(ctx, "", func(ctx context.Context) (err error) {
		found.meta, err = w.api.Dataset(t.Schema).Table(t.Name).Metadata(ctx, bq.WithMetadataView(bq.BasicMetadataView))
		if is(err, http.StatusNotFound) {
			return warehouse.NoTable(t)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	found.columns = columnsOf(found.meta.Schema)
	return found, nil
}

// Ensure implements warehouse.Warehouse. In this process one caller at a time
// changes a table; what other processes do at the same time converges, because
// every change says IF NOT EXISTS or is the same change.
func (w *Warehouse) Ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	defer w.door.Leave()
	have, err := w.ensure(ctx, t, s)
	if err != nil {
		return nil, fmt.Errorf("ensuring table %s: %w", t, err)
	}
	return have, nil
}

func (w *Warehouse) ensure(ctx context.Context, t warehouse.Table, want tidegate.Schema) (tidegate.Schema, error) {
	if err := sqltext.CheckDistinct(want); err != nil {
		return nil, err
	}
	if _, err := w.dialect.Columns(want); err != nil {
		return nil, err
	}
	if have, err := w.describe(ctx, t); err == nil && changeOf(have.columns, want).none() {
		return schemaOf(have.columns), nil
	}
	done, err := w.altering.Alone(ctx, t)
	if err != nil {
		return nil, err
	}
	defer done()
	have, err := w.describe(ctx, t)
	if errors.Is(err, warehouse.ErrNoTable) {
		if err = w.create(ctx, t, want); err == nil {
			have, err = w.describe(ctx, t)
		}
	}
	if err != nil {
		return nil, err
	}
	change := changeOf(have.columns, want)
	if change.none() {
		return schemaOf(have.columns), nil
	}
	if err := w.alter(ctx, have, change); err != nil {
		return nil, err
	}
	if have, err = w.describe(ctx, t); err != nil {
		return nil, err
	}
	return schemaOf(have.columns), nil
}

// ddl runs a statement that changes the catalogue.
func (w *Warehouse) ddl(ctx context.Context, sql sqltext.Text) error {
	_, err := w.run(ctx, request{op: "schema", sql: string(sql)})
	return err
}

// create makes a table, and its dataset where that is missing. Two that do it at once both succeed.
func (w *Warehouse) create(ctx context.Context, t warehouse.Table, s tidegate.Schema) error {
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
	if err := w.createDataset(ctx, t.Schema, &bq.DatasetMetadata{Description: "Made by Tidegate."}); err != nil {
		return err
	}
	layout, err := w.layout(layoutOf(s))
	if err != nil {
		return err
	}
	return w.ddl(ctx, "CREATE TABLE IF NOT EXISTS "+name+" ("+defs+")"+layout)
}

func (w *Warehouse) createDataset(ctx context.Context, name string, as *bq.DatasetMetadata) error {
	d := w.api.Dataset(name)
	as.Location = w.location
	return w.try(ctx, "", func(ctx context.Context) error {
		_, err := d.Metadata(ctx)
		if !is(err, http.StatusNotFound) {
			return err
		}
		err = d.Create(ctx, as)
		if is(err, http.StatusConflict) {
			return nil
		}
		return err
	})
}

// placement is how the rows of a table lie: in partitions of a day each, and sorted.
type placement struct {
	day     string
	cluster []string
}

// layoutOf places the rows of tables that grow by events: by the day on which
// they were received, and by whom they are about. Other tables are sorted by what
// they are looked up by. Four columns are the most that BigQuery sorts by.
func layoutOf(s tidegate.Schema) placement {
	has := func(name string, kind tidegate.Kind) bool {
		i := sqltext.IndexFold(s, name)
		return i >= 0 && s[i].Type.Kind == kind
	}
	var p placement
	if has("received_at", tidegate.Timestamp) && has("anonymous_id", tidegate.String) {
		p.day = s[sqltext.IndexFold(s, "received_at")].Name
		for _, name := range []string{"user_id", "anonymous_id", "id"} {
			if has(name, tidegate.String) {
				p.cluster = append(p.cluster, s[sqltext.IndexFold(s, name)].Name)
			}
		}
		return p
	}
	for _, name := range []string{"id", "hi", "load_id"} {
		if has(name, tidegate.String) || has(name, tidegate.Int) {
			p.cluster = append(p.cluster, s[sqltext.IndexFold(s, name)].Name)
			break
		}
	}
	return p
}

func (w *Warehouse) layout(p placement) (sql sqltext.Text, err error) {
	if p.day != "" {
		day, err := w.dialect.Ident(p.day)
		if err != nil {
			return "", err
		}
		sql = " PARTITION BY TIMESTAMP_TRUNC(" + day + ", DAY)"
	}
	if len(p.cluster) > 0 {
		names, err := w.dialect.Idents(p.cluster)
		if err != nil {
			return "", err
		}
		sql += " CLUSTER BY " + sqltext.Join(names, ", ")
	}
	return sql, nil
}

// change is what a table needs to have room for more.
type change struct {
	add   tidegate.Schema
	widen map[int]tidegate.Type // by the place of the column
}

func (c change) none() bool { return len(c.add) == 0 && len(c.widen) == 0 }

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
		}
	}
	return c
}

func (w *Warehouse) alter(ctx context.Context, t *table, c change) error {
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
			actions[i] = "ADD COLUMN IF NOT EXISTS " + name + " " + typ
		}
		if err := w.ddl(ctx, "ALTER TABLE "+t.quoted+" "+sqltext.Join(actions, ", ")); err != nil {
			return err
		}
	}
	if len(c.widen) == 0 {
		return nil
	}
	refused, err := w.widenInPlace(ctx, t, c)
	if err != nil || !refused {
		return err
	}
	return w.rewrite(ctx, t.Table, c)
}

// widenInPlace widens the columns where BigQuery can do that in the catalogue;
// refused says that some are left.
func (w *Warehouse) widenInPlace(ctx context.Context, t *table, c change) (refused bool, err error) {
	for at, typ := range c.widen {
		from := t.columns[at].typ.Kind
		if typ.Kind != tidegate.Decimal && (from != tidegate.Int || typ.Kind != tidegate.Float) {
			return true, nil
		}
	}
	for at, typ := range c.widen {
		column, err := w.dialect.Ident(t.columns[at].name)
		if err != nil {
			return false, err
		}
		name, err := w.dialect.Type(typ)
		if err != nil {
			return false, err
		}
		err = w.ddl(ctx, "ALTER TABLE "+t.quoted+" ALTER COLUMN "+column+" SET DATA TYPE "+name)
		var f *tidegate.Fault
		if errors.As(err, &f) && f.Action == tidegate.Halt && f.Code == "sql.binding" {
			return true, nil // it thinks otherwise, so the table is rewritten
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// rewrite writes the table anew, in one statement. Nothing of this process loads
// into it meanwhile: rows that came between the reading and the replacing would be lost.
func (w *Warehouse) rewrite(ctx context.Context, name warehouse.Table, c change) error {
	done, err := w.tables.Alone(ctx, name)
	if err != nil {
		return fmt.Errorf("waiting for loads of the table: %w", err)
	}
	defer done()
	t, err := w.describe(ctx, name)
	if err != nil {
		return err
	}
	if why := t.foreign(); why != "" {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "sql.unsupported", Subject: "table " + t.String(), Message: "the table must be written anew to widen a column, and is not one that Tidegate makes: " + why,
			Hint: "widen the column yourself: ALTER TABLE … ADD COLUMN, UPDATE, DROP COLUMN, RENAME COLUMN",
		}
	}
	wide, values := schemaOf(t.columns), make([]sqltext.Text, len(t.columns))
	for i := range t.columns {
		from := &t.columns[i]
		column, err := w.dialect.Ident(from.name)
		if err != nil {
			return err
		}
		values[i] = column
		if typ, ok := c.widen[i]; ok && from.typ != typ {
			wide[i].Type, values[i] = typ, from.cast(column, typ)
		}
	}
	defs, err := w.dialect.Columns(wide)
	if err != nil {
		return err
	}
	var p placement
	if t.meta.TimePartitioning != nil {
		p.day = t.meta.TimePartitioning.Field
	}
	if t.meta.Clustering != nil {
		p.cluster = t.meta.Clustering.Fields
	}
	layout, err := w.layout(p)
	if err != nil {
		return err
	}
	return w.ddl(ctx, "CREATE OR REPLACE TABLE "+t.quoted+" ("+defs+")"+layout+" AS SELECT "+sqltext.Join(values, ", ")+" FROM "+t.quoted)
}

// foreign says what a table has that ours do not, and that a rewrite would lose.
func (t *table) foreign() string {
	m := t.meta
	switch {
	case m.Type != "" && m.Type != bq.RegularTable:
		return "it is a " + string(m.Type)
	case m.RangePartitioning != nil, m.TimePartitioning != nil && (m.TimePartitioning.Field == "" || m.TimePartitioning.Type != bq.DayPartitioningType):
		return "it is partitioned otherwise than by the day of a column"
	case m.RequirePartitionFilter || m.TimePartitioning != nil && (m.TimePartitioning.RequirePartitionFilter || m.TimePartitioning.Expiration != 0):
		return "its partitions have options"
	case m.EncryptionConfig != nil:
		return "it has an encryption key of its own"
	}
	own := []string{"BOOL", "INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC", "STRING", "BYTES", "DATE", "TIMESTAMP", "JSON"}
	for i, c := range t.columns {
		f := m.Schema[i]
		if !slices.Contains(own, c.engine) || c.repeated || f.Required || f.PolicyTags != nil || f.DefaultValueExpression != "" || f.MaxLength != 0 || c.unbounded && c.engine == "BIGNUMERIC" {
			return fmt.Sprintf("column %q", c.name)
		}
	}
	return ""
}
