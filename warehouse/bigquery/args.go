package bigquery

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// argument is the value of a named parameter: the text that BigQuery reads as the type.
type argument struct{ name, engine, text string }

// bind makes the parameters @p1, @p2 … of a statement. A nil has no type in Go
// and needs one in BigQuery, so it is written into the statement as NULL.
func bind(sql string, args []any) (string, []argument, error) {
	if strings.IndexByte(sql, '@') < 0 && len(args) == 0 {
		return sql, nil, nil
	}
	var params []argument
	var text strings.Builder
	used := make([]bool, len(args))
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
		most = max(most, n)
		if n > len(args) {
			continue
		}
		if args[n-1] == nil {
			text.WriteString(sql[from:t.start])
			text.WriteString("NULL")
			from = t.at
		}
		used[n-1] = true
	}
	for i, arg := range args {
		if !used[i] || most > len(args) {
			return "", nil, sqlcheck.Arguments(most, len(args))
		}
		if arg == nil {
			continue
		}
		p, err := param("p"+strconv.Itoa(i+1), arg)
		if err != nil {
			return "", nil, &tidegate.Fault{Action: tidegate.Halt, Code: "sql.binding", Subject: "parameter " + strconv.Itoa(i+1), Message: err.Error(), Hint: "correct the value", Err: err}
		}
		params = append(params, p)
	}
	if most > len(args) {
		return "", nil, sqlcheck.Arguments(most, len(args))
	}
	text.WriteString(sql[from:])
	return text.String(), params, nil
}

// parameter reads @p12.
func parameter(word string) (int, bool) {
	digits, ok := strings.CutPrefix(word, "@p")
	if !ok || digits == "" || !celltext.AllDigits(digits) {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n >= 1
}

// param is one value with the type that it has in BigQuery.
func param(name string, arg any) (argument, error) {
	var engine string
	var text []byte
	var err error
	switch v := arg.(type) {
	case int:
		engine, text = "INT64", strconv.AppendInt(nil, int64(v), 10)
	case int32:
		engine, text = "INT64", strconv.AppendInt(nil, int64(v), 10)
	case int64:
		engine, text = "INT64", strconv.AppendInt(nil, v, 10)
	case bool:
		engine, text = "BOOL", strconv.AppendBool(nil, v)
	case float64:
		engine, text = "FLOAT64", strconv.AppendFloat(nil, v, 'g', -1, 64)
		if math.IsInf(v, 0) || math.IsNaN(v) {
			text = celltext.AppendFloat(nil, v)
		}
	case tidegate.DecimalText:
		engine = "BIGNUMERIC"
		var whole, fraction string
		if whole, fraction, err = celltext.SplitDecimal(string(v)); len(whole) <= 29 && len(fraction) <= 9 {
			engine = "NUMERIC"
		}
		text = []byte(v)
	case []byte:
		engine, text = "BYTES", base64.StdEncoding.AppendEncode(nil, v)
	case tidegate.CalendarDate:
		engine = "DATE"
		text, err = texts.Append(nil, v)
	case time.Time:
		engine = "TIMESTAMP"
		text, err = texts.Append(nil, v)
	default:
		engine = "STRING"
		text, err = texts.Append(nil, v)
	}
	if err != nil {
		return argument{}, err
	}
	return argument{name, engine, string(text)}, nil
}
