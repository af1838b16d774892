// Package transform changes events between the journal and whatever reads them:
// by declared steps, in this process, and by JavaScript, in processes of its own.
//
//	Rules (a judge.Judge) ── steps ──────────────────────────▶ verdicts
//	                      └─ script ─▶ Workers ─▶ process ┐
//	                                     ▲   frames over  │ one event at a time, each in a
//	                                     └── two pipes ───┘ fresh runtime, watched
//
// What becomes of an event whose script does not end well:
//
//	throws, returns no event ──▶ dead letter transform.failed, with message and line
//	takes too much time ───────▶ dead letter transform.timeout; code that cannot be interrupted ends with its process
//	takes too much memory ─────▶ dead letter transform.memory
//	its process dies ──────────▶ it is tried once more, alone in a new process; when that dies too, it is
//	                             the guilty one. The events after it go on in a new process.
//	no process can be started ─▶ an error: nothing is decided, whoever asked asks again
//
// Invariants: the same rules make the same of the same event: scripts have no state
// between events, Math.random is seeded by the message id and the clock stands at
// the time of receipt; a changed event is an event still, with its own messageId and
// source, or it becomes a dead letter: nothing goes into the void; scripts reach no
// file, no network, no environment and no other event.
//
// It does not order, count or keep events. Rules are immutable and safe for
// concurrent use, and so are Workers; whoever made Workers closes them, and Close
// waits for the processes.
package transform
