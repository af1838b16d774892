// Package ledger remembers, per key of a sync, what the destination last
// confirmed, and finds what is to be sent: the difference between that and the
// model.
//
// It is plain tables in schema _tidegate, read and written by set-based SQL,
// beside the model or in a database of the hub when the model's warehouse is
// read-only to us (Options.Model). For the sync NAME (names.go):
//
//	NAME__ledger    one narrow row per key: hash, fingerprint of the mapped columns, acked?
//	NAME__records   one row per confirmed key: payload, identifier, destination's id
//	NAME__attempts  one row per key that is not as it should be: state, last attempt, fault
//	NAME__runs      one row per run: state, summary, counts
//	NAME__log       one row per result of an ended run, with values before and after (kept Options.KeepLog)
//	NAME__bad_keys  NULL and repeated keys that the last plan found
//	NAME__fence     one row: highest epoch seen, generation and checksum of the ledger
//	NAME__intents, NAME__results, NAME__tickets, NAME__RUN__plan   while a run lasts
//	ledgers, sync_runs, sync_log, sync_snapshot                    over all syncs (docs/ledger.md)
//
// A run passes through it like this; every arrow is one transaction, and a
// crash between two arrows leaves the state before the second:
//
//	            Plan: the checksum of the model; then its rows are paired with
//	                  __ledger by fingerprint, in the program (pair.go, bring.go) or by a join
//	(new) ──▶ planned ──Intend, Record …──▶ planned ──Finish──▶ finished
//	             │                             │
//	             │◀── another run's results ───┤ (a stale plan is never applied)
//	             └───── another run plans ─────┴──▶ superseded
//
// PlanRevert and PlanDrift make plans of the same kind from the change log and
// from records read back. Record only appends to __results: that is when
// results are confirmed and durable. Finish (or the plan of the next run, when a run was given
// up) folds them into __ledger, __records, __attempts and __log in one
// transaction; ordinals that were intended and have no result become in_doubt
// then, those whose ticket is open among them. The state of a key:
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
// excluded operation through. Until then it counts as unchanged; without a next
// attempt it is parked. A key whose record another key was confirmed to own since
// is forgotten, not removed.
//
// Invariants: __ledger and __records advance for a key only with a recorded
// Delivered of that key (Invariant 4). A plan is complete or absent, and is
// refused once results of another run came in (Invariant 5). An error, a cancel
// or a missing table while the model is read ends the plan with an error, never
// with removals (Invariant 6). Tables that are lost or changed by others stop
// the sync; Resync makes the next run send all and remove nothing, because a key
// that the ledger does not hold cannot be removed (Invariant 8). Every write of
// a run checks its epoch in its own transaction.
//
// Keys are found by two hashes of 63 bits, the same on every engine, and proven
// by their text. The fingerprint holds its own version (the mapping's and the
// engine's hash function): when either changes, every row is compared with the
// hash of its payload and only rows that really differ are planned.
//
// In warehouses without cheap transactions the ledger is worked on in a database of the hub
// and published (Options.Home, home.go): plans compare there, and a hub that is lost loses the run that is going on and nothing else.
//
// It does not deliver, batch, guard or schedule. While a plan is stored one
// goroutine maps and another makes batches ahead of the engine, one reads the model's fingerprints from a server
// while the ledger is verified, and fingerprints are paired by one for each processor; Plan waits for their end. A Ledger is safe for
// concurrent use; its writes are serialised.
package ledger
