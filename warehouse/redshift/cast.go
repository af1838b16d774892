package redshift

import (
	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// cast turns a column into another type so that its values are those that the nouns would carry there.
func (c *column) cast(name sqltext.Text, to tidegate.Type, typ sqltext.Text) sqltext.Text {
	switch to.Kind {
	case tidegate.String:
		return c.text(name)
	case tidegate.JSON:
		switch c.typ.Kind {
		case tidegate.Int, tidegate.Float, tidegate.Decimal, tidegate.Bool:
			return "JSON_PARSE(" + c.text(name) + ")"
		default:
			return "CAST(" + c.text(name) + " AS SUPER)"
		}
	case tidegate.Timestamp:
		if c.typ.Kind == tidegate.Date {
			return "CAST(" + name + " AS TIMESTAMP) AT TIME ZONE 'UTC'"
		}
	default:
	}
	return "CAST(" + name + " AS " + typ + ")"
}

// text turns a column into text as a row loaded later would hold it.
func (c *column) text(name sqltext.Text) sqltext.Text {
	const long sqltext.Text = " AS VARCHAR(65535))"
	switch c.typ.Kind {
	case tidegate.String:
		return name
	case tidegate.Bool: // which the server does not cast
		return "CASE WHEN " + name + " THEN 'true' WHEN NOT " + name + " THEN 'false' END"
	case tidegate.Bytes:
		return "FROM_VARBYTE(" + name + ", 'base64')"
	case tidegate.JSON:
		return "JSON_SERIALIZE(" + name + ")"
	case tidegate.Date:
		return "TO_CHAR(" + name + ", 'YYYY-MM-DD')"
	case tidegate.Decimal:
		// Without the zeros that say nothing.
		text := "CAST(" + name + long
		return "CASE WHEN " + text + " LIKE '%.%' THEN RTRIM(RTRIM(" + text + ", '0'), '.') ELSE " + text + " END"
	case tidegate.Timestamp:
		if c.oid == oidTimestampTZ {
			name += " AT TIME ZONE 'UTC'"
		}
		return "REPLACE(TO_CHAR(" + name + `, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')`
	default:
		return "CAST(" + name + long
	}
}
