package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse"
)

var _ warehouse.ArrowTx = (*tx)(nil)

// AppendArrow implements warehouse.ArrowTx: the columns of the batches become
// the rows of a binary COPY without a stop in between.
func (t *tx) AppendArrow(ctx context.Context, table warehouse.Table, rdr array.RecordReader) (int64, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return 0, err
	}
	t.wrote = true
	n, err := t.appendArrow(ctx, table, rdr)
	if err != nil {
		return 0, t.Fail(fmt.Errorf("appending record batches to %s: %w", table, err))
	}
	return n, nil
}

func (t *tx) appendArrow(ctx context.Context, table warehouse.Table, rdr array.RecordReader) (int64, error) {
	have, err := t.s.describe(ctx, table)
	if err != nil {
		return 0, err
	}
	fields := rdr.Schema().Fields()
	schema := make(tidegate.Schema, len(fields))
	for i, f := range fields {
		schema[i].Name = f.Name
	}
	p, err := planLoad(t.w.dialect, warehouse.Load{Table: table}, have, schema)
	if err != nil {
		return 0, err
	}
	for i, f := range fields {
		if isText(f.Type) && !p.columns[i].readsText() {
			p.columns[i].asText, p.casts = true, true
		}
	}
	return t.write(ctx, p, feedBatches(ctx, p, rdr))
}

func isText(t arrow.DataType) bool {
	return t.ID() == arrow.STRING || t.ID() == arrow.LARGE_STRING
}

// readsText says whether text is sent to the column in its own form.
func (c *column) readsText() bool {
	return c.typ.Kind == tidegate.String || c.typ.Kind == tidegate.JSON || c.typ.Kind == tidegate.Decimal
}

// feedBatches encodes the rows of record batches.
func feedBatches(ctx context.Context, p *loadPlan, rdr array.RecordReader) feed {
	fields := make([]func(dst []byte, row int) ([]byte, error), len(p.columns))
	var at, size, n int
	return func(dst []byte) ([]byte, error) {
		for at == size {
			if err := ctx.Err(); err != nil {
				return dst, fmt.Errorf("reading row %d: %w", n+1, err)
			}
			if !rdr.Next() {
				if err := rdr.Err(); err != nil && !errors.Is(err, io.EOF) {
					return dst, fmt.Errorf("reading a batch: %w", err)
				}
				return dst, io.EOF
			}
			batch := rdr.RecordBatch()
			at, size = 0, int(batch.NumRows())
			for i := range fields {
				fields[i] = p.columns[i].fieldOf(batch.Column(i))
			}
		}
		row := at
		at++
		n++
		var err error
		for i, field := range fields {
			if dst, err = field(dst, row); err != nil {
				return dst, celltext.Misfit(p.columns[i].name, int64(n), err)
			}
		}
		return dst, nil
	}
}

var nullField = []byte{0xff, 0xff, 0xff, 0xff}

// fieldOf returns what encodes the cells of an array for this column.
func (c *column) fieldOf(a arrow.Array) func(dst []byte, row int) ([]byte, error) {
	switch cells := a.(type) {
	case *array.Int64:
		if c.oid == oidInt8 {
			return eight(a, func(row int) uint64 { return uint64(cells.Value(row)) })
		}
	case *array.Float64:
		if c.oid == oidFloat8 {
			return eight(a, func(row int) uint64 { return math.Float64bits(cells.Value(row)) })
		}
	case *array.String:
		if c.oid == oidText || c.oid == oidVarchar {
			return func(dst []byte, row int) ([]byte, error) {
				if cells.IsNull(row) {
					return append(dst, nullField...), nil
				}
				text := cells.Value(row)
				if err := celltext.CheckString(text); err != nil {
					return dst, err
				}
				return append(binary.BigEndian.AppendUint32(dst, uint32(len(text))), text...), nil
			}
		}
	}
	return func(dst []byte, row int) ([]byte, error) {
		v, err := c.arrowCell(a, row)
		if err != nil {
			return dst, err
		}
		return c.appendCell(dst, v)
	}
}

// eight encodes cells of eight bytes.
func eight(a arrow.Array, bits func(row int) uint64) func(dst []byte, row int) ([]byte, error) {
	return func(dst []byte, row int) ([]byte, error) {
		if a.IsNull(row) {
			return append(dst, nullField...), nil
		}
		return binary.BigEndian.AppendUint64(append(dst, 0, 0, 0, 8), bits(row)), nil
	}
}

// arrowCell is a cell of an array as the nouns carry it for this column.
func (c *column) arrowCell(a arrow.Array, row int) (any, error) {
	if a.IsNull(row) {
		return nil, nil
	}
	switch cells := a.(type) {
	case *array.Boolean:
		return cells.Value(row), nil
	case *array.Int64:
		return cells.Value(row), nil
	case *array.Int32:
		return int64(cells.Value(row)), nil
	case *array.Int16:
		return int64(cells.Value(row)), nil
	case *array.Int8:
		return int64(cells.Value(row)), nil
	case *array.Float64:
		return cells.Value(row), nil
	case *array.Float32:
		return float64(cells.Value(row)), nil
	case *array.String:
		return c.textCell(cells.Value(row)), nil
	case *array.LargeString:
		return c.textCell(cells.Value(row)), nil
	case *array.Binary:
		return cells.Value(row), nil
	case *array.LargeBinary:
		return cells.Value(row), nil
	case *array.Date32:
		return tidegate.CalendarDate(cells.Value(row)), nil
	case *array.Timestamp:
		unit, _ := cells.DataType().(*arrow.TimestampType)
		return timestampCell(int64(cells.Value(row)), unit.Unit), nil
	case *array.Decimal128:
		from, _ := cells.DataType().(*arrow.Decimal128Type)
		return canonical(cells.Value(row).ToString(from.Scale)), nil
	}
	return nil, fmt.Errorf("record batches of type %s are not taken", a.DataType())
}

// textCell is a text on its way into this column: decimals and JSON travel as text.
func (c *column) textCell(text string) any {
	switch {
	case c.asText || c.typ.Kind == tidegate.String:
		return text
	case c.typ.Kind == tidegate.Decimal:
		return tidegate.DecimalText(text)
	}
	return tidegate.JSONText(text)
}

// timestampCell turns a number of units since 1970 into a time; a finer unit than microseconds is cut.
func timestampCell(n int64, unit arrow.TimeUnit) time.Time {
	switch unit {
	case arrow.Second:
		return time.Unix(n, 0).UTC()
	case arrow.Millisecond:
		return time.UnixMilli(n).UTC()
	case arrow.Nanosecond:
		return time.Unix(0, n).UTC()
	case arrow.Microsecond:
	}
	return time.UnixMicro(n).UTC()
}

// canonical drops the zeros that say nothing from a decimal text.
func canonical(text string) tidegate.DecimalText {
	whole, fraction, err := celltext.SplitDecimal(text)
	if err != nil {
		return tidegate.DecimalText(text) // refused where it is encoded
	}
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if text[0] == '-' && whole != "0" {
		whole = "-" + whole
	}
	return tidegate.DecimalText(whole)
}
