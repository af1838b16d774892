package bigquery

import (
	"encoding/base64"
	"errors"
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
	case "BOOL":
		if b, ok := v.(bool); ok {
			return strconv.AppendBool(dst, b), nil
		}
	case "INT64":
		if n, ok := v.(int64); ok {
			return strconv.AppendInt(dst, n, 10), nil
		}
	case "FLOAT64":
		switch n := v.(type) {
		case float64:
			return celltext.AppendFloat(dst, n), nil
		case int64:
			return celltext.AppendFloat(dst, float64(n)), nil
		}
	case "NUMERIC", "BIGNUMERIC":
		return c.appendNumber(dst, v)
	case "BYTES":
		if b, ok := v.([]byte); ok {
			return base64.StdEncoding.AppendEncode(dst, b), nil
		}
	case "DATE":
		if d, ok := v.(tidegate.CalendarDate); ok {
			return celltext.AppendDay(dst, d)
		}
	case "TIMESTAMP", "DATETIME":
		if d, ok := v.(tidegate.CalendarDate); ok {
			v = d.Time()
		}
		if t, ok := v.(time.Time); ok {
			if celltext.Outside(t) {
				return dst, celltext.ErrTimeSpan
			}
			dst = t.UTC().AppendFormat(dst, "2006-01-02 15:04:05.999999")
			if c.engine == "TIMESTAMP" {
				dst = append(dst, "+00"...)
			}
			return dst, nil
		}
	case "JSON":
		return texts.AppendJSON(dst, v)
	default:
		return texts.Append(dst, v)
	}
	return dst, celltext.Unfit(v)
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
	wide, scale := c.typ.Precision-c.typ.Scale, c.typ.Scale
	if c.unbounded {
		wide, scale = 29, 9
		if c.engine == "BIGNUMERIC" {
			wide, scale = 38, 38
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
