package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/internal/pgwire"
)

var (
	errIntSpan = errors.New("the number lies pgwire.Outside of what the column holds")
	errNotUUID = errors.New("the text is not a UUID")
)

// binaryIn says whether cells of this column are sent in the column's own
// binary form. Those of other types are sent as text and cast by the server.
func (c *column) binaryIn() bool {
	if c.asText {
		return false
	}
	switch c.oid {
	case oidBool, oidInt2, oidInt4, oidInt8, oidFloat4, oidFloat8, oidNumeric, oidText, oidVarchar,
		oidBytea, oidDate, oidTimestamp, oidTimestampTZ, oidJSON, oidJSONB, oidUUID:
		return true
	}
	return false
}

// appendCell writes a field of a binary COPY: its length and its value, or says why the value does not fit.
func (c *column) appendCell(dst []byte, v any) ([]byte, error) {
	if v == nil {
		return append(dst, 0xff, 0xff, 0xff, 0xff), nil
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst, err := c.appendValue(dst, v)
	if err != nil {
		return dst, err
	}
	n := len(dst) - start - 4
	if n > maxCell {
		return dst, errCellSize
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(n))
	return dst, nil
}

// maxCell is what the server takes: a value of one gigabyte less what is around it.
const maxCell = 1<<30 - 1<<20

var errCellSize = errors.New("the value is longer than the server takes")

func (c *column) appendValue(dst []byte, v any) ([]byte, error) {
	if c.asText {
		return pgwire.AppendText(dst, v)
	}
	switch c.oid {
	case oidBool:
		if b, ok := v.(bool); ok {
			if b {
				return append(dst, 1), nil
			}
			return append(dst, 0), nil
		}
	case oidInt8, oidInt4, oidInt2:
		if n, ok := v.(int64); ok {
			return appendInteger(dst, c.oid, n)
		}
	case oidFloat8, oidFloat4:
		switch n := v.(type) {
		case float64:
			return appendFloatBits(dst, c.oid, n), nil
		case int64:
			return appendFloatBits(dst, c.oid, float64(n)), nil
		}
	case oidNumeric:
		return c.appendNumber(dst, v)
	case oidDate:
		if d, ok := v.(tidegate.CalendarDate); ok {
			if int64(d)-epochDays < minDay || int64(d)-epochDays > maxDay {
				return dst, pgwire.ErrTimeSpan
			}
			return binary.BigEndian.AppendUint32(dst, uint32(int32(d)-epochDays)), nil
		}
	case oidTimestamp, oidTimestampTZ:
		switch t := v.(type) {
		case time.Time:
			return appendTime(dst, t)
		case tidegate.CalendarDate:
			return appendTime(dst, t.Time())
		}
	case oidBytea:
		if b, ok := v.([]byte); ok {
			return append(dst, b...), nil
		}
	case oidUUID:
		if s, ok := v.(string); ok {
			return appendUUID(dst, s)
		}
	case oidJSONB:
		return pgwire.AppendScalarJSON(append(dst, 1), v)
	case oidJSON:
		return pgwire.AppendScalarJSON(dst, v)
	default: // text, and every type that the server casts text to
		return pgwire.AppendText(dst, v)
	}
	return dst, celltext.Unfit(v)
}

func appendInteger(dst []byte, oid uint32, n int64) ([]byte, error) {
	switch oid {
	case oidInt4:
		if n < math.MinInt32 || n > math.MaxInt32 {
			return dst, errIntSpan
		}
		return binary.BigEndian.AppendUint32(dst, uint32(n)), nil
	case oidInt2:
		if n < math.MinInt16 || n > math.MaxInt16 {
			return dst, errIntSpan
		}
		return binary.BigEndian.AppendUint16(dst, uint16(n)), nil
	}
	return binary.BigEndian.AppendUint64(dst, uint64(n)), nil
}

func appendFloatBits(dst []byte, oid uint32, f float64) []byte {
	if oid == oidFloat4 {
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(f)))
	}
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(f))
}

// appendNumber refuses what the server would round.
func (c *column) appendNumber(dst []byte, v any) ([]byte, error) {
	var text string
	switch n := v.(type) {
	case tidegate.DecimalText:
		text = string(n)
	case int64:
		text = strconv.FormatInt(n, 10)
	case float64:
		if !c.unbounded || math.IsNaN(n) || math.IsInf(n, 0) {
			return dst, celltext.Unfit(v)
		}
		text = strconv.FormatFloat(n, 'f', -1, 64)
	default:
		return dst, celltext.Unfit(v)
	}
	if !c.unbounded {
		whole, fraction, err := celltext.SplitDecimal(text)
		switch {
		case err != nil:
			return dst, err
		case len(fraction) > c.typ.Scale:
			return dst, errDecimalScale
		case len(whole) > c.typ.Precision-c.typ.Scale:
			return dst, errDecimalWide
		}
	}
	return appendNumeric(dst, text)
}

const minDay, maxDay = -2451507, 2145031948

func appendTime(dst []byte, t time.Time) ([]byte, error) {
	if pgwire.Outside(t) {
		return dst, pgwire.ErrTimeSpan
	}
	seconds := t.Unix() - epochMicros/1_000_000
	micros := seconds*1_000_000 + int64(t.Nanosecond())/1000
	return binary.BigEndian.AppendUint64(dst, uint64(micros)), nil
}

func appendUUID(dst []byte, s string) ([]byte, error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return dst, errNotUUID
	}
	dst, err := hex.AppendDecode(dst, []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:]))
	if err != nil {
		return dst, errNotUUID
	}
	return dst, nil
}
