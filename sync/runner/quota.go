package runner

import (
	"context"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// Quota is the call rate of one destination account, shared by everything that
// calls it. It is a token bucket whose rate is the one declared, and lower for a
// while after the destination asked to slow down: what it refuses teaches how
// much of its budget others are using. When calls are scarce they are shared out
// by weight: of those who wait, the one goes first that had least for its weight.
// Safe for concurrent use.
type Quota struct {
	now func() time.Time

	mu       sync.Mutex
	declared float64 // calls per second; 0 when no limit is known
	told     float64 // calls per second as answers tell; 0 unknown
	rate     float64 // what is allowed now; 0 is unlimited
	burst    float64
	tokens   float64
	filledAt time.Time
	blocked  time.Time // no call before

	remaining, limit int // as the last answer said; remaining -1 when unknown
	resetAt          time.Time

	countedFrom time.Time // calls of the current second, to learn a rate from
	counted     float64
	calm        int // answered calls since the last slowdown

	virtual   float64 // calls for their weight, of the one that was served last
	claimants map[string]*claimant
}

// claimant is one who calls the account.
type claimant struct {
	pass     float64   // calls that it had for its weight
	until    time.Time // it waits, and is expected to ask again before
	tokens   float64   // of its own share, when it may not use the whole
	filledAt time.Time
}

// patience is how much later than told a claimant may ask again without losing its turn.
const patience = 20 * time.Millisecond

// NewQuota returns a quota without a limit; Declare gives it one.
func NewQuota(now func() time.Time) *Quota {
	return &Quota{now: now, remaining: -1, claimants: map[string]*claimant{}}
}

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
func (q *Quota) Take(c Claim) time.Duration {
	c = c.sane()
	now := q.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if wait := q.closed(now, c); wait > 0 {
		return wait
	}
	if q.rate > 0 {
		if wait := q.scarce(now, c); wait > 0 {
			return wait
		}
	}
	if now.Sub(q.countedFrom) >= time.Second {
		q.countedFrom, q.counted = now, 0
	}
	q.counted++
	if q.remaining > 0 {
		q.remaining--
	}
	return 0
}

// closed is how long the account takes no call of c at all.
func (q *Quota) closed(now time.Time, c Claim) time.Duration {
	if wait := q.blocked.Sub(now); wait > 0 {
		return wait
	}
	if q.remaining < 0 || q.limit <= 0 || !now.Before(q.resetAt) {
		return 0
	}
	if q.remaining <= q.limit*(100-c.Percent)/100 {
		return q.resetAt.Sub(now) // the rest is for others
	}
	return 0
}

// scarce takes a token, or says how long to wait for one.
func (q *Quota) scarce(now time.Time, c Claim) time.Duration {
	q.tokens = min(q.burst, q.tokens+q.rate*now.Sub(q.filledAt).Seconds())
	q.filledAt = now
	who := q.claimant(now, c)
	if share := float64(c.Percent) / 100; share < 1 {
		own := max(q.burst*share, 1)
		if who.filledAt.IsZero() {
			who.tokens = own
		}
		who.tokens = min(own, who.tokens+q.rate*share*now.Sub(who.filledAt).Seconds())
		who.filledAt = now
		if who.tokens < 1 {
			return seconds((1 - who.tokens) / (q.rate * share))
		}
	}
	wait := time.Duration(0)
	if q.tokens < 1 {
		wait = seconds((1 - q.tokens) / q.rate)
	} else if q.othersFirst(now, who) {
		wait = seconds(1 / q.rate)
	}
	if wait > 0 {
		who.until = now.Add(wait + patience)
		return wait
	}
	q.tokens--
	who.tokens--
	q.virtual = who.pass
	who.pass += 1 / float64(c.Weight)
	return 0
}

// claimant finds c; one who comes (back) starts where the others are, so that
// nobody can save up.
func (q *Quota) claimant(now time.Time, c Claim) *claimant {
	who := q.claimants[c.Sync]
	if who == nil {
		if len(q.claimants) > 256 {
			for name, old := range q.claimants {
				if now.Sub(old.until) > time.Minute {
					delete(q.claimants, name)
				}
			}
		}
		who = &claimant{}
		q.claimants[c.Sync] = who
	}
	if who.until.Before(now) {
		who.pass = max(who.pass, q.virtual)
	}
	return who
}

func (q *Quota) othersFirst(now time.Time, who *claimant) bool {
	for _, other := range q.claimants {
		if other != who && !other.until.Before(now) && other.pass < who.pass {
			return true
		}
	}
	return false
}

func seconds(s float64) time.Duration {
	return max(time.Duration(s*float64(time.Second)), time.Millisecond)
}

// Learn takes the result of a call. A Throttle stops everyone of the account
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

// Allow takes what an answer said about the rate limit.
func (q *Quota) Allow(a destinations.Allowance) {
	now := q.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.remaining, q.limit = a.Remaining, a.Limit
	reset := a.Reset
	if reset <= 0 {
		reset = a.Window
	}
	q.resetAt = now.Add(reset)
	if a.Limit <= 0 {
		q.remaining = -1
	}
	if a.Limit > 0 && a.Window > 0 {
		q.told = 0.9 * float64(a.Limit) / a.Window.Seconds()
		if q.rate == 0 || q.rate > q.told {
			if q.rate == 0 {
				q.burst, q.filledAt = max(1, float64(a.Limit)/10), now
				q.tokens = q.burst
			}
			q.rate = q.told
		}
	}
}

// ceiling is the rate that nothing raises the quota above; 0 when none is known.
func (q *Quota) ceiling() float64 {
	if q.declared == 0 || q.told > 0 && q.told < q.declared {
		return q.told
	}
	return q.declared
}

// recover raises a lowered rate by a tenth per twenty answers, up to what is
// known; where nothing is, the limit falls away once it is far from biting.
func (q *Quota) recover() {
	ceiling := q.ceiling()
	if q.rate == 0 || ceiling > 0 && q.rate >= ceiling {
		return
	}
	if q.calm++; q.calm < 20 {
		return
	}
	q.calm = 0
	q.rate *= 1.1
	switch {
	case ceiling > 0:
		q.rate = min(q.rate, ceiling)
	case q.rate > 10_000:
		q.rate = 0
	}
}

// Rate is how many calls per second the account allows now; 0 is unlimited.
func (q *Quota) Rate() float64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rate
}

// memoryQuotas are the quotas of one process.
type memoryQuotas struct {
	now func() time.Time
	mu  sync.Mutex
	of  map[string]*Quota
}

// NewQuotas returns quotas that live in this process, without a limit until one is declared or told.
func NewQuotas(now func() time.Time) Quotas {
	return &memoryQuotas{now: now, of: map[string]*Quota{}}
}

func (m *memoryQuotas) get(account string) *Quota {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.of[account]
	if q == nil {
		q = NewQuota(m.now)
		m.of[account] = q
	}
	return q
}

func (m *memoryQuotas) Take(ctx context.Context, account string, c Claim) (time.Duration, error) {
	return m.get(account).Take(c), ctx.Err()
}

func (m *memoryQuotas) Declare(_ context.Context, account string, l destinations.Limit) error {
	m.get(account).Declare(l)
	return nil
}

func (m *memoryQuotas) Learn(_ context.Context, account string, err error) error {
	m.get(account).Learn(err)
	return nil
}

func (m *memoryQuotas) Allow(_ context.Context, account string, a destinations.Allowance) error {
	m.get(account).Allow(a)
	return nil
}
