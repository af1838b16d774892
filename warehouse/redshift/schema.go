package redshift

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Describe implements warehouse.Warehouse.
func (w *Warehouse) Describe(ctx context.Context, t warehouse.Table) (tidegate.Schema, error) {
	if _, err := w.dialect.Table(t.Schema, t.Name); err != nil {
		return nil, err
	}
	s, err := w.session(ctx, w.pools.Write)
	if err != nil {
		return nil, err
	}
	defer s.End()
	columns, err := s.describe(ctx, t)
	if errors.Is(err, warehouse.ErrNoTable) {
		columns, err = s.describeForeign(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	return schemaOf(columns), nil
}

// describe returns the columns of t from the catalogue, or an error that wraps warehouse.ErrNoTable.
func (s *session) describe(ctx context.Context, t warehouse.Table) ([]column, error) {
	schema := t.Schema
	if schema == "" {
		schema = s.w.dialect.DefaultSchema()
	}
	rows, err := s.Rows(ctx, `SELECT a.attname, a.atttypid, a.atttypmod, a.attisdistkey, a.attsortkeyord FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, s.w.fold(schema), s.w.fold(t.Name))
	if err != nil {
		return nil, fmt.Errorf("describing table %s: %w", t, err)
	}
	if len(rows) == 0 {
		return nil, warehouse.NoTable(t)
	}
	columns := make([]column, len(rows))
	for i, row := range rows {
		name, _ := row[0].(string)
		oid, _ := row[1].(int64)
		modifier, _ := row[2].(int64)
		columns[i] = newColumn(name, uint32(oid), int32(modifier))
		columns[i].distKey, _ = row[3].(bool)
		place, _ := row[4].(int64)
		columns[i].sortKey = int(place)
	}
	return columns, nil
}

// describeForeign describes what the catalogue has no columns of: external tables and late-binding views.
func (s *session) describeForeign(ctx context.Context, t warehouse.Table) ([]column, error) {
	name, err := s.w.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	sql := string("SELECT * FROM " + name)
	described, err := s.PG.Prepare(ctx, "", sql, nil)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == undefinedTable || pg.Code == undefinedSchema) {
		return nil, warehouse.NoTable(t)
	}
	if err != nil {
		return nil, fmt.Errorf("describing table %s: %w", t, s.Fault(ctx, err, sql))
	}
	columns := make([]column, len(described.Fields))
	for i, f := range described.Fields {
		columns[i] = newColumn(f.Name, f.DataTypeOID, f.TypeModifier)
	}
	return columns, nil
}

const undefinedTable, undefinedSchema = "42P01", "3F000"

// ensureAttempts bounds how often a change of a table is tried that others came in between of.
const ensureAttempts = 8

// Ensure implements warehouse.Warehouse. Changes go one at a time.
func (w *Warehouse) Ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
	if have, err := w.Describe(ctx, t); err == nil && w.suffices(have, s) {
		return have, nil
	}
	release, err := w.turns.Alone(ctx, "schemas")
	if err != nil {
		return nil, err
	}
	defer release()
	for attempt := 1; ; attempt++ {
		have, err := w.ensureOnce(ctx, t, s)
		if err == nil || attempt == ensureAttempts || tidegate.FaultOf(err).Code != "warehouse.conflict" {
			return have, err
		}
	}
}

func (w *Warehouse) ensureOnce(ctx context.Context, t warehouse.Table, want tidegate.Schema) (tidegate.Schema, error) {
	s, err := w.bookedSession(ctx)
	if err != nil {
		return nil, err
	}
	x, err := s.begin(ctx, beginSchema)
	if err != nil {
		s.End()
		return nil, err
	}
	have, err := x.Ensure(ctx, t, want)
	if err != nil {
		return nil, errors.Join(err, x.Rollback())
	}
	return have, x.Commit()
}

// suffices says whether Ensure has nothing to do, from what Describe says.
func (w *Warehouse) suffices(have, want tidegate.Schema) bool {
	if sqltext.CheckDistinct(want) != nil {
		return false // Ensure tells
	}
	for _, c := range want {
		at := sqltext.IndexFold(have, c.Name)
		if at < 0 || have[at].Type != c.Type && warehouse.Widened(have[at].Type, c.Type) != have[at].Type {
			return false
		}
	}
	return true
}

func (t *tx) Ensure(ctx context.Context, table warehouse.Table, want tidegate.Schema) (tidegate.Schema, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return nil, err
	}
	t.wrote = true
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
	columns, err := t.s.describe(ctx, table)
	if err == nil {
		if change, err := t.change(columns, want); err != nil || change.none() {
			return schemaOf(columns), err
		}
	} else if !errors.Is(err, warehouse.ErrNoTable) {
		return nil, err
	}
	if err := t.s.control(ctx, "LOCK _tidegate.schemas"); err != nil {
		return nil, err
	}
	if columns, err = t.s.describe(ctx, table); errors.Is(err, warehouse.ErrNoTable) { // the other may have made it
		if err = t.create(ctx, table, want); err == nil {
			columns, err = t.s.describe(ctx, table)
		}
	}
	if err != nil {
		return nil, err
	}
	change, err := t.change(columns, want)
	if err != nil {
		return nil, err
	}
	if !change.none() {
		if err := t.alter(ctx, table, columns, change); err != nil {
			return nil, err
		}
		if columns, err = t.s.describe(ctx, table); err != nil {
			return nil, err
		}
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
		if defs[i], err = t.w.definition(c, firstLength); err != nil {
			return err
		}
	}
	if table.Schema != "" {
		if err := t.createSchema(ctx, table.Schema); err != nil {
			return err
		}
	}
	share, err := t.w.share("GRANT SELECT ON " + name)
	if err != nil {
		return err
	}
	if err := t.s.control(ctx, "CREATE TABLE IF NOT EXISTS "+name+" ("+sqltext.Join(defs, ", ")+")"+eventKeys(s)); err != nil {
		return err
	}
	return t.ifAny(ctx, share)
}

// ifAny runs statements, if there are any.
func (t *tx) ifAny(ctx context.Context, sql sqltext.Text) error {
	if sql == "" {
		return nil
	}
	return t.s.control(ctx, sql)
}

// firstLength is how many bytes a text column begins with; it grows with its values.
const firstLength = 512

// definition is a column in a CREATE TABLE or an ADD COLUMN, with room for so many bytes of text.
func (w *Warehouse) definition(c tidegate.Column, length int) (sqltext.Text, error) {
	name, err := w.dialect.Ident(c.Name)
	if err != nil {
		return "", err
	}
	if c.Type.Kind == tidegate.String {
		return name + varchar(length), nil
	}
	typ, err := w.dialect.Type(c.Type)
	if err != nil {
		return "", fmt.Errorf("column %q: %w", c.Name, err)
	}
	return name + " " + typ, nil
}

func varchar(length int) sqltext.Text {
	return " VARCHAR(" + sqltext.Text(strconv.Itoa(length)) + ")"
}

// eventKeys say how a new table is spread over the slices and sorted. Rows of events go by their id, which is as
// good as random and by which they are merged, and lie in the order of their arrival, by which they are read. Of
// other tables the server finds out.
func eventKeys(s tidegate.Schema) (keys sqltext.Text) {
	is := func(name string, k tidegate.Kind) bool {
		at := sqltext.IndexFold(s, name)
		return at >= 0 && s[at].Type.Kind == k
	}
	if !is("received_at", tidegate.Timestamp) {
		return ""
	}
	if is("id", tidegate.String) {
		keys = ` DISTSTYLE KEY DISTKEY ("id")`
	}
	return keys + ` COMPOUND SORTKEY ("received_at")`
}

// createSchema makes a schema where it is missing: IF NOT EXISTS asks for the right to create also where it exists.
func (t *tx) createSchema(ctx context.Context, name string) error {
	have, err := t.s.count(ctx, "SELECT count(*) FROM pg_namespace WHERE nspname = $1", t.w.fold(name))
	if err != nil || have > 0 {
		return err
	}
	schema, err := t.w.dialect.Ident(name)
	if err != nil {
		return err
	}
	share, err := t.w.share("GRANT USAGE ON SCHEMA "+schema, "ALTER DEFAULT PRIVILEGES IN SCHEMA "+schema+" GRANT SELECT ON TABLES")
	if err != nil {
		return err
	}
	if err := t.s.control(ctx, "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil {
		return err
	}
	return t.ifAny(ctx, share)
}
