package runner

import (
	"context"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/retry"
)

// Quota is the call rate of one destination account, shared by every run that
// writes to it. It is a token bucket whose rate is the one declared, and lower
// for a while after the destination asked to slow down: what it refuses teaches
// how much of its budget others are using. Safe for concurrent use.
type Quota struct {
	now func() time.Time

	mu       sync.Mutex
	declared float64 // calls per second; 0 when no limit is known
	rate     float64 // what is allowed now; 0 is unlimited
	burst    float64
	tokens   float64
	filledAt time.Time
	blocked  time.Time // no call before

	countedFrom time.Time // calls of the current second, to learn a rate from
	counted     float64
	calm        int // answered calls since the last slowdown
}

// NewQuota returns a quota without a limit; Declare gives it one.
func NewQuota(now func() time.Time) *Quota { return &Quota{now: now} }

// Declare tells the quota what an object's API allows. Of several declarations
// the tightest holds.
func (q *Quota) Declare(l destinations.Limit) {
	if l.Calls <= 0 || l.Per <= 0 {
		return
	}
	// Tokens and refill together never pass Calls within any Per.
	burst := float64(max(1, l.Calls/10))
	rate := max(float64(l.Calls)-burst, 1) / l.Per.Seconds()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.declared != 0 && rate >= q.declared {
		return
	}
	q.declared, q.burst = rate, burst
	if q.rate == 0 || q.rate > rate {
		q.rate = rate
	}
	q.tokens = min(max(q.tokens, burst), burst)
	q.filledAt = q.now()
}

// Take takes the right to make one call and returns 0, or returns how long to
// wait before asking again.
func (q *Quota) Take() time.Duration {
	now := q.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if wait := q.blocked.Sub(now); wait > 0 {
		return wait
	}
	if q.rate > 0 {
		q.tokens = min(q.burst, q.tokens+q.rate*now.Sub(q.filledAt).Seconds())
		q.filledAt = now
		if q.tokens < 1 {
			return max(time.Duration((1-q.tokens)/q.rate*float64(time.Second)), time.Millisecond)
		}
		q.tokens--
	}
	if now.Sub(q.countedFrom) >= time.Second {
		q.countedFrom, q.counted = now, 0
	}
	q.counted++
	return 0
}

// Wait takes the right to make one call, waiting for it until ctx ends.
func (q *Quota) Wait(ctx context.Context) error {
	for {
		wait := q.Take()
		if wait == 0 {
			return ctx.Err()
		}
		if err := retry.Wait(ctx, wait); err != nil {
			return err
		}
	}
}

// Learn takes the result of a call. A Throttle stops every run of the account
// for as long as it asks and lowers the rate; answers raise it again.
func (q *Quota) Learn(err error) {
	now := q.now()
	fault := tidegate.FaultOf(err)
	q.mu.Lock()
	defer q.mu.Unlock()
	if fault == nil {
		q.recover()
		return
	}
	if fault.Action != tidegate.Throttle {
		return
	}
	fresh := !now.Before(q.blocked) // calls that were under way together teach once
	if until := now.Add(max(fault.After, 100*time.Millisecond)); until.After(q.blocked) {
		q.blocked = until
	}
	if !fresh {
		return
	}
	from := q.rate
	if from == 0 {
		from = max(q.counted, 1) / max(now.Sub(q.countedFrom).Seconds(), 0.1)
		q.burst, q.tokens = 1, 0
	}
	q.rate = max(from*0.7, 0.1)
	q.filledAt, q.calm = q.blocked, 0
	q.tokens = min(q.tokens, 1)
}

// recover raises a lowered rate by a tenth per twenty answers, up to what is
// declared; where nothing is, the limit falls away once it is far from biting.
func (q *Quota) recover() {
	if q.rate == 0 || q.declared > 0 && q.rate >= q.declared {
		return
	}
	if q.calm++; q.calm < 20 {
		return
	}
	q.calm = 0
	q.rate *= 1.1
	switch {
	case q.declared > 0:
		q.rate = min(q.rate, q.declared)
	case q.rate > 10_000:
		q.rate = 0
	}
}

// quotas keeps one Quota per account for the life of the Runner.
type quotas struct {
	now func() time.Time
	mu  sync.Mutex
	of  map[string]*Quota
}

func (q *quotas) get(account string, limit destinations.Limit) *Quota {
	q.mu.Lock()
	quota := q.of[account]
	if quota == nil {
		quota = NewQuota(q.now)
		q.of[account] = quota
	}
	q.mu.Unlock()
	quota.Declare(limit)
	return quota
}
