package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

var _ warehouse.Widener = (*unit)(nil)

// inTheMaking is the column that holds the new values until they take the place of the old.
const inTheMaking sqltext.Text = `"_tidegate_widened"`

// Widen implements warehouse.Widener: it adds the statements to the unit. Before that they
// are tried on an empty table that is made like this one, since a statement that the server refuses (an
// index does not take the new type) must not be found in the middle of a commit.
func (u *unit) Widen(ctx context.Context, t warehouse.Table, c tidegate.Column) error {
	if err := u.Ready(u.reader != nil); err != nil {
		return err
	}
	steps, err := u.w.widening(ctx, t, c)
	if err != nil {
		return u.Fail(fmt.Errorf("widening table %s: %w", t, err))
	}
	for _, sql := range steps {
		if err := u.put(&step{sql: string(sql), statement: true}); err != nil {
			return err
		}
	}
	return nil
}

// widening is the statements that give a column the type of c. Each can be done twice.
func (w *Warehouse) widening(ctx context.Context, t warehouse.Table, c tidegate.Column) ([]sqltext.Text, error) {
	d, err := w.describe(ctx, t)
	if err != nil {
		return nil, err
	}
	at := sqltext.IndexFold(schemaOf(d.columns), c.Name)
	if at < 0 {
		return nil, sqltext.ColumnFault(c.Name, "there is no such column in "+t.String(), "look at the table's columns")
	}
	old := d.columns[at]
	switch {
	case old.typ == c.Type:
		return nil, nil
	case !warehouse.Holds(c.Type, old.typ):
		return nil, warehouse.Narrows(t, c.Name, old.typ, c.Type)
	case !old.writable():
		return nil, sqltext.ColumnFault(c.Name, "its type "+old.engine+" is not one that rows are loaded into", "change it by hand")
	case slices.Contains(d.sorted, old.name):
		return nil, sqltext.ColumnFault(c.Name, "the table is sorted by it, so that its type cannot change", "write the table anew, with another ORDER BY")
	}
	name, err := w.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	if err := w.rehearse(ctx, d, name, old, c.Type); err != nil {
		return nil, err
	}
	return w.widen(name, old, c.Type)
}

// widen is the statements for a table called name:
//
//	the server's own cast gives what a row loaded later would hold ──▶ MODIFY COLUMN
//	otherwise ──▶ ADD a column beside it, fill that, MODIFY COLUMN, fill it from there, DROP the other
//
// The column keeps its place, and nothing but the column is written.
func (w *Warehouse) widen(table sqltext.Text, old column, to tidegate.Type) ([]sqltext.Text, error) {
	name, err := w.dialect.Ident(old.name)
	if err != nil {
		return nil, err
	}
	typ, err := w.dialect.Type(to)
	if err != nil {
		return nil, fmt.Errorf("column %q: %w", old.name, err)
	}
	alter := "ALTER TABLE " + table + w.onCluster() + " "
	modify := alter + "MODIFY COLUMN " + name + " " + typ + codecOf(to.Kind)
	value := widened(name, old.typ.Kind, to.Kind)
	if value == "" {
		return []sqltext.Text{modify}, nil
	}
	return []sqltext.Text{
		alter + "ADD COLUMN IF NOT EXISTS " + inTheMaking + " " + typ + codecOf(to.Kind),
		alter + "UPDATE " + inTheMaking + " = " + value + " WHERE true",
		modify,
		alter + "UPDATE " + name + " = " + inTheMaking + " WHERE true",
		alter + "DROP COLUMN IF EXISTS " + inTheMaking,
	}, nil
}

// widened is what a column becomes where that is not what the server makes of it when its
// type changes; "" where it is.
func widened(name sqltext.Text, from, to tidegate.Kind) sqltext.Text {
	if to != tidegate.String && to != tidegate.JSON {
		return ""
	}
	text := "toString(" + name + ")"
	switch from {
	case tidegate.Bytes:
		text = "base64Encode(" + name + ")"
	case tidegate.Timestamp:
		text = "replaceOne(concat(replaceOne(toString(CAST(" + name + " AS Nullable(DateTime64(6, 'UTC')))), ' ', 'T'), 'Z'), '.000000Z', 'Z')"
	case tidegate.String, tidegate.Date:
		if to == tidegate.String {
			return ""
		}
	default: // a number's and a truth's text is its JSON
		return ""
	}
	if to == tidegate.String {
		return text
	}
	// The function escapes every slash, and makes a text of NULL.
	return "if(" + name + " IS NULL, NULL, replaceAll(toJSONString(" + text + `), '\\/', '/'))`
}

// rehearse does the statements to an empty table that is made like d.
func (w *Warehouse) rehearse(ctx context.Context, d *table, like sqltext.Text, old column, to tidegate.Type) (err error) {
	stage, err := w.dialect.Table(d.name.Schema, "_tidegate_rehearsal_"+shortHash(d.name.String()))
	if err != nil {
		return err
	}
	steps, err := w.widen(stage, old, to)
	if err != nil {
		return err
	}
	engine := sqltext.Text("")
	if strings.HasPrefix(d.engine, "Replicated") { // which would share its name in Keeper
		engine = " ENGINE = MergeTree ORDER BY tuple()"
	}
	drop := &call{repeat: true, sql: string("DROP TABLE IF EXISTS " + stage + w.onCluster() + " SYNC")}
	if err := w.exec(ctx, drop); err != nil {
		return fmt.Errorf("dropping what an earlier rehearsal left: %w", err)
	}
	defer func() {
		if dropped := w.exec(ctx, &call{repeat: true, sql: drop.sql}); dropped != nil {
			err = errors.Join(err, fmt.Errorf("dropping the rehearsal: %w", dropped))
		}
	}()
	if err := w.exec(ctx, &call{repeat: true, sql: string("CREATE TABLE IF NOT EXISTS " + stage + w.onCluster() + " AS " + like + engine)}); err != nil {
		return fmt.Errorf("making an empty table like it: %w", err)
	}
	for _, sql := range steps {
		if err := w.exec(ctx, &call{repeat: true, sql: string(sql)}); err != nil {
			return fmt.Errorf("trying it on an empty table: %w", err)
		}
	}
	return nil
}
