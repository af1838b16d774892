package postgres

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

var _ warehouse.Widener = (*tx)(nil)

// Widen implements warehouse.Widener. It waits for transactions that read, as every
// change that writes a table anew does.
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
	if err := t.s.control(ctx, "SET LOCAL lock_timeout = '"+lockWait+"'; SELECT pg_advisory_xact_lock("+lockSpace+", "+lockOf(table)+")"); err != nil {
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
	case have[at].Type == c.Type && !columns[at].unbounded:
		return nil
	case !warehouse.Holds(c.Type, have[at].Type) || columns[at].unbounded && c.Type.Kind == tidegate.Decimal:
		return warehouse.Narrows(table, c.Name, have[at].Type, c.Type)
	}
	name, err := t.w.dialect.Ident(columns[at].name)
	if err != nil {
		return err
	}
	typ, err := t.w.dialect.Type(c.Type)
	if err != nil {
		return fmt.Errorf("column %q: %w", c.Name, err)
	}
	err = t.alter(ctx, table, change{
		actions:  []sqltext.Text{"ALTER COLUMN " + name + " TYPE " + typ + " USING " + columns[at].cast(name, c.Type, typ)},
		rewrites: true,
	})
	if err != nil {
		return err
	}
	return t.s.control(ctx, "SET LOCAL lock_timeout TO DEFAULT")
}
