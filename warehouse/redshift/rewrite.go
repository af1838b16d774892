package redshift

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

var _ warehouse.Widener = (*tx)(nil)

// change is what has to be done to a table.
type change struct {
	adds  tidegate.Schema
	casts map[int]tidegate.Type // columns that get another type
	grows map[int]int           // text columns that get another length
}

func (c change) none() bool { return len(c.adds)+len(c.casts)+len(c.grows) == 0 }

// change finds what gives a table with the columns have room for want.
func (t *tx) change(have []column, want tidegate.Schema) (change, error) {
	c := change{casts: map[int]tidegate.Type{}}
	schema := schemaOf(have)
	for _, col := range want {
		at := sqltext.IndexFold(schema, col.Name)
		if at < 0 {
			if _, err := t.w.definition(col, firstLength); err != nil {
				return change{}, err
			}
			c.adds = append(c.adds, col)
			continue
		}
		if wide := warehouse.Widened(have[at].typ, col.Type); wide != have[at].typ {
			c.casts[at] = wide
		}
	}
	return c, nil
}

// alter changes the table. The server adds one column at a time; every other change writes the table anew.
func (t *tx) alter(ctx context.Context, table warehouse.Table, have []column, c change) error {
	if len(c.casts)+len(c.grows) > 0 {
		return t.rewrite(ctx, table, have, c)
	}
	name, err := t.w.dialect.Table(table.Schema, table.Name)
	if err != nil {
		return err
	}
	adds := make([]sqltext.Text, len(c.adds))
	for i, col := range c.adds {
		def, err := t.w.definition(col, firstLength)
		if err != nil {
			return err
		}
		adds[i] = "ALTER TABLE " + name + " ADD COLUMN " + def
	}
	return t.s.control(ctx, sqltext.Join(adds, "; "))
}

// rewrite makes a table with other columns, with the keys and the grants of the one before it, and puts it in its place.
func (t *tx) rewrite(ctx context.Context, table warehouse.Table, have []column, c change) error {
	old, err := t.w.dialect.Table(table.Schema, table.Name)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(table.Name))
	next, err := t.w.dialect.Table(table.Schema, "_tidegate_new_"+hex.EncodeToString(sum[:8]))
	if err != nil {
		return err
	}
	name, err := t.w.dialect.Ident(table.Name)
	if err != nil {
		return err
	}
	made, err := t.w.remade(have, c)
	if err != nil {
		return err
	}
	// Invariant 6: whoever reads in an older snapshot is waited for.
	if err := t.s.control(ctx, "LOCK _tidegate.snapshots; LOCK "+old); err != nil {
		return fmt.Errorf("waiting for transactions that read: %w", err)
	}
	grants, err := t.s.grants(ctx, table, next)
	if err != nil {
		return err
	}
	statements := slices.Concat([]sqltext.Text{
		"CREATE TABLE " + next + " (" + sqltext.Join(made.defs, ", ") + ")" + made.keys,
		"INSERT INTO " + next + " (" + sqltext.Join(made.names, ", ") + ") SELECT " + sqltext.Join(made.values, ", ") + " FROM " + old,
	}, grants, []sqltext.Text{"DROP TABLE " + old, "ALTER TABLE " + next + " RENAME TO " + name})
	for _, sql := range statements {
		if err := t.s.control(ctx, sql); err != nil {
			return fmt.Errorf("writing the table anew: %w", err)
		}
	}
	return nil
}

// remade is a table written anew: its columns, and of what those that were there before are made.
type remade struct {
	defs, names, values []sqltext.Text
	keys                sqltext.Text
}

func (w *Warehouse) remade(have []column, c change) (*remade, error) {
	m := &remade{}
	var sortKeys []sqltext.Text
	interleaved := sqltext.Text(" COMPOUND")
	ordered := make([]sqltext.Text, len(have)+1)
	for i := range have {
		col := &have[i]
		name, err := w.dialect.Ident(col.name)
		if err != nil {
			return nil, err
		}
		var def sqltext.Text
		value := name
		if to, ok := c.casts[i]; ok {
			length := firstLength
			if col.typ.Kind == tidegate.JSON || col.typ.Kind == tidegate.Bytes {
				length = maxVarchar
			}
			if def, err = w.definition(tidegate.Column{Name: col.name, Type: to}, length); err != nil {
				return nil, err
			}
			typ, err := w.dialect.Type(to)
			if err != nil {
				return nil, err
			}
			value = col.cast(name, to, typ)
		} else {
			if n, ok := c.grows[i]; ok {
				col.length = n
			}
			typ, err := w.declared(col)
			if err != nil {
				return nil, err
			}
			def = name + " " + typ
		}
		m.defs, m.names, m.values = append(m.defs, def), append(m.names, name), append(m.values, value)
		if col.distKey {
			m.keys = " DISTSTYLE KEY DISTKEY (" + name + ")"
		}
		if col.sortKey < 0 {
			interleaved = " INTERLEAVED"
		}
		if at := max(col.sortKey, -col.sortKey); at > 0 && at < len(ordered) {
			ordered[at] = name
		}
	}
	for _, name := range ordered {
		if name != "" {
			sortKeys = append(sortKeys, name)
		}
	}
	if len(sortKeys) > 0 {
		m.keys += interleaved + " SORTKEY (" + sqltext.Join(sortKeys, ", ") + ")"
	}
	for _, add := range c.adds {
		def, err := w.definition(add, firstLength)
		if err != nil {
			return nil, err
		}
		m.defs = append(m.defs, def)
	}
	return m, nil
}

// declared is the type of a column as it stands in a definition.
func (w *Warehouse) declared(c *column) (sqltext.Text, error) {
	number := func(n int) sqltext.Text { return sqltext.Text(fmt.Sprint(n)) }
	switch c.oid {
	case oidBool, oidInt8, oidFloat8, oidDate, oidTimestampTZ, oidSuper:
		return w.dialect.Type(c.typ)
	case oidInt2:
		return "SMALLINT", nil
	case oidInt4:
		return "INTEGER", nil
	case oidFloat4:
		return "REAL", nil
	case oidTimestamp:
		return "TIMESTAMP", nil
	case oidNumeric:
		return w.dialect.Type(c.typ)
	case oidVarchar, oidText:
		return "VARCHAR(" + number(lengthOr(c.length, maxVarchar)) + ")", nil
	case oidBPChar:
		return "CHAR(" + number(lengthOr(c.length, 1)) + ")", nil
	case oidVarbyte:
		return "VARBYTE(" + number(lengthOr(c.length, maxVarbyte)) + ")", nil
	}
	return "", sqltext.ColumnFault(c.name, "it has a type that Tidegate cannot write (TIME, INTERVAL, GEOMETRY and their like)", "leave it out of what is loaded, or change the table yourself")
}

func lengthOr(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// privileges are those that a table can be granted.
var privileges = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "REFERENCES", "DROP", "ALTER", "TRUNCATE"}

// grants are statements that give next the grants that others have on table.
func (s *session) grants(ctx context.Context, table warehouse.Table, next sqltext.Text) ([]sqltext.Text, error) {
	rows, err := s.Rows(ctx, "SELECT privilege_type, identity_type, identity_name FROM svv_relation_privileges WHERE namespace_name = $1 AND relation_name = $2 AND identity_name <> $3",
		s.w.fold(table.Schema), s.w.fold(table.Name), s.w.pools.Writer)
	if err != nil {
		return nil, fmt.Errorf("reading the grants of the table: %w", err)
	}
	var list []sqltext.Text
	for _, row := range rows {
		privilege, _ := row[0].(string)
		kind, _ := row[1].(string)
		to, _ := row[2].(string)
		privilege = strings.ToUpper(strings.TrimSpace(privilege))
		if !slices.Contains(privileges, privilege) {
			continue // of a later server; nobody can read less for it
		}
		who := sqltext.Text("PUBLIC")
		if kind = strings.ToLower(strings.TrimSpace(kind)); kind != "public" {
			quoted, err := s.w.dialect.Ident(strings.TrimSpace(to))
			if err != nil {
				return nil, err
			}
			who = quoted
			if kind == "role" || kind == "group" {
				who = sqltext.Text(strings.ToUpper(kind)) + " " + quoted
			}
		}
		list = append(list, "GRANT "+sqltext.Text(privilege)+" ON "+next+" TO "+who)
	}
	return list, nil
}

// Widen implements warehouse.Widener. It waits for transactions that read.
func (t *tx) Widen(ctx context.Context, table warehouse.Table, c tidegate.Column) error {
	if err := t.Ready(t.reader != nil); err != nil {
		return err
	}
	t.wrote = true
	if err := t.widen(ctx, table, c); err != nil {
		return t.Fail(fmt.Errorf("widening table %s: %w", table, err))
	}
	return nil
}

func (t *tx) widen(ctx context.Context, table warehouse.Table, c tidegate.Column) error {
	if err := t.s.control(ctx, "LOCK _tidegate.schemas"); err != nil {
		return err
	}
	columns, err := t.s.describe(ctx, table)
	if err != nil {
		return err
	}
	have := schemaOf(columns)
	at := sqltext.IndexFold(have, c.Name)
	switch {
	case at < 0:
		return sqltext.ColumnFault(c.Name, "there is no such column in "+table.String(), "look at the table's columns")
	case have[at].Type == c.Type:
		return nil
	case !warehouse.Holds(c.Type, have[at].Type):
		return warehouse.Narrows(table, c.Name, have[at].Type, c.Type)
	}
	return t.rewrite(ctx, table, columns, change{casts: map[int]tidegate.Type{at: c.Type}})
}

// growth are text columns of a table that are too short, by their names.
type growth struct {
	table warehouse.Table
	bytes map[string]int
}

// lengths are those that a text column has, one after another.
var lengths = []int{firstLength, 2048, 8192, maxVarchar}

// grow makes text columns longer, which the server does in place and outside of transactions only. A column
// whose encoding forbids that is written anew with its table.
func (w *Warehouse) grow(ctx context.Context, g *growth) error {
	release, err := w.turns.Alone(ctx, "schemas")
	if err != nil {
		return err
	}
	defer release()
	s, err := w.bookedSession(ctx)
	if err != nil {
		return err
	}
	defer func() { s.End() }()
	columns, err := s.describe(ctx, g.table)
	if err != nil {
		return err
	}
	table, err := w.dialect.Table(g.table.Schema, g.table.Name)
	if err != nil {
		return err
	}
	rest := change{grows: map[int]int{}}
	for i, c := range columns {
		need, ok := g.bytes[c.name]
		if !ok || c.oid != oidVarchar || need <= c.length {
			continue
		}
		at, _ := slices.BinarySearch(lengths, need)
		length := lengths[min(at, len(lengths)-1)]
		name, err := w.dialect.Ident(c.name)
		if err != nil {
			return err
		}
		err = s.control(ctx, "ALTER TABLE "+table+" ALTER COLUMN "+name+" TYPE"+varchar(length))
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == notSupported {
			rest.grows[i] = length
		} else if err != nil {
			return fmt.Errorf("making column %q of %s longer: %w", c.name, g.table, err)
		}
	}
	if rest.none() {
		return nil
	}
	t, err := s.begin(ctx, beginSchema)
	if err != nil {
		return err
	}
	if err := t.rewrite(ctx, g.table, columns, rest); err != nil {
		return errors.Join(err, t.Rollback())
	}
	t.wrote = true
	return t.Commit()
}

const notSupported = "0A000"
