package bigquery

import (
	"strings"

	bq "cloud.google.com/go/bigquery"

	"github.com/tidegate/tidegate"
)

// column is a column of a result or a table.
type column struct {
	name   string
	engine string // the engine's type: "STRING", "NUMERIC", "STRUCT"
	typ    tidegate.Type
	// unbounded decimals have all digits that the engine's type has; BIGNUMERIC's
	// are more than the nouns describe, and their values come whole.
	unbounded bool
	repeated  bool
	fields    []column // of a STRUCT
}

// engineTypes maps every type to a kind; those without one of their own travel as text.
// The API calls the standard types by the names of the old SQL.
var engineTypes = map[string]struct {
	name string
	kind tidegate.Kind
}{
	"BOOLEAN": {"BOOL", tidegate.Bool}, "BOOL": {"BOOL", tidegate.Bool},
	"INTEGER": {"INT64", tidegate.Int}, "INT64": {"INT64", tidegate.Int},
	"FLOAT": {"FLOAT64", tidegate.Float}, "FLOAT64": {"FLOAT64", tidegate.Float},
	"NUMERIC": {"NUMERIC", tidegate.Decimal}, "BIGNUMERIC": {"BIGNUMERIC", tidegate.Decimal},
	"STRING": {"STRING", tidegate.String}, "BYTES": {"BYTES", tidegate.Bytes},
	"DATE": {"DATE", tidegate.Date}, "TIMESTAMP": {"TIMESTAMP", tidegate.Timestamp}, "DATETIME": {"DATETIME", tidegate.Timestamp},
	"JSON": {"JSON", tidegate.JSON}, "RECORD": {"STRUCT", tidegate.JSON}, "STRUCT": {"STRUCT", tidegate.JSON},
	"TIME": {"TIME", tidegate.String}, "GEOGRAPHY": {"GEOGRAPHY", tidegate.String}, "INTERVAL": {"INTERVAL", tidegate.String}, "RANGE": {"RANGE", tidegate.String},
}

func newColumn(f *bq.FieldSchema) column {
	c := column{name: f.Name, engine: strings.ToUpper(string(f.Type)), repeated: f.Repeated}
	c.typ.Kind = tidegate.String
	if t, ok := engineTypes[c.engine]; ok {
		c.engine, c.typ.Kind = t.name, t.kind
	}
	if c.engine == "STRUCT" {
		c.fields = columnsOf(f.Schema)
	}
	switch {
	case c.repeated:
		c.typ = tidegate.Type{Kind: tidegate.JSON}
	case c.typ.Kind != tidegate.Decimal:
	case f.Precision > 0 && f.Precision <= 38:
		c.typ.Precision, c.typ.Scale = int(f.Precision), int(f.Scale)
	default:
		c.typ.Precision, c.typ.Scale, c.unbounded = 38, 9, true
	}
	return c
}

// writable says whether values of the nouns can go into the column.
func (c *column) writable() bool { return !c.repeated && c.engine != "STRUCT" && c.engine != "RANGE" }

func columnsOf(fields bq.Schema) []column {
	columns := make([]column, len(fields))
	for i, f := range fields {
		columns[i] = newColumn(f)
	}
	return columns
}

func schemaOf(columns []column) tidegate.Schema {
	s := make(tidegate.Schema, len(columns))
	for i, c := range columns {
		s[i] = tidegate.Column{Name: c.name, Type: c.typ}
	}
	return s
}
