package snowflake

import (
	"encoding/base64"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
)

var (
	errDecimalWide  = errors.New("the number has more digits before the point than the column holds")
	errDecimalScale = errors.New("the number has more digits after the point than the column holds")
)

// appendValue writes a cell as the text that the column's type is read from, or
// says why the value does not fit. v is not nil.
func (c *column) appendValue(dst []byte, v any) ([]byte, error) {
	switch c.engine {
	case "boolean":
		if b, ok := v.(bool); ok {
			return strconv.AppendBool(dst, b), nil
		}
	case "fixed":
		return c.appendNumber(dst, v)
	case "real":
		switch n := v.(type) {
		case float64:
			return appendDouble(dst, n), nil
		case int64:
			return appendDouble(dst, float64(n)), nil
		}
	case "binary":
		if b, ok := v.([]byte); ok {
			return base64.StdEncoding.AppendEncode(dst, b), nil
		}
	case "date":
		if d, ok := v.(tidegate.CalendarDate); ok {
			return celltext.AppendDay(dst, d)
		}
	case "timestamp_tz", "timestamp_ntz", "timestamp_ltz":
		if d, ok := v.(tidegate.CalendarDate); ok {
			v = d.Time()
		}
		if t, ok := v.(time.Time); ok {
			return appendTime(dst, t)
		}
	case "variant":
		return texts.AppendJSON(dst, v)
	default:
		return texts.Append(dst, v)
	}
	return dst, celltext.Unfit(v)
}

// timeFormat is how Snowflake is told to read what appendTime writes.
const timeFormat = "'YYYY-MM-DD HH24:MI:SS.FF6 TZH:TZM'"

func appendTime(dst []byte, t time.Time) ([]byte, error) {
	if celltext.Outside(t) {
		return dst, celltext.ErrTimeSpan
	}
	return t.UTC().AppendFormat(dst, "2006-01-02 15:04:05.000000 +00:00"), nil
}

// appendDouble writes a float as Snowflake reads it as one: nan, inf, -inf.
func appendDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	}
	return celltext.AppendFloat(dst, f)
}

// appendNumber refuses what the server would refuse or round.
func (c *column) appendNumber(dst []byte, v any) ([]byte, error) {
	var text string
	switch n := v.(type) {
	case tidegate.DecimalText:
		text = string(n)
	case int64:
		text = strconv.FormatInt(n, 10)
	default:
		return dst, celltext.Unfit(v)
	}
	whole, fraction, err := celltext.SplitDecimal(text)
	if err != nil {
		return dst, err
	}
	wide, scale := c.precision-c.scale, c.scale
	if c.typ.Kind == tidegate.Int {
		if n, ok := v.(int64); ok {
			if c.precision >= intDigits {
				return strconv.AppendInt(dst, n, 10), nil
			}
		} else {
			return dst, celltext.Unfit(v)
		}
	}
	switch {
	case len(fraction) > scale:
		return dst, errDecimalScale
	case len(whole) > wide:
		return dst, errDecimalWide
	}
	return append(dst, text...), nil
}
