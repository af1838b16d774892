package runner

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/sync/ledger"
)

func TestQuotaIsSharedByWeight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewQuota(time.Now)
		q.Declare(destinations.Limit{Calls: 100, Per: time.Second})
		got := map[string]int{}
		end := time.Now().Add(20 * time.Second)
		done := make(chan string)
		claims := []Claim{{Sync: "light", Weight: 10}, {Sync: "heavy", Weight: 30}, {Sync: "modest", Weight: 30, Percent: 10}}
		for _, c := range claims {
			go func() {
				for {
					wait := q.Take(c)
					if wait == 0 {
						done <- c.Sync
						continue
					}
					if time.Now().After(end) {
						done <- ""
						return
					}
					if err := retry.Wait(t.Context(), wait); err != nil {
						done <- ""
						return
					}
				}
			}()
		}
		for left := len(claims); left > 0; {
			if name := <-done; name != "" {
				got[name]++
			} else {
				left--
			}
		}
		if sum := got["light"] + got["heavy"] + got["modest"]; sum < 1700 || sum > 2010 {
			t.Errorf("%d calls in 20 s at 100 a second: %v", sum, got)
		}
		if share := float64(got["heavy"]) / float64(got["light"]); share < 2.5 || share > 3.5 {
			t.Errorf("the heavier has %.2f times as much: %v", share, got)
		}
		if got["modest"] > 20*10+10 {
			t.Errorf("one who may use a tenth used %d: %v", got["modest"], got)
		}
	})
}

func TestQuotaHeedsWhatAnswersTell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewQuota(time.Now)
		q.Allow(destinations.Allowance{Limit: 100, Remaining: 40, Reset: time.Minute, Window: time.Minute})
		if wait := q.Take(Claim{Sync: "s", Percent: 60}); wait != time.Minute {
			t.Errorf("what is left is for others, and it waits %v", wait)
		}
		if wait := q.Take(Claim{Sync: "other"}); wait != 0 {
			t.Errorf("another waits %v", wait)
		}
		if rate := q.Rate(); rate > 100.0/60 {
			t.Errorf("the rate is %v, told were 100 a minute", rate)
		}
		q.Allow(destinations.Allowance{Limit: 100, Remaining: 0, Reset: time.Second})
		if wait := q.Take(Claim{Sync: "other"}); wait != time.Second {
			t.Errorf("nothing is left, and it waits %v", wait)
		}
	})
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &breaker{now: time.Now}
		down := errors.New("connection refused")
		sleep := func(d time.Duration) {
			if err := retry.Wait(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		for i := range breakerFails {
			if _, ok := b.enter(); !ok {
				t.Fatalf("it is open after %d failures", i)
			}
			b.learn(down)
		}
		wait, ok := b.enter()
		if ok || wait != breakerBase || !b.isOpen() {
			t.Fatalf("after %d failures: %v %v", breakerFails, wait, ok)
		}
		sleep(wait)
		if _, ok := b.enter(); !ok {
			t.Fatal("no probe is let through")
		}
		if _, ok := b.enter(); ok {
			t.Fatal("two probes are let through")
		}
		b.unused()
		if _, ok := b.enter(); !ok {
			t.Fatal("a probe that was not made is not given back")
		}
		b.learn(down)
		if wait, ok := b.enter(); ok || wait != 2*breakerBase {
			t.Fatalf("after a failed probe: %v %v", wait, ok)
		}
		sleep(2 * breakerBase)
		if _, ok := b.enter(); !ok {
			t.Fatal("no second probe is let through")
		}
		b.learn(&tidegate.Fault{Action: tidegate.Reject}) // a refusal is an answer
		if _, ok := b.enter(); !ok || b.isOpen() {
			t.Fatal("it stays open after an answer")
		}
	})
}

func TestGuardsOfRowsAndNulls(t *testing.T) {
	t.Parallel()
	nulls := func(now, rows, before, confirmed int64) []ledger.FieldNulls {
		return []ledger.FieldNulls{{Field: "email", Now: now, Rows: rows, Before: before, Confirmed: confirmed}}
	}
	cases := []struct {
		name   string
		sum    ledger.Summary
		guards tidegate.Guards
		want   string
	}{
		{"rows off", ledger.Summary{Read: 1, LastRead: 100}, tidegate.Guards{}, ""},
		{"far fewer rows", ledger.Summary{Read: 49, LastRead: 100}, tidegate.Guards{MaxRowsPercent: 50}, "guard.rows"},
		{"far more rows", ledger.Summary{Read: 151, LastRead: 100}, tidegate.Guards{MaxRowsPercent: 50}, "guard.rows"},
		{"at the limit", ledger.Summary{Read: 50, LastRead: 100}, tidegate.Guards{MaxRowsPercent: 50}, ""},
		{"first run", ledger.Summary{Read: 50, LastRead: -1}, tidegate.Guards{MaxRowsPercent: 50}, ""},
		{"incremental", ledger.Summary{Read: 5, LastRead: 100, Partial: true}, tidegate.Guards{MaxRowsPercent: 50}, ""},
		{"incremental and empty", ledger.Summary{LedgerRows: 10, Partial: true}, tidegate.Guards{}, ""},
		{"nulls off", ledger.Summary{Read: 9, Nulls: nulls(9, 10, 0, 10)}, tidegate.Guards{}, ""},
		{"nulls came", ledger.Summary{Read: 9, Nulls: nulls(6, 10, 1, 10)}, tidegate.Guards{MaxNullPercent: 50}, "guard.nulls"},
		{"nulls were there", ledger.Summary{Read: 9, Nulls: nulls(6, 10, 6, 10)}, tidegate.Guards{MaxNullPercent: 50}, ""},
		{"nothing was there", ledger.Summary{Read: 9, Nulls: nulls(6, 10, 0, 0)}, tidegate.Guards{MaxNullPercent: 50}, ""},
	}
	for _, c := range cases {
		got := ""
		if f := Guard(c.sum, c.guards, tidegate.Upsert); f != nil {
			got = f.Code
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b any
		want bool
	}{
		{nil, "", true},
		{nil, "x", false},
		{"a", "a", true},
		{"a", "A", false},
		{int64(7), "7", true},
		{7.5, "7.50", true},
		{"12345678901234567890", "12345678901234567891", true}, // beyond what a number of theirs holds
		{true, "true", true},
		{true, "false", false},
		{"2026-01-02T03:04:05.123456Z", "2026-01-02T03:04:05.123Z", true},
		{"2026-01-02T04:04:05+01:00", "2026-01-02T03:04:05Z", true},
		{"2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z", false},
		{[]any{"a", int64(2)}, "a;2", true},
	} {
		if got := Same(c.a, c.b); got != c.want {
			t.Errorf("%v and %v: %v", c.a, c.b, got)
		}
	}
}

// sleeper confirms everything after a while.
type sleeper struct {
	nowhere

	latency time.Duration
}

func (s sleeper) Write(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	if err := retry.Wait(ctx, s.latency); err != nil {
		return nil, err
	}
	return s.nowhere.Write(ctx, b)
}

// TestTheDestinationIsNeverIdle delivers in a time that only calls take up: at
// least 95 % of what concurrency, batch size and latency allow.
func TestTheDestinationIsNeverIdle(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 8, 64} {
		synctest.Test(t, func(t *testing.T) {
			const records, rounds, latency = 100, 20, 50 * time.Millisecond
			led := flatLedgerOf(records * workers * rounds)
			r, err := New(Options{
				Node: "n", Runs: newMemoryRuns(), Now: time.Now, Random: rand.Uint64,
				Open: func(context.Context, string) (*Opened, error) {
					return &Opened{
						Sync: tidegate.Sync{Name: "s", Mode: tidegate.Upsert}, Ledger: led, Destination: sleeper{latency: latency}, Account: "a", IdentifierField: "email",
						Object: destinations.Object{Name: "o", Safety: destinations.Idempotent, Limit: destinations.Limit{Records: records, Concurrency: workers}}, Close: func() error { return nil },
					}, nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			run, err := r.Do(t.Context(), "s", tidegate.TriggerManual)
			if err != nil || run.State != tidegate.RunSucceeded {
				t.Fatalf("the run is %s: %+v, %v", run.State, run.Fault, err)
			}
			if share := float64(rounds*latency) / float64(time.Since(began)); share < 0.95 {
				t.Errorf("%d workers: %.3f of what the limit allows", workers, share)
			}
		})
	}
}
