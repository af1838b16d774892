package bigquery

import (
	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// cast turns a column, which is called name, into another type so that its values are those that a row loaded later would have there.
func (c *column) cast(name sqltext.Text, to tidegate.Type) sqltext.Text {
	switch to.Kind {
	case tidegate.String:
		return c.asText(name)
	case tidegate.JSON:
		value := name
		switch c.typ.Kind {
		case tidegate.Int, tidegate.Float, tidegate.Bool:
		case tidegate.Decimal:
			value += ", stringify_wide_numbers=>TRUE" // as the loader does with what JSON would round
		default:
			value = c.asText(name)
		}
		return "IF(" + name + " IS NULL, NULL, TO_JSON(" + value + "))" // which makes a null of JSON out of NULL
	case tidegate.Timestamp:
		return "TIMESTAMP(" + name + ")"
	case tidegate.Decimal:
		return "CAST(" + name + " AS " + bareDecimal(to) + ")"
	default:
		return "CAST(" + name + " AS FLOAT64)"
	}
}

// asText turns a column into the text that a row loaded later would have.
func (c *column) asText(name sqltext.Text) sqltext.Text {
	switch c.engine {
	case "STRING":
		return name
	case "BYTES":
		return "TO_BASE64(" + name + ")"
	case "JSON":
		return "IF(" + name + " IS NULL, NULL, TO_JSON_STRING(" + name + "))"
	case "FLOAT64":
		return "REGEXP_REPLACE(CAST(" + name + " AS STRING), '[.]0$', '')"
	case "TIMESTAMP":
		return "REPLACE(FORMAT_TIMESTAMP('%Y-%m-%dT%H:%M:%E6SZ', " + name + ", 'UTC'), '.000000Z', 'Z')"
	}
	return "CAST(" + name + " AS STRING)"
}

// bareDecimal is the type of a decimal without its digits, which only columns have.
func bareDecimal(t tidegate.Type) sqltext.Text {
	if t.Scale <= 9 && t.Precision-t.Scale <= 29 {
		return "NUMERIC"
	}
	return "BIGNUMERIC"
}
