package snowflake

import (
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// loadPlan is a load with its names quoted and its columns matched.
type loadPlan struct {
	warehouse.Load
	sqltext.Matched
	table   *table
	columns []column       // of the table that are written, in the reader's order
	quoted  []sqltext.Text // their names
	others  []sqltext.Text // columns of the table that the rows lack
}

func planLoad(l warehouse.Load, t *table, rows tidegate.Schema) (*loadPlan, error) {
	m, err := sqltext.Match(schemaOf(t.columns), rows, l.Key)
	if err != nil {
		return nil, err
	}
	p := &loadPlan{Load: l, Matched: m, table: t}
	for i, at := range m.At {
		c := t.columns[at]
		if !c.writable() {
			return nil, sqltext.ColumnFault(rows[i].Name, "the column is of the type "+c.engine+", which is not written", "leave it out of the rows")
		}
		if m.IsKey[i] && c.engine == "variant" {
			return nil, sqltext.ColumnFault(rows[i].Name, "a VARIANT cannot be compared, so it cannot be a key", "take it out of the key")
		}
		p.columns, p.quoted = append(p.columns, c), append(p.quoted, c.quoted())
	}
	for _, at := range m.Lack {
		p.others = append(p.others, t.columns[at].quoted())
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
	if len(p.Keys) > 0 {
		return p.write("r.$1", files+" AS r")
	}
	values := p.values(func(i int) sqltext.Text { return cell("$1", i) })
	return "COPY INTO " + p.table.quoted + " (" + sqltext.Join(p.quoted, ", ") + ") FROM (SELECT " + sqltext.Join(values, ", ") + " FROM " + files + ") ON_ERROR = ABORT_STATEMENT"
}

// write is the statement that brings rows into the table.
func (p *loadPlan) write(row, source sqltext.Text) sqltext.Text {
	values := p.values(func(i int) sqltext.Text { return cell(row, i) })
	return sqltext.Merge{
		Table: p.table.quoted, Source: source, Order: order(row), Columns: p.quoted, Values: values, Lack: p.others, Key: p.Keys, Keep: p.KeepExisting,
	}.Text()
}

// cells makes texts of the rows of the load.
func (p *loadPlan) cells(rows tidegate.RowReader) celltext.Cells {
	columns := make([]celltext.Column, len(p.columns))
	for i := range columns {
		columns[i] = celltext.Column{Name: p.columns[i].name, Key: p.IsKey[i], Append: p.columns[i].appendValue}
	}
	return celltext.Cells{Rows: rows, Columns: columns}
}
