// Package shape turns one tracking event into the rows of the warehouse tables
// that it becomes: names, flattening, types, reserved columns, and what to do
// with a value that fits nowhere. It is the pure half of the loader, and what
// `tidegate explain` shows is computed by the very same code.
//
//	event ──Peek──▶ id, type                      (cheap; enough to find repeats)
//	event ──Shape─▶ tracks + event table | identifies + users | pages | screens | groups | aliases
//	                └▶ tidegate_discards, a row for each value that fits nowhere
//	event ──Dead──▶ tidegate_dead_letters
//
// A source's Rules choose its profile. The default names tables and columns as
// RudderStack's warehouse schema does, so that queries written for it keep working;
// Segment as Segment's does; Native makes one table with JSON documents:
//
//	event ──Shape─▶ events | events + users
//
// Invariants: no value is lost: every scalar of an accepted event ends in a
// column, in the row's `_unmapped` JSON object, or in both `_unmapped` and
// tidegate_discards; empty strings, nulls, [], [""] and {} say nothing and leave
// no trace. A column's type is that of the first value in journal order that
// needed it and never changes here, so that rows do not depend on how the stream
// was cut into batches. Arbitrary bytes give an error, never a panic.
//
// It does no I/O (except through the lookup it is given), has no clock and starts no
// goroutine. A Shaper is for one goroutine; it keeps scratch memory and a bounded
// cache of names.
package shape
