package bigquery

import (
	bq "cloud.google.com/go/bigquery"
)

// CheckQuery, FaultOf, AppendJSON and Cell are tested from outside with the double.
var (
	CheckQuery = checkQuery
	FaultOf    = faultOf
	AppendJSON = appendJSON
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
