package snowflake

import "github.com/tidegate/tidegate"

// CheckQuery, FaultOf and AppendJSON are tested from outside with the double.
var (
	CheckQuery = checkQuery
	FaultOf    = faultOf
	AppendJSON = appendJSON
)

// FromText decodes a value of a JSON result.
func FromText(engine string, precision, scale int, text string) (any, tidegate.Type, error) {
	c := newColumn("C", engine, precision, scale, 0)
	v, err := c.fromText(text)
	return v, c.typ, err
}

// InlineBytes is about how many bytes of rows travel with a statement.
const InlineBytes = inlineBytes
