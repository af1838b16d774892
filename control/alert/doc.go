// Package alert tells people when a sync needs them, and when it no longer does.
//
// Every alert of the project watches conditions of the syncs that it names, of sources and of the hub:
//
//	          a run or the clock says so                 it says otherwise
//	quiet ───────────────────────────────▶ raised ────────────────────────▶ resolved ──▶ quiet
//	  ▲                                      │ told once                       told once ──┘
//	  └────── it ended before it was told ───┘
//
// Invariants: a condition that goes on is told once, however many runs meet it;
// one alert sends at most one message a minute, with everything that happened
// since the last; what is to be told is stored first and told again until the
// channel takes it, also after a restart, so a message may come twice and is
// never lost. While the store cannot be written it is told all the same, and only
// what a restart then forgets can be lost. A message holds no row and no secret (Invariant 9).
//
// It does not decide whether a run failed, and starts none. An Engine is safe
// for concurrent use; Run owns its only goroutine, and neither Ended nor Set
// waits for a channel.
package alert
