package loader

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
)

// sheet collects the rows of one table, column by column, in memory that is used again.
type sheet struct {
	table   *shape.Table
	columns []*cells // as table.Columns; nil while no row has a value
	rows    int
	room    int // rows that the transaction takes of the table
	hourly  hourly
}

// cells is one column of a sheet, laid out as Arrow does. Rows without a value become
// NULL when a later row has one, or at the end.
type cells struct {
	typ    arrow.DataType
	id     arrow.Type // typ's
	length int
	nulls  int
	valid  []byte // a bit for each row, once there is a NULL
	// Of these one is in use, by the type.
	bits   []byte
	words  []int64
	floats []float64
	days   []int32
	text   []byte
	ends   []int32 // of the texts
}

func newCells(kind tidegate.Kind) *cells {
	c := &cells{}
	switch kind {
	case tidegate.Bool:
		c.typ = arrow.FixedWidthTypes.Boolean
	case tidegate.Int:
		c.typ = arrow.PrimitiveTypes.Int64
	case tidegate.Float:
		c.typ = arrow.PrimitiveTypes.Float64
	case tidegate.Timestamp:
		c.typ = arrow.FixedWidthTypes.Timestamp_us
	case tidegate.Date:
		c.typ = arrow.FixedWidthTypes.Date32
	case tidegate.String, tidegate.JSON, tidegate.Decimal, tidegate.Bytes, tidegate.Unknown:
		c.typ, c.ends = arrow.BinaryTypes.String, []int32{0}
	}
	c.id = c.typ.ID()
	return c
}

func (c *cells) clear() {
	c.length, c.nulls = 0, 0
	c.valid, c.bits, c.words, c.floats, c.days, c.text = c.valid[:0], c.bits[:0], c.words[:0], c.floats[:0], c.days[:0], c.text[:0]
	c.ends = c.ends[:min(1, len(c.ends))]
}

// pad adds NULLs up to rows.
func (c *cells) pad(rows int) {
	if c.nulls == 0 && c.length < rows { // those so far have a value
		for range c.length / 8 {
			c.valid = append(c.valid, 0xFF)
		}
		if rest := c.length % 8; rest > 0 {
			c.valid = append(c.valid, 1<<rest-1)
		}
	}
	for ; c.length < rows; c.nulls++ {
		c.appendBit(&c.valid, false)
		switch c.id {
		case arrow.BOOL:
			c.appendBit(&c.bits, false)
		case arrow.FLOAT64:
			c.floats = append(c.floats, 0)
		case arrow.DATE32:
			c.days = append(c.days, 0)
		case arrow.STRING:
			c.ends = append(c.ends, int32(len(c.text)))
		default:
			c.words = append(c.words, 0)
		}
		c.length++
	}
}

// appendBit sets the bit of the row at hand, which is the one after the last.
func (c *cells) appendBit(to *[]byte, on bool) {
	if c.length%8 == 0 {
		*to = append(*to, 0)
	}
	if on {
		(*to)[len(*to)-1] |= 1 << (c.length % 8)
	}
}

func (c *cells) append(v *shape.Value) {
	if c.nulls > 0 {
		c.appendBit(&c.valid, true)
	}
	switch c.id {
	case arrow.BOOL:
		c.appendBit(&c.bits, v.Int != 0)
	case arrow.FLOAT64:
		c.floats = append(c.floats, v.Float)
	case arrow.DATE32:
		c.days = append(c.days, int32(v.Int))
	case arrow.STRING:
		c.text = append(c.text, v.Text...)
		c.ends = append(c.ends, int32(len(c.text)))
	default:
		c.words = append(c.words, v.Int)
	}
	c.length++
}

// array returns the column as Arrow, which reads the memory of c until c is cleared.
func (c *cells) array() arrow.Array {
	buffers := []*memory.Buffer{nil, nil}
	if c.nulls > 0 {
		buffers[0] = memory.NewBufferBytes(c.valid)
	}
	switch c.id {
	case arrow.BOOL:
		buffers[1] = memory.NewBufferBytes(c.bits)
	case arrow.FLOAT64:
		buffers[1] = memory.NewBufferBytes(arrow.Float64Traits.CastToBytes(c.floats))
	case arrow.DATE32:
		buffers[1] = memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(c.days))
	case arrow.STRING:
		buffers[1] = memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(c.ends))
		buffers = append(buffers, memory.NewBufferBytes(c.text))
	default:
		buffers[1] = memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(c.words))
	}
	data := array.NewData(c.typ, c.length, buffers, nil, c.nulls, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// append adds row. The text of one column of a sheet stays far below the 2 GiB that
// its offsets reach, since Options.MaxBytes bounds the events.
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
		if c.length < s.rows {
			c.pad(s.rows)
		}
		c.append(&cell.Value)
	}
	s.rows++
}

// record returns the sheet as one Arrow batch with the columns that have a value,
// and those columns. The batch reads the sheet's memory.
func (s *sheet) record() (arrow.RecordBatch, tidegate.Schema) {
	var fields []arrow.Field
	var arrays []arrow.Array
	var schema tidegate.Schema
	for i, c := range s.columns {
		if c == nil || c.length == 0 {
			continue
		}
		c.pad(s.rows)
		a := c.array()
		defer a.Release()
		fields = append(fields, arrow.Field{Name: s.table.Columns[i].Name, Type: a.DataType(), Nullable: true})
		arrays = append(arrays, a)
		schema = append(schema, s.table.Columns[i])
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), arrays, int64(s.rows)), schema
}

// spare is sheets whose rows are written, by table.
type spare struct {
	mu     sync.Mutex
	sheets map[*shape.Table][]*sheet
}

func (s *spare) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sheets = nil
}

// take returns an empty sheet for t.
func (s *spare) take(t *shape.Table) *sheet {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.sheets[t]
	if len(have) == 0 {
		return &sheet{table: t}
	}
	sh := have[len(have)-1]
	s.sheets[t] = have[:len(have)-1]
	sh.rows, sh.hourly = 0, sh.hourly[:0]
	for _, c := range sh.columns {
		if c != nil {
			c.clear()
		}
	}
	return sh
}

func (s *spare) put(sheets []*sheet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sheets == nil {
		s.sheets = make(map[*shape.Table][]*sheet)
	}
	for _, sh := range sheets {
		s.sheets[sh.table] = append(s.sheets[sh.table], sh)
	}
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
