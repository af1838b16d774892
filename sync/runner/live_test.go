package runner

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/retry"
)

// quotasAway are quotas whose store goes away, and says how long to wait while it is there.
type quotasAway struct {
	Quotas
	away atomic.Bool
	wait atomic.Int64
}

func (q *quotasAway) Take(ctx context.Context, account string, c Claim) (time.Duration, error) {
	if q.away.Load() {
		return 0, errors.New("connection refused")
	}
	if wait := q.wait.Swap(0); wait > 0 {
		return time.Duration(wait), nil
	}
	return q.Quotas.Take(ctx, account, c)
}

// TestLiveSaysWhatARunWaitsFor: a run that may not call its destination says why and since
// when, and says it no more once it calls again.
func TestLiveSaysWhatARunWaitsFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorkbench(t, 100)
		quotas := &quotasAway{Quotas: NewQuotas(time.Now)}
		quotas.away.Store(true)
		w.quotas = quotas
		w.runner = w.process(t)
		w.crm.latency = time.Second
		w.opened.Object.Limit.Concurrency = 1
		began := time.Now()
		run, err := w.runner.Start(t.Context(), "contacts", tidegate.TriggerManual)
		if err != nil {
			t.Fatal(err)
		}
		waiting := func(after time.Duration) *Waiting {
			t.Helper()
			if err := retry.Wait(t.Context(), after); err != nil {
				t.Fatal(err)
			}
			live, going := w.runner.Live("contacts")
			if !going {
				t.Fatal("the run has ended")
			}
			return live.Waiting
		}
		if got := waiting(8 * time.Second); got == nil || got.For.Code != "quota.away" || !strings.HasSuffix(got.For.Message, ": connection refused") || got.Since.Sub(began) > time.Second {
			t.Errorf("while the store is away: %+v", got)
		}
		quotas.away.Store(false)
		if got := waiting(6 * time.Second); got != nil {
			t.Errorf("when it is back: %+v", got)
		}
		quotas.wait.Store(int64(time.Minute))
		if got := waiting(3 * time.Second); got == nil || got.For.Code != "quota.used" {
			t.Errorf("while the rate limit is used up: %+v", got)
		}
		if got := waiting(time.Minute); got != nil {
			t.Errorf("afterwards: %+v", got)
		}
		if _, err := w.runner.Wait(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
	})
}
