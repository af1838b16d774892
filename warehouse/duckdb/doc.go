// Package duckdb is the embedded warehouse: one DuckDB database file, opened by
// this process alone.
//
// It implements warehouse.Warehouse, Execer, Lister, Estimator, Yielder,
// Recoverer and TableFinder; built with the tag duckdb_arrow also ArrowTx (on
// its transactions) and ArrowQuerier. Its transactions are PredicateTx: the engine's own
// threads then call the program (predicate.go). It speaks to the engine through the
// official C bindings rather than database/sql, because the results of the
// latter are materialised before the first row and here they stream, and
// because rows go in as the engine's own data chunks.
//
// Invariants: a load and its row in _tidegate.loads are one transaction
// (Invariant 3); an error in the middle of a result is returned as such and
// never as the end of the rows (Invariant 6); a file or a write-ahead log that
// cannot be read is set aside under a new name and reported, never deleted
// (Invariant 8); a query runs in a read-only transaction, alone, with no access
// to other files.
//
// The life of the database file:
//
//	open ──Yield──▶ lent ──use returned──▶ opening ──▶ open
//	 │                                        ▲
//	 ├──a fatal error of the engine──▶ broken ┘ (once every call has left)
//	 └──Close──▶ closed                        from any state
//
// In lent every call errs with warehouse.ErrYielded; in broken and opening with
// a Retry. A call that is inside when the state changes runs to its end.
//
// It does not know events, syncs or ledgers and starts no goroutine of its own
// except the one that opens a broken database again, which Close waits for.
// A Warehouse is safe for concurrent use; a Tx and a reader belong to one
// goroutine.
package duckdb
