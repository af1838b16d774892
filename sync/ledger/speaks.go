package ledger

import "github.com/tidegate/tidegate/warehouse/sqltext"

// Speaks says whether a ledger can be kept in a warehouse of the dialect. Where
// it cannot, it is kept in another one (Options.Model).
func Speaks(dialect string) bool {
	d, ok := sqltext.Find(dialect)
	if !ok {
		return false
	}
	_, ok = engineOf(d)
	return ok
}
