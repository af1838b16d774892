package duckdb

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
)

// writer puts cells into one column of a chunk.
type writer struct {
	id        bindings.Type // of the chunk's column; the engine casts to the table's type where they differ
	json      bool
	precision int
	scale     int
	storage   bindings.Type
	vector    bindings.Vector
	data      unsafe.Pointer
	validity  unsafe.Pointer // nil until the first NULL of the chunk
	scratch   []byte
}

// newWriter chooses how cells for col are handed over, and returns the type of
// the chunk's column, which the caller destroys. Columns of a type that Ensure
// does not make get text, or the widest type of their family, and the engine casts.
func newWriter(col *column) (writer, bindings.LogicalType) {
	w := writer{id: col.id, json: col.json}
	switch col.id {
	case bindings.TypeBoolean, bindings.TypeBigInt, bindings.TypeDouble, bindings.TypeVarchar, bindings.TypeBlob,
		bindings.TypeDate, bindings.TypeTimestamp, bindings.TypeTimestampTZ:
		// JSON is a VARCHAR with another name.
	case bindings.TypeDecimal:
		w.precision, w.scale, w.storage = col.width, col.scale, col.storage
		return w, bindings.CreateDecimalType(uint8(col.width), uint8(col.scale))
	case bindings.TypeTinyInt, bindings.TypeSmallInt, bindings.TypeInteger,
		bindings.TypeUTinyInt, bindings.TypeUSmallInt, bindings.TypeUInteger:
		w.id = bindings.TypeBigInt
	case bindings.TypeHugeInt, bindings.TypeUHugeInt, bindings.TypeUBigInt:
		w.id, w.precision, w.storage = bindings.TypeDecimal, 38, bindings.TypeHugeInt
		return w, bindings.CreateDecimalType(38, 0)
	case bindings.TypeFloat:
		w.id = bindings.TypeDouble
	case bindings.TypeTimestampS, bindings.TypeTimestampMS, bindings.TypeTimestampNS:
		w.id = bindings.TypeTimestamp
	default:
		w.id = bindings.TypeVarchar
	}
	return w, bindings.CreateLogicalType(w.id)
}

func (w *writer) attach(v bindings.Vector) {
	w.vector = v
	w.data = bindings.VectorGetData(v)
	w.validity = nil
}

func store[T any](array unsafe.Pointer, i int, v T) {
	*(*T)(unsafe.Add(array, uintptr(i)*unsafe.Sizeof(v))) = v
}

func (w *writer) null(row int) {
	if w.validity == nil {
		bindings.VectorEnsureValidityWritable(w.vector)
		w.validity = bindings.VectorGetValidity(w.vector)
	}
	store(w.validity, row/64, load[uint64](w.validity, row/64)&^(1<<(row%64)))
}

var (
	errNotUTF8  = errors.New("the text is not valid UTF-8")
	errNUL      = errors.New("the text holds a NUL character")
	errNotJSON  = errors.New("the text is not valid JSON")
	errTimeSpan = errors.New("the time lies outside of what the column holds")
)

// put writes a value that is not NULL, or says why it does not fit.
func (w *writer) put(row int, v any) error {
	switch w.id {
	case bindings.TypeBoolean:
		if b, ok := v.(bool); ok {
			store(w.data, row, b)
			return nil
		}
	case bindings.TypeBigInt:
		if n, ok := v.(int64); ok {
			store(w.data, row, n)
			return nil
		}
	case bindings.TypeDouble:
		switch n := v.(type) {
		case float64:
			store(w.data, row, n)
			return nil
		case int64:
			store(w.data, row, float64(n))
			return nil
		}
	case bindings.TypeDecimal:
		return w.putDecimal(row, v)
	case bindings.TypeDate:
		if d, ok := v.(tidegate.CalendarDate); ok {
			if d == math.MaxInt32 || d == -math.MaxInt32 {
				return errTimeSpan // the engine's word for infinity
			}
			store(w.data, row, int32(d))
			return nil
		}
	case bindings.TypeTimestamp, bindings.TypeTimestampTZ:
		switch t := v.(type) {
		case time.Time:
			return w.putTime(row, t)
		case tidegate.CalendarDate:
			return w.putTime(row, t.Time())
		}
	case bindings.TypeBlob:
		if b, ok := v.([]byte); ok {
			w.putBytes(row, b)
			return nil
		}
	case bindings.TypeVarchar:
		if s, ok := v.(string); ok && !w.json {
			return w.putString(row, s)
		}
		return w.putText(row, v)
	}
	return celltext.Unfit(v)
}

func (w *writer) putDecimal(row int, v any) error {
	var text string
	switch n := v.(type) {
	case tidegate.DecimalText:
		text = string(n)
	case int64:
		text = strconv.FormatInt(n, 10)
	default:
		return celltext.Unfit(v)
	}
	n, err := parseDecimal(text, w.precision, w.scale)
	if err != nil {
		return fmt.Errorf("the number %w", err)
	}
	switch w.storage {
	case bindings.TypeSmallInt:
		store(w.data, row, int16(n.lo))
	case bindings.TypeInteger:
		store(w.data, row, int32(n.lo))
	case bindings.TypeBigInt:
		store(w.data, row, int64(n.lo))
	default:
		store(w.data, row, [2]uint64{n.lo, n.hi})
	}
	return nil
}

// The engine keeps microseconds in an int64.
var minTime, maxTime = time.UnixMicro(math.MinInt64 + 2), time.UnixMicro(math.MaxInt64 - 1)

func (w *writer) putTime(row int, t time.Time) error {
	if t.Before(minTime) || t.After(maxTime) {
		return errTimeSpan
	}
	store(w.data, row, t.UnixMicro())
	return nil
}

func (w *writer) putString(row int, s string) error {
	if !utf8.ValidString(s) {
		return errNotUTF8
	}
	if strings.IndexByte(s, 0) >= 0 {
		return errNUL
	}
	w.putBytes(row, unsafe.Slice(unsafe.StringData(s), len(s)))
	return nil
}

// putBytes writes short contents in place, as the engine keeps them; long ones
// are copied by the engine.
func (w *writer) putBytes(row int, b []byte) {
	if len(b) > inlineString {
		bindings.UnsafeVectorAssignStringElementLen(w.vector, bindings.IdxT(row), b)
		return
	}
	var cell [16]byte
	*(*uint32)(unsafe.Pointer(&cell)) = uint32(len(b))
	copy(cell[4:], b)
	store(w.data, row, cell)
}

// putText writes any cell as text, as the engine's own cast would, and into a
// JSON column as JSON.
func (w *writer) putText(row int, v any) error {
	text, err := appendCellText(w.scratch[:0], v, w.json)
	if err != nil {
		return err
	}
	w.scratch = text
	return w.putString(row, unsafe.String(unsafe.SliceData(text), len(text)))
}

func appendCellText(dst []byte, v any, asJSON bool) ([]byte, error) {
	switch n := v.(type) {
	case bool:
		return strconv.AppendBool(dst, n), nil
	case int64:
		return strconv.AppendInt(dst, n, 10), nil
	case tidegate.DecimalText:
		if _, err := parseDecimal(string(n), 38, min(decimalScale(string(n)), 38)); err != nil {
			return dst, fmt.Errorf("the number %w", err)
		}
		return append(dst, n...), nil
	case float64:
		if asJSON {
			return appendJSONFloat(dst, n, 64), nil
		}
		return floats.Append(dst, n), nil
	case tidegate.JSONText:
		if !json.Valid([]byte(n)) {
			return dst, errNotJSON
		}
		return append(dst, n...), nil
	}
	text, err := cellString(v)
	if err != nil {
		return dst, err
	}
	if asJSON {
		if !utf8.ValidString(text) {
			return dst, errNotUTF8
		}
		return appendJSONString(dst, text)
	}
	return append(dst, text...), nil
}

// cellString is the text of the cells that JSON carries as strings.
func cellString(v any) (string, error) {
	switch n := v.(type) {
	case string:
		return n, nil
	case []byte:
		return base64.StdEncoding.EncodeToString(n), nil
	case tidegate.CalendarDate:
		return n.String(), nil
	case time.Time:
		return string(celltext.AppendTime(nil, n)), nil
	}
	return "", celltext.Unfit(v)
}

// floats is how the engine's cast to VARCHAR writes floats, without the .0 of a whole one.
var floats = celltext.Floats{NaN: "nan", Infinity: "inf", Small: 1e-4, Large: 1e16}
