package postgres

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
)

// encodeArgs writes the parameters of a statement as text, which the server
// reads as the type that the parameter has in the statement. nil is NULL.
func encodeArgs(args []any) ([][]byte, error) {
	if len(args) > math.MaxUint16 {
		return nil, wrongArguments(math.MaxUint16, len(args))
	}
	values := make([][]byte, len(args))
	for i, arg := range args {
		if arg == nil {
			continue
		}
		text, err := appendArg(make([]byte, 0, 24), arg)
		if err != nil {
			return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "sql.binding", Subject: "parameter " + strconv.Itoa(i+1), Message: err.Error(), Hint: "correct the value", Err: err}
		}
		values[i] = text
	}
	return values, nil
}

func appendArg(dst []byte, arg any) ([]byte, error) {
	switch v := arg.(type) {
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case []byte:
		return hex.AppendEncode(append(dst, `\x`...), v), nil
	case tidegate.CalendarDate:
		return appendDate(dst, v), nil
	case time.Time:
		if outside(v) {
			return dst, errTimeSpan
		}
		return appendTimestamp(dst, v), nil
	}
	return appendText(dst, arg)
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
		return appendDate(dst, n), nil
	case time.Time:
		if outside(n) {
			return dst, errTimeSpan
		}
		return appendTimestamp(dst, n), nil
	case tidegate.JSONText:
		return appendJSON(dst, n)
	}
	return dst, unfit(v)
}

// appendFloat writes a float as the server does: 7, 0.5, 1e+21, NaN, -Infinity.
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

// appendDate writes a date as the server does; years before 1 are "BC".
func appendDate(dst []byte, d tidegate.CalendarDate) []byte {
	year, month, day := d.Time().Date()
	dst, bc := appendYear(dst, year)
	dst = fmt.Appendf(dst, "-%02d-%02d", int(month), day)
	return append(dst, bc...)
}

func appendTimestamp(dst []byte, t time.Time) []byte {
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

func wrongArguments(want, have int) error {
	return &tidegate.Fault{
		Action:  tidegate.Halt,
		Code:    "sql.binding",
		Message: fmt.Sprintf("the statement has %d parameters and got %d values", want, have),
		Hint:    "give one value per parameter",
	}
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
