// Package mapping turns model rows into destination records.
//
// A Mapping is compiled once, against the model's columns and the destination's
// object; everything that can be known to be wrong is reported then, all at
// once, with config paths, before the first record. Applied to a row it gives a
// record or a Reject fault for that row alone.
//
// A value comes from a column, a constant, a Liquid template, a CEL expression
// or another model's row (which the model has joined already), or is a nested
// object or array of such values. It may then be normalised and hashed, and is
// fitted to its field's type. An expression one of whose columns is NULL where
// it needs a value gives null.
//
// Invariants: equal rows give equal records (nothing but the row and the
// mapping goes in: no clock, no random); a value that does not fit its field is
// rejected, never bent; a template or an expression cannot read a file, run
// without end or write more than model.MaxValueBytes; Apply and ApplyTo agree.
//
// It does not read rows, keep state or talk to a destination. A Mapping is
// immutable and safe for concurrent use.
package mapping

import (
	"fmt"
	"maps"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
)

// Mapping is a compiled mapping.
type Mapping struct {
	columns    []string
	keys       int
	identifier string
	fields     []*node // in the order of the definition
	members    []*node // the same, by name
	variables  []variable
	policies   map[string]tidegate.FieldPolicy
	version    string
}

// variable is a column that templates read.
type variable struct {
	name string
	cell int
}

// Columns names the model columns that Apply reads, primary key first: the
// layout of the rows that Apply takes. A change in any other column of the
// model is no change.
func (m *Mapping) Columns() []string { return m.columns }

// KeyColumns is how many of Columns are the primary key.
func (m *Mapping) KeyColumns() int { return m.keys }

// Version is a stable hash of the mapping: two mappings of equal version turn
// equal rows into equal records.
func (m *Mapping) Version() string { return m.version }

// IdentifierField is the destination field by which records are matched.
func (m *Mapping) IdentifierField() string { return m.identifier }

// Policies are the fields that are not always sent, with their policy.
func (m *Mapping) Policies() map[string]tidegate.FieldPolicy { return maps.Clone(m.policies) }

// Apply maps one row, positional over Columns. A row that cannot be mapped is a
// Reject fault whose subject is the field.
func (m *Mapping) Apply(row tidegate.Row) (tidegate.Record, *tidegate.Fault) {
	s := m.scope(row)
	record := make(tidegate.Record, len(m.fields))
	for _, n := range m.fields {
		v, fault := n.value(&s)
		if fault != nil {
			return nil, fault
		}
		keep, fault := n.settle(m.identifier, v == nil, v == "")
		if fault != nil {
			return nil, fault
		}
		if keep {
			record[n.name] = v
		}
	}
	return record, nil
}

// ApplyTo is Apply for who needs the record only as text: it appends what
// model.AppendJSON writes for it, and returns where in the result the identifier's
// value lies. Columns that need no change cost no allocation.
func (m *Mapping) ApplyTo(b []byte, row tidegate.Row) (out []byte, identifier Span, fault *tidegate.Fault) {
	s := m.scope(row)
	b = append(b, '{')
	first := len(b)
	for _, n := range m.members {
		before := len(b)
		if before > first {
			b = append(b, ',')
		}
		b = append(b, n.quoted...)
		start := len(b)
		if b, fault = n.appendTo(b, &s); fault != nil {
			return b, identifier, fault
		}
		keep, fault := n.settle(m.identifier, string(b[start:]) == "null", string(b[start:]) == `""`)
		if fault != nil {
			return b, identifier, fault
		}
		if n.name == m.identifier {
			identifier = Span{start, len(b)}
		}
		if !keep {
			b = b[:before]
		}
	}
	return append(b, '}'), identifier, nil
}

// Span is a part of a text.
type Span struct{ Start, End int }

func (m *Mapping) scope(row tidegate.Row) scope {
	if len(row) != len(m.columns) {
		// The caller reads the columns that we named: anything else is a bug of ours (Invariant 7).
		panic(fmt.Sprintf("mapping a row: it has %d cells, not %d", len(row), len(m.columns)))
	}
	return scope{m: m, row: row}
}

// scope is one row on its way through the nodes.
type scope struct {
	m        *Mapping
	row      tidegate.Row
	bindings map[string]any // of the templates, made for the first of them
}

// bind makes the variables of the templates.
func (s *scope) bind() *tidegate.Fault {
	if s.bindings != nil {
		return nil
	}
	s.bindings = make(map[string]any, len(s.m.variables)+4) // a template may assign variables of its own
	for _, v := range s.m.variables {
		value, err := model.Value(s.row[v.cell])
		if err != nil {
			return &tidegate.Fault{Action: tidegate.Reject, Code: "mapping.value", Subject: "column " + v.name, Message: err.Error(), Hint: "correct the value in the model"}
		}
		s.bindings[v.name] = value
	}
	return nil
}
