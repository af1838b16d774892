package bigquery

import (
	"fmt"

	"github.com/tidegate/tidegate"
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
	return widened(c.typ, add)
}

// widened is the narrowest type that holds every value of a column of type old
// and values of type add:
//
//	bool  bytes            date → timestamp
//	  \     |                |
//	   ──▶ string ◀──────────        json holds every scalar
//	         ▲
//	int → decimal, int → float
func widened(old, add tidegate.Type) tidegate.Type {
	text := tidegate.Type{Kind: tidegate.String}
	a, b := old.Kind, add.Kind
	switch {
	case a == tidegate.Unknown || b == tidegate.Unknown || a == tidegate.String || a == tidegate.JSON:
		return old
	case a == tidegate.Decimal || b == tidegate.Decimal:
		if exact(a) && exact(b) {
			return widenedDecimal(old, add)
		}
		return text
	case a == b:
		return old
	case a == tidegate.Int && b == tidegate.Float, a == tidegate.Date && b == tidegate.Timestamp:
		return add
	case a == tidegate.Float && b == tidegate.Int, a == tidegate.Timestamp && b == tidegate.Date:
		return old
	}
	return text
}

func exact(k tidegate.Kind) bool { return k == tidegate.Int || k == tidegate.Decimal }

// widenedDecimal holds the digits of both on either side of the point, or is a
// string when 38 are not enough.
func widenedDecimal(old, add tidegate.Type) tidegate.Type {
	whole := func(t tidegate.Type) int {
		if t.Kind == tidegate.Int {
			return 19 // of the largest int64
		}
		return t.Precision - t.Scale
	}
	w, s := max(whole(old), whole(add)), max(old.Scale, add.Scale)
	if w+s > 38 {
		return tidegate.Type{Kind: tidegate.String}
	}
	return tidegate.Type{Kind: tidegate.Decimal, Precision: w + s, Scale: s}
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
