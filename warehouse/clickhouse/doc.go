// Package clickhouse is the warehouse on a ClickHouse server, 24.8 or newer.
//
// It implements warehouse.Warehouse, Execer, Lister, Estimator and TableFinder.
// It speaks to the server through clickhouse-go: over HTTP, where rows travel as blocks
// of the format Native that are encoded and decoded here, or over the native protocol
// (native.go). Under the driver lies a transport that corrects what it would send or
// read wrongly (transport.go); the decision record 20261121-clickhouse-units says what.
//
// The engine has no transactions. What it has is an insert of one block with a
// name (insert_deduplication_token): it is taken as a whole or not at all, and one
// of the same name is not taken again. All else is made of that. Begin gives a
// unit, which gathers loads and statements; Commit does them:
//
//	gathering ──Commit──▶ written to _tidegate.units in one insert ──▶ done step by step ──▶ taken out of the books
//	    │                     (from here on it will be done)             │ cut short
//	    └──Rollback──▶ given up                                          └──▶ brought to its end before the next write,
//	                                                                          by this process or the next one
//
// A load of one block alone needs no books: its insert has the name of the load,
// and the same load again is the same insert.
//
// Invariants: a unit that is in the books is done, once, whatever is cut short
// (Invariant 3); an error in the middle of a result is returned as such and never
// as the end of the rows (Invariant 6); a query runs with readonly = 2.
//
// Loads by key need a table that merges rows of one key (ReplacingMergeTree). A
// table of our own becomes one at the first such load; queries read it as merged
// (the setting final).
//
// It does not know syncs or ledgers, and of events only what their tables look
// like. A Warehouse is safe for concurrent use; a unit and a reader belong to one
// goroutine. It starts no goroutine that outlives a call, except the
// driver's, which Close ends.
package clickhouse
