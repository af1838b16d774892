package bigquery

import (
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// widened is the type that a column needs to hold values of type add as well.
func (c *column) widened(add tidegate.Type) tidegate.Type {
	if c.unbounded && c.engine == "BIGNUMERIC" && (add.Kind == tidegate.Int || add.Kind == tidegate.Decimal) {
		return c.typ // holds every number
	}
	if !c.writable() {
		return c.typ // of a foreign type nothing is known
	}
	return warehouse.Widened(c.typ, add)
}

// indexFold finds a column by any case of its name, as BigQuery does.
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
