package loader

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
)

// sheet collects the rows of one table, column by column.
type sheet struct {
	table   *shape.Table
	columns []*cells // as table.Columns; nil while no row has a value
	rows    int
}

// cells is one column of a sheet. Rows without a value become NULL when a later row has
// one, or at the end.
type cells struct {
	kind  tidegate.Kind
	build array.Builder
	text  *array.StringBuilder
	ints  *array.Int64Builder
	times *array.TimestampBuilder
}

func newCells(kind tidegate.Kind) *cells {
	c := &cells{kind: kind}
	alloc := memory.DefaultAllocator
	switch kind {
	case tidegate.Bool:
		c.build = array.NewBooleanBuilder(alloc)
	case tidegate.Int:
		c.ints = array.NewInt64Builder(alloc)
		c.build = c.ints
	case tidegate.Float:
		c.build = array.NewFloat64Builder(alloc)
	case tidegate.Timestamp:
		c.times = array.NewTimestampBuilder(alloc, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"})
		c.build = c.times
	case tidegate.Date:
		c.build = array.NewDate32Builder(alloc)
	case tidegate.String, tidegate.JSON, tidegate.Decimal, tidegate.Bytes, tidegate.Unknown:
		c.text = array.NewStringBuilder(alloc)
		c.build = c.text
	}
	return c
}

func (c *cells) pad(rows int) {
	if missing := rows - c.build.Len(); missing > 0 {
		c.build.AppendNulls(missing)
	}
}

func (c *cells) append(v shape.Value) {
	switch {
	case c.text != nil:
		c.text.BinaryBuilder.Append(v.Text)
	case c.ints != nil:
		c.ints.Append(v.Int)
	case c.times != nil:
		c.times.Append(arrow.Timestamp(v.Int))
	default:
		switch b := c.build.(type) {
		case *array.BooleanBuilder:
			b.Append(v.Int != 0)
		case *array.Float64Builder:
			b.Append(v.Float)
		case *array.Date32Builder:
			b.Append(arrow.Date32(v.Int))
		}
	}
}

func (s *sheet) append(row shape.Row) {
	for len(s.columns) < len(s.table.Columns) {
		s.columns = append(s.columns, nil)
	}
	for i := range row.Cells {
		cell := &row.Cells[i]
		c := s.columns[cell.Column]
		if c == nil {
			c = newCells(s.table.Columns[cell.Column].Type.Kind)
			s.columns[cell.Column] = c
		}
		c.pad(s.rows)
		c.append(cell.Value)
	}
	s.rows++
}

// record returns the sheet as one Arrow batch with the columns that have a value,
// and those columns. The sheet is empty afterwards.
func (s *sheet) record() (arrow.RecordBatch, tidegate.Schema) {
	var fields []arrow.Field
	var arrays []arrow.Array
	var schema tidegate.Schema
	for i, c := range s.columns {
		if c == nil {
			continue
		}
		c.pad(s.rows)
		a := c.build.NewArray()
		defer a.Release()
		fields = append(fields, arrow.Field{Name: s.table.Columns[i].Name, Type: a.DataType(), Nullable: true})
		arrays = append(arrays, a)
		schema = append(schema, s.table.Columns[i])
	}
	record := array.NewRecordBatch(arrow.NewSchema(fields, nil), arrays, int64(s.rows))
	s.columns, s.rows = nil, 0
	return record, schema
}

// recordRows reads an Arrow batch row by row, for warehouses that cannot scan it.
type recordRows struct {
	record arrow.RecordBatch
	schema tidegate.Schema
	next   int
	row    tidegate.Row
}

func (r *recordRows) Schema() tidegate.Schema { return r.schema }
func (r *recordRows) Close() error            { return nil }

func (r *recordRows) Next(ctx context.Context) (tidegate.Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if int64(r.next) >= r.record.NumRows() {
		return nil, io.EOF
	}
	if r.row == nil {
		r.row = make(tidegate.Row, len(r.schema))
	}
	for i, c := range r.record.Columns() {
		r.row[i] = nil
		if c.IsValid(r.next) {
			v, err := cellAt(c, r.next, r.schema[i].Type.Kind)
			if err != nil {
				return nil, fmt.Errorf("reading column %s: %w", r.schema[i].Name, err)
			}
			r.row[i] = v
		}
	}
	r.next++
	return r.row, nil
}

func cellAt(c arrow.Array, i int, kind tidegate.Kind) (any, error) {
	switch a := c.(type) {
	case *array.Boolean:
		return a.Value(i), nil
	case *array.Int64:
		return a.Value(i), nil
	case *array.Float64:
		return a.Value(i), nil
	case *array.Date32:
		return tidegate.CalendarDate(a.Value(i)), nil
	case *array.Timestamp:
		return time.UnixMicro(int64(a.Value(i))).UTC(), nil
	case *array.String:
		switch text := a.Value(i); kind {
		case tidegate.JSON:
			return tidegate.JSONText(text), nil
		case tidegate.Decimal:
			return tidegate.DecimalText(text), nil
		default:
			return text, nil
		}
	}
	return nil, fmt.Errorf("no cell of Arrow type %s", c.DataType())
}
