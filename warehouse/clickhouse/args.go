package clickhouse

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
)

// param is a parameter of a statement as the server takes it: text, read as a type.
type param struct{ name, typ, value string }

// escapes of values, which the server reads as a cell of the format TabSeparated.
var escapes = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, "\b", `\b`, "\f", `\f`, "'", `\'`)

func bindArg(n int, arg any) (param, error) {
	p := param{name: "p" + strconv.Itoa(n)}
	switch v := arg.(type) {
	case nil:
		p.typ, p.value = "Nullable(String)", `\N`
	case bool:
		p.typ, p.value = "Bool", strconv.FormatBool(v)
	case int:
		p.typ, p.value = "Int64", strconv.Itoa(v)
	case int32:
		p.typ, p.value = "Int64", strconv.FormatInt(int64(v), 10)
	case int64:
		p.typ, p.value = "Int64", strconv.FormatInt(v, 10)
	case float64:
		p.typ, p.value = "Float64", string(floats.Append(nil, v))
	case string:
		if err := checkString(v); err != nil {
			return p, argFault(n, err)
		}
		p.typ, p.value = "String", escapes.Replace(v)
	case []byte:
		p.typ, p.value = "String", escapes.Replace(string(v))
	case tidegate.JSONText:
		p.typ, p.value = "String", escapes.Replace(string(v))
	case tidegate.DecimalText:
		_, whole, fraction, err := splitDecimal(string(v))
		if err != nil || len(whole)+len(fraction) > 76 {
			return p, argFault(n, errNotDecimal)
		}
		p.typ, p.value = fmt.Sprintf("Decimal(%d, %d)", max(38, len(whole)+len(fraction)), len(fraction)), string(v)
	case tidegate.CalendarDate:
		p.typ, p.value = "Date32", v.String()
	case time.Time:
		if outside(v) {
			return p, argFault(n, errTimeSpan)
		}
		p.typ, p.value = "DateTime64(6, 'UTC')", v.UTC().Format("2006-01-02 15:04:05.000000")
	default:
		return p, argFault(n, celltext.Unfit(arg))
	}
	return p, nil
}

func argFault(n int, err error) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "sql.binding", Subject: "parameter " + strconv.Itoa(n), Message: err.Error(), Hint: "correct the value", Err: err}
}
