// Package quota keeps the call rates of destination accounts in Redis, so that
// several nodes share them: the same rules as runner.NewQuotas has in one
// process, as one script that Redis runs at once.
//
// Invariants: the clock is that of Redis, so that nodes need not agree; a key
// that nobody used for a day goes away by itself, and with it what was learned
// about the account, which is learned again.
//
// It does not decide what happens when Redis is away: Take says so, and the
// runner waits.
//
// A Quotas is safe for concurrent use and starts no goroutine.
package quota

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/runner"
)

//go:embed quota.lua
var source string

var script = redis.NewScript(source)

// Quotas are runner.Quotas in Redis. Make one with New.
type Quotas struct {
	client redis.Scripter
	prefix string

	mu       sync.Mutex
	answered map[string]int // good answers per account that Redis was not told yet
}

var _ runner.Quotas = (*Quotas)(nil)

// New returns quotas under keys that begin with prefix. The caller closes the client.
func New(client redis.Scripter, prefix string) *Quotas {
	return &Quotas{client: client, prefix: prefix, answered: map[string]int{}}
}

func (q *Quotas) run(ctx context.Context, account string, args ...any) (int64, error) {
	n, err := script.Run(ctx, q.client, []string{q.prefix + "quota:{" + account + "}"}, args...).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("asking Redis for the quota of %s: %w", account, err)
	}
	return n, nil
}

// Take implements runner.Quotas.
func (q *Quotas) Take(ctx context.Context, account string, c runner.Claim) (time.Duration, error) {
	wait, err := q.run(ctx, account, "take", c.Sync, max(c.Weight, 1), c.Percent)
	return time.Duration(wait) * time.Microsecond, err
}

// Declare implements runner.Quotas.
func (q *Quotas) Declare(ctx context.Context, account string, l destinations.Limit) error {
	if l.Calls <= 0 || l.Per <= 0 {
		return nil
	}
	_, err := q.run(ctx, account, "declare", l.Calls, l.Per.Microseconds())
	return err
}

// answersAtOnce is how many good answers are told to Redis together.
const answersAtOnce = 20

// Learn implements runner.Quotas. Good answers are counted here and told now and then.
func (q *Quotas) Learn(ctx context.Context, account string, result error) error {
	fault := tidegate.FaultOf(result)
	switch {
	case fault == nil:
		q.mu.Lock()
		q.answered[account]++
		n := q.answered[account]
		if n >= answersAtOnce {
			delete(q.answered, account)
		}
		q.mu.Unlock()
		if n < answersAtOnce {
			return nil
		}
		_, err := q.run(ctx, account, "answers", n)
		return err
	case fault.Action == tidegate.Throttle:
		_, err := q.run(ctx, account, "throttle", fault.After.Microseconds())
		return err
	}
	return nil
}

// Allow implements runner.Quotas.
func (q *Quotas) Allow(ctx context.Context, account string, a destinations.Allowance) error {
	_, err := q.run(ctx, account, "allow", a.Limit, a.Remaining, a.Reset.Microseconds(), a.Window.Microseconds())
	return err
}
