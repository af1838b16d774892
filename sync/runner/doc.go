// Package runner carries one run of a sync from its plan to its last outcome.
//
// Its core is Step, a pure function from a State and an Event to the next State
// and the Effects that are to happen: no I/O, no goroutine, no clock, no global
// randomness. The driver (drive.go) executes effects and feeds what came of
// them back as events. The simulator in the tests drives the same Step.
//
//	       Runner.Start, PlanRun, Revert, Drift
//	                   │ lease taken, run stored as running
//	                   ▼
//	Begin ──▶ Starting ──▶ Planning ──▶ Surveying ──▶ Delivering ──▶ Closing ──▶ Dropping ──▶ Ending ──▶ Done
//	                          │  │                     │ │  ▲            ▲
//	       a guard, a review ─┘  │ the model's query   │ │  │ windows:   │ cancel, halt, destination down:
//	                   ▼         │ failed     canary   │ │  │ read →     │ what was not sent is deferred
//	                Holding ◀────┼─────────────────────┘ │  │ intend →   │
//	                   │         └──▶ Ending(failed)     │  │ send →     │
//	                   │ stored as held, lease given up  │  │ (ticket →) │
//	                   ▼                                 │  │ record     │
//	                  Done ── Runner.Approve ──▶ Begin   └──┘────────────┘
//
//	from every phase: lease lost, ledger away, process going down ──▶ Abandoning ──▶ Done
//	(the run stays "running" in the store and is resumed under a new epoch)
//
// What is kept true:
//
//   - An intent covering a change is durable before a request with it leaves.
//     A change that was intended and has no recorded outcome is in doubt: it is
//     sent again where a repeat does no harm, else left for a person.
//   - Only an outcome that the destination gave for the record counts as
//     delivered (Invariant 4). An answer that does not name it is a doubt.
//   - One write per key is in flight, and one per identifier value: rows of
//     different keys that would write the same record are rejected.
//   - No plan that trips a guard is delivered before somebody approved exactly
//     that plan (Invariant 6).
//   - A record that passes from one key to another is written once, and the removal
//     that the write stands for is recorded in one go with it.
//   - A write that the destination decides later is durable with its ticket, and is
//     asked for, also after a restart; an unknown ticket is a doubt (ticket.go).
//   - Nothing beyond the canary is intended before all of it is confirmed, or
//     somebody approved what it found (canary.go).
//   - A 429 is waited out; it is never a record's failure. Neither is a call that
//     an open circuit, the quota or a read before the write kept from leaving.
//   - A run ends only when its counts add up (tidegate.Counts.Check), and it has
//     succeeded only when nothing was rejected, deferred, in doubt or unkeyed.
//
// Not known to it is under which identifier a doubtful attempt was made: when the
// identifier of a record changes while an attempt is in doubt, what that attempt
// may have made under the old one stays.
//
// It does not read the model, compare rows or store anything: that is the
// Ledger's; it does not know when a run is due: that is sync/scheduler's.
//
// A Runner is safe for concurrent use; it owns one goroutine per run and those
// that the run starts, and Close waits for all of them.
package runner
