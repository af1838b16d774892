package evolve

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Where the engine has units and no transactions (sqltext.Dialect.Units), a unit does not
// see what it does itself, and no statement gives rows other values by those of another table.
// There the values are staged before the unit begins, which is nobody's loss when
// it never does; the unit then alters the tables, adds the rows anew with their values and
// deletes them as they were. Each of its statements can be done twice, as one of a unit must be.

// stageAhead stages the values, outside of any unit, and counts the people that get one.
func (w *widening) stageAhead(ctx context.Context, wh Warehouse) error {
	w.wh = wh
	if !w.fills() {
		return nil
	}
	n, err := w.names()
	if err != nil {
		return err
	}
	if _, err := wh.Exec(ctx, string("DROP TABLE IF EXISTS "+n.staging)); err != nil {
		return fmt.Errorf("dropping what an earlier try staged: %w", err)
	}
	if err := w.stageAll(ctx, wh, n); err != nil || !w.users {
		return err
	}
	only := sqltext.Text("")
	if w.table.Name == shape.EventsTable {
		only = " WHERE t.type = 'identify'"
	}
	err = warehouse.Each(ctx, wh, string("SELECT count(DISTINCT u.id) FROM "+n.users+" AS u JOIN "+n.table+" AS t ON t.user_id = u.id JOIN "+n.staging+" AS s ON t.id = s.row_id"+only), nil, func(row tidegate.Row) error {
		w.result.Users, _ = row[0].(int64)
		return nil
	})
	if err != nil {
		return fmt.Errorf("counting the people that get a value: %w", err)
	}
	return nil
}

// putAnew is put for units.
func (w *widening) putAnew(ctx context.Context, n names) error {
	if w.result.Backfilled+w.sharpened == 0 {
		return nil
	}
	p := w.d.Placeholder
	rows, err := w.anew(ctx, w.table, n.table, map[string]sqltext.Text{w.column: "s.value", shape.UnmappedColumn: "s.unmapped"}, "t.id = s.row_id", n.staging)
	if err != nil {
		return err
	}
	statements := []sqltext.Text{
		rows,
		"DELETE FROM " + n.table + " WHERE id IN (SELECT row_id FROM " + n.staging + ") AND (" + n.column + " IS NULL OR (id, " + n.column + ") NOT IN (SELECT row_id, value FROM " + n.staging + "))",
	}
	if w.users {
		users := warehouse.Table{Schema: w.table.Schema, Name: shape.UsersTable}
		rows, err := w.anew(ctx, users, n.users, map[string]sqltext.Text{w.column: "s.value"}, "t.id = s.user_id", "(SELECT user_id, value FROM ("+w.latest(n)+") AS i WHERE nth = 1)")
		if err != nil {
			return err
		}
		statements = append(statements, rows)
	}
	err = w.dropDiscards(ctx, "DELETE FROM "+n.discards, " WHERE table_name = "+p(1)+" AND column_name = "+p(2)+" AND reason IN "+bothReasons+
		" AND (row_id, column_value) IN (SELECT row_id, was FROM "+n.staging+" WHERE was IS NOT NULL)")
	if err != nil {
		return err
	}
	for _, s := range statements {
		if _, err := w.tx.Exec(ctx, string(s)); err != nil {
			return fmt.Errorf("putting values into their rows: %w", err)
		}
	}
	return nil
}

// anew adds rows of a table again, t, with some columns as they are in from, s.
func (w *widening) anew(ctx context.Context, t warehouse.Table, name sqltext.Text, other map[string]sqltext.Text, on, from sqltext.Text) (sqltext.Text, error) {
	columns, err := w.wh.Describe(ctx, t)
	if err != nil {
		return "", fmt.Errorf("describing %s: %w", t, err)
	}
	names := make([]sqltext.Text, len(columns))
	values := make([]sqltext.Text, len(columns))
	for i, c := range columns {
		if names[i], err = w.d.Ident(c.Name); err != nil {
			return "", err
		}
		if values[i] = other[c.Name]; values[i] == "" {
			values[i] = "t." + names[i]
		}
	}
	return "INSERT INTO " + name + " (" + sqltext.Join(names, ", ") + ") SELECT " + sqltext.Join(values, ", ") + " FROM " + name + " AS t JOIN " + from + " AS s ON " + on, nil
}
