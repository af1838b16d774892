package warehouse

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
)

// Widener is found on a Tx by assertion where a column can be given any type that holds
// its values; Ensure widens only as far as the values that it is asked to make room for need.
type Widener interface {
	// Widen gives the column of t that is called as c the type of c. Where that type does
	// not hold every value of the old one (see Holds) it is a Halt fault "warehouse.narrows",
	// and nothing changes. Values become what a row that is loaded later would hold: a
	// number or a time becomes its text as a string, its scalar as JSON. In a unit it is put
	// off until Commit, as statements are.
	Widen(ctx context.Context, t Table, c tidegate.Column) error
}

// Holds says whether a column of type wide holds every value of a column of type narrow.
// Whole numbers beyond 2^53 count as held by a float, though it rounds them.
//
//	int → decimal   int → float   date → timestamp   everything → string, json
func Holds(wide, narrow tidegate.Type) bool {
	whole := func(t tidegate.Type) int {
		if t.Kind == tidegate.Int {
			return 19 // digits of the largest
		}
		return t.Precision - t.Scale
	}
	switch {
	case wide == narrow:
		return true
	case narrow.Kind == tidegate.Unknown:
		return false
	case wide.Kind == tidegate.String, wide.Kind == tidegate.JSON:
		return true
	case wide.Kind == tidegate.Float:
		return narrow.Kind == tidegate.Int
	case wide.Kind == tidegate.Timestamp:
		return narrow.Kind == tidegate.Date
	case wide.Kind == tidegate.Decimal && (narrow.Kind == tidegate.Int || narrow.Kind == tidegate.Decimal):
		return whole(wide) >= whole(narrow) && wide.Scale >= narrow.Scale
	}
	return false
}

// Narrows is the fault of a Widen that would lose values.
func Narrows(t Table, column string, from, to tidegate.Type) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.narrows", Subject: fmt.Sprintf("column %q of %s", column, t),
		Message: fmt.Sprintf("a column of type %s does not hold every value of one of type %s", to, from),
		Hint:    "choose string or json, which hold everything",
	}
}

// Widened is the narrowest type that holds every value of a column of type old
// and values of type add:
//
//	bool  bytes  json        date → timestamp
//	  \     |     /              |
//	   ──▶ string ◀──────────────
//	         ▲
//	int → decimal, int → float
func Widened(old, add tidegate.Type) tidegate.Type {
	text := tidegate.Type{Kind: tidegate.String}
	a, b := old.Kind, add.Kind
	switch {
	case a == tidegate.Unknown || b == tidegate.Unknown || a == tidegate.String:
		return old // of a foreign type nothing is known, and a string holds everything
	case a == tidegate.JSON:
		return old // JSON has a place for every scalar
	case a == tidegate.Decimal || b == tidegate.Decimal:
		if numeric(a) && numeric(b) {
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

func numeric(k tidegate.Kind) bool { return k == tidegate.Int || k == tidegate.Decimal }

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
