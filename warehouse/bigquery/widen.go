package bigquery

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

var _ warehouse.Widener = (*tx)(nil)

// Widen implements warehouse.Widener. BigQuery changes tables outside of transactions only: the column is
// wide at once and for everybody, and stays so when the transaction is rolled back.
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
	have, err := t.w.describe(ctx, table)
	if err != nil {
		return err
	}
	if change, err := have.widening(c); err != nil || change.none() {
		return err
	}
	return t.apart(ctx, func() error {
		done, err := t.w.altering.Alone(ctx, table)
		if err != nil {
			return err
		}
		defer done()
		have, err := t.w.describe(ctx, table)
		if err != nil {
			return err
		}
		change, err := have.widening(c)
		if err != nil || change.none() {
			return err
		}
		return t.w.alter(ctx, have, change)
	})
}

// widening is what gives a column the type of c.
func (t *table) widening(c tidegate.Column) (change, error) {
	at := sqltext.IndexFold(schemaOf(t.columns), c.Name)
	if at < 0 {
		return change{}, sqltext.ColumnFault(c.Name, "there is no such column in "+t.String(), "look at the table's columns")
	}
	from := &t.columns[at]
	switch {
	case from.typ == c.Type && !from.unbounded:
		return change{}, nil
	case !warehouse.Holds(c.Type, from.typ) || from.unbounded && c.Type.Kind == tidegate.Decimal:
		return change{}, warehouse.Narrows(t.Table, c.Name, from.typ, c.Type)
	}
	return change{widen: map[int]tidegate.Type{at: c.Type}}, nil
}

// widened is the type that a column needs to hold values of type add as well.
func (c *column) widened(add tidegate.Type) tidegate.Type {
	if c.unbounded && c.engine == "BIGNUMERIC" && (add.Kind == tidegate.Int || add.Kind == tidegate.Decimal) {
		return c.typ // holds every number
	}
	if !c.writable() {
		return c.typ // of a foreign type nothing is known
	}
	return warehouse.Widened(c.typ, add)
}
