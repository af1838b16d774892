package duckdb

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

var _ warehouse.Widener = (*tx)(nil)

// Widen implements warehouse.Widener. The engine lets a table be written after it was
// altered in a transaction, but not altered after it was written.
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
	columns, err := t.s.describe(ctx, t.w.dialect, table)
	if err != nil {
		return err
	}
	have := schemaOf(columns)
	at := sqltext.IndexFold(have, c.Name)
	switch {
	case at < 0:
		return &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.no_column", Subject: fmt.Sprintf("column %q of %s", c.Name, table), Message: "there is no such column"}
	case have[at].Type == c.Type:
		return nil
	case !warehouse.Holds(c.Type, have[at].Type):
		return warehouse.Narrows(table, c.Name, have[at].Type, c.Type)
	}
	name, err := t.w.dialect.Table(table.Schema, table.Name)
	if err != nil {
		return err
	}
	column, err := t.w.dialect.Ident(have[at].Name)
	if err != nil {
		return err
	}
	typ, err := t.w.dialect.Type(c.Type)
	if err != nil {
		return fmt.Errorf("column %q: %w", c.Name, err)
	}
	_, err = t.s.exec(ctx, string("ALTER TABLE "+name+" ALTER COLUMN "+column+" TYPE "+typ+" USING "+cast(column, have[at].Type, c.Type.Kind, typ)))
	return err
}

// cast turns a column into a wider type.
func cast(column sqltext.Text, from tidegate.Type, to tidegate.Kind, typ sqltext.Text) sqltext.Text {
	if to != tidegate.String && to != tidegate.JSON {
		return column + "::" + typ
	}
	text, number := column+"::VARCHAR", false
	switch from.Kind {
	case tidegate.Bytes:
		text = "to_base64(" + column + ")"
	case tidegate.Timestamp:
		text = "replace(strftime(" + column + " AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ'), '.000000Z', 'Z')"
	case tidegate.Decimal:
		number = true
		if from.Scale > 0 { // canonical, as a row loaded later would be
			text = "rtrim(rtrim(" + column + "::VARCHAR, '0'), '.')"
		}
	case tidegate.Float:
		text, number = "regexp_replace("+column+`::VARCHAR, '\.0$', '')`, true
	case tidegate.Int, tidegate.Bool, tidegate.JSON:
		number = true
	case tidegate.String, tidegate.Date, tidegate.Unknown:
	}
	switch {
	case to == tidegate.String:
		return text
	case number:
		return "(" + text + ")::JSON"
	}
	return "to_json(" + text + ")"
}
