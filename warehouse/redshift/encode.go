package redshift

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/internal/pgwire"
)

var (
	errIntSpan      = errors.New("the number lies outside of what the column holds")
	errDecimalWide  = errors.New("the number has more digits before the point than the column holds")
	errDecimalScale = errors.New("the number has more digits after the point than the column holds")
	errTextSize     = fmt.Errorf("the text is longer than the %d bytes that a column of Redshift holds", maxVarchar)
	errBytesSize    = fmt.Errorf("the value is longer than the %d bytes that a column of Redshift holds", maxVarbyte)
	errSuperSize    = fmt.Errorf("the document is longer than the %d bytes that a column of Redshift holds", maxSuper)
	errSuperText    = fmt.Errorf("the document holds a text that is longer than the %d bytes that Redshift takes in one", maxVarchar)
	errRowSize      = fmt.Errorf("the row is longer than the %d bytes that Redshift reads as one", maxLine)
)

// maxLine is the longest line of JSON that COPY takes.
const maxLine = 4 << 20

// appendArg writes a parameter of a statement.
func appendArg(dst []byte, arg any) ([]byte, error) {
	switch v := arg.(type) {
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case []byte:
		return hex.AppendEncode(dst, v), nil
	}
	return pgwire.AppendText(dst, arg)
}

// appendCell writes a cell that is not NULL as COPY reads it from JSON, and tells how many bytes
// a text takes in the column. Everything but booleans and documents is a JSON string, which the server converts.
func (c *column) appendCell(dst []byte, v any) (_ []byte, length int, err error) {
	switch c.oid {
	case oidBool:
		if b, ok := v.(bool); ok {
			return strconv.AppendBool(dst, b), 0, nil
		}
		return dst, 0, celltext.Unfit(v)
	case oidSuper:
		start := len(dst)
		if dst, err = pgwire.AppendScalarJSON(dst, v); err != nil {
			return dst, 0, err
		}
		return dst, 0, checkDocument(dst[start:])
	}
	text, err := c.appendText(make([]byte, 0, 64), v)
	if err != nil {
		return dst, 0, err
	}
	return appendQuoted(dst, text), len(text), nil
}

// appendText writes a cell as the text that the server converts to the column's type.
func (c *column) appendText(dst []byte, v any) ([]byte, error) {
	switch c.oid {
	case oidInt8, oidInt4, oidInt2:
		return c.appendInteger(dst, v)
	case oidFloat8, oidFloat4:
		if n, ok := v.(int64); ok {
			v = float64(n)
		}
		if n, ok := v.(float64); ok {
			return celltext.AppendFloat(dst, n), nil
		}
	case oidNumeric:
		return c.appendNumber(dst, v)
	case oidDate:
		if d, ok := v.(tidegate.CalendarDate); ok {
			if pgwire.Outside(d.Time()) {
				return dst, pgwire.ErrTimeSpan
			}
			return pgwire.AppendDate(dst, d), nil
		}
	case oidTimestamp, oidTimestampTZ:
		if d, ok := v.(tidegate.CalendarDate); ok {
			v = d.Time()
		}
		if at, ok := v.(time.Time); ok {
			if pgwire.Outside(at) {
				return dst, pgwire.ErrTimeSpan
			}
			return pgwire.AppendTimestamp(dst, at), nil
		}
	case oidVarbyte:
		if b, ok := v.([]byte); ok {
			if len(b) > maxVarbyte {
				return dst, errBytesSize
			}
			return hex.AppendEncode(dst, b), nil
		}
	default:
		dst, err := pgwire.AppendText(dst, v)
		if err == nil && len(dst) > maxVarchar {
			err = errTextSize
		}
		return dst, err
	}
	return dst, celltext.Unfit(v)
}

func (c *column) appendInteger(dst []byte, v any) ([]byte, error) {
	n, ok := v.(int64)
	switch {
	case !ok:
		return dst, celltext.Unfit(v)
	case c.oid == oidInt4 && int64(int32(n)) != n, c.oid == oidInt2 && int64(int16(n)) != n:
		return dst, errIntSpan
	}
	return strconv.AppendInt(dst, n, 10), nil
}

// appendNumber refuses what the server would round.
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
	switch {
	case err != nil:
		return dst, err
	case len(fraction) > c.typ.Scale:
		return dst, errDecimalScale
	case len(whole) > c.typ.Precision-c.typ.Scale:
		return dst, errDecimalWide
	}
	return append(dst, text...), nil
}

// checkDocument refuses documents that the server would. A text in one can be longer than it is only by escapes.
func checkDocument(text []byte) error {
	if len(text) > maxSuper {
		return errSuperSize
	}
	if len(text) <= maxVarchar {
		return nil
	}
	for at := 0; at < len(text); at++ {
		if text[at] != '"' {
			continue
		}
		from := at + 1
		for at = from; at < len(text) && text[at] != '"'; at++ {
			if text[at] == '\\' {
				at++
			}
		}
		if at-from <= maxVarchar {
			continue
		}
		var s string
		if err := json.Unmarshal(text[from-1:min(at+1, len(text))], &s); err != nil || len(s) > maxVarchar {
			return errSuperText
		}
	}
	return nil
}

const hexDigits = "0123456789abcdef"

// appendQuoted writes a text as a JSON string; encoding/json would escape what need not be.
func appendQuoted(dst, text []byte) []byte {
	dst = append(dst, '"')
	from := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(dst, text[from:]...), '"')
}
