package snowflake

import (
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// widened is the type that a column needs to hold values of type add as well.
func (c *column) widened(add tidegate.Type) tidegate.Type {
	if !c.writable() {
		return c.typ // of a foreign type nothing is known
	}
	return declared(warehouse.Widened(c.typ, declared(add)))
}

// declared is a type as a column of it is described: a decimal without a fraction
// has 20 digits at least, so that it is no int.
func declared(t tidegate.Type) tidegate.Type {
	if t.Kind == tidegate.Decimal && t.Precision == 0 {
		t.Precision, t.Scale = 38, 9
	}
	if t.Kind == tidegate.Decimal && t.Scale == 0 {
		t.Precision = max(t.Precision, intDigits+1)
	}
	return t
}

// indexFold finds a column by any case of its name, as our names are made.
func indexFold(s tidegate.Schema, name string) int {
	if i := s.Index(name); i >= 0 {
		return i
	}
	for i := range s {
		if sqltext.Same(s[i].Name, name) {
			return i
		}
	}
	return -1
}

func distinctColumns(s tidegate.Schema) error {
	seen := make(map[string]string, len(s))
	for _, c := range s {
		f := sqltext.Fold(c.Name)
		if first, ok := seen[f]; ok {
			return columnFault(c.Name, fmt.Sprintf("the name is the same as %q, for the case of letters does not tell columns apart", first), "rename one of the two")
		}
		seen[f] = c.Name
	}
	return nil
}
