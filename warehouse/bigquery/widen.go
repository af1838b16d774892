package bigquery

import (
	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
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
