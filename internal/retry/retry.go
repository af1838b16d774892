// Package retry says how long to wait before trying again, and tries again.
//
// Waits grow exponentially up to a cap with full jitter: a uniform part of the
// grown interval, so that many callers that failed together do not return
// together. The random source is passed in; waiting uses timers only, so that
// testing/synctest can drive it.
//
// It does not decide what is worth another attempt: tidegate.Fault does, and Do
// obeys it (Retry and Throttle are tried again, Reject and Halt are not).
//
// A Backoff is a plain value, safe for concurrent use when the random source
// is; nothing here starts a goroutine.
package retry

import (
	"context"
	"time"

	"github.com/tidegate/tidegate"
)

// Backoff is a growing interval.
type Backoff struct {
	Base time.Duration // the first interval; 0 means 100 ms
	Cap  time.Duration // the largest; 0 means 30 s
}

func (b Backoff) withDefaults() Backoff {
	if b.Base <= 0 {
		b.Base = 100 * time.Millisecond
	}
	if b.Cap <= 0 {
		b.Cap = 30 * time.Second
	}
	b.Cap = max(b.Cap, b.Base)
	return b
}

// Interval is the interval before jitter of the attempt-th retry, counted from 0.
func (b Backoff) Interval(attempt int) time.Duration {
	b = b.withDefaults()
	d := b.Base
	for range min(max(attempt, 0), 62) {
		if d >= b.Cap-d { // d+d would pass the cap, or overflow
			return b.Cap
		}
		d += d
	}
	return d
}

// Delay is how long to wait before the attempt-th retry, counted from 0. random
// returns a number in [0, 1).
func (b Backoff) Delay(attempt int, random func() float64) time.Duration {
	return time.Duration(random() * float64(b.Interval(attempt)))
}

// Wait blocks for d or until ctx ends, and then returns ctx's error.
func Wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Policy bounds Do.
type Policy struct {
	Backoff
	// Attempts is how often the call is made at most; 0 means until ctx ends.
	Attempts int
	// Random returns a number in [0, 1); required.
	Random func() float64
}

// Do calls call until it succeeds, its fault says that another attempt is of no
// use, the attempts are used up or ctx ends; it returns the last error of call,
// or ctx's when there is none. A Throttle is waited out in full before the
// jitter is added.
func Do(ctx context.Context, p Policy, call func(ctx context.Context) error) error {
	for attempt := 0; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := call(ctx)
		if err == nil {
			return nil
		}
		fault := tidegate.FaultOf(err)
		if fault.Action == tidegate.Reject || fault.Action == tidegate.Halt {
			return err
		}
		if p.Attempts > 0 && attempt+1 >= p.Attempts {
			return err
		}
		delay := p.Delay(attempt, p.Random)
		if fault.Action == tidegate.Throttle {
			delay += max(fault.After, 0)
		}
		if Wait(ctx, delay) != nil {
			return err
		}
	}
}
