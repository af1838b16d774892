package duckdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// ensureAttempts bounds how often Ensure starts over when another transaction
// changed the same table first; the waits between them add up to about 3 s.
const ensureAttempts = 20

// Describe implements warehouse.Warehouse.
func (w *Warehouse) Describe(ctx context.Context, t warehouse.Table) (tidegate.Schema, error) {
	s, err := w.session()
	if err != nil {
		return nil, err
	}
	columns, err := s.describe(ctx, w.dialect, t)
	s.end(err)
	if err != nil {
		return nil, err
	}
	return schemaOf(columns), nil
}

// describe returns the columns of t, or an error that wraps warehouse.ErrNoTable.
func (c *conn) describe(ctx context.Context, d sqltext.Dialect, t warehouse.Table) ([]*column, error) {
	name, err := d.Table(t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	st, err := c.prepare(ctx, string("SELECT * FROM "+name))
	if err != nil {
		var f *tidegate.Fault
		// A missing table whose name ends like a file ("json") is looked for as a file, and refused.
		if errors.As(err, &f) && (f.Code == "sql.unknown" || f.Code == "sql.refused") {
			return nil, warehouse.NoTable(t)
		}
		return nil, fmt.Errorf("describing table %s: %w", t, err)
	}
	defer st.close()
	var columns []*column
	for i := range bindings.PreparedStatementColumnCount(st.raw) {
		logical := bindings.PreparedStatementColumnLogicalType(st.raw, i)
		columns = append(columns, newColumn(bindings.PreparedStatementColumnName(st.raw, i), logical))
		bindings.DestroyLogicalType(&logical)
	}
	return columns, nil
}

// schemaOf turns columns into nouns; a column of a type without one is Unknown.
func schemaOf(columns []*column) tidegate.Schema {
	s := make(tidegate.Schema, len(columns))
	for i, c := range columns {
		typ, _ := c.typ()
		s[i] = tidegate.Column{Name: c.name, Type: typ}
	}
	return s
}

// Ensure implements warehouse.Warehouse. Calls for one table take turns; a
// transaction that holds the table makes it wait and start over.
func (w *Warehouse) Ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
	unlock := w.ensuring.lock(sqltext.Fold(t.Schema) + "\x00" + sqltext.Fold(t.Name))
	defer unlock()
	wait := 2 * time.Millisecond
	for attempt := 1; ; attempt++ {
		have, err := w.ensure(ctx, t, s)
		if err == nil || !conflict(err) || attempt == ensureAttempts {
			return have, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("ensuring table %s: %w", t, ctx.Err())
		case <-timer.C:
		}
		wait = min(2*wait, 200*time.Millisecond)
	}
}

func (w *Warehouse) ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
	x, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	have, err := x.Ensure(ctx, t, s)
	if err != nil {
		return nil, errors.Join(err, x.Rollback())
	}
	return have, x.Commit()
}

func (t *tx) Ensure(ctx context.Context, table warehouse.Table, want tidegate.Schema) (tidegate.Schema, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return nil, err
	}
	have, err := t.ensure(ctx, table, want)
	if err != nil {
		return nil, t.Fail(fmt.Errorf("ensuring table %s: %w", table, err))
	}
	return have, nil
}

func (t *tx) ensure(ctx context.Context, table warehouse.Table, want tidegate.Schema) (tidegate.Schema, error) {
	if err := sqltext.CheckDistinct(want); err != nil {
		return nil, err
	}
	columns, err := t.s.describe(ctx, t.w.dialect, table)
	if errors.Is(err, warehouse.ErrNoTable) {
		if err := t.create(ctx, table, want); err != nil {
			return nil, err
		}
		columns, err = t.s.describe(ctx, t.w.dialect, table)
	}
	if err != nil {
		return nil, err
	}
	have := schemaOf(columns)
	changed := false
	for _, c := range want {
		alter, err := t.alteration(ctx, have, c)
		if err != nil {
			return nil, err
		}
		if alter == "" {
			continue
		}
		name, err := t.w.dialect.Table(table.Schema, table.Name)
		if err != nil {
			return nil, err
		}
		if _, err := t.s.exec(ctx, string("ALTER TABLE "+name+" "+alter)); err != nil {
			return nil, fmt.Errorf("column %q: %w", c.Name, err)
		}
		changed = true
	}
	if !changed {
		return have, nil
	}
	if columns, err = t.s.describe(ctx, t.w.dialect, table); err != nil {
		return nil, err
	}
	return schemaOf(columns), nil
}

func (t *tx) create(ctx context.Context, table warehouse.Table, s tidegate.Schema) error {
	if len(s) == 0 {
		return errors.New("creating a table: it has no columns")
	}
	name, err := t.w.dialect.Table(table.Schema, table.Name)
	if err != nil {
		return err
	}
	defs := make([]sqltext.Text, len(s))
	for i, c := range s {
		if defs[i], err = t.definition(ctx, c); err != nil {
			return err
		}
	}
	if table.Schema != "" {
		schema, err := t.w.dialect.Ident(table.Schema)
		if err != nil {
			return err
		}
		if _, err := t.s.exec(ctx, string("CREATE SCHEMA IF NOT EXISTS "+schema)); err != nil {
			return err
		}
	}
	_, err = t.s.exec(ctx, string("CREATE TABLE IF NOT EXISTS "+name+" ("+sqltext.Join(defs, ", ")+")"))
	return err
}

// definition is c in the DDL that makes it. A commit compresses its rows on one thread,
// and tries for each column of texts what compresses it best: told it need not, which
// takes a tenth off a load. What does not fit the method (a text longer than a block) is
// stored without.
func (t *tx) definition(ctx context.Context, c tidegate.Column) (sqltext.Text, error) {
	name, err := t.w.dialect.Ident(c.Name)
	if err != nil {
		return "", err
	}
	typ, err := t.w.dialect.Type(c.Type)
	if err != nil {
		return "", fmt.Errorf("column %q: %w", c.Name, err)
	}
	def := name + " " + typ
	if c.Cardinality == tidegate.UnknownCardinality || c.Type.Kind != tidegate.String {
		return def, nil
	}
	if told, err := t.toldCompression(ctx); err != nil || !told {
		return def, err
	}
	if c.Cardinality == tidegate.UniqueValues {
		return def + " USING COMPRESSION fsst", nil
	}
	return def + " USING COMPRESSION dictionary", nil
}

// toldCompression says whether the file's format has the methods: formats from 1.3 on
// have one in their place, which does not need to be told, and refuse them
// (tried with engine 1.5.5 on 2026-11-22). Files of ours are of the oldest format,
// but one may be made elsewhere.
func (t *tx) toldCompression(ctx context.Context) (bool, error) {
	if t.format == "" {
		format, err := t.s.text(ctx, "SELECT coalesce(tags['storage_version'], 'none') FROM duckdb_databases() WHERE database_name = current_database()")
		if err != nil {
			return false, fmt.Errorf("asking for the format of the file: %w", err)
		}
		t.format = format
	}
	return slices.Contains([]string{"v1.0.0+", "v1.2.0+"}, t.format), nil
}

// alteration is what gives a table with the columns have room for c; "" when it has it.
func (t *tx) alteration(ctx context.Context, have tidegate.Schema, c tidegate.Column) (sqltext.Text, error) {
	at := sqltext.IndexFold(have, c.Name)
	if at < 0 {
		def, err := t.definition(ctx, c)
		return "ADD COLUMN " + def, err
	}
	name, err := t.w.dialect.Ident(c.Name)
	if err != nil {
		return "", err
	}
	old := have[at].Type
	wide := warehouse.Widened(old, c.Type)
	if wide == old {
		return "", nil
	}
	typ, err := t.w.dialect.Type(wide)
	if err != nil {
		return "", fmt.Errorf("column %q: %w", c.Name, err)
	}
	switch {
	case old.Kind == tidegate.Bytes:
		return "ALTER COLUMN " + name + " TYPE " + typ + " USING to_base64(" + name + ")", nil
	case old.Kind == tidegate.Decimal && old.Scale > 0 && wide.Kind == tidegate.String: // canonical, as a row loaded later would be
		return "ALTER COLUMN " + name + " TYPE " + typ + " USING rtrim(rtrim(" + name + "::VARCHAR, '0'), '.')", nil
	}
	return "ALTER COLUMN " + name + " TYPE " + typ, nil
}

// Tables implements warehouse.Lister.
func (w *Warehouse) Tables(ctx context.Context) ([]warehouse.Table, error) {
	s, err := w.session()
	if err != nil {
		return nil, err
	}
	rows, err := s.rows(ctx, `SELECT schema_name, table_name AS n FROM duckdb_tables()
		WHERE NOT internal AND NOT temporary AND database_name = current_database()
		UNION ALL SELECT schema_name, view_name FROM duckdb_views()
		WHERE NOT internal AND NOT temporary AND database_name = current_database() ORDER BY 1, 2`)
	s.end(err)
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	tables := make([]warehouse.Table, len(rows))
	for i, row := range rows {
		tables[i] = warehouse.Table{Schema: row[0].(string), Name: row[1].(string)}
	}
	return tables, nil
}
