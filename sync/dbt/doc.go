// Package dbt reads what dbt writes and writes what dbt reads.
//
//	manifest.json ──┐
//	run_results.json┼─▶ Artifacts ─▶ models with keys, tests, columns ─▶ Find, Select
//	catalog.json ───┘       │
//	                        ├─▶ State: which models' tests passed, and when   (the gate)
//	                        ├─▶ Declared: syncs written in meta.tidegate
//	                        ├─▶ Compare: what a change breaks                 (for CI)
//	                        └─▶ Exposures: the syncs, as dbt's lineage shows them
//
// Invariants: artefacts are read tolerantly (a field of another shape than
// expected is taken for absent, versions are never refused) but whole (a file
// that is cut off or too large is an error, never a project without models:
// Invariant 6); a model passes the gate only when an invocation built it and
// every test of it passed in that invocation; the text of exposures depends on
// nothing but the syncs and models.
//
// The package runs no dbt, opens no warehouse and starts no goroutine. Readers
// stream: of a manifest only what is asked for stays in memory. Artifacts and
// everything in them are immutable once read and safe for concurrent use.
package dbt
