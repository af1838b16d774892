package forward

import (
	"time"

	"github.com/tidegate/tidegate"
)

// breaker keeps a forward from calling a destination that is down, and knows
// since when it is.
//
//	closed ──failures in a row, or a Halt──▶ open ──5 s, doubling to 2 min──▶ one probe
//	   ▲                                      ▲                                  │
//	   └──────────── any other answer ────────┼───────────── it fails ───────────┤
//	                                          └──────────────────────────────────┘
//
// It is guarded by the forward's lock.
type breaker struct {
	fails   int // in a row
	opened  int // times in a row
	until   time.Time
	probing bool
	down    time.Time       // since when; zero while it answers
	fault   *tidegate.Fault // why
}

const (
	breakerFails = 5
	breakerBase  = 5 * time.Second
	breakerCap   = 2 * time.Minute
)

// wait says how long no call may be made.
func (b *breaker) wait(now time.Time) time.Duration {
	switch {
	case b.opened == 0:
		return 0
	case b.probing:
		return time.Second
	}
	return max(b.until.Sub(now), 0)
}

// enter notes that a call is made.
func (b *breaker) enter() { b.probing = b.opened > 0 }

// learn takes what a call came to.
func (b *breaker) learn(now time.Time, fault *tidegate.Fault) {
	b.probing = false
	failed := fault != nil && (fault.Action == tidegate.Retry || fault.Action == tidegate.Halt)
	if !failed {
		*b = breaker{}
		return
	}
	if b.down.IsZero() {
		b.down = now
	}
	b.fails++
	b.fault = fault
	if fault.Action != tidegate.Halt && b.fails < breakerFails || now.Before(b.until) {
		return
	}
	b.until = now.Add(min(breakerBase<<min(b.opened, 10), breakerCap))
	b.opened++
}

// open says whether calls are kept back.
func (b *breaker) open() bool { return b.opened > 0 }
