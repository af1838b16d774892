package snowflake

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

var _ warehouse.Widener = (*tx)(nil)

// Widen implements warehouse.Widener. Snowflake commits before it changes a table: the column is wide
// at once and for everybody, and stays so when the transaction is rolled back.
func (t *tx) Widen(ctx context.Context, table warehouse.Table, c tidegate.Column) error {
	if err := t.Ready(t.reader != nil); err != nil {
		return err
	}
	if err := t.widen(ctx, table, c); err != nil {
		return t.Fail(fmt.Errorf("widening table %s: %w", table, err))
	}
	return nil
}

func (t *tx) widen(ctx context.Context, table warehouse.Table, c tidegate.Column) error {
	have, err := t.w.describe(ctx, t.on(), table)
	if err != nil {
		return err
	}
	if change, err := have.widening(c); err != nil || change.none() {
		return err
	}
	return t.apart(ctx, func(o on) error {
		done, err := t.w.altering.Alone(ctx, table)
		if err != nil {
			return err
		}
		defer done()
		have, err := t.w.describe(ctx, o, table)
		if err != nil {
			return err
		}
		change, err := have.widening(c)
		if err != nil || change.none() {
			return err
		}
		return t.w.alter(ctx, o, have, change)
	})
}

// widening is what gives a column the type of c.
func (t *table) widening(c tidegate.Column) (change, error) {
	at := sqltext.IndexFold(schemaOf(t.columns), c.Name)
	if at < 0 {
		return change{}, sqltext.ColumnFault(c.Name, "there is no such column in "+t.String(), "look at the table's columns")
	}
	from, to := t.columns[at].typ, declared(c.Type)
	switch {
	case from == to:
		return change{}, nil
	case !warehouse.Holds(to, from):
		return change{}, warehouse.Narrows(t.Table, c.Name, from, to)
	}
	return change{widen: map[int]tidegate.Type{at: to}}, nil
}

// widened is the type that a column needs to hold values of type add as well.
func (c *column) widened(add tidegate.Type) tidegate.Type {
	if !c.writable() {
		return c.typ // of a foreign type nothing is known
	}
	return declared(warehouse.Widened(c.typ, declared(add)))
}

// declared is a type as a column of it is described: a decimal without a fraction
// has 20 digits at least, so that it is no int.
func declared(t tidegate.Type) tidegate.Type {
	if t.Kind == tidegate.Decimal && t.Precision == 0 {
		t.Precision, t.Scale = 38, 9
	}
	if t.Kind == tidegate.Decimal && t.Scale == 0 {
		t.Precision = max(t.Precision, intDigits+1)
	}
	return t
}
