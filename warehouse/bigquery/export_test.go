package bigquery

import (
	bq "google.golang.org/api/bigquery/v2"

	"github.com/tidegate/tidegate"
)

// CheckQuery, FaultOf, AppendJSON and Cell are tested from outside with the double.
var (
	CheckQuery = checkQuery
	FaultOf    = faultOf
	AppendJSON = appendJSON
)

// Cell decodes a value of a column.
func Cell(f *bq.TableFieldSchema, v any) (any, error) {
	c := newColumn(f)
	return c.cell(v)
}

// InlineBytes is about how many bytes of rows travel with a statement.
const InlineBytes = inlineBytes

// Type is what a column of a table is described as.
func Type(f *bq.TableFieldSchema) tidegate.Type {
	c := newColumn(f)
	return c.typ
}
