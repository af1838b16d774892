// Package bigquery is the warehouse on Google BigQuery.
//
// It implements warehouse.Warehouse, Execer, Lister, Estimator and
// TableFinder. It speaks to the API through Google's Go client, whose calls
// it makes again itself, for a bounded number of times: see once. Small loads go
// by the Storage Write API, through its generated stub: see storage.
//
// Invariants: a load is done under a job id made of its ID, which BigQuery takes
// once, or is remembered in the transaction that holds its rows; an answer that
// was lost is looked up under the job's id, never guessed (Invariant 3). Rows are
// streamed at offsets into a table of their own, and the statement that brings them
// into theirs counts them: a part of a load is never seen (Invariant 3). A result
// is read page by page to the page that BigQuery calls the last; an error between
// them is one (Invariant 6). Only one reading statement goes through Query.
// Whatever is awaited is cancelled at the server when its context ends.
//
// The life of a load outside of a transaction:
//
//	job id ──asked──▶ done ────────────────────────────▶ nothing to do
//	   │               failed ──▶ the next attempt's id
//	   └──unknown──▶ rows appended by the load job itself, or
//	                 staged by a load job or a stream ──▶ one MERGE or INSERT (id)
//
// The life of a transaction, which is one of a session:
//
//	begin ──▶ open ◀──▶ reading (a reader is open)
//	           │  ▲└─an error─▶ failed ──Commit, Rollback──▶ rolled back, session ended
//	           │  └──Ensure must change a table: roll back, change, begin, repeat every statement, compare the counts
//	           └──Commit──▶ one script: INSERT of the loads' IDs; COMMIT ──▶ committed, session used again
//	                            └─no answer─▶ the job is asked for by its id
//
// BigQuery changes tables outside of transactions only, so what Ensure does inside
// of one is there for everybody at once and stays when it is rolled back; it only
// ever adds and widens.
//
// A column that BigQuery cannot widen in place is rewritten by CREATE OR REPLACE
// TABLE … AS SELECT. Within one process loads and rewrites of a table take turns.
//
// It does not know events, syncs or ledgers. A Warehouse is safe for concurrent
// use; a Tx and a reader belong to one goroutine. It starts no goroutine that
// outlives a call; the connection of the Storage Write API has gRPC's own, until Close.
package bigquery
