package snowflake

import "github.com/tidegate/tidegate"

// CheckQuery and FaultOf are tested from outside with the double.
var (
	CheckQuery = checkQuery
	FaultOf    = faultOf
)

// FromText decodes a value of a JSON result.
func FromText(engine string, precision, scale int, text string) (any, tidegate.Type, error) {
	c := newColumn("C", engine, precision, scale, 0)
	v, err := c.fromText(text)
	return v, c.typ, err
}

// InlineBytes is about how many bytes of rows travel with a statement.
const InlineBytes = inlineBytes

// AppendJSON writes what a JSON column holds.
func AppendJSON(dst []byte, text string) []byte {
	dst, err := texts.AppendJSON(dst, tidegate.JSONText(text))
	if err != nil {
		panic(err) // the test gives valid JSON
	}
	return dst
}
