package clickhouse

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
)

// chunk is rows on their way to one table: columns as they lie in a block.
type chunk struct {
	columns []*cells
	rows    int
}

// cells is one column of a chunk.
type cells struct {
	column
	nulls []byte // one byte for each row, where the column takes NULL
	data  []byte
}

func newChunk(columns []column) *chunk {
	c := &chunk{columns: make([]*cells, len(columns))}
	for i := range columns {
		c.columns[i] = &cells{column: columns[i]}
	}
	return c
}

func (c *chunk) clear() {
	c.rows = 0
	for _, col := range c.columns {
		col.nulls, col.data = col.nulls[:0], col.data[:0]
	}
}

func (c *chunk) size() int {
	n := 0
	for _, col := range c.columns {
		n += len(col.nulls) + len(col.data)
	}
	return n
}

// encode appends the chunk as a block of the format Native.
func (c *chunk) encode(dst []byte) []byte {
	return c.encodeAs(dst, func(c *cells) string { return c.wire() })
}

// encodeAs encodes with the types that typ gives columns.
func (c *chunk) encodeAs(dst []byte, typ func(*cells) string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.columns)))
	dst = binary.AppendUvarint(dst, uint64(c.rows))
	for _, col := range c.columns {
		dst = appendString(dst, col.name)
		dst = appendString(dst, typ(col))
		dst = append(dst, col.nulls...)
		dst = append(dst, col.data...)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

var errNull = errors.New("the column takes no NULL")

// append adds a value, or says why the column cannot hold it.
func (c *cells) append(v any) (err error) {
	if v == nil {
		if !c.nullable {
			return errNull
		}
		c.nulls = append(c.nulls, 1)
		c.zero()
		return nil
	}
	if c.nullable {
		c.nulls = append(c.nulls, 0)
	}
	c.data, err = c.appendValue(c.data, v)
	return err
}

// zero adds what lies under a NULL.
func (c *cells) zero() {
	if c.shape == shapeString {
		c.data = append(c.data, 0)
		return
	}
	var nothing [16]byte
	c.data = append(c.data, nothing[:c.width]...)
}

func (c *cells) appendValue(dst []byte, v any) ([]byte, error) {
	switch c.shape {
	case shapeBool:
		if b, ok := v.(bool); ok {
			if b {
				return append(dst, 1), nil
			}
			return append(dst, 0), nil
		}
	case shapeInt, shapeUint:
		if n, ok := v.(int64); ok {
			return c.appendInteger(dst, n)
		}
	case shapeFloat:
		switch n := v.(type) {
		case float64:
			return c.appendFloat(dst, n), nil
		case int64:
			return c.appendFloat(dst, float64(n)), nil
		}
	case shapeDecimal:
		switch n := v.(type) {
		case tidegate.DecimalText:
			return c.appendDecimal(dst, string(n))
		case int64:
			return c.appendDecimal(dst, strconv.FormatInt(n, 10))
		}
	case shapeString:
		return c.appendTexts(dst, v)
	case shapeDate:
		if d, ok := v.(tidegate.CalendarDate); ok {
			return c.appendDate(dst, d)
		}
	case shapeTime:
		switch t := v.(type) {
		case time.Time:
			return c.appendTime(dst, t)
		case tidegate.CalendarDate:
			return c.appendTime(dst, t.Time())
		}
	case shapeNone, shapeNothing:
	}
	return dst, celltext.Unfit(v)
}

func (c *cells) appendInteger(dst []byte, n int64) ([]byte, error) {
	bits := 8 * c.width
	switch {
	case c.shape == shapeUint && (n < 0 || bits < 64 && n >= 1<<bits),
		c.shape == shapeInt && bits < 64 && (n < -1<<(bits-1) || n >= 1<<(bits-1)):
		return dst, errIntSpan
	}
	for range c.width {
		dst, n = append(dst, byte(n)), n>>8
	}
	return dst, nil
}

func (c *cells) appendFloat(dst []byte, f float64) []byte {
	if c.width == 4 {
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f)))
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
}

func (c *cells) appendDecimal(dst []byte, text string) ([]byte, error) {
	n, err := parseDecimal(text, c.typ.Precision, c.scale)
	if err != nil {
		return dst, err
	}
	return appendUnits(dst, n, c.width), nil
}

func (c *cells) appendDate(dst []byte, d tidegate.CalendarDate) ([]byte, error) {
	if c.width == 2 {
		if d < 0 || d > math.MaxUint16 {
			return dst, errTimeSpan
		}
		return binary.LittleEndian.AppendUint16(dst, uint16(d)), nil
	}
	return binary.LittleEndian.AppendUint32(dst, uint32(d)), nil
}

// The years that are kept as they are. The engine's own functions on times know 1900 to 2299 only.
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
)

func outside(t time.Time) bool { return t.Before(minTime) || !t.Before(maxTime) }

func (c *cells) appendTime(dst []byte, t time.Time) ([]byte, error) {
	if c.width == 4 {
		if s := t.Unix(); s >= 0 && s <= math.MaxUint32 {
			return binary.LittleEndian.AppendUint32(dst, uint32(s)), nil
		}
		return dst, errTimeSpan
	}
	if outside(t) {
		return dst, errTimeSpan
	}
	perSecond := int64(1)
	for range c.scale {
		perSecond *= 10
	}
	const edge = math.MaxInt64 / 1_000_000_000
	if c.scale > 6 && (t.Unix() > edge || t.Unix() < -edge) {
		return dst, errTimeSpan
	}
	micros := int64(t.Nanosecond()) / 1000 * 1000
	return binary.LittleEndian.AppendUint64(dst, uint64(t.Unix()*perSecond+micros/(1_000_000_000/perSecond))), nil
}

func (c *cells) appendTexts(dst []byte, v any) ([]byte, error) {
	if s, ok := v.(string); ok && c.typ.Kind == tidegate.String {
		if err := checkString(s); err != nil {
			return dst, err
		}
		return appendString(dst, s), nil
	}
	var err error
	var room [64]byte
	text := room[:0]
	switch c.typ.Kind {
	case tidegate.Bytes:
		b, ok := v.([]byte)
		if !ok {
			return dst, celltext.Unfit(v)
		}
		text = b
	case tidegate.JSON:
		text, err = appendJSON(text, v)
	default:
		text, err = appendText(text, v)
	}
	if err != nil {
		return dst, err
	}
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...), nil
}

// appendText writes a cell as the text that the engine makes of it. Bytes are Base64, as JSON carries them.
func appendText(dst []byte, v any) ([]byte, error) {
	switch n := v.(type) {
	case string:
		return append(dst, n...), checkString(n)
	case bool:
		return strconv.AppendBool(dst, n), nil
	case int64:
		return strconv.AppendInt(dst, n, 10), nil
	case float64:
		return floats.Append(dst, n), nil
	case tidegate.DecimalText:
		if _, _, _, err := splitDecimal(string(n)); err != nil {
			return dst, err
		}
		return append(dst, n...), nil
	case []byte:
		return base64.StdEncoding.AppendEncode(dst, n), nil
	case tidegate.CalendarDate:
		return append(dst, n.String()...), nil
	case time.Time:
		if outside(n) {
			return dst, errTimeSpan
		}
		return celltext.AppendTime(dst, n), nil
	case tidegate.JSONText:
		return appendJSONText(dst, n)
	}
	return dst, celltext.Unfit(v)
}

// floats is how the engine writes floats: 7, 0.5, 1e21, nan, -inf.
var floats = celltext.Floats{NaN: "nan", Infinity: "inf", Small: 1e-6, Large: 1e21}

// appendJSON writes what a JSON column holds for a cell.
func appendJSON(dst []byte, v any) ([]byte, error) {
	switch n := v.(type) {
	case tidegate.JSONText:
		return appendJSONText(dst, n)
	case bool, int64:
		return appendText(dst, n)
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return dst, celltext.Unfit(v)
		}
		return floats.Append(dst, n), nil
	case tidegate.DecimalText:
		return appendText(dst, n)
	case time.Time:
		if outside(n) {
			return dst, errTimeSpan
		}
		return append(celltext.AppendTime(append(dst, '"'), n), '"'), nil
	}
	text, err := appendText(nil, v)
	if err != nil {
		return dst, err
	}
	quoted, err := json.Marshal(string(text))
	return append(dst, quoted...), err
}

// appendJSONText writes a JSON text. Escapes that are no character (NUL, half a
// surrogate pair) become U+FFFD, as in every warehouse.
func appendJSONText(dst []byte, text tidegate.JSONText) ([]byte, error) {
	if !json.Valid([]byte(text)) || !utf8.ValidString(string(text)) {
		return dst, errNotJSON
	}
	return celltext.AppendCharacters(dst, string(text)), nil
}
