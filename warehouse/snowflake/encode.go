package snowflake

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

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate"
)

var (
	errNotUTF8      = errors.New("the text is not valid UTF-8")
	errNUL          = errors.New("the text holds a NUL character")
	errNotJSON      = errors.New("the text is not valid JSON")
	errTimeSpan     = errors.New("the time lies outside of what the column holds, the years 1 to 9999")
	errNotDecimal   = errors.New("the text is not a decimal number")
	errDecimalWide  = errors.New("the number has more digits before the point than the column holds")
	errDecimalScale = errors.New("the number has more digits after the point than the column holds")
	errNullKey      = errors.New("a key column is NULL")
)

// What the server holds.
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
)

func outside(t time.Time) bool { return t.Before(minTime) || !t.Before(maxTime) }

func checkString(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return errNUL
	}
	if !utf8.ValidString(s) {
		return errNotUTF8
	}
	return nil
}

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
			return appendDay(dst, d)
		}
	case "timestamp_tz", "timestamp_ntz", "timestamp_ltz":
		if d, ok := v.(tidegate.CalendarDate); ok {
			v = d.Time()
		}
		if t, ok := v.(time.Time); ok {
			return appendTime(dst, t)
		}
	case "variant":
		return appendJSONCell(dst, v)
	default:
		return appendText(dst, v)
	}
	return dst, unfit(v)
}

// timeFormat is how Snowflake is told to read what appendTime writes.
const timeFormat = "'YYYY-MM-DD HH24:MI:SS.FF6 TZH:TZM'"

func appendTime(dst []byte, t time.Time) ([]byte, error) {
	if outside(t) {
		return dst, errTimeSpan
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
	return appendFloat(dst, f)
}

func appendDay(dst []byte, d tidegate.CalendarDate) ([]byte, error) {
	if t := d.Time(); outside(t) {
		return dst, errTimeSpan
	}
	return append(dst, d.String()...), nil
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
		return dst, unfit(v)
	}
	whole, fraction, err := splitDecimal(text)
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
			return dst, unfit(v)
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

// splitDecimal returns the digits of a decimal text before and after its point,
// without the zeros that say nothing.
func splitDecimal(text string) (whole, fraction string, err error) {
	digits := strings.TrimPrefix(text, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if whole == "" || point && fraction == "" || !allDigits(whole) || !allDigits(fraction) {
		return "", "", errNotDecimal
	}
	return strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0"), nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// appendText writes a cell as the text that a text column holds for it. Bytes
// are Base64, as JSON carries them.
func appendText(dst []byte, v any) ([]byte, error) {
	switch n := v.(type) {
	case string:
		if err := checkString(n); err != nil {
			return dst, err
		}
		return append(dst, n...), nil
	case bool:
		return strconv.AppendBool(dst, n), nil
	case int64:
		return strconv.AppendInt(dst, n, 10), nil
	case float64:
		return appendFloat(dst, n), nil
	case tidegate.DecimalText:
		if _, _, err := splitDecimal(string(n)); err != nil {
			return dst, err
		}
		return append(dst, n...), nil
	case []byte:
		return base64.StdEncoding.AppendEncode(dst, n), nil
	case tidegate.CalendarDate:
		return appendDay(dst, n)
	case time.Time:
		if outside(n) {
			return dst, errTimeSpan
		}
		return append(n.UTC().AppendFormat(dst, "2006-01-02 15:04:05.999999"), "+00"...), nil
	case tidegate.JSONText:
		return appendJSONCell(dst, n)
	}
	return dst, unfit(v)
}

// appendFloat writes a float as the server reads it: 7, 0.5, 1e+21, NaN, -Infinity.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e15) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}

// appendJSONCell writes what a JSON column holds for a cell.
func appendJSONCell(dst []byte, v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		if err := checkString(s); err != nil {
			return dst, err
		}
	}
	text, ok := v.(tidegate.JSONText)
	if !ok {
		return appendJSONValue(dst, v)
	}
	if !json.Valid([]byte(text)) || !utf8.ValidString(string(text)) {
		return dst, errNotJSON
	}
	return appendJSON(dst, string(text)), nil
}

func unfit(v any) error {
	return fmt.Errorf("a value of type %s does not fit the column", kindName(v))
}

// kindName names the type of a cell as the nouns do.
func kindName(v any) string {
	switch v.(type) {
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case tidegate.DecimalText:
		return "decimal"
	case string:
		return "string"
	case []byte:
		return "bytes"
	case tidegate.CalendarDate:
		return "date"
	case time.Time:
		return "timestamp"
	case tidegate.JSONText:
		return "json"
	}
	return fmt.Sprintf("%T", v)
}

// appendJSONValue writes a cell as JSON; what JSON has no form for is a string.
func appendJSONValue(dst []byte, v any) ([]byte, error) {
	switch n := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, n), nil
	case int64:
		return strconv.AppendInt(dst, n, 10), nil
	case float64:
		if !math.IsNaN(n) && !math.IsInf(n, 0) {
			return strconv.AppendFloat(dst, n, 'g', -1, 64), nil
		}
	case tidegate.DecimalText:
		if _, _, err := splitDecimal(string(n)); err != nil {
			return dst, err
		}
		return append(dst, n...), nil
	case tidegate.JSONText:
		return append(dst, n...), nil
	case time.Time:
		return append(append(append(dst, '"'), n.UTC().Format(time.RFC3339Nano)...), '"'), nil
	}
	text, err := appendText(nil, v)
	if err != nil {
		return dst, err
	}
	return jsontext.AppendQuote(dst, text)
}
