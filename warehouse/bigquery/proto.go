package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
	"unicode/utf8"

	bq "cloud.google.com/go/bigquery"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// wire is how the values of a column travel to a stage.
type wire struct {
	engine string // the type of the staged column
	field  bq.FieldType
	typ    descriptorpb.FieldDescriptorProto_Type
}

var (
	asText  = wire{"STRING", bq.StringFieldType, descriptorpb.FieldDescriptorProto_TYPE_STRING}
	asCount = wire{"INT64", bq.IntegerFieldType, descriptorpb.FieldDescriptorProto_TYPE_INT64}
)

// wireOf: what BigQuery takes in one form only has its type; JSON, TIME and what else is
// made of a text is left to SQL, where it means what it does in every other load.
func wireOf(c *column) wire {
	switch c.engine {
	case "BOOL":
		return wire{c.engine, bq.BooleanFieldType, descriptorpb.FieldDescriptorProto_TYPE_BOOL}
	case "INT64":
		return asCount
	case "FLOAT64":
		return wire{c.engine, bq.FloatFieldType, descriptorpb.FieldDescriptorProto_TYPE_DOUBLE}
	case "NUMERIC":
		return wire{c.engine, bq.NumericFieldType, descriptorpb.FieldDescriptorProto_TYPE_STRING}
	case "BIGNUMERIC":
		return wire{c.engine, bq.BigNumericFieldType, descriptorpb.FieldDescriptorProto_TYPE_STRING}
	case "BYTES":
		return wire{c.engine, bq.BytesFieldType, descriptorpb.FieldDescriptorProto_TYPE_BYTES}
	case "DATE": // days since 1970-01-01
		return wire{c.engine, bq.DateFieldType, descriptorpb.FieldDescriptorProto_TYPE_INT32}
	case "TIMESTAMP": // microseconds since then
		return wire{c.engine, bq.TimestampFieldType, descriptorpb.FieldDescriptorProto_TYPE_INT64}
	}
	return asText
}

const (
	// requestBytes is about how many bytes of rows a request has.
	requestBytes = 1 << 20
	// rowMost is the longest row; BigQuery takes requests of ten megabytes.
	rowMost = 9 << 20
)

// batch is rows as they are sent, one after another.
type batch struct {
	bytes []byte
	ends  []int // of each row
}

// serialized are the rows of the batch, in its memory.
func (b *batch) serialized() [][]byte {
	rows, from := make([][]byte, len(b.ends)), 0
	for i, end := range b.ends {
		rows[i], from = b.bytes[from:end:end], end
	}
	return rows
}

// encoder writes rows as protocol buffers of a message that it describes: a field for each
// column, and n, the number of the row. A NULL is a field that is not there.
type encoder struct {
	plan    *loadPlan
	rows    tidegate.RowReader
	n       int64 // rows read
	wires   []wire
	fields  bq.Schema // of the stage
	message *descriptorpb.DescriptorProto
	text    []byte
	done    bool
	free    []*batch // to be used again
}

func newEncoder(p *loadPlan, rows tidegate.RowReader) *encoder {
	e := &encoder{plan: p, rows: rows, message: &descriptorpb.DescriptorProto{Name: ptr("Row")}}
	add := func(name string, w wire) {
		e.wires = append(e.wires, w)
		e.fields = append(e.fields, &bq.FieldSchema{Name: name, Type: w.field})
		e.message.Field = append(e.message.Field, &descriptorpb.FieldDescriptorProto{
			Name: &name, Number: ptr(int32(len(e.wires))), Type: &w.typ, Label: ptr(descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL),
		})
	}
	for i := range p.columns {
		add(string(sqltext.Staged(i)), wireOf(&p.columns[i]))
	}
	add("n", asCount)
	return e
}

func ptr[T any](v T) *T { return &v }

// batch returns the next rows; io.EOF after the last.
func (e *encoder) batch(ctx context.Context) (*batch, error) {
	b := &batch{}
	if n := len(e.free); n > 0 {
		b, e.free = e.free[n-1], e.free[:n-1]
		b.bytes, b.ends = b.bytes[:0], b.ends[:0]
	}
	for !e.done && len(b.bytes) < requestBytes {
		from := len(b.bytes)
		var err error
		b.bytes, err = e.row(ctx, b.bytes)
		if errors.Is(err, io.EOF) {
			e.done = true
			break
		}
		if err != nil {
			return nil, err
		}
		if size := len(b.bytes) - from; size > rowMost {
			return nil, &tidegate.Fault{
				Action: tidegate.Reject, Code: "warehouse.value", Subject: fmt.Sprintf("row %d", e.n), Message: fmt.Sprintf("row %d: it has %d bytes, and the Storage Write API takes %d", e.n, size, rowMost),
				Hint: "make the row smaller, or set staging to load_jobs, which take 100 MB",
			}
		}
		b.ends = append(b.ends, len(b.bytes))
	}
	if len(b.ends) == 0 {
		return nil, io.EOF
	}
	return b, nil
}

// row appends one row.
func (e *encoder) row(ctx context.Context, dst []byte) ([]byte, error) {
	row, err := e.rows.Next(ctx)
	if err != nil {
		return dst, err
	}
	e.n++
	columns := e.plan.columns
	if len(row) != len(columns) {
		return dst, fmt.Errorf("row %d has %d cells and the schema %d columns", e.n, len(row), len(columns))
	}
	for i, v := range row {
		if v == nil && !e.plan.IsKey[i] {
			continue
		}
		if v == nil {
			err = celltext.ErrNullKey
		} else {
			dst, err = e.cell(dst, i, v)
		}
		if err != nil {
			return dst, celltext.Misfit(columns[i].name, e.n, err)
		}
	}
	dst = protowire.AppendTag(dst, protowire.Number(len(columns)+1), protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(e.n)), nil //nolint:gosec // a count
}

// cell appends a field. v is not nil.
func (e *encoder) cell(dst []byte, i int, v any) ([]byte, error) {
	number, c := protowire.Number(i+1), &e.plan.columns[i] //nolint:gosec // BigQuery has 10,000 columns at most
	switch e.wires[i].engine {
	case "BOOL":
		if b, ok := v.(bool); ok {
			return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), protowire.EncodeBool(b)), nil
		}
	case "INT64":
		if n, ok := v.(int64); ok {
			return appendInt(dst, number, n), nil
		}
	case "FLOAT64":
		f, ok := v.(float64)
		if n, whole := v.(int64); whole {
			f, ok = float64(n), true
		}
		if ok {
			return protowire.AppendFixed64(protowire.AppendTag(dst, number, protowire.Fixed64Type), math.Float64bits(f)), nil
		}
	case "BYTES":
		if b, ok := v.([]byte); ok {
			return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), b), nil
		}
	case "DATE":
		if d, ok := v.(tidegate.CalendarDate); ok {
			if celltext.Outside(d.Time()) {
				return dst, celltext.ErrTimeSpan
			}
			return appendInt(dst, number, int64(d)), nil
		}
	case "TIMESTAMP":
		if d, ok := v.(tidegate.CalendarDate); ok {
			v = d.Time()
		}
		if t, ok := v.(time.Time); ok {
			if celltext.Outside(t) {
				return dst, celltext.ErrTimeSpan
			}
			return appendInt(dst, number, t.UnixMicro()), nil
		}
	default:
		text, err := c.appendValue(e.text[:0], v)
		if e.text = text; err != nil {
			return dst, err
		}
		if !utf8.Valid(text) {
			return dst, celltext.ErrNotUTF8
		}
		return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), text), nil
	}
	return dst, celltext.Unfit(v)
}

func appendInt(dst []byte, number protowire.Number, n int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), uint64(n)) //nolint:gosec // negative ones have all bits, as the format wants
}
