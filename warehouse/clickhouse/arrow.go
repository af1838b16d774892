package clickhouse

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse"
)

var _ warehouse.ArrowTx = (*unit)(nil)

// AppendArrow implements warehouse.ArrowTx.
func (u *unit) AppendArrow(ctx context.Context, t warehouse.Table, rdr array.RecordReader) (int64, error) {
	if err := u.Ready(u.reader != nil); err != nil {
		return 0, err
	}
	n, err := u.appendArrow(ctx, t, rdr)
	if err != nil {
		return 0, u.Fail(fmt.Errorf("appending to %s: %w", t, err))
	}
	return n, nil
}

func (u *unit) appendArrow(ctx context.Context, t warehouse.Table, rdr array.RecordReader) (n int64, err error) {
	if err := u.turn(ctx, t); err != nil {
		return 0, err
	}
	into, err := u.w.describe(ctx, t)
	if err != nil {
		return 0, err
	}
	schema := make(tidegate.Schema, rdr.Schema().NumFields())
	for i, f := range rdr.Schema().Fields() {
		schema[i].Name = f.Name
	}
	p, err := u.w.planLoad(into, warehouse.Load{Table: t}, schema)
	if err != nil {
		return 0, err
	}
	c := newChunk(p.columns)
	for rdr.Next() {
		record := rdr.RecordBatch()
		for from := 0; from < int(record.NumRows()); {
			to := min(int(record.NumRows()), from+chunkRows-c.rows)
			for i, col := range record.Columns() {
				if row, err := c.columns[i].appendArrow(col, from, to); err != nil {
					return 0, celltext.Misfit(p.columns[i].name, n+int64(row-from)+1, err)
				}
			}
			c.rows += to - from
			n += int64(to - from)
			from = to
			if c.rows >= chunkRows || c.size() >= chunkBytes {
				if err := u.add(ctx, p, c); err != nil {
					return 0, err
				}
			}
		}
	}
	if err := rdr.Err(); err != nil {
		return 0, fmt.Errorf("reading record batches: %w", err)
	}
	return n, u.add(ctx, p, c)
}

// appendArrow appends the values of a in [from, to); after an error row is the one at fault.
func (c *cells) appendArrow(a arrow.Array, from, to int) (row int, err error) {
	switch a := a.(type) {
	case *array.Int64:
		if c.shape == shapeInt && c.width == 8 {
			return c.words(a, a.Int64Values(), from, to)
		}
	case *array.Timestamp:
		if unit, ok := a.DataType().(*arrow.TimestampType); ok && unit.Unit == arrow.Microsecond && c.shape == shapeTime && c.width == 8 && c.scale == 6 {
			return c.micros(a, from, to)
		}
	case *array.String:
		if c.shape == shapeString && c.typ.Kind == tidegate.String {
			return c.strings(a, from, to)
		}
	}
	for i := from; i < to; i++ {
		v, err := cellOf(a, i, c.typ.Kind)
		if err == nil {
			err = c.append(v)
		}
		if err != nil {
			return i, err
		}
	}
	return to, nil
}

// mark notes whether row i of a is NULL, and says whether it has a value.
func (c *cells) mark(a arrow.Array, i int) (bool, error) {
	if a.IsValid(i) {
		if c.nullable {
			c.nulls = append(c.nulls, 0)
		}
		return true, nil
	}
	return false, c.append(nil)
}

func (c *cells) words(a arrow.Array, values []int64, from, to int) (int, error) {
	for i := from; i < to; i++ {
		if there, err := c.mark(a, i); err != nil {
			return i, err
		} else if there {
			c.data = binary.LittleEndian.AppendUint64(c.data, uint64(values[i]))
		}
	}
	return to, nil
}

func (c *cells) micros(a *array.Timestamp, from, to int) (int, error) {
	least, most := minTime.UnixMicro(), maxTime.UnixMicro()
	for i := from; i < to; i++ {
		there, err := c.mark(a, i)
		if err != nil {
			return i, err
		}
		if !there {
			continue
		}
		at := int64(a.Value(i))
		if at < least || at >= most {
			return i, errTimeSpan
		}
		c.data = binary.LittleEndian.AppendUint64(c.data, uint64(at))
	}
	return to, nil
}

func (c *cells) strings(a *array.String, from, to int) (int, error) {
	for i := from; i < to; i++ {
		there, err := c.mark(a, i)
		if err != nil {
			return i, err
		}
		if !there {
			continue
		}
		s := a.Value(i)
		if err := checkString(s); err != nil {
			return i, err
		}
		c.data = appendString(c.data, s)
	}
	return to, nil
}

// cellOf is a value of an Arrow array as the nouns carry it, for a column of a kind.
func cellOf(a arrow.Array, i int, kind tidegate.Kind) (any, error) {
	if a.IsNull(i) {
		return nil, nil
	}
	switch a := a.(type) {
	case *array.Boolean:
		return a.Value(i), nil
	case *array.Int64:
		return a.Value(i), nil
	case *array.Int32:
		return int64(a.Value(i)), nil
	case *array.Float64:
		return a.Value(i), nil
	case *array.Date32:
		return tidegate.CalendarDate(a.Value(i)), nil
	case *array.Timestamp:
		unit, ok := a.DataType().(*arrow.TimestampType)
		if !ok {
			return nil, fmt.Errorf("no cell of Arrow type %s", a.DataType())
		}
		return a.Value(i).ToTime(unit.Unit).UTC().Truncate(time.Microsecond), nil
	case *array.Binary:
		return append([]byte{}, a.Value(i)...), nil
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
	return nil, fmt.Errorf("no cell of Arrow type %s", a.DataType())
}
