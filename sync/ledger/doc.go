// Package ledger remembers, per key of a sync, what the destination last
// confirmed, and finds what is to be sent: the difference between that and the
// model.
//
// It is plain tables in schema _tidegate of the warehouse, read and written by
// set-based SQL. For the sync NAME (names.go):
//
//	NAME__ledger    one narrow row per key: hash, fingerprint of the mapped columns, acked?
//	NAME__records   one wide row per key: confirmed payload, last attempt, state, fault
//	NAME__runs      one row per run: state, summary, counts
//	NAME__intents   ranges of ordinals that may have left
//	NAME__log       one row per result: key, op, disposition, fault (kept Options.KeepLog)
//	NAME__bad_keys  NULL and repeated keys that the last plan found
//	NAME__fence     one row: highest epoch seen, generation of the ledger
//	NAME__RUN__scratch, NAME__RUN__plan   while the run lasts
//
// A run passes through it like this; every arrow is one transaction, and a
// crash between two arrows leaves the state before the second:
//
//	            Plan: one pass over the model's query, joined with __ledger,
//	                  keeps in __scratch what may have changed
//	(new) ──▶ reading ──▶ planned ──Intend, Record …──▶ planned ──Finish──▶ finished
//	                │        │                             │
//	                │        └── another run's results ────┤ (a stale plan is never applied)
//	                └────────── another run plans ─────────┴──▶ superseded
//
// Record only appends results to __log: that is when they are confirmed and
// durable. Finish (or the plan of the next run, when a run was given up) folds
// them into __ledger and __records in one transaction; ordinals that were
// intended and have no result become in_doubt then. The state of a key:
//
//	          delivered                 delivered (removed)
//	(none) ─────────────▶ acked ──────────────────────────▶ (none)
//	   │                  │   ▲
//	   │ rejected, deferred, in doubt, excluded
//	   ▼                  ▼   │ delivered, or the model went back to the payload
//	   failed | in_doubt | excluded        (in_doubt only by delivery)
//
// A key that is not acked is planned again when its model row changed since the
// attempt, when its next attempt is due, or when the sync's mode now lets the
// excluded operation through. Until then it counts as unchanged.
//
// Invariants: __ledger and __records advance for a key only with a recorded
// Delivered of that key (Invariant 4). A plan is complete or absent, and is
// refused once results of another run came in (Invariant 5). An error, a cancel
// or a missing table while the model is read ends the plan with an error, never
// with removals (Invariant 6). Lost tables give an upsert-only resync, because a
// key that the ledger does not hold cannot be removed (Invariant 8). Every write
// of a run checks its epoch in its own transaction.
//
// Keys are found by two hashes of 63 bits and proven by their text. The
// fingerprint holds its own version (the mapping's and the engine's hash
// function): when either changes, every row is compared with its stored payload
// and only rows that really differ are planned.
//
// It does not deliver, batch, guard or schedule, and starts no goroutine. A
// Ledger is safe for concurrent use; its writes are serialised.
package ledger
