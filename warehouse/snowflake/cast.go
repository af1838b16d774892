package snowflake

import (
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// cast turns a column into another type so that its values are those that a row loaded later would have there.
func cast(c *column, to tidegate.Type) sqltext.Text {
	name := c.quoted()
	switch to.Kind {
	case tidegate.String:
		return c.asText()
	case tidegate.JSON:
		switch c.typ.Kind {
		case tidegate.Int, tidegate.Float, tidegate.Decimal, tidegate.Bool:
			return "TO_VARIANT(" + name + ")"
		default:
			return "TO_VARIANT(" + c.asText() + ")"
		}
	case tidegate.Timestamp:
		return "CAST(CAST(" + name + " AS TIMESTAMP_NTZ) AS TIMESTAMP_TZ)" // of a date, in the session's zone, which is UTC
	case tidegate.Decimal:
		return sqltext.Text(fmt.Sprintf("CAST(%s AS NUMBER(%d,%d))", name, to.Precision, to.Scale))
	default:
		return "CAST(" + name + " AS FLOAT)"
	}
}

// asText turns a column into the text that a row loaded later would have.
func (c *column) asText() sqltext.Text {
	name := c.quoted()
	switch c.typ.Kind {
	case tidegate.String:
		if c.engine == "text" {
			return name
		}
	case tidegate.Bytes:
		return "BASE64_ENCODE(" + name + ")"
	case tidegate.JSON:
		return "TO_JSON(" + name + ")"
	case tidegate.Date:
		return "TO_VARCHAR(" + name + ", 'YYYY-MM-DD')"
	case tidegate.Decimal:
		if c.scale > 0 {
			return "RTRIM(RTRIM(CAST(" + name + " AS VARCHAR), '0'), '.')"
		}
	case tidegate.Timestamp:
		if c.engine != "timestamp_ntz" {
			name = "CONVERT_TIMEZONE('UTC', " + name + ")" // others may have written it in another zone
		}
		return "REPLACE(TO_VARCHAR(" + name + `, 'YYYY-MM-DD"T"HH24:MI:SS.FF6') || 'Z', '.000000Z', 'Z')`
	case tidegate.Float:
		return "REGEXP_REPLACE(CAST(" + name + " AS VARCHAR), '[.]0$', '')"
	default:
	}
	return "CAST(" + name + " AS VARCHAR)"
}
