// Package redshift is the warehouse on Amazon Redshift, provisioned or serverless.
//
// It implements warehouse.Warehouse, Execer, Lister, Estimator and TableFinder. It
// speaks PostgreSQL's wire protocol (internal/pgwire) with all values as text.
// Rows go in by way of S3:
//
//	rows ─▶ gzip NDJSON ─▶ objects named by the load's ID ─▶ manifest ─▶ COPY ─▶ temporary table
//	                       (removed when the COPY has ended)                           │
//	             _tidegate.loads ◀── one transaction ──▶ table ◀── DELETE, INSERT ─────┘
//
// Invariants: a load and its row in _tidegate.loads are one transaction, and a
// commit whose answer was lost is looked up there, never guessed (Invariant 3); COPY
// reads the objects of a manifest and nothing else, and what it brought is counted; an error in the
// middle of a result is returned as such (Invariant 6); a query runs in a read-only transaction; no statement
// that holds a key of S3 is part of an error (Invariant 9).
//
// Keys are not enforced by the engine, and its default isolation does not see that two
// transactions insert the same new row. So loads take turns where they write: each updates the one
// row of _tidegate.turns, which of two that overlap lets one wait and, behind an older snapshot, fail.
//
// The life of a transaction:
//
//	begin ──▶ open ◀──▶ reading (a reader is open)
//	           │ └─an error─▶ failed ──Commit, Rollback──▶ rolled back ──▶ columns grow, if that was the error
//	           └──Commit──▶ committing ──▶ committed
//	                            └─the connection breaks─▶ in doubt ──its mark in _tidegate.loads──▶ committed, rolled back
//
// Lengths. A VARCHAR column is as long as its values need, for the engine sets memory aside by it. One
// that is too short grows in place, which the engine does outside of transactions only.
//
// It does not know events, syncs or ledgers. A Warehouse is safe for concurrent
// use; a Tx and a reader belong to one goroutine. The goroutines are the pool's,
// which Close ends, and those of uploads, which their load waits for.
package redshift
