package bigquery

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// loadPlan is a load with its names quoted and its columns matched.
type loadPlan struct {
	warehouse.Load
	table   *table
	columns []column       // of the table that are written, in the reader's order
	quoted  []sqltext.Text // their names
	isKey   []bool         // per written column
	keys    []int          // written columns that are the key
	others  []sqltext.Text // columns of the table that the rows lack
}

func (w *Warehouse) planLoad(l warehouse.Load, t *table, rows tidegate.Schema) (*loadPlan, error) {
	if err := sqltext.CheckDistinct(rows); err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errors.New("the rows have no columns")
	}
	p := &loadPlan{Load: l, table: t, isKey: make([]bool, len(rows))}
	schema := schemaOf(t.columns)
	written := make([]bool, len(schema))
	for _, c := range rows {
		at := sqltext.IndexFold(schema, c.Name)
		if at < 0 {
			return nil, columnFault(c.Name, "the table has no such column", "call Ensure with the schema of the rows first")
		}
		if !t.columns[at].writable() {
			return nil, columnFault(c.Name, "the column is an array, a struct or a range, which is not written", "leave it out of the rows")
		}
		name, err := w.dialect.Ident(t.columns[at].name)
		if err != nil {
			return nil, err
		}
		written[at] = true
		p.columns, p.quoted = append(p.columns, t.columns[at]), append(p.quoted, name)
	}
	for at, c := range t.columns {
		if !written[at] {
			name, err := w.dialect.Ident(c.name)
			if err != nil {
				return nil, err
			}
			p.others = append(p.others, name)
		}
	}
	for _, k := range l.Key {
		at := sqltext.IndexFold(rows, k)
		if at < 0 {
			return nil, columnFault(k, "the rows have no such key column", "add it to the rows or take it out of the key")
		}
		if e := p.columns[at].engine; e == "JSON" || e == "GEOGRAPHY" || e == "INTERVAL" {
			return nil, columnFault(k, "a "+e+" cannot be compared, so it cannot be a key", "take it out of the key")
		}
		p.isKey[at] = true
		p.keys = append(p.keys, at)
	}
	return p, nil
}

// values are the written columns, read from the texts that raw names.
func (p *loadPlan) values(raw func(i int) sqltext.Text) []sqltext.Text {
	values := make([]sqltext.Text, len(p.columns))
	for i, c := range p.columns {
		text := raw(i)
		switch c.engine {
		case "STRING":
			values[i] = text
		case "BYTES":
			values[i] = "FROM_BASE64(" + text + ")"
		case "JSON":
			values[i] = "PARSE_JSON(" + text + ", wide_number_mode=>'round')"
		case "GEOGRAPHY":
			values[i] = "ST_GEOGFROMTEXT(" + text + ")"
		default:
			values[i] = "CAST(" + text + " AS " + sqltext.Text(c.engine) + ")" // one of engineTypes
		}
	}
	return values
}

func staged(i int) sqltext.Text { return "c" + sqltext.Text(strconv.Itoa(i)) }

// write is the statement that brings rows into the table; values read them from
// source, and order tells which of two comes later.
func (p *loadPlan) write(values []sqltext.Text, source, order sqltext.Text) sqltext.Text {
	columns := sqltext.Join(p.quoted, ", ")
	if len(p.keys) == 0 {
		return "INSERT INTO " + p.table.quoted + " (" + columns + ") SELECT " + sqltext.Join(values, ", ") + " FROM " + source
	}
	named, taken := make([]sqltext.Text, len(values)), make([]sqltext.Text, len(values))
	for i := range values {
		named[i], taken[i] = values[i]+" AS "+staged(i), "s."+staged(i)
	}
	match, part := make([]sqltext.Text, len(p.keys)), make([]sqltext.Text, len(p.keys))
	for i, at := range p.keys {
		match[i], part[i] = "t."+p.quoted[at]+" = s."+staged(at), "q."+staged(at)
		if p.columns[at].engine == "FLOAT64" {
			part[i] = "CAST(" + part[i] + " AS STRING)" // floats are not grouped by
		}
	}
	last := sqltext.Text(" DESC")
	if p.KeepExisting {
		last = ""
	}
	// QUALIFY wants a WHERE beside it.
	sql := "MERGE INTO " + p.table.quoted + " AS t USING (SELECT * FROM (SELECT " + sqltext.Join(named, ", ") + ", " + order + " AS n FROM " + source + ") AS q WHERE TRUE" +
		" QUALIFY ROW_NUMBER() OVER (PARTITION BY " + sqltext.Join(part, ", ") + " ORDER BY q.n" + last + ") = 1) AS s ON " + sqltext.Join(match, " AND ")
	if !p.KeepExisting {
		sets := make([]sqltext.Text, 0, len(p.quoted)+len(p.others))
		for i, name := range p.quoted {
			sets = append(sets, name+" = "+taken[i])
		}
		for _, name := range p.others {
			sets = append(sets, name+" = NULL")
		}
		sql += " WHEN MATCHED THEN UPDATE SET " + sqltext.Join(sets, ", ")
	}
	return sql + " WHEN NOT MATCHED THEN INSERT (" + columns + ") VALUES (" + sqltext.Join(taken, ", ") + ")"
}

// cells reads the rows of a load one by one and checks them.
type cells struct {
	plan *loadPlan
	rows tidegate.RowReader
	n    int64 // rows read
	text []byte
}

// next reads a row and hands each value that is not NULL over as text; io.EOF after the last.
func (c *cells) next(ctx context.Context, use func(i int, text []byte) error) error {
	row, err := c.rows.Next(ctx)
	if err != nil {
		return err
	}
	c.n++
	if len(row) != len(c.plan.columns) {
		return fmt.Errorf("row %d has %d cells and the schema %d columns", c.n, len(row), len(c.plan.columns))
	}
	for i, v := range row {
		if v == nil {
			if c.plan.isKey[i] {
				return rowFault(c.plan.columns[i].name, c.n, errNullKey)
			}
			continue
		}
		if c.text, err = c.plan.columns[i].appendValue(c.text[:0], v); err == nil {
			err = use(i, c.text)
		}
		if err != nil {
			return rowFault(c.plan.columns[i].name, c.n, err)
		}
	}
	return nil
}

// appendQuoted writes a text as a JSON string.
func appendQuoted(dst, text []byte) ([]byte, error) {
	dst, err := jsontext.AppendQuote(dst, text)
	if err != nil {
		return dst, celltext.ErrNotUTF8
	}
	return dst, nil
}

func rowFault(column string, row int64, err error) error {
	return &tidegate.Fault{
		Action: tidegate.Reject, Code: "warehouse.value", Subject: fmt.Sprintf("column %q", column), Message: fmt.Sprintf("row %d: %s", row, err),
		Hint: "correct the value, or widen the column with Ensure", Err: err,
	}
}
