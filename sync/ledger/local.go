package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// modelRows makes the model readable inside tx while use runs: in place where the
// ledger is beside it, otherwise by one query whose rows are staged in a table of
// tx, which is given up afterwards.
func (l *Ledger) modelRows(ctx context.Context, tx warehouse.Tx, src *source, use func(ctx context.Context) error) error {
	if l.opts.Model == nil {
		return use(ctx)
	}
	sql, err := l.modelQuery(src)
	if err != nil {
		return err
	}
	table := warehouse.Table{Schema: Schema, Name: l.names.of("rows").Name}
	if _, err := tx.Ensure(ctx, table, src.columns); err != nil {
		return fmt.Errorf("creating %s: %w", table, err)
	}
	if err := l.stage(ctx, tx, table, "rows", sql, src.args); err != nil {
		return fmt.Errorf("staging the rows: %w", err)
	}
	src.model, src.args = string("SELECT * FROM "+l.sql.table(table)), nil
	return use(ctx)
}

// stage copies the result of a query into table, in the load id, as record batches where both
// sides have them. An end that is no end of the rows is an error (Invariant 6).
func (l *Ledger) stage(ctx context.Context, tx warehouse.Tx, table warehouse.Table, id, sql string, args []any) error {
	from, columnar := l.opts.Model.(warehouse.ArrowQuerier)
	into, takes := tx.(warehouse.ArrowTx)
	if columnar && takes {
		batches, done, err := from.QueryArrow(ctx, sql, args...)
		if err != nil {
			return err
		}
		_, err = into.AppendArrow(ctx, table, batches)
		err = errors.Join(err, batches.Err())
		batches.Release()
		return errors.Join(err, done())
	}
	rows, err := l.opts.Model.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	_, err = tx.Load(ctx, warehouse.Load{ID: id, Table: table}, rows)
	return errors.Join(err, rows.Close())
}

// modelQuery selects only the columns that are mapped, in the types that staging takes as they are.
func (l *Ledger) modelQuery(src *source) (string, error) {
	speaker, ok := l.opts.Model.(interface{ Dialect() string })
	if !ok {
		return src.model, nil
	}
	d, ok := sqltext.Find(speaker.Dialect())
	if !ok {
		return "", fmt.Errorf("reading the model: no dialect is called %q", speaker.Dialect())
	}
	var list []sqltext.Text
	for _, c := range src.columns {
		q, err := d.Ident(c.Name)
		if err != nil {
			return "", err
		}
		switch c.Type.Kind {
		case tidegate.Int, tidegate.Float, tidegate.Bool: // the engine's narrower types of one kind
			typ, err := d.Type(c.Type)
			if err != nil {
				return "", err
			}
			q = "CAST(" + q + " AS " + typ + ") AS " + q
		default:
		}
		list = append(list, q)
	}
	return string("SELECT " + sqltext.Join(list, ", ") + " FROM (\n" + sqltext.Text(src.model) + "\n) AS q"), nil
}
