// Package mapping turns model rows into destination records.
//
// A Mapping is compiled once, against the model's columns and the destination's
// object; everything that can be known to be wrong is reported then, all at
// once, with config paths, before the first record. Applied to a row it gives a
// record or a Reject fault for that row alone.
//
// Invariants: equal rows give equal records (nothing but the row and the
// mapping goes in); a value that does not fit its field is rejected, never
// bent; a template cannot read a file, loop over a range or write more than
// model.MaxValueBytes.
//
// It does not read rows, keep state or talk to a destination. A Mapping is
// immutable and safe for concurrent use.
package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/model"
)

// Mapping is a compiled mapping.
type Mapping struct {
	columns    []string
	keys       int
	identifier string
	fields     []field
	version    string
}

// field fills one field of the record. Exactly one of cell, constant and
// template is in use.
type field struct {
	name     string
	kind     tidegate.Kind // Unknown takes every value as it is
	required bool
	skipNull bool

	cell     int // position in Columns, -1 when it is not a column
	constant any
	template *template
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

// Apply maps one row, positional over Columns. A row that cannot be mapped is a
// Reject fault whose subject is the field.
func (m *Mapping) Apply(row tidegate.Row) (tidegate.Record, *tidegate.Fault) {
	if len(row) != len(m.columns) {
		// The caller reads the columns that we named: anything else is a bug of ours (Invariant 7).
		panic(fmt.Sprintf("mapping a row: it has %d cells, not %d", len(row), len(m.columns)))
	}
	var bindings map[string]any
	record := make(tidegate.Record, len(m.fields))
	for i := range m.fields {
		f := &m.fields[i]
		if f.template != nil && bindings == nil {
			var fault *tidegate.Fault
			if bindings, fault = m.bind(row); fault != nil {
				return nil, fault
			}
		}
		v, err := f.value(row, bindings)
		if err != nil {
			return nil, f.reject("mapping.value", err.Error(), "correct the value in the model, or map another column")
		}
		if v == nil {
			if f.name == m.identifier {
				return nil, f.reject("mapping.identifier", "the identifier is null: there is nothing to match the record by", "leave rows without it out of the model")
			}
			if f.required {
				return nil, f.reject("mapping.required", "the field is required and its value is null", "give the column a value, or leave such rows out of the model")
			}
			if f.skipNull {
				continue
			}
		}
		if f.name == m.identifier && v == "" {
			return nil, f.reject("mapping.identifier", "the identifier is empty: there is nothing to match the record by", "leave rows without it out of the model")
		}
		record[f.name] = v
	}
	return record, nil
}

func (f *field) value(row tidegate.Row, bindings map[string]any) (any, error) {
	switch {
	case f.template != nil:
		text, err := f.template.render(bindings)
		if err != nil {
			return nil, err
		}
		if text == "" && (f.skipNull || f.kind != tidegate.Unknown && f.kind != tidegate.String) {
			return nil, nil // an empty text is no number or date, and with skip_null it is null
		}
		return fit(text, f.kind)
	case f.cell >= 0:
		return fit(row[f.cell], f.kind)
	}
	return f.constant, nil
}

func (f *field) reject(code, message, hint string) *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Reject, Code: code, Subject: "field " + f.name, Message: message, Hint: hint}
}

// bind makes the variables of the templates.
func (m *Mapping) bind(row tidegate.Row) (map[string]any, *tidegate.Fault) {
	bindings := make(map[string]any, len(row)+4) // a template may assign variables of its own
	for i, name := range m.columns {
		v, err := model.Value(row[i])
		if err != nil {
			return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "mapping.value", Subject: "column " + name, Message: err.Error(), Hint: "correct the value in the model"}
		}
		bindings[name] = v
	}
	return bindings, nil
}

// versionFormat changes whenever Apply gives another record for the same row
// and mapping.
const versionFormat = "mapping 1"

func (m *Mapping) seal(def tidegate.Mapping, obj destinations.Object) {
	b := fmt.Appendf(nil, "%s\x00%s\x00%q\x00%q\x00%d", versionFormat, obj.Name, m.columns, m.identifier, m.keys)
	for i, f := range m.fields {
		d := def.Fields[i]
		b = fmt.Appendf(b, "\x00%q %q %q %q %s %t %t", d.Field, d.Column, d.Constant, d.Template, f.kind, f.skipNull, f.required)
	}
	sum := sha256.Sum256(b)
	m.version = hex.EncodeToString(sum[:12])
}
