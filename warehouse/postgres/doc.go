// Package postgres is the warehouse on a PostgreSQL server, 12 or newer.
//
// It implements warehouse.Warehouse, Execer, Lister, Estimator and
// TableFinder. It speaks the wire protocol through pgx's lower layer and brings
// its own encoding of cells, because rows go in by binary COPY and come out as
// the nouns without a stop in between.
//
// Invariants: a load and its row in _tidegate.loads are one transaction, and a
// commit whose answer was lost is looked up, never guessed (Invariant 3); an
// error in the middle of a result is returned as such and never as the end of
// the rows, and no reader of an older snapshot ever finds a table empty that was
// rewritten meanwhile (Invariant 6); a query runs in a read-only transaction.
//
// The life of a transaction:
//
//	begin ──▶ open ◀──▶ reading (a reader is open)
//	           │ └─an error─▶ failed ──Commit, Rollback──▶ rolled back
//	           └──Commit──▶ committing ──▶ committed
//	                            └─the connection breaks─▶ in doubt ──asked of the server──▶ committed, rolled back
//
// Rewrites and snapshots. PostgreSQL's ALTER TABLE … TYPE writes the table anew
// and an older snapshot then sees it empty. So a transaction of Begin holds a
// weak lock on _tidegate.snapshots from before its snapshot to its end, and a
// rewrite takes the strong one: it waits for them, and they for it. A Query needs
// none, for its snapshot is taken after its locks.
//
// It does not know events, syncs or ledgers. A Warehouse is safe for concurrent
// use; a Tx and a reader belong to one goroutine. The goroutines are the pool's,
// which Close ends.
package postgres
