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
	// number or a time becomes its text as a string, its scalar as JSON.
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
