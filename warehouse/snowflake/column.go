package snowflake

import (
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// column is a column of a result or a table.
type column struct {
	name      string // as it is handed out
	catalogue string // as Snowflake has it
	engine    string // the driver's name of its type: "text", "fixed", "timestamp_tz"
	precision int
	scale     int
	length    int // of a text
	typ       tidegate.Type
}

// longest is how long a VARCHAR is that says nothing of its length. Newer accounts have more.
const longest = 16_777_216

// kinds maps every type to a kind; those without one of their own travel as text.
var kinds = map[string]tidegate.Kind{
	"fixed": tidegate.Decimal, "real": tidegate.Float, "text": tidegate.String, "boolean": tidegate.Bool, "binary": tidegate.Bytes,
	"date": tidegate.Date, "timestamp_ntz": tidegate.Timestamp, "timestamp_ltz": tidegate.Timestamp, "timestamp_tz": tidegate.Timestamp,
	"variant": tidegate.JSON, "object": tidegate.JSON, "array": tidegate.JSON, "map": tidegate.JSON, "vector": tidegate.JSON, "geography": tidegate.JSON, "geometry": tidegate.JSON,
}

// intDigits is how many digits an int64 has; numbers of no more and no fraction are ints.
const intDigits = 19

func newColumn(name, engine string, precision, scale, length int) column {
	c := column{name: lowered(name), catalogue: name, engine: strings.ToLower(engine), precision: precision, scale: scale, length: length}
	kind, ok := kinds[c.engine]
	if !ok {
		kind = tidegate.String
	}
	c.typ = tidegate.Type{Kind: kind}
	if kind == tidegate.Decimal {
		if scale == 0 && precision <= intDigits {
			c.typ.Kind = tidegate.Int
		} else {
			c.typ.Precision, c.typ.Scale = precision, scale
		}
	}
	return c
}

// lowered is a name as it is handed out: what has no lower case letters was made
// without quotes, or by us, and nobody writes it in upper case.
func lowered(name string) string {
	if sqltext.Upper(name) != name {
		return name
	}
	return sqltext.Fold(name)
}

// writable says whether values of the nouns can go into the column.
func (c *column) writable() bool {
	switch c.engine {
	case "fixed", "real", "text", "boolean", "binary", "date", "timestamp_ntz", "timestamp_ltz", "timestamp_tz", "variant", "time":
		return true
	}
	return false
}

// quoted is the column's name in a statement, with the case that it has.
func (c *column) quoted() sqltext.Text {
	return sqltext.Text(`"` + strings.ReplaceAll(c.catalogue, `"`, `""`) + `"`)
}

func schemaOf(columns []column) tidegate.Schema {
	s := make(tidegate.Schema, len(columns))
	for i, c := range columns {
		s[i] = tidegate.Column{Name: c.name, Type: c.typ}
	}
	return s
}
