// Package mapping turns model rows into destination records.
package mapping

import (
	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/model"
)

// Mapping is a compiled mapping. It is immutable and safe for concurrent use.
type Mapping struct {
	columns []string
}

// Compile checks def against the model's columns and the destination's object.
// All problems come at once, as joined Halt faults whose subjects are config
// paths (`mapping.fields[2].column`).
func Compile(def tidegate.Mapping, m *model.Model, obj destinations.Object) (*Mapping, error) {
	return nil, nil
}

// Columns names the model columns that Apply reads, primary key first: the
// layout of the rows that Apply takes. Other columns of the model are no part
// of a change.
func (m *Mapping) Columns() []string { return m.columns }

// Version is a stable hash of the mapping: two mappings of equal version turn
// equal rows into equal records.
func (m *Mapping) Version() string { return "" }

// IdentifierField is the destination field by which records are matched.
func (m *Mapping) IdentifierField() string { return "" }

// Apply maps one row, positional over Columns. A row that cannot be mapped is a
// Reject fault that names the field and the reason.
func (m *Mapping) Apply(row tidegate.Row) (tidegate.Record, *tidegate.Fault) { return nil, nil }
