package snowflake

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
)

// fromArrow returns a value of an Arrow batch as the nouns carry it. Numbers are
// whole there, in units of the column's scale, in the smallest type that holds the batch's.
func (c *column) fromArrow(a arrow.Array, row int) (any, error) {
	if a.IsNull(row) {
		return nil, nil
	}
	switch v := a.(type) {
	case *array.Int64:
		return c.unscaled(v.Value(row))
	case *array.Int32:
		return c.unscaled(int64(v.Value(row)))
	case *array.Int16:
		return c.unscaled(int64(v.Value(row)))
	case *array.Int8:
		return c.unscaled(int64(v.Value(row)))
	case *array.Decimal128:
		return c.number(v.Value(row).ToString(int32(c.scale))) //nolint:gosec // at most 38
	case *array.Float64:
		return v.Value(row), nil
	case *array.Boolean:
		return v.Value(row), nil
	case *array.String:
		return c.text(strings.Clone(v.Value(row)))
	case *array.Binary:
		return append([]byte{}, v.Value(row)...), nil
	case *array.Date32:
		return tidegate.CalendarDate(v.Value(row)), nil
	case *array.Struct:
		return c.instant(v, row)
	}
	return nil, fmt.Errorf("is of a type that is not known here: %s as %s", c.engine, a.DataType())
}

// unscaled reads a whole number in units of the column's scale.
func (c *column) unscaled(n int64) (any, error) {
	switch c.engine {
	case "time":
		return clock(n, c.scale), nil
	case "timestamp_ntz", "timestamp_ltz":
		return moment(n, c.scale), nil
	case "fixed":
		if c.scale == 0 && c.typ.Kind == tidegate.Int {
			return n, nil
		}
		return c.number(point(strconv.FormatInt(n, 10), c.scale))
	}
	return nil, malformed(c.engine, n)
}

// point puts a decimal point before the last digits of a whole number.
func point(digits string, scale int) string {
	if scale == 0 {
		return digits
	}
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

// power is ten to the n-th.
func power(n int) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}

func moment(n int64, scale int) time.Time {
	unit := power(min(scale, 9))
	return time.Unix(n/unit, n%unit*power(9-min(scale, 9))).UTC()
}

// clock writes a time of day.
func clock(n int64, scale int) string {
	return moment(n, scale).Format("15:04:05.999999999")
}

// instant reads a time whose parts stand beside each other: seconds, nanoseconds and
// zone; or units and zone; or seconds and nanoseconds. The zone is only how it was written.
func (c *column) instant(v *array.Struct, row int) (any, error) {
	epoch, ok := v.Field(0).(*array.Int64)
	if !ok || v.NumField() < 2 {
		return nil, malformed(c.engine, v.DataType())
	}
	if c.engine == "timestamp_tz" && v.NumField() == 2 {
		return moment(epoch.Value(row), c.scale), nil
	}
	fraction, ok := v.Field(1).(*array.Int32)
	if !ok {
		return nil, malformed(c.engine, v.DataType())
	}
	return time.Unix(epoch.Value(row), int64(fraction.Value(row))).UTC(), nil
}

// number brings a number into the form of the nouns.
func (c *column) number(text string) (any, error) {
	if c.typ.Kind == tidegate.Int {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("is no 64-bit integer: %q; cast it to NUMBER(38,0)", text)
		}
		return n, nil
	}
	whole, fraction, err := celltext.SplitDecimal(text)
	if err != nil {
		return nil, malformed("NUMBER", text)
	}
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if strings.HasPrefix(text, "-") && whole != "0" {
		whole = "-" + whole
	}
	return tidegate.DecimalText(whole), nil
}

// text reads what is a text in both forms of a result.
func (c *column) text(s string) (any, error) {
	if c.typ.Kind == tidegate.JSON {
		if !json.Valid([]byte(s)) {
			if s == "undefined" { // what FLATTEN and paths may give, and JSON has not
				return nil, nil
			}
			return nil, malformed(c.engine, s)
		}
		return tidegate.JSONText(s), nil
	}
	return s, nil
}

// fromText reads a value of a JSON result, where everything is a text.
func (c *column) fromText(s string) (any, error) {
	switch c.engine {
	case "fixed":
		return c.number(s)
	case "real":
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(f, 0) {
			return nil, malformed(c.engine, s)
		}
		return f, nil
	case "boolean":
		switch s {
		case "1", "true", "TRUE":
			return true, nil
		case "0", "false", "FALSE":
			return false, nil
		}
		return nil, malformed(c.engine, s)
	case "binary":
		b, err := hex.DecodeString(s)
		if err != nil {
			return nil, malformed(c.engine, s)
		}
		return b, nil
	case "date":
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return nil, malformed(c.engine, s)
		}
		return tidegate.CalendarDate(n), nil //nolint:gosec // 32 bits
	case "time", "timestamp_ntz", "timestamp_ltz", "timestamp_tz":
		t, err := secondsOf(s)
		if err != nil {
			return nil, malformed(c.engine, s)
		}
		if c.engine == "time" {
			return t.Format("15:04:05.999999999"), nil
		}
		return t, nil
	}
	return c.text(s)
}

// secondsOf reads seconds with a fraction, "-1.500000000"; behind a space may stand the zone.
func secondsOf(s string) (time.Time, error) {
	s, _, _ = strings.Cut(s, " ")
	whole, fraction, _ := strings.Cut(s, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	if len(fraction) > 9 {
		return time.Time{}, errors.New("more than nanoseconds")
	}
	nanos, err := strconv.ParseInt("0"+fraction+strings.Repeat("0", 9-len(fraction)), 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	if strings.HasPrefix(whole, "-") {
		nanos = -nanos
	}
	return time.Unix(seconds, nanos).UTC(), nil
}

func malformed(engine string, v any) error {
	text := fmt.Sprint(v)
	if len(text) > 40 {
		text = strings.ToValidUTF8(text[:40], "") + "…"
	}
	return fmt.Errorf("is not a %s: %q", engine, text)
}
