package clickhouse

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	chproto "github.com/ClickHouse/ch-go/proto"
	conns "github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// What the native protocol needs. The driver does not give or take blocks there
// (QueryFormat and InsertFormat are of HTTP), so rows go through its Query and its
// batches: a result is made into blocks again, and a block into a batch.

// insertBatch sends the block in q.data as a batch.
func (c *client) insertBatch(ctx context.Context, q *call) error {
	var data io.Reader = bytes.NewReader(q.data)
	if c.packed {
		data = compress.NewReader(data)
	}
	block := proto.NewBlock()
	if err := block.Decode(chproto.NewReader(data), 0); err != nil {
		return fmt.Errorf("reading a block: %w", err)
	}
	batch, err := c.conn.PrepareBatch(c.with(ctx, q), strings.TrimSuffix(q.sql, " FORMAT Native"))
	if err != nil {
		return c.failure(ctx, err, q.sql)
	}
	defer func() { _ = batch.Close() }()
	columns := batch.Columns()
	if len(columns) != len(block.Columns) {
		return nameFault(q.sql)
	}
	for i, from := range block.Columns {
		to := columns[i]
		if to.Name() != from.Name() {
			return nameFault(q.sql)
		}
		if strings.HasPrefix(string(to.Type()), "LowCardinality(") {
			for row := range block.Rows() {
				err = errors.Join(err, to.AppendRow(from.Row(row, true)))
			}
		} else { // the bytes are the same: the driver's values know times from 1678 to 2262 only
			var raw chproto.Buffer
			from.Encode(&raw)
			err = to.Decode(chproto.NewReader(bytes.NewReader(raw.Buf)), block.Rows())
		}
		if err != nil {
			return fmt.Errorf("writing column %q: %w", from.Name(), err)
		}
	}
	if err := batch.Send(); err != nil {
		return c.failure(ctx, err, q.sql)
	}
	return nil
}

func nameFault(sql string) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.columns", Message: "the driver misreads the names in " + sql,
		Hint: "names of tables and columns with parentheses, quotes or commas can be written with protocol: http only",
	}
}

// nativeList is the list of columns of a result of the native protocol: those of foreign types made readable, and times as
// counts of microseconds. as are the types that they are read as.
func (w *Warehouse) nativeList(columns []column) (list sqltext.Text, as []string, err error) {
	names := make([]sqltext.Text, len(columns))
	as = make([]string, len(columns))
	for i, c := range columns {
		if names[i], err = w.dialect.Ident(c.name); err != nil {
			return "", nil, err
		}
		function := sqltext.Text(c.convert)
		switch {
		case c.shape == shapeNothing:
			function = "toString"
		case c.shape == shapeTime && c.width == 8:
			function, as[i] = "toUnixTimestamp64Micro", "DateTime64(6, 'UTC')"
			if c.nullable {
				as[i] = "Nullable(" + as[i] + ")"
			}
		}
		if function != "" {
			names[i] = function + "(q." + names[i] + ") AS " + names[i]
		}
	}
	return sqltext.Join(names, ", "), as, nil
}

// openRows runs a statement and returns its result as blocks.
func (c *client) openRows(ctx context.Context, q *call) (io.ReadCloser, error) {
	rows, err := c.conn.Query(c.with(ctx, q), q.sql)
	if err != nil {
		return nil, c.failure(ctx, err, q.sql)
	}
	s := &rowStream{rows: rows}
	var columns []column
	for i, t := range rows.ColumnTypes() {
		col := parseColumn(t.Name(), strings.ReplaceAll(t.DatabaseTypeName(), "LowCardinality(Nullable(String))", "Nullable(String)"))
		if inner, ok := wrapped(col.engine, "LowCardinality"); ok {
			col = parseColumn(t.Name(), inner)
		}
		if i < len(q.as) && q.as[i] != "" {
			col = parseColumn(t.Name(), q.as[i])
		}
		if t.ScanType() == nil {
			col = parseColumn(t.Name(), "Array(Nothing)") // read begins anew
		}
		columns = append(columns, col)
		s.foreign = s.foreign || col.shape == shapeNone
		if t.ScanType() != nil {
			s.dest = append(s.dest, reflect.New(t.ScanType()).Interface())
		}
	}
	s.chunk = newChunk(columns)
	return s, nil
}

// rowStream is a result of the driver as blocks of the format Native.
type rowStream struct {
	rows    conns.Rows
	chunk   *chunk
	dest    []any
	foreign bool // some values cannot be read as they are
	rest    []byte
	err     error
}

// streamRows is how many rows are made one block.
const streamRows = 1024

func (s *rowStream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.fill()
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *rowStream) fill() {
	s.chunk.clear()
	for s.err == nil && s.chunk.rows < streamRows {
		switch {
		case !s.rows.Next():
			if s.err = s.rows.Err(); s.err == nil {
				s.err = io.EOF
			}
			continue
		case s.foreign: // the reader only wants to know the columns
		default:
			s.err = s.add()
		}
		s.chunk.rows++
	}
	if len(s.chunk.columns) > 0 && (s.err == nil || errors.Is(s.err, io.EOF)) {
		s.rest = s.chunk.encodeAs(nil, func(c *cells) string { return c.engine })
	}
}

func (s *rowStream) add() error {
	if err := s.rows.Scan(s.dest...); err != nil {
		return fmt.Errorf("reading a row: %w", err)
	}
	for i, c := range s.chunk.columns {
		if err := c.appendScanned(reflect.ValueOf(s.dest[i]).Elem()); err != nil {
			return fmt.Errorf("reading column %q: %w", c.name, err)
		}
	}
	return nil
}

// Close implements io.Closer. The statement's context has ended, or its result has.
func (s *rowStream) Close() error { return s.rows.Close() } //nolint:wrapcheck // of no interest

// appendScanned adds a value of the driver as it lies in a block.
func (c *cells) appendScanned(v reflect.Value) error {
	null := false
	for v.Kind() == reflect.Pointer && !null {
		if null = v.IsNil(); !null {
			v = v.Elem()
		}
	}
	if c.nullable {
		mark := byte(0)
		if null {
			mark = 1
		}
		c.nulls = append(c.nulls, mark)
	}
	if null {
		c.zero()
		return nil
	}
	switch n := v.Interface().(type) {
	case time.Time:
		return c.appendMoment(n)
	case fmt.Stringer: // the driver's decimals
		units, err := parseDecimal(n.String(), c.typ.Precision, c.scale)
		if err != nil {
			return err
		}
		c.data = appendUnits(c.data, units, c.width)
	case string:
		c.data = appendString(c.data, n)
	case bool:
		c.data = append(c.data, 0)
		if n {
			c.data[len(c.data)-1] = 1
		}
	case float32:
		c.data = binary.LittleEndian.AppendUint32(c.data, math.Float32bits(n))
	case float64:
		c.data = binary.LittleEndian.AppendUint64(c.data, math.Float64bits(n))
	default:
		var bits uint64
		switch {
		case v.CanInt():
			bits = uint64(v.Int())
		case v.CanUint():
			bits = v.Uint()
		default:
			return celltext.Unfit(n)
		}
		c.data = append(c.data, binary.LittleEndian.AppendUint64(nil, bits)[:c.width]...)
	}
	return nil
}

func (c *cells) appendMoment(t time.Time) (err error) {
	if c.shape == shapeDate {
		days := t.Unix() / 86_400
		if t.Unix()%86_400 < 0 {
			days--
		}
		c.data, err = c.appendDate(c.data, tidegate.CalendarDate(days))
		return err
	}
	c.data, err = c.appendTime(c.data, t)
	return err
}
