package bigquery

import (
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

func (w *Warehouse) planLoad(l warehouse.Load, t *table, rows tidegate.Schema) (*loadPlan, error) {
	schema := schemaOf(t.columns)
	names, err := w.dialect.Idents(schema.Names())
	if err != nil {
		return nil, err
	}
	m, err := sqltext.Match(schema, rows, l.Key)
	if err != nil {
		return nil, err
	}
	p := &loadPlan{Load: l, Matched: m, table: t}
	for i, at := range m.At {
		c := t.columns[at]
		if !c.writable() {
			return nil, sqltext.ColumnFault(rows[i].Name, "the column is an array, a struct or a range, which is not written", "leave it out of the rows")
		}
		if m.IsKey[i] && (c.engine == "JSON" || c.engine == "GEOGRAPHY" || c.engine == "INTERVAL") {
			return nil, sqltext.ColumnFault(rows[i].Name, "a "+c.engine+" cannot be compared, so it cannot be a key", "take it out of the key")
		}
		p.columns, p.quoted = append(p.columns, c), append(p.quoted, names[at])
	}
	for _, at := range m.Lack {
		p.others = append(p.others, names[at])
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

// write is the statement that brings rows into the table; values read them from
// source, and order tells which of two comes later.
func (p *loadPlan) write(values []sqltext.Text, source, order sqltext.Text) sqltext.Text {
	m := sqltext.Merge{Table: p.table.quoted, Source: source, Order: order, Columns: p.quoted, Values: values, Lack: p.others, Key: p.Keys, Keep: p.KeepExisting, Where: true}
	m.Group = func(i int, column sqltext.Text) sqltext.Text {
		if p.columns[i].engine == "FLOAT64" {
			return "CAST(" + column + " AS STRING)" // floats are not grouped by
		}
		return column
	}
	return m.Text()
}

// cells makes texts of the rows of the load.
func (p *loadPlan) cells(rows tidegate.RowReader) celltext.Cells {
	columns := make([]celltext.Column, len(p.columns))
	for i := range columns {
		columns[i] = celltext.Column{Name: p.columns[i].name, Key: p.IsKey[i], Append: p.columns[i].appendValue}
	}
	return celltext.Cells{Rows: rows, Columns: columns}
}
