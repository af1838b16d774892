package bigquery

import (
	bq "cloud.google.com/go/bigquery"

	"github.com/tidegate/tidegate"
)

// CheckQuery, FaultOf and Cell are tested from outside with the double.
var (
	CheckQuery = checkQuery
	FaultOf    = faultOf
)

// Cell decodes a value of a column.
func Cell(f *bq.FieldSchema, v bq.Value) (any, error) {
	c := newColumn(f)
	return c.cell(v)
}

// InlineBytes is about how many bytes of rows travel with a statement.
const InlineBytes = inlineBytes

// Attempts is how often a call is made at most.
const Attempts = attempts

// AppendJSON writes what a JSON column holds.
func AppendJSON(dst []byte, text string) []byte {
	dst, err := texts.AppendJSON(dst, tidegate.JSONText(text))
	if err != nil {
		panic(err) // the test gives valid JSON
	}
	return dst
}
