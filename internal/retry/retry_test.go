package retry_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/retry"
)

func TestIntervalGrowsToTheCap(t *testing.T) {
	t.Parallel()
	b := retry.Backoff{Base: 100 * time.Millisecond, Cap: time.Second}
	for attempt, want := range []string{"100ms", "200ms", "400ms", "800ms", "1s", "1s"} {
		if got := b.Interval(attempt).String(); got != want {
			t.Errorf("interval %d is %s, want %s", attempt, got, want)
		}
	}
}

func TestDelayStaysInsideTheInterval(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := retry.Backoff{
			Base: time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "base")),
			Cap:  time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "cap")),
		}
		attempt := rapid.IntRange(-1, 1000).Draw(t, "attempt")
		part := rapid.Float64Range(0, 0.999).Draw(t, "part")
		interval := b.Interval(attempt)
		got := b.Delay(attempt, func() float64 { return part })
		if interval <= 0 || got < 0 || got > interval {
			t.Fatalf("delay %v is not inside [0, %v]", got, interval)
		}
	})
}

func TestDo(t *testing.T) {
	t.Parallel()
	half := func() float64 { return 0.5 }
	plain := errors.New("reset")
	cases := []struct {
		name   string
		errs   []error
		policy retry.Policy
		calls  int
		waited time.Duration
		fails  bool
	}{
		{"first time", []error{nil}, retry.Policy{}, 1, 0, false},
		{"after two", []error{plain, plain, nil}, retry.Policy{}, 3, 150 * time.Millisecond, false},
		{"attempts used up", []error{plain, plain, plain}, retry.Policy{Attempts: 2}, 2, 50 * time.Millisecond, true},
		{"reject", []error{&tidegate.Fault{Action: tidegate.Reject}, nil}, retry.Policy{}, 1, 0, true},
		{"halt", []error{&tidegate.Fault{Action: tidegate.Halt}, nil}, retry.Policy{}, 1, 0, true},
		{
			"throttle",
			[]error{&tidegate.Fault{Action: tidegate.Throttle, After: time.Minute}, nil},
			retry.Policy{},
			2, time.Minute + 50*time.Millisecond, false,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				c.policy.Random = half
				calls := 0
				err := retry.Do(t.Context(), c.policy, func(context.Context) error {
					calls++
					return c.errs[calls-1]
				})
				if (err != nil) != c.fails || calls != c.calls || time.Since(start) != c.waited {
					t.Errorf("err %v, %d calls, waited %v", err, calls, time.Since(start))
				}
			})
		})
	}
}

func TestDoEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		failed := errors.New("down")
		err := retry.Do(ctx, retry.Policy{Random: func() float64 { return 0.9 }}, func(context.Context) error { return failed })
		if !errors.Is(err, failed) || ctx.Err() == nil {
			t.Errorf("got %v with context %v", err, ctx.Err())
		}
	})
}
