package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	pfile "github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/tidegate/tidegate"
)

const batchRows = 4096

// inspectParquet takes the kinds from the file's own schema; in is read for the digest alone.
func inspectParquet(in io.Reader, f any, rewind func() error) (src *source, err error) {
	file, ok := f.(parquet.ReaderAtSeeker)
	if !ok {
		return nil, errors.New("a Parquet file must be on a disk")
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, err
	}
	if err := rewind(); err != nil {
		return nil, err
	}
	defer recovered(&err)
	reader, err := openParquet(file)
	if err != nil {
		return nil, err
	}
	arrowSchema, err := reader.Schema()
	if err != nil {
		return nil, fmt.Errorf("it is not a Parquet file that can be read: %w", err)
	}
	names := make([]string, arrowSchema.NumFields())
	for i, field := range arrowSchema.Fields() {
		names[i] = field.Name
	}
	schema, err := columns(names, func(i int) tidegate.Type { return typeOf(arrowSchema.Field(i).Type) })
	if err != nil {
		return nil, err
	}
	return &source{schema: schema, rows: func(ctx context.Context) (_ tidegate.RowReader, err error) {
		defer recovered(&err)
		reader, err := openParquet(file)
		if err != nil {
			return nil, err
		}
		batches, err := reader.GetRecordReader(ctx, nil, nil)
		if err != nil {
			return nil, err
		}
		return &parquetRows{schema: schema, in: batches, row: make(tidegate.Row, len(schema))}, nil
	}}, nil
}

// recovered makes an error of a panic: the library panics at some broken files,
// and a file must never end the process.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("it is not a Parquet file that can be read: %v", p)
	}
}

func openParquet(file parquet.ReaderAtSeeker) (*pqarrow.FileReader, error) {
	r, err := pfile.NewParquetReader(file)
	if err != nil {
		return nil, fmt.Errorf("it is not a Parquet file that can be read: %w", err)
	}
	reader, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: batchRows}, memory.DefaultAllocator)
	if err != nil {
		return nil, fmt.Errorf("it is not a Parquet file that can be read: %w", err)
	}
	return reader, nil
}

// typeOf is the type of a column; what we have no type for is JSON.
func typeOf(t arrow.DataType) tidegate.Type {
	switch t := t.(type) {
	case *arrow.BooleanType:
		return tidegate.Type{Kind: tidegate.Bool}
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type, *arrow.Int64Type, *arrow.Uint8Type, *arrow.Uint16Type, *arrow.Uint32Type:
		return tidegate.Type{Kind: tidegate.Int}
	case *arrow.Uint64Type:
		return tidegate.Type{Kind: tidegate.Decimal, Precision: 20}
	case *arrow.Float16Type, *arrow.Float32Type, *arrow.Float64Type:
		return tidegate.Type{Kind: tidegate.Float}
	case *arrow.Decimal128Type:
		if t.Scale >= 0 && t.Scale <= t.Precision {
			return tidegate.Type{Kind: tidegate.Decimal, Precision: int(t.Precision), Scale: int(t.Scale)}
		}
	case *arrow.StringType, *arrow.LargeStringType:
		return tidegate.Type{Kind: tidegate.String}
	case *arrow.BinaryType, *arrow.LargeBinaryType, *arrow.FixedSizeBinaryType:
		return tidegate.Type{Kind: tidegate.Bytes}
	case *arrow.Date32Type, *arrow.Date64Type:
		return tidegate.Type{Kind: tidegate.Date}
	case *arrow.TimestampType:
		return tidegate.Type{Kind: tidegate.Timestamp}
	case *arrow.DictionaryType:
		return typeOf(t.ValueType)
	}
	return tidegate.Type{Kind: tidegate.JSON}
}

// parquetRows hands out the rows of record batches.
type parquetRows struct {
	schema tidegate.Schema
	in     pqarrow.RecordReader
	batch  arrow.RecordBatch
	at     int64
	read   int64
	row    tidegate.Row
}

func (r *parquetRows) Schema() tidegate.Schema { return r.schema }

func (r *parquetRows) Close() error {
	if r.in != nil {
		r.in.Release()
		r.in, r.batch = nil, nil
	}
	return nil
}

func (r *parquetRows) Next(ctx context.Context) (_ tidegate.Row, err error) {
	defer recovered(&err)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for r.batch == nil || r.at == r.batch.NumRows() {
		if r.in == nil {
			return nil, io.EOF
		}
		if !r.in.Next() {
			if err := r.in.Err(); err != nil && !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("reading row %d: %w", r.read+1, err)
			}
			return nil, io.EOF
		}
		r.batch, r.at = r.in.RecordBatch(), 0
	}
	for i := range r.row {
		if r.row[i], err = arrowCell(r.batch.Column(i), int(r.at)); err != nil {
			return nil, fmt.Errorf("row %d, column %q: %w", r.read+1, r.schema[i].Name, err)
		}
	}
	r.at++
	r.read++
	return r.row, nil
}

func arrowCell(column arrow.Array, i int) (any, error) {
	if column.IsNull(i) {
		return nil, nil
	}
	switch c := column.(type) {
	case *array.Boolean:
		return c.Value(i), nil
	case *array.Int8:
		return int64(c.Value(i)), nil
	case *array.Int16:
		return int64(c.Value(i)), nil
	case *array.Int32:
		return int64(c.Value(i)), nil
	case *array.Int64:
		return c.Value(i), nil
	case *array.Uint8:
		return int64(c.Value(i)), nil
	case *array.Uint16:
		return int64(c.Value(i)), nil
	case *array.Uint32:
		return int64(c.Value(i)), nil
	case *array.Uint64:
		return canonical(fmt.Sprint(c.Value(i)))
	case *array.Float16:
		return float64(c.Value(i).Float32()), nil
	case *array.Float32:
		return float64(c.Value(i)), nil
	case *array.Float64:
		return c.Value(i), nil
	case *array.String:
		return c.Value(i), usable(c.Value(i))
	case *array.LargeString:
		return c.Value(i), usable(c.Value(i))
	}
	return arrowOther(column, i)
}

func arrowOther(column arrow.Array, i int) (any, error) {
	switch c := column.(type) {
	case *array.Binary:
		return append([]byte{}, c.Value(i)...), nil
	case *array.LargeBinary:
		return append([]byte{}, c.Value(i)...), nil
	case *array.FixedSizeBinary:
		return append([]byte{}, c.Value(i)...), nil
	case *array.Date32:
		return tidegate.CalendarDate(c.Value(i)), nil
	case *array.Date64:
		return tidegate.DateOf(c.Value(i).ToTime()), nil
	case *array.Timestamp:
		return timestamp(int64(c.Value(i)), c.DataType().(*arrow.TimestampType).Unit) //nolint:forcetypeassert // the type of a timestamp array
	case *array.Decimal128:
		if t := c.DataType().(*arrow.Decimal128Type); t.Scale >= 0 && t.Scale <= t.Precision { //nolint:forcetypeassert // the type of a decimal array
			return canonical(decimalText(c.Value(i), t.Scale))
		}
	case *array.Dictionary:
		return arrowCell(c.Dictionary(), c.GetValueIndex(i))
	}
	text, err := json.Marshal(column.GetOneForMarshal(i))
	if err != nil {
		return nil, err
	}
	return tidegate.JSONText(text), nil
}

func decimalText(v decimal128.Num, scale int32) string { return v.ToString(scale) }

var errTimeRange = errors.New("the time lies outside of what can be stored")

// timestamp reads a count of units since 1970, to the microsecond.
func timestamp(n int64, unit arrow.TimeUnit) (any, error) {
	switch unit {
	case arrow.Second:
		return time.Unix(n, 0).UTC(), nil
	case arrow.Millisecond:
		return time.UnixMilli(n).UTC(), nil
	case arrow.Microsecond:
		return time.UnixMicro(n).UTC(), nil
	case arrow.Nanosecond:
		return time.UnixMicro(floorDiv(n, 1000)).UTC(), nil
	}
	return nil, errTimeRange
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
