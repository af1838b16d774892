// Package snowflake is the warehouse on Snowflake.
//
// It implements warehouse.Warehouse, Execer, Lister, Estimator and TableFinder,
// by Snowflake's own Go driver.
//
// Invariants: a load's rows and the note that it was done are one transaction,
// and that note is written last, by a MERGE that waits for others and writes
// nothing where it is there already (Invariant 3). When the answer to a COMMIT is
// lost, Snowflake is asked what became of the transaction, never guessed. An
// error in the middle of a result is one (Invariant 6). Only one reading
// statement goes through Query. Whatever is awaited is aborted at the server when
// its context ends.
//
// The life of a load:
//
//	rows ──▶ few: one text that travels with the statement ───────────────┐
//	   └───▶ many: files, PUT into the stage under a name made of the ID ─┴─▶ COPY, INSERT or MERGE ─▶ MERGE into the books ─▶ COMMIT
//
// The life of a transaction, which is one of a session:
//
//	begin ──▶ open ◀──▶ reading (a reader is open)
//	           │  ▲└─an error─▶ failed ──Commit, Rollback──▶ rolled back
//	           │  └──Ensure must change a table: roll back, change, begin, repeat every statement, compare the counts
//	           └──Commit──▶ books, COMMIT ──▶ committed
//	                            └─no answer─▶ DESCRIBE TRANSACTION, until it says committed or rolled back
//
// Snowflake commits what is open before it changes a table, so what Ensure does
// inside of a transaction is there for everybody at once and stays when it is
// rolled back; it only ever adds and widens. Its transactions read what is
// committed, statement by statement; they have no snapshot.
//
// Names are made in upper case and handed out in lower case; of names with lower
// case letters, which others made with quotes, the case is kept.
//
// It does not know events, syncs or ledgers. A Warehouse is safe for concurrent
// use; a Tx and a reader belong to one goroutine. It starts no goroutine that
// outlives Close; those of the driver's pool end there.
package snowflake
