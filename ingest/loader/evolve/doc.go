// Package evolve knows how the event tables of a warehouse came to be as they are, and
// changes them when a person says so.
//
//	_tidegate.schema_history   every column that was added or widened: when, by which event or whom
//	_tidegate.collisions       two names that became one column or one table
//	SCHEMA.tidegate_discards   values that did not fit their columns
//	_tidegate.widenings        widenings under way
//
//	Survey ──▶ tables, columns, conflicts with a proposal each
//	Widen  ──▶ one transaction: the column gets a type that holds what was set aside,
//	           the values go into their rows, their discards go, history says who did it
//
// Invariants: a widening is all or nothing, however the process ends (Invariant 3), but for
// the type itself where the engine changes that outside of transactions: then the next
// widening of the column does the rest; no
// value is lost by one: a type that cannot hold what the column holds is refused, and a
// value that does not fit the new type stays where it is. What a value becomes is decided
// by package shape, so that a row filled later is the row that the loader would have made.
//
// It does not watch the loader: the caller sees to it that no loader writes meanwhile and
// that it reads the tables' columns again afterwards. It starts no goroutine; functions
// are safe for concurrent use as far as the warehouse is.
package evolve
