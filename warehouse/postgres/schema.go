package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// lockSpace is the first half of the advisory locks of this adapter ("Tide").
const lockSpace = "1416193125"

// lockWait bounds how long a change of a table waits for others that hold it;
// while it waits, everybody else waits behind it.
const lockWait sqltext.Text = "10s"

// Describe implements warehouse.Warehouse.
func (w *Warehouse) Describe(ctx context.Context, t warehouse.Table) (tidegate.Schema, error) {
	s, err := w.session(ctx, w.pools.Write)
	if err != nil {
		return nil, err
	}
	defer s.End()
	columns, err := s.describe(ctx, t)
	if err != nil {
		return nil, err
	}
	return schemaOf(columns), nil
}

// describe returns the columns of t as they are now, also in a transaction of
// an older snapshot, or an error that wraps warehouse.ErrNoTable.
func (s *session) describe(ctx context.Context, t warehouse.Table) ([]column, error) {
	name, err := s.w.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	// A statement that fails would be the end of a transaction, so the name is looked up first.
	rows, err := s.Rows(ctx, "SELECT to_regclass($1) IS NOT NULL", string(name))
	if err != nil {
		return nil, fmt.Errorf("describing table %s: %w", t, err)
	}
	if rows[0][0] != true {
		return nil, warehouse.NoTable(t)
	}
	sql := string("SELECT * FROM " + name)
	described, err := s.PG.Prepare(ctx, "", sql, nil)
	if err != nil {
		return nil, fmt.Errorf("describing table %s: %w", t, s.Fault(ctx, err, sql))
	}
	return columnsOf(described.Fields), nil
}

// glance returns the columns of t as the snapshot has them, none for no table.
// Other than describe it leaves no lock on t, which would be in the way of the
// others that are about to change it.
func (s *session) glance(ctx context.Context, t warehouse.Table) ([]column, error) {
	name, err := s.w.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	rows, err := s.Rows(ctx, "SELECT attname, atttypid, atttypmod FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum", string(name))
	if err != nil {
		return nil, err
	}
	columns := make([]column, len(rows))
	for i, row := range rows {
		name, _ := row[0].(string)
		oid, _ := row[1].(int64)
		modifier, _ := row[2].(int64)
		columns[i] = newColumn(pgconn.FieldDescription{Name: name, DataTypeOID: uint32(oid), TypeModifier: int32(modifier)})
	}
	return columns, nil
}

// Ensure implements warehouse.Warehouse.
func (w *Warehouse) Ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
	if have, err := w.Describe(ctx, t); err == nil && w.suffices(have, s) {
		return have, nil
	}
	x, err := w.begin(ctx, beginWriting)
	if err != nil {
		return nil, err
	}
	have, err := x.Ensure(ctx, t, s)
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
	columns, err := t.s.glance(ctx, table)
	if err != nil {
		return nil, err
	}
	if len(columns) > 0 {
		change, err := t.change(columns, want)
		if err != nil || change.none() {
			return schemaOf(columns), err
		}
	}
	if err := t.s.control(ctx, "SET LOCAL lock_timeout = '"+lockWait+"'; SELECT pg_advisory_xact_lock("+lockSpace+", "+lockOf(table)+")"); err != nil {
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
		if err := t.alter(ctx, table, change); err != nil {
			return nil, err
		}
		if columns, err = t.s.describe(ctx, table); err != nil {
			return nil, err
		}
	}
	return schemaOf(columns), t.s.control(ctx, "SET LOCAL lock_timeout TO DEFAULT")
}

// lockOf is the second half of the advisory lock of a table. Two tables that share one wait needlessly.
func lockOf(t warehouse.Table) sqltext.Text {
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.Schema + "\x00" + t.Name))
	return sqltext.Text(strconv.FormatInt(int64(int32(h.Sum32())), 10))
}

func (t *tx) create(ctx context.Context, table warehouse.Table, s tidegate.Schema) error {
	if len(s) == 0 {
		return errors.New("creating a table: it has no columns")
	}
	name, err := t.w.dialect.Table(table.Schema, table.Name)
	if err != nil {
		return err
	}
	defs, err := t.w.dialect.Columns(s)
	if err != nil {
		return err
	}
	if table.Schema != "" {
		schema, err := t.w.dialect.Ident(table.Schema)
		if err != nil {
			return err
		}
		if err := t.createSchema(ctx, schema); err != nil {
			return err
		}
	}
	share, err := t.w.share("GRANT SELECT ON " + name)
	if err != nil {
		return err
	}
	return t.s.control(ctx, "CREATE TABLE IF NOT EXISTS "+name+" ("+defs+")"+share)
}

// share gives the role of queries a right, where it is a role of its own; grant lacks the TO.
func (w *Warehouse) share(grants ...sqltext.Text) (sqltext.Text, error) {
	if w.pools.Reader == w.pools.Writer {
		return "", nil
	}
	role, err := w.dialect.Ident(w.pools.Reader)
	if err != nil {
		return "", fmt.Errorf("naming the role of queries: %w", err)
	}
	var all sqltext.Text
	for _, grant := range grants {
		all += "; " + grant + " TO " + role
	}
	return all, nil
}

// shareSchema lets the role of queries read what is and comes into a schema of ours.
func (w *Warehouse) shareSchema(schema sqltext.Text) (sqltext.Text, error) {
	return w.share("GRANT USAGE ON SCHEMA "+schema, "ALTER DEFAULT PRIVILEGES IN SCHEMA "+schema+" GRANT SELECT ON TABLES")
}

// createSchema makes a schema where it is missing: IF NOT EXISTS asks for the
// right to create also where it exists, and fails when another makes it at the same time.
func (t *tx) createSchema(ctx context.Context, schema sqltext.Text) error {
	rows, err := t.s.Rows(ctx, "SELECT to_regnamespace($1) IS NOT NULL", string(schema))
	if err != nil || rows[0][0] == true {
		return err
	}
	share, err := t.w.shareSchema(schema)
	if err != nil {
		return err
	}
	err = t.s.control(ctx, "SAVEPOINT tidegate_schema; CREATE SCHEMA IF NOT EXISTS "+schema+share)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == uniqueViolation {
		err = t.s.control(ctx, "ROLLBACK TO SAVEPOINT tidegate_schema")
	}
	if err != nil {
		return err
	}
	return t.s.control(ctx, "RELEASE SAVEPOINT tidegate_schema")
}

const uniqueViolation = "23505"

// change is what ALTER TABLE has to do.
type change struct {
	actions  []sqltext.Text
	rewrites bool // the table is written anew
}

func (c change) none() bool { return len(c.actions) == 0 }

// change finds what gives a table with the columns have room for want.
func (t *tx) change(have []column, want tidegate.Schema) (change, error) {
	var c change
	schema := schemaOf(have)
	for _, col := range want {
		name, err := t.w.dialect.Ident(col.Name)
		if err != nil {
			return change{}, err
		}
		at := sqltext.IndexFold(schema, col.Name)
		if at < 0 {
			typ, err := t.w.dialect.Type(col.Type)
			if err != nil {
				return change{}, fmt.Errorf("column %q: %w", col.Name, err)
			}
			c.actions = append(c.actions, "ADD COLUMN "+name+" "+typ)
			continue
		}
		old := have[at]
		wide := old.widened(col.Type)
		if wide == old.typ {
			continue
		}
		typ, err := t.w.dialect.Type(wide)
		if err != nil {
			return change{}, fmt.Errorf("column %q: %w", col.Name, err)
		}
		if name, err = t.w.dialect.Ident(old.name); err != nil { // as it is written in the table
			return change{}, err
		}
		c.actions = append(c.actions, "ALTER COLUMN "+name+" TYPE "+typ+" USING "+old.cast(name, wide, typ))
		c.rewrites = c.rewrites || old.typ.Kind != tidegate.Decimal || wide.Kind != tidegate.Decimal || old.typ.Scale != wide.Scale
	}
	return c, nil
}

// alter changes the table in one statement, so that it is rewritten once.
func (t *tx) alter(ctx context.Context, table warehouse.Table, c change) error {
	name, err := t.w.dialect.Table(table.Schema, table.Name)
	if err != nil {
		return err
	}
	if c.rewrites { // Invariant 6, see the package comment
		if err := t.s.control(ctx, "LOCK TABLE _tidegate.snapshots IN ACCESS EXCLUSIVE MODE"); err != nil {
			return fmt.Errorf("waiting for transactions that read: %w", err)
		}
	}
	return t.s.control(ctx, "ALTER TABLE "+name+" "+sqltext.Join(c.actions, ", "))
}

// cast turns a column into another type so that its values are those that the nouns would carry there.
func (c *column) cast(name sqltext.Text, to tidegate.Type, typ sqltext.Text) sqltext.Text {
	switch to.Kind {
	case tidegate.String:
		return c.text(name)
	case tidegate.JSON:
		switch c.typ.Kind {
		case tidegate.Int, tidegate.Float, tidegate.Decimal, tidegate.Bool, tidegate.JSON:
			return "(" + c.text(name) + ")::" + typ
		default:
			return "to_jsonb(" + c.text(name) + ")"
		}
	case tidegate.Timestamp:
		if c.typ.Kind == tidegate.Date {
			return name + "::timestamp AT TIME ZONE 'UTC'"
		}
	default:
	}
	return name + "::" + typ
}

// text turns a column into text as a row loaded later would hold it.
func (c *column) text(name sqltext.Text) sqltext.Text {
	switch c.typ.Kind {
	case tidegate.Bytes:
		return `replace(encode(` + name + `, 'base64'), E'\n', '')`
	case tidegate.Decimal:
		// Without the zeros that say nothing.
		return "CASE WHEN " + name + "::text LIKE '%.%' THEN rtrim(rtrim(" + name + "::text, '0'), '.') ELSE " + name + "::text END"
	case tidegate.Timestamp:
		if c.oid == oidTimestampTZ {
			name += " AT TIME ZONE 'UTC'"
		}
		return "replace(to_char(" + name + `, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')`
	default:
	}
	return name + "::text"
}

// widened is the type that a column needs to hold values of type add as well.
func (c *column) widened(add tidegate.Type) tidegate.Type {
	if c.unbounded && (add.Kind == tidegate.Int || add.Kind == tidegate.Float || add.Kind == tidegate.Decimal) {
		return c.typ // holds every number
	}
	return warehouse.Widened(c.typ, add)
}
