// Package scheduler decides when a sync runs, and can always say why one is
// not running.
//
//	        fire (cron, interval, missed while away)
//	        load of a table that the model reads ── settle 500 ms ─┐
//	        a sync that it follows succeeded, dbt rebuilt its model │
//	        Trigger (by hand, API)                                 ▼
//	idle ──────────────────────────────────────────────────────▶ running ──▶ idle
//	                                                               │  ▲
//	                               another trigger meanwhile ──▶ pending (one, whatever comes)
//
// Invariants: one run of a sync at a time; triggers that come while it runs
// become one further run; a fire that was missed while the process was away is
// caught up once, and so are loads; a paused sync runs by hand only, and catches up
// once when it is resumed; what is due while a run would have to wait (Options.Hold)
// starts once afterwards, and is no failure.
//
// Cron times are wall-clock times of their zone. A time that a clock change
// leaves out fires when the gap ends; a time that a clock change repeats fires
// once, the first time. An expression for every hour follows elapsed time
// instead: it fires in each hour that there is.
//
// It does not know what a run does, and it keeps nothing: after a restart the
// last run of the store says what was missed. A Scheduler is safe for
// concurrent use; Run owns all of its goroutines.
package scheduler
