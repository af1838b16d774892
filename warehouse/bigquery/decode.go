package bigquery

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate"
)

// cell returns a value as the nouns carry it. v is what the API's JSON holds: nil,
// a text, or for arrays and structs what is made of them.
func (c *column) cell(v any) (any, error) {
	if v == nil && !c.repeated {
		return nil, nil
	}
	if c.repeated || c.engine == "STRUCT" {
		text, err := c.appendNested(nil, v)
		return tidegate.JSONText(text), err
	}
	text, ok := v.(string)
	if !ok {
		return nil, malformed(c.engine, v)
	}
	return c.scalar(text)
}

func (c *column) scalar(text string) (any, error) {
	switch c.engine {
	case "BOOL":
		switch text {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	case "INT64":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
	case "FLOAT64":
		if f, err := strconv.ParseFloat(text, 64); err == nil || errors.Is(err, strconv.ErrRange) && !math.IsInf(f, 0) {
			return f, nil
		}
	case "NUMERIC", "BIGNUMERIC":
		return decimal(text)
	case "BYTES":
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			return b, nil
		}
	case "DATE":
		if t, err := time.Parse(time.DateOnly, text); err == nil {
			return tidegate.DateOf(t), nil
		}
	case "TIMESTAMP":
		if micros, err := strconv.ParseInt(text, 10, 64); err == nil {
			return time.UnixMicro(micros).UTC(), nil
		}
	case "DATETIME":
		if t, err := time.Parse("2006-01-02T15:04:05.999999", text); err == nil {
			return t, nil
		}
	case "JSON":
		if json.Valid([]byte(text)) {
			return tidegate.JSONText(text), nil
		}
	default:
		return text, nil
	}
	return nil, malformed(c.engine, text)
}

func malformed(engine string, v any) error {
	shown := fmt.Sprint(v)
	if len(shown) > 40 {
		shown = strings.ToValidUTF8(shown[:40], "") + "…"
	}
	return fmt.Errorf("is not a %s: %q", engine, shown)
}

// decimal brings a number into the canonical form of the nouns.
func decimal(text string) (any, error) {
	whole, fraction, err := splitDecimal(text)
	if err != nil {
		return nil, malformed("NUMERIC", text)
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

// appendNested writes an array or a struct as JSON. The API wraps every value:
// {"v": …}, and the fields of a struct in {"f": […]}.
func (c *column) appendNested(dst []byte, v any) ([]byte, error) {
	if c.repeated {
		items, _ := v.([]any)
		element := *c
		element.repeated = false
		dst = append(dst, '[')
		for i, item := range items {
			if i > 0 {
				dst = append(dst, ',')
			}
			wrapped, ok := item.(map[string]any)
			if !ok {
				return dst, malformed("ARRAY", item)
			}
			var err error
			if dst, err = element.appendNested(dst, wrapped["v"]); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
	if v == nil {
		return append(dst, "null"...), nil
	}
	if c.engine == "STRUCT" {
		return c.appendStruct(dst, v)
	}
	text, ok := v.(string)
	if !ok {
		return dst, malformed(c.engine, v)
	}
	value, err := c.scalar(text)
	if err != nil {
		return dst, err
	}
	return appendJSONValue(dst, value)
}

func (c *column) appendStruct(dst []byte, v any) ([]byte, error) {
	record, _ := v.(map[string]any)
	cells, ok := record["f"].([]any)
	if !ok || len(cells) != len(c.fields) {
		return dst, malformed("STRUCT", v)
	}
	dst = append(dst, '{')
	for i := range c.fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = jsontext.AppendQuote(dst, c.fields[i].name); err != nil {
			return dst, err
		}
		dst = append(dst, ':')
		wrapped, ok := cells[i].(map[string]any)
		if !ok {
			return dst, malformed("STRUCT", v)
		}
		if dst, err = c.fields[i].appendNested(dst, wrapped["v"]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
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
