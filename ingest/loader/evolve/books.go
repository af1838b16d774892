package evolve

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Warehouse is a warehouse whose tables can be changed in transactions.
type Warehouse interface {
	warehouse.Warehouse
	warehouse.Execer
}

// Log is the tables in which the history of the others is kept, by the schema in which
// they are: that of the loader's own tables.
type Log struct {
	Schema string
	// Unbook takes rows that a condition chooses out of the hourly books, in the transaction
	// that deletes them (Invariant 2); nil: they are in none. where may call the table d.
	Unbook func(ctx context.Context, tx warehouse.Tx, d sqltext.Dialect, table warehouse.Table, where string, args ...any) error
}

func (l Log) history() warehouse.Table {
	return warehouse.Table{Schema: l.Schema, Name: "schema_history"}
}

func (l Log) collisions() warehouse.Table {
	return warehouse.Table{Schema: l.Schema, Name: "collisions"}
}

// widenings are those under way, for where a table is not changed in a transaction: one that was cut
// short behind the change is brought to its end by the next request for its column.
func (l Log) widenings() warehouse.Table {
	return warehouse.Table{Schema: l.Schema, Name: "widenings"}
}

// Tables lists the tables of what has been.
func (l Log) Tables() []warehouse.Table { return []warehouse.Table{l.history(), l.collisions()} }

// What happened to a column.
const (
	Added   = "added"
	Widened = "widened"
)

// ColumnChange is one row of the history.
type ColumnChange struct {
	At      time.Time `json:"at"`
	Schema  string    `json:"schema"`
	Table   string    `json:"table"`
	Column  string    `json:"column"`
	Change  string    `json:"change" enum:"added,widened"`
	OldType string    `json:"old_type,omitempty"`
	NewType string    `json:"new_type"`
	// Of a column that was added: the event that brought it, and the path in that event.
	Source    string `json:"source,omitempty"`
	Name      string `json:"name,omitempty"`
	MessageID string `json:"message_id,omitempty"`
	Offset    string `json:"offset,omitempty"`
	// Of a widening: who accepted it, and how many values went back into their rows.
	By         string `json:"by,omitempty"`
	Backfilled int64  `json:"backfilled,omitempty"`
}

func schemaOf(pairs ...any) tidegate.Schema {
	var s tidegate.Schema
	for i := 0; i < len(pairs); i += 2 {
		s = append(s, tidegate.Column{Name: pairs[i].(string), Type: tidegate.Type{Kind: pairs[i+1].(tidegate.Kind)}}) //nolint:forcetypeassert // our own constants
	}
	return s
}

func historySchema() tidegate.Schema {
	return schemaOf("changed_at", tidegate.Timestamp, "table_schema", tidegate.String, "table_name", tidegate.String, "column_name", tidegate.String,
		"change", tidegate.String, "old_type", tidegate.String, "new_type", tidegate.String, "source", tidegate.String, "raw_name", tidegate.String,
		"message_id", tidegate.String, "journal_offset", tidegate.String, "changed_by", tidegate.String, "backfilled", tidegate.Int)
}

func collisionsSchema() tidegate.Schema {
	return schemaOf("noticed_at", tidegate.Timestamp, "source", tidegate.String, "table_schema", tidegate.String, "table_name", tidegate.String,
		"column_name", tidegate.String, "kept", tidegate.String, "other", tidegate.String, "message_id", tidegate.String, "journal_offset", tidegate.String)
}

func wideningsSchema() tidegate.Schema {
	return schemaOf("table_schema", tidegate.String, "table_name", tidegate.String, "column_name", tidegate.String, "old_type", tidegate.String)
}

// Prepare makes sure of the tables of the history.
func (l Log) Prepare(ctx context.Context, wh warehouse.Warehouse) error {
	if _, err := wh.Ensure(ctx, l.history(), historySchema()); err != nil {
		return fmt.Errorf("making sure of the schema history: %w", err)
	}
	if _, err := wh.Ensure(ctx, l.collisions(), collisionsSchema()); err != nil {
		return fmt.Errorf("making sure of the log of collisions: %w", err)
	}
	return nil
}

// Record adds changes to the history, as a part of tx. id is never used again.
func (l Log) Record(ctx context.Context, tx warehouse.Tx, id string, changes []ColumnChange) error {
	if len(changes) == 0 {
		return nil
	}
	rows := make([]tidegate.Row, len(changes))
	for i, c := range changes {
		rows[i] = tidegate.Row{
			c.At, c.Schema, c.Table, c.Column, c.Change, some(c.OldType), c.NewType, some(c.Source), some(c.Name),
			some(c.MessageID), some(c.Offset), some(c.By), c.Backfilled,
		}
	}
	if _, err := tx.Load(ctx, warehouse.Load{ID: id + " history", Table: l.history()}, tidegate.Rows(historySchema(), rows...)); err != nil {
		return fmt.Errorf("writing the schema history: %w", err)
	}
	return nil
}

// some is s, or NULL when it is empty.
func some(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// RecordCollisions adds collisions to their log, as a part of tx.
func (l Log) RecordCollisions(ctx context.Context, tx warehouse.Tx, id string, at time.Time, list []shape.Collision) error {
	if len(list) == 0 {
		return nil
	}
	rows := make([]tidegate.Row, len(list))
	for i, c := range list {
		rows[i] = tidegate.Row{at, c.Source, c.Table.Schema, c.Table.Name, some(c.Column), c.Kept, c.Other, c.MessageID, c.Offset.String()}
	}
	if _, err := tx.Load(ctx, warehouse.Load{ID: id + " collisions", Table: l.collisions()}, tidegate.Rows(collisionsSchema(), rows...)); err != nil {
		return fmt.Errorf("writing the log of collisions: %w", err)
	}
	return nil
}

// NameCollision is one row of the log of collisions.
type NameCollision struct {
	At     time.Time `json:"at"`
	Schema string    `json:"schema"`
	Table  string    `json:"table"`
	Column string    `json:"column,omitempty" doc:"Empty: two events share the table."`
	Kept   string    `json:"kept" doc:"Its value is in the column when one event has both."`
	Other  string    `json:"other"`
}

// Collisions reads their log, oldest first, up to limit.
func (l Log) Collisions(ctx context.Context, wh Warehouse, limit int) ([]NameCollision, error) {
	d, err := dialectOf(wh)
	if err != nil {
		return nil, err
	}
	table, err := d.Table(l.collisions().Schema, l.collisions().Name)
	if err != nil {
		return nil, err
	}
	var all []NameCollision
	err = warehouse.Each(ctx, wh, string("SELECT min(noticed_at), table_schema, table_name, coalesce(column_name, ''), kept, other FROM "+table+
		" GROUP BY 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6 LIMIT "+number(limit)), nil, func(row tidegate.Row) error {
		at, _ := row[0].(time.Time)
		all = append(all, NameCollision{at, str(row[1]), str(row[2]), str(row[3]), str(row[4]), str(row[5])})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log of collisions: %w", err)
	}
	return all, nil
}

// History reads the changes of the tables that named says, newest first, up to limit; an
// empty name means all.
func (l Log) History(ctx context.Context, wh Warehouse, schema, table string, limit int) ([]ColumnChange, error) {
	d, err := dialectOf(wh)
	if err != nil {
		return nil, err
	}
	from, err := d.Table(l.history().Schema, l.history().Name)
	if err != nil {
		return nil, err
	}
	where, args := sqltext.Text(""), []any{}
	for _, f := range []struct {
		column sqltext.Text
		value  string
	}{{"table_schema", schema}, {"table_name", table}} {
		if f.value == "" {
			continue
		}
		args = append(args, f.value)
		joint := sqltext.Text(" AND ")
		if len(args) == 1 {
			joint = " WHERE "
		}
		where += joint + f.column + " = " + d.Placeholder(len(args))
	}
	var all []ColumnChange
	err = warehouse.Each(ctx, wh, string("SELECT changed_at, table_schema, table_name, column_name, change, old_type, new_type, source, raw_name, message_id, journal_offset, changed_by, backfilled FROM "+
		from+where+" ORDER BY changed_at DESC, table_schema, table_name, column_name LIMIT "+number(limit)), args, func(row tidegate.Row) error {
		at, _ := row[0].(time.Time)
		n, _ := row[12].(int64)
		all = append(all, ColumnChange{
			At: at, Schema: str(row[1]), Table: str(row[2]), Column: str(row[3]), Change: str(row[4]), OldType: str(row[5]), NewType: str(row[6]),
			Source: str(row[7]), Name: str(row[8]), MessageID: str(row[9]), Offset: str(row[10]), By: str(row[11]), Backfilled: n,
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the schema history: %w", err)
	}
	return all, nil
}

func dialectOf(wh Warehouse) (sqltext.Dialect, error) {
	d, ok := sqltext.Find(wh.Dialect())
	if !ok {
		return d, fmt.Errorf("no SQL dialect called %q", wh.Dialect())
	}
	return d, nil
}

// number is n in SQL: not every engine takes a parameter behind LIMIT.
func number(n int) sqltext.Text { return sqltext.Text(strconv.Itoa(n)) }

func str(v any) string {
	s, _ := v.(string)
	return s
}
