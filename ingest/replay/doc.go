// Package replay gives events to the loader once more: from the journal, or dead
// letters from the warehouse, into the tables where they belong or into a schema
// beside them.
//
//	                                     ┌▶ live:   appended to the journal again ─▶ loader ─▶ tables
//	journal ─┐                           │          (ids decide: what is there stays as it is)
//	         ├─▶ wanted? ─▶ chunk ───────┤
//	dead ────┘                           └▶ SCHEMA: a loader of its own ─▶ SCHEMA.* ─▶ Compare
//	letters
//
// Live, chunk by chunk: append, wait until the loader has passed it, and only then
// take the dead letters away that were replayed: whatever died again has left a new one.
// The place is stored after each chunk, so that a replay goes on where it was; a chunk
// that is done twice changes nothing.
//
// Invariants: a replay into live changes no row that was right, because an event keeps
// its id and the loader drops repeats of (source, id); copies of events that were loaded
// are marked, so that nobody delivers them again; a dead letter goes only when the
// loader has passed its copy; of a person who is suppressed or erased nothing is
// replayed; a shadow never touches the live tables, their books or ids.
//
// It does not decide what is replayed or when, keeps no jobs and opens nothing. Memory
// is bounded by one chunk. Values belong to one goroutine.
package replay
