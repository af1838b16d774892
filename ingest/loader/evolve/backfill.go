package evolve

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// A part of what is set aside is read, restored and staged at a time.
const (
	partRows  = 20_000
	partBytes = 32 << 20
)

// names are the quoted names of a backfill.
type names struct{ table, users, discards, staging, column, unmapped sqltext.Text }

func (w *widening) names() (n names, err error) {
	for _, t := range []struct {
		to   *sqltext.Text
		name warehouse.Table
	}{
		{&n.table, w.table},
		{&n.users, warehouse.Table{Schema: w.table.Schema, Name: shape.UsersTable}},
		{&n.discards, warehouse.Table{Schema: w.table.Schema, Name: shape.DiscardsTable}},
		{&n.staging, w.staging()},
	} {
		if *t.to, err = w.d.Table(t.name.Schema, t.name.Name); err != nil {
			return n, err
		}
	}
	if n.column, err = w.d.Ident(w.column); err != nil {
		return n, err
	}
	n.unmapped, err = w.d.Ident(shape.UnmappedColumn)
	return n, err
}

// staging is the table of restored values, one for each type. It has rows inside of a transaction only,
// and is dropped behind it, for not every engine drops tables in one.
func (w *widening) staging() warehouse.Table {
	return warehouse.Table{Schema: w.log.Schema, Name: "widening_" + strings.NewReplacer("(", "_", ",", "_", ")", "").Replace(w.to.String())}
}

// unstage drops the table of restored values. Where it cannot, the table is empty and there for the next widening.
func (w *widening) unstage(ctx context.Context, wh Warehouse) {
	if name, err := w.d.Table(w.staging().Schema, w.staging().Name); err == nil && w.staged {
		_, _ = wh.Exec(ctx, string("DROP TABLE IF EXISTS "+name))
	}
}

func (w *widening) stagingSchema() tidegate.Schema {
	return append(schemaOf("row_id", tidegate.String, "was", tidegate.String, "unmapped", tidegate.JSON), tidegate.Column{Name: "value", Type: w.to})
}

// backfill puts what was set aside into its rows, as far as it fits.
func (w *widening) backfill(ctx context.Context) error {
	n, err := w.names()
	if err != nil {
		return err
	}
	if w.d.Units() {
		return w.putAnew(ctx, n)
	}
	if err := w.stageAll(ctx, w.tx, n); err != nil {
		return err
	}
	if err := w.put(ctx, n); err != nil {
		return err
	}
	if _, err := w.tx.Exec(ctx, string("DELETE FROM "+n.staging+" WHERE row_id IS NOT NULL")); err != nil {
		return fmt.Errorf("removing the staged values: %w", err)
	}
	return nil
}

// stager is where values are staged, and what they are made of is read: the transaction, or
// before a unit the warehouse.
type stager interface {
	warehouse.Querier
	Ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error)
	Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error)
}

// stageAll makes the staging table and fills it.
func (w *widening) stageAll(ctx context.Context, in stager, n names) error {
	w.staged = true
	if _, err := in.Ensure(ctx, w.staging(), w.stagingSchema()); err != nil {
		return err
	}
	err := w.stage(ctx, in, "discards", func(last string) ([]tidegate.Row, string, error) { return w.restore(ctx, in, n, last) }, &w.result.Backfilled)
	if err == nil && w.rounds() {
		err = w.stage(ctx, in, "rounded", func(last string) ([]tidegate.Row, string, error) { return w.sharpen(ctx, in, n, last) }, &w.sharpened)
	}
	return err
}

// stage takes part after part of next into the staging table, until next gives the row
// that it was given, and counts the rows.
func (w *widening) stage(ctx context.Context, in stager, what string, next func(last string) ([]tidegate.Row, string, error), count *int64) error {
	last := ""
	for part := 0; ; part++ {
		rows, after, err := next(last)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			load := warehouse.Load{ID: fmt.Sprintf("%s %s %s %d", w.id(), w.attempt, what, part), Table: w.staging()}
			if _, err := in.Load(ctx, load, tidegate.Rows(w.stagingSchema(), rows...)); err != nil {
				return fmt.Errorf("staging values: %w", err)
			}
		}
		*count += int64(len(rows))
		if after == last {
			return nil
		}
		last = after
	}
}

// rounds says whether the column held some values less exactly than they were sent, and
// now has room for them.
func (w *widening) rounds() bool {
	return (w.was.Kind == tidegate.Float || w.was.Kind == tidegate.Timestamp) && (w.to.Kind == tidegate.String || w.to.Kind == tidegate.JSON)
}

// sharpen reads the next part of the values that the column held less exactly than they
// were sent; their rows' `_unmapped` has them.
func (w *widening) sharpen(ctx context.Context, in warehouse.Querier, n names, last string) (rows []tidegate.Row, next string, err error) {
	p := w.d.Placeholder
	bytes := 0
	next = last
	err = warehouse.Each(ctx, in, string("SELECT t.id, t."+n.unmapped+", t."+n.column+" FROM "+n.table+" AS t WHERE t.id > "+p(1)+" AND t."+n.unmapped+" IS NOT NULL AND t."+n.column+
		" IS NOT NULL ORDER BY t.id LIMIT "+number(partRows)), []any{last}, func(row tidegate.Row) error {
		if bytes >= partBytes {
			return nil
		}
		next = str(row[0])
		unmapped, _ := row[1].(tidegate.JSONText)
		bytes += len(unmapped)
		if r, ok := shape.Sharpen(w.was, w.to, w.column, []byte(unmapped), cell(row[2])); ok {
			rows = append(rows, staged(next, nil, r))
		}
		return nil
	})
	if err != nil {
		return nil, last, fmt.Errorf("reading what the column held less exactly: %w", err)
	}
	return rows, next, nil
}

// staged is a row of the staging table.
func staged(id string, was any, r shape.Restored) tidegate.Row {
	var left any
	if len(r.Unmapped) > 0 {
		left = tidegate.JSONText(r.Unmapped)
	}
	return tidegate.Row{id, was, left, r.Value}
}

// restore reads the next part of what was set aside, after row last. It returns last when
// there is no more.
func (w *widening) restore(ctx context.Context, in warehouse.Querier, n names, last string) (rows []tidegate.Row, next string, err error) {
	p := w.d.Placeholder
	bytes := 0
	next = last
	err = warehouse.Each(ctx, in, string("SELECT d.row_id, d.column_value, d.value_type, t."+n.unmapped+" FROM "+n.discards+" AS d JOIN "+n.table+" AS t ON t.id = d.row_id WHERE d.table_name = "+p(1)+
		" AND d.column_name = "+p(2)+" AND d.reason IN "+bothReasons+" AND d.row_id > "+p(3)+" AND t."+n.column+" IS NULL ORDER BY d.row_id, d.column_value LIMIT "+number(partRows)),
		[]any{w.table.Name, w.column, last}, func(row tidegate.Row) error {
			if bytes >= partBytes {
				return nil // the rest of the part is read again
			}
			id, was := str(row[0]), shape.SetAside{Text: str(row[1]), Type: str(row[2])}
			unmapped, _ := row[3].(tidegate.JSONText)
			bytes += len(id) + len(was.Text) + len(unmapped)
			again := id == next && next != last // one row has room for one value
			next = id
			if again {
				return nil
			}
			if r, ok := shape.Restore(w.to, w.column, []byte(unmapped), was); ok {
				rows = append(rows, staged(id, was.Text, r))
			}
			return nil
		})
	if err != nil {
		return nil, last, fmt.Errorf("reading what was set aside: %w", err)
	}
	return rows, next, nil
}

// put moves the staged values into the table, and takes their discards away.
func (w *widening) put(ctx context.Context, n names) error {
	filled, err := w.tx.Exec(ctx, string("UPDATE "+n.table+" AS t SET "+n.column+" = s.value, "+n.unmapped+" = s.unmapped FROM "+n.staging+" AS s WHERE t.id = s.row_id"))
	if err != nil {
		return fmt.Errorf("putting values into their rows: %w", err)
	}
	if staged := w.result.Backfilled + w.sharpened; filled != staged {
		return fmt.Errorf("putting %d values into their rows: %d rows took one", staged, filled)
	}
	p := w.d.Placeholder
	err = w.dropDiscards(ctx, "DELETE FROM "+n.discards+" AS d", " WHERE d.table_name = "+p(1)+" AND d.column_name = "+p(2)+" AND d.reason IN "+bothReasons+
		" AND EXISTS (SELECT 1 FROM "+n.staging+" AS s WHERE s.row_id = d.row_id AND s.was = d.column_value)")
	if err != nil {
		return err
	}
	if !w.users {
		return nil
	}
	w.result.Users, err = w.tx.Exec(ctx, string("UPDATE "+n.users+" AS u SET "+n.column+" = i.value FROM ("+w.latest(n)+") AS i WHERE u.id = i.user_id AND i.nth = 1"))
	if err != nil {
		return fmt.Errorf("merging values into users: %w", err)
	}
	return nil
}

// dropDiscards deletes the discards of values that are in their rows again, which are in
// the books no longer.
func (w *widening) dropDiscards(ctx context.Context, statement, where sqltext.Text) error {
	if w.log.Unbook != nil {
		discards := warehouse.Table{Schema: w.table.Schema, Name: shape.DiscardsTable}
		if err := w.log.Unbook(ctx, w.tx, w.d, discards, string(where), w.table.Name, w.column); err != nil {
			return err
		}
	}
	if _, err := w.tx.Exec(ctx, string(statement+where), w.table.Name, w.column); err != nil {
		return fmt.Errorf("removing discards: %w", err)
	}
	return nil
}

// latest is a query of the values of people whose calls got some. The latest has nth 1: it
// counts, as it does when the loader merges.
func (w *widening) latest(n names) sqltext.Text {
	only := sqltext.Text("")
	if w.table.Name == shape.EventsTable {
		only = "type = 'identify' AND "
	}
	return "SELECT user_id, " + n.column + " AS value, row_number() OVER (PARTITION BY user_id ORDER BY received_at DESC, " + w.d.Place(shape.OffsetColumn) + " DESC) AS nth FROM " + n.table +
		" WHERE " + only + n.column + " IS NOT NULL AND user_id IN (SELECT t.user_id FROM " + n.table + " AS t JOIN " + n.staging + " AS s ON t.id = s.row_id)"
}

// cell is a cell as a text that says all of it.
func cell(v any) string {
	if at, ok := v.(time.Time); ok {
		return at.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}
