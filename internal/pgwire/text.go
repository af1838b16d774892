package pgwire

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// Why a value is refused.
var (
	ErrTimeSpan = errors.New("the time lies outside of what the column holds")
)

// What the server holds: 4713 BC to the years 5874897 (dates) and 294276 (times).
var (
	minTime = time.Date(-4712, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(294277, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Outside says whether a time is none that the server holds.
func Outside(t time.Time) bool { return t.Before(minTime) || !t.Before(maxTime) }

// Args writes the parameters of a statement as text, which the server
// reads as the type that the parameter has in the statement. nil is NULL.
//
// A value is written by one, which knows what AppendText does not.
func Args(args []any, one func(dst []byte, arg any) ([]byte, error)) ([][]byte, error) {
	if len(args) > math.MaxUint16 {
		return nil, sqlcheck.Arguments(math.MaxUint16, len(args))
	}
	values := make([][]byte, len(args))
	for i, arg := range args {
		if arg == nil {
			continue
		}
		text, err := one(make([]byte, 0, 24), arg)
		if err != nil {
			return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "sql.binding", Subject: "parameter " + strconv.Itoa(i+1), Message: err.Error(), Hint: "correct the value", Err: err}
		}
		values[i] = text
	}
	return values, nil
}

// AppendText writes a cell as the text that a text column holds for it. Bytes
// are Base64, as JSON carries them.
func AppendText(dst []byte, v any) ([]byte, error) {
	switch n := v.(type) {
	case string:
		if err := celltext.CheckString(n); err != nil {
			return dst, err
		}
		return append(dst, n...), nil
	case bool:
		return strconv.AppendBool(dst, n), nil
	case int64:
		return strconv.AppendInt(dst, n, 10), nil
	case float64:
		return celltext.AppendFloat(dst, n), nil
	case tidegate.DecimalText:
		if _, _, err := celltext.SplitDecimal(string(n)); err != nil {
			return dst, err
		}
		return append(dst, n...), nil
	case []byte:
		return base64.StdEncoding.AppendEncode(dst, n), nil
	case tidegate.CalendarDate:
		return AppendDate(dst, n), nil
	case time.Time:
		if Outside(n) {
			return dst, ErrTimeSpan
		}
		return celltext.AppendTime(dst, n), nil
	case tidegate.JSONText:
		return AppendJSON(dst, n)
	}
	return dst, celltext.Unfit(v)
}

// AppendDate writes a date as the server does; years before 1 are "BC".
func AppendDate(dst []byte, d tidegate.CalendarDate) []byte {
	year, month, day := d.Time().Date()
	dst, bc := appendYear(dst, year)
	dst = fmt.Appendf(dst, "-%02d-%02d", int(month), day)
	return append(dst, bc...)
}

// AppendTimestamp writes a time in UTC as the server reads it; years before 1 are "BC".
func AppendTimestamp(dst []byte, t time.Time) []byte {
	t = t.UTC()
	dst, bc := appendYear(dst, t.Year())
	dst = t.AppendFormat(dst, "-01-02 15:04:05.999999")
	dst = append(dst, "+00"...)
	return append(dst, bc...)
}

func appendYear(dst []byte, year int) (text []byte, suffix string) {
	if year < 1 {
		year, suffix = 1-year, " BC"
	}
	return fmt.Appendf(dst, "%04d", year), suffix
}

// AppendScalarJSON writes what a JSON column holds for a cell.
func AppendScalarJSON(dst []byte, v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		if err := celltext.CheckString(s); err != nil {
			return dst, err
		}
	}
	if text, ok := v.(tidegate.JSONText); ok {
		return AppendJSON(dst, text)
	}
	return AppendJSONValue(dst, v)
}

// AppendJSON writes a JSON text. Escapes that are no character (NUL, half a
// surrogate pair) become U+FFFD: jsonb holds texts, and they are none.
func AppendJSON(dst []byte, text tidegate.JSONText) ([]byte, error) {
	if !json.Valid([]byte(text)) || !utf8.ValidString(string(text)) {
		return dst, celltext.ErrNotJSON
	}
	return celltext.AppendCharacters(dst, string(text)), nil
}

// AppendJSONValue writes a cell as JSON; what JSON has no form for is a string.
func AppendJSONValue(dst []byte, v any) ([]byte, error) {
	switch n := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, n), nil
	case int64:
		return strconv.AppendInt(dst, n, 10), nil
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return append(append(append(dst, '"'), celltext.AppendFloat(nil, n)...), '"'), nil
		}
		return strconv.AppendFloat(dst, n, 'g', -1, 64), nil
	case tidegate.DecimalText:
		return append(dst, n...), nil
	case tidegate.JSONText:
		return append(dst, n...), nil
	case time.Time:
		return append(celltext.AppendTime(append(dst, '"'), n), '"'), nil
	case tidegate.CalendarDate:
		return append(append(append(dst, '"'), n.String()...), '"'), nil
	case []byte:
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), n), '"'), nil
	case string:
		text, err := json.Marshal(n)
		return append(dst, text...), err
	}
	return dst, celltext.Unfit(v)
}
