package snowflake

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

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

func planLoad(l warehouse.Load, t *table, rows tidegate.Schema) (*loadPlan, error) {
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
			return nil, columnFault(c.Name, "the column is of the type "+t.columns[at].engine+", which is not written", "leave it out of the rows")
		}
		written[at] = true
		p.columns, p.quoted = append(p.columns, t.columns[at]), append(p.quoted, t.columns[at].quoted())
	}
	for at, c := range t.columns {
		if !written[at] {
			p.others = append(p.others, c.quoted())
		}
	}
	for _, k := range l.Key {
		at := sqltext.IndexFold(rows, k)
		if at < 0 {
			return nil, columnFault(k, "the rows have no such key column", "add it to the rows or take it out of the key")
		}
		if e := p.columns[at].engine; e == "variant" {
			return nil, columnFault(k, "a "+strings.ToUpper(e)+" cannot be compared, so it cannot be a key", "take it out of the key")
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
		case "text":
			values[i] = text
		case "fixed":
			values[i] = "CAST(" + text + " AS NUMBER(" + sqltext.Text(strconv.Itoa(c.precision)) + "," + sqltext.Text(strconv.Itoa(c.scale)) + "))"
		case "real":
			values[i] = "CAST(" + text + " AS FLOAT)"
		case "boolean":
			values[i] = "CAST(" + text + " AS BOOLEAN)"
		case "binary":
			values[i] = "TO_BINARY(" + text + ", 'BASE64')"
		case "date":
			values[i] = "TO_DATE(" + text + ", 'YYYY-MM-DD')"
		case "time":
			values[i] = "CAST(" + text + " AS TIME)"
		case "timestamp_tz":
			values[i] = "TO_TIMESTAMP_TZ(" + text + ", " + timeFormat + ")"
		case "timestamp_ltz":
			values[i] = "TO_TIMESTAMP_LTZ(" + text + ", " + timeFormat + ")"
		case "timestamp_ntz":
			values[i] = "CAST(TO_TIMESTAMP_TZ(" + text + ", " + timeFormat + ") AS TIMESTAMP_NTZ)"
		default: // writable
			values[i] = "PARSE_JSON(" + text + ")"
		}
	}
	return values
}

func staged(i int) sqltext.Text { return "c" + sqltext.Text(strconv.Itoa(i)) }

// cell is the i-th element of a row, which is an array; the first is the row's number.
func cell(row sqltext.Text, i int) sqltext.Text {
	return "CAST(" + row + "[" + sqltext.Text(strconv.Itoa(i+1)) + "] AS VARCHAR)"
}

// order is the number of a row.
func order(row sqltext.Text) sqltext.Text { return "CAST(" + row + "[0] AS NUMBER(19,0))" }

// inline is the statement that writes rows which travel with it.
func (p *loadPlan) inline() sqltext.Text {
	return p.write("r.VALUE", "TABLE(FLATTEN(INPUT => PARSE_JSON(:1))) AS r")
}

// copied is the statement that writes rows which are in files of the stage.
func (p *loadPlan) copied(path string) sqltext.Text {
	files := stage + "/" + sqltext.Text(path) + "/" // hexadecimal digits
	if len(p.keys) > 0 {
		return p.write("r.$1", files+" AS r")
	}
	values := p.values(func(i int) sqltext.Text { return cell("$1", i) })
	return "COPY INTO " + p.table.quoted + " (" + sqltext.Join(p.quoted, ", ") + ") FROM (SELECT " + sqltext.Join(values, ", ") + " FROM " + files + ") ON_ERROR = ABORT_STATEMENT"
}

// write is the statement that brings rows into the table.
func (p *loadPlan) write(row, source sqltext.Text) sqltext.Text {
	values := p.values(func(i int) sqltext.Text { return cell(row, i) })
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
	}
	last := sqltext.Text(" DESC")
	if p.KeepExisting {
		last = ""
	}
	sql := "MERGE INTO " + p.table.quoted + " AS t USING (SELECT * FROM (SELECT " + sqltext.Join(named, ", ") + ", " + order(row) + " AS n FROM " + source + ") AS q" +
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
