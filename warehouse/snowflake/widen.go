package snowflake

import (
	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
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
