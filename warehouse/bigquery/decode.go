package bigquery

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	bq "cloud.google.com/go/bigquery"
	"cloud.google.com/go/civil"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
)

// cell returns a value as the nouns carry it. v is what Google's client makes of
// it, by the type of the column.
func (c *column) cell(v bq.Value) (any, error) {
	if v == nil && !c.repeated {
		return nil, nil
	}
	if c.repeated || c.engine == "STRUCT" {
		text, err := c.appendNested(nil, v)
		return tidegate.JSONText(text), err
	}
	return c.scalar(v)
}

func (c *column) scalar(v bq.Value) (any, error) {
	switch n := v.(type) {
	case bool, int64, float64, []byte:
		return n, nil
	case string:
		return c.text(n)
	case civil.Date:
		return tidegate.DateOf(n.In(time.UTC)), nil
	case time.Time:
		return n, nil
	case civil.DateTime:
		return n.In(time.UTC), nil
	}
	return nil, malformed(c.engine, v)
}

// text reads what the client hands on as the API wrote it.
func (c *column) text(text string) (any, error) {
	switch c.engine {
	case "NUMERIC", "BIGNUMERIC":
		return decimal(text)
	case "JSON":
		if !json.Valid([]byte(text)) {
			return nil, malformed(c.engine, text)
		}
		return tidegate.JSONText(text), nil
	}
	return text, nil
}

// asTexts is a schema by which the client reads without loss: what it would change
// is declared a text and comes as the API wrote it. Of an INTERVAL of less than a
// year or an hour it drops the sign, a RANGE in a STRUCT and a type that it does not
// know it cannot read, and a decimal would make a detour over a fraction.
func asTexts(fields bq.Schema) bq.Schema {
	texts := make(bq.Schema, len(fields))
	for i, f := range fields {
		text := *f
		switch f.Type {
		case bq.BooleanFieldType, bq.IntegerFieldType, bq.FloatFieldType, bq.BytesFieldType, bq.DateFieldType, bq.TimestampFieldType, bq.DateTimeFieldType:
		case bq.RecordFieldType:
			text.Schema = asTexts(f.Schema)
		default:
			text.Type = bq.StringFieldType
		}
		texts[i] = &text
	}
	return texts
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
	whole, fraction, err := celltext.SplitDecimal(text)
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

// appendNested writes an array or a struct as JSON.
func (c *column) appendNested(dst []byte, v bq.Value) ([]byte, error) {
	if c.repeated {
		items, ok := v.([]bq.Value)
		if !ok && v != nil { // BigQuery has no NULL in the place of an array
			return dst, malformed("ARRAY", v)
		}
		element := *c
		element.repeated = false
		dst = append(dst, '[')
		for i, item := range items {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = element.appendNested(dst, item); err != nil {
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
	value, err := c.scalar(v)
	if err != nil {
		return dst, err
	}
	return texts.AppendJSONValue(dst, value)
}

func (c *column) appendStruct(dst []byte, v bq.Value) ([]byte, error) {
	cells, ok := v.([]bq.Value)
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
		if dst, err = c.fields[i].appendNested(dst, cells[i]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}
