package loader

import (
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Where the engine has units and no transactions (sqltext.Dialect.Units), no statement
// says how many rows it changed and a unit does not see its own rows. Then the
// books are read and written as rows by key, and a unit takes one part. Only one
// loader may work there: two would not notice each other.

// moveCursorInUnit is moveCursor for units.
func (l *Loader) moveCursorInUnit(ctx context.Context, tx warehouse.Tx, from tidegate.Offset, ld *load) error {
	var at tidegate.Offset
	found := false
	err := warehouse.Each(ctx, tx, string("SELECT next_position FROM "+l.table(l.own(cursorName))+" WHERE partition = 0"), nil, func(row tidegate.Row) error {
		at.Position, found = asInt(row[0]), true
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the cursor: %w", err)
	}
	if !found || at.Position != from.Position {
		return fmt.Errorf("moving the cursor from %s: %w", from, errStale)
	}
	if err := putCursor(ctx, tx, l.own(cursorName), ld.once, ld.next.Position, ld.id, l.opts.Reader.Mark(ld.next), ld.at); err != nil {
		return fmt.Errorf("moving the cursor: %w", err)
	}
	return nil
}

// putCursor sets the cursor by a load that replaces its row.
func putCursor(ctx context.Context, into interface {
	Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error)
}, table warehouse.Table, once string, position int64, id, mark string, at time.Time,
) error {
	_, err := into.Load(ctx, warehouse.Load{ID: "cursor of " + once, Table: table, Key: []string{"partition"}},
		tidegate.Rows(cursorSchema(), tidegate.Row{int64(0), position, id, at, mark}))
	return err
}

// setCursorInUnit is setCursor for units, of any loader.
func setCursorInUnit(ctx context.Context, wh Warehouse, d sqltext.Dialect, table warehouse.Table, next tidegate.Offset, mark string) error {
	name, err := d.Table(table.Schema, table.Name)
	if err != nil {
		return err
	}
	var was tidegate.Row
	err = warehouse.Each(ctx, wh, string("SELECT load_id, updated_at FROM "+name+" WHERE partition = 0"), nil, func(row tidegate.Row) error {
		was = append(tidegate.Row{}, row...)
		return nil
	})
	if err != nil {
		return err
	}
	if was == nil {
		return errNoCursor
	}
	id, _ := was[0].(string)
	at, _ := was[1].(time.Time)
	return putCursor(ctx, wh, table, fmt.Sprintf("%s set to %d of %s", id, next.Position, mark), next.Position, id, mark, at)
}

// countInUnit is count for units: the sums are made here.
func (l *Loader) countInUnit(ctx context.Context, tx warehouse.Tx, once string, tallies map[string]tally, at time.Time) error {
	var sources []any
	for source := range tallies {
		sources = append(sources, source)
	}
	if len(sources) == 0 {
		return nil
	}
	was := map[string]tally{}
	known := "SELECT source, loaded, duplicate, dead, suppressed, dropped FROM " + l.table(l.own(countsName)) + " WHERE source IN (" + l.marks(len(sources)) + ")"
	err := warehouse.Each(ctx, tx, string(known), sources, func(row tidegate.Row) error {
		source, _ := row[0].(string)
		was[source] = tally{asInt(row[1]), asInt(row[2]), asInt(row[3]), asInt(row[4]), asInt(row[5])}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the counts: %w", err)
	}
	var sums []tidegate.Row
	for source, t := range tallies {
		t.add(was[source])
		sums = append(sums, tidegate.Row{source, t.read(), t.loaded, t.duplicate, t.dead, at, t.suppressed, t.dropped})
	}
	_, err = tx.Load(ctx, warehouse.Load{ID: "counts of " + once, Table: l.own(countsName), Key: []string{"source"}}, tidegate.Rows(countsSchema(), sums...))
	if err != nil {
		return fmt.Errorf("counting events: %w", err)
	}
	return nil
}
