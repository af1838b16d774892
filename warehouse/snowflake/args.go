package snowflake

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// bind makes the parameters :1, :2 … of a statement. What has no type of its own on
// the wire travels as a text, and the statement says what it is; a nil is written as NULL.
func bind(sql string, args []any) (string, []any, error) {
	if strings.IndexByte(sql, ':') < 0 && len(args) == 0 {
		return sql, nil, nil
	}
	var bound []any
	var text strings.Builder
	places := make([]string, len(args)) // what stands for a parameter; empty until it is used
	from, most := 0, 0
	for t := (&tokens{sql: sql}); ; {
		word := t.next()
		if word == "" {
			break
		}
		n, ok := parameter(word)
		if !ok {
			continue
		}
		if most = max(most, n); n > len(args) {
			continue
		}
		if places[n-1] == "" {
			place, v, err := param(args[n-1], len(bound)+1)
			if err != nil {
				return "", nil, &tidegate.Fault{Action: tidegate.Halt, Code: "sql.binding", Subject: "parameter " + strconv.Itoa(n), Message: err.Error(), Hint: "correct the value", Err: err}
			}
			if places[n-1] = place; v != nil {
				bound = append(bound, v)
			}
		}
		text.WriteString(sql[from:t.start])
		text.WriteString(places[n-1])
		from = t.at
	}
	for _, place := range places {
		if place == "" {
			return "", nil, sqlcheck.Arguments(most, len(args))
		}
	}
	if most > len(args) {
		return "", nil, sqlcheck.Arguments(most, len(args))
	}
	text.WriteString(sql[from:])
	return text.String(), bound, nil
}

// parameter reads :12.
func parameter(word string) (int, bool) {
	digits, ok := strings.CutPrefix(word, ":")
	if !ok || digits == "" || !celltext.AllDigits(digits) {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n >= 1
}

// param is how the n-th bound value stands in the statement, and how the driver is
// given it; nil: it is in the statement already.
func param(arg any, n int) (place string, v any, err error) {
	p := ":" + strconv.Itoa(n)
	switch v := arg.(type) {
	case nil:
		return "NULL", nil, nil
	case int:
		return p, int64(v), nil
	case int32:
		return p, int64(v), nil
	case int64, bool:
		return p, v, nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return "CAST(" + p + " AS FLOAT)", string(appendDouble(nil, v)), nil
		}
		return p, v, nil
	case tidegate.DecimalText:
		whole, fraction, err := celltext.SplitDecimal(string(v))
		if err != nil {
			return "", nil, err
		}
		if len(whole)+len(fraction) > 38 || len(fraction) > 37 {
			return "", nil, errDecimalWide
		}
		scale := len(fraction)
		if len(whole) <= 29 {
			scale = max(scale, 9)
		}
		scale = min(scale, 38-len(whole))
		return fmt.Sprintf("CAST(%s AS NUMBER(38,%d))", p, scale), string(v), nil
	case []byte:
		return "TO_BINARY(" + p + ", 'HEX')", hex.EncodeToString(v), nil
	case tidegate.CalendarDate:
		text, err := celltext.AppendDay(nil, v)
		return "TO_DATE(" + p + ", 'YYYY-MM-DD')", string(text), err
	case time.Time:
		text, err := appendTime(nil, v)
		return "TO_TIMESTAMP_TZ(" + p + ", " + timeFormat + ")", string(text), err
	}
	text, err := texts.Append(nil, arg)
	return p, string(text), err
}
