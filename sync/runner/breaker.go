package runner

import (
	"sync"
	"time"

	"github.com/tidegate/tidegate"
)

// breaker keeps the runs of an account from calling a destination that is down.
//
//	closed ──20 failed calls in a row──▶ open ──15 s, doubling to 5 min──▶ one probe
//	   ▲                                  ▲                                  │
//	   └────────────── any answer ────────┼───────────── it fails ───────────┤
//	                                      └──────────────────────────────────┘
//
// A call fails when nothing is known of it (a Retry): a refusal is an answer.
type breaker struct {
	now func() time.Time

	mu      sync.Mutex
	fails   int // in a row
	opened  int // times in a row
	until   time.Time
	probing bool
}

const (
	breakerFails = 20
	breakerBase  = 15 * time.Second
	breakerCap   = 5 * time.Minute
)

// enter says whether a call may be made, and otherwise how long not.
func (b *breaker) enter() (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opened == 0 {
		return 0, true
	}
	if wait := b.until.Sub(b.now()); wait > 0 {
		return wait, false
	}
	if b.probing {
		return time.Second, false
	}
	b.probing = true
	return 0, true
}

// isOpen says whether calls are kept back.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened > 0
}

// unused says that the call that entered was not made.
func (b *breaker) unused() {
	b.mu.Lock()
	b.probing = false
	b.mu.Unlock()
}

// learn takes what a call came to.
func (b *breaker) learn(err error) {
	failed := err != nil && tidegate.FaultOf(err).Action == tidegate.Retry
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	if !failed {
		b.fails, b.opened, b.until = 0, 0, time.Time{}
		return
	}
	b.fails++
	if b.fails < breakerFails || b.now().Before(b.until) { // calls that were under way when it opened
		return
	}
	b.until = b.now().Add(min(breakerBase<<min(b.opened, 10), breakerCap))
	b.opened++
}

// breakers keeps one breaker per account for the life of the Runner.
type breakers struct {
	now func() time.Time
	mu  sync.Mutex
	of  map[string]*breaker
}

func (b *breakers) get(account string) *breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.of[account]
	if one == nil {
		one = &breaker{now: b.now}
		b.of[account] = one
	}
	return one
}
