// Package tracking holds events to tracking plans.
//
//	tidegate.TrackingPlan ─ New ─▶ Plan ─┐
//	                                     ├─ Plans (by source, a judge.Judge) ─▶ verdict, violations
//	events as they are ── Infer ─▶ a proposal
//
// A plan is compiled once: the short forms become JSON Schema, and of a schema what
// is common (types, required, bounds, patterns, nesting) becomes checks over the raw
// text of the event; only what they cannot express is decoded and given to a full
// validator.
//
// Invariants: Plans says the same of the same event, always; what it says of an
// event holds none of the event's values (Invariant 9 reaches into the warehouse:
// violations live longer than events that are deleted); an event that is changed
// keeps every byte that no rule names; arbitrary accepted events give a verdict,
// never a panic (Invariant 7). At most maxFindings violations are told per event.
//
// It does no I/O and has no state. Plan and Plans are immutable and may be used by
// many goroutines.
package tracking
