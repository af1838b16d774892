package app

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/control/api"
)

// TestAnEngineThatHangsHoldsNobodyUp: who asks has an answer within a second, and an engine
// that takes longer to give a question up is not asked another one meanwhile.
func TestAnEngineThatHangsHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a asking
		var asked atomic.Int64
		hangs := func(ctx context.Context) answer {
			asked.Add(1)
			<-ctx.Done()
			time.Sleep(5 * time.Second) // a cancellation that nobody answers
			return answer{}
		}
		for range 4 {
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), askedFor)
			if _, ok := a.ask(ctx, hangs); ok || time.Since(begin) != askedFor {
				t.Errorf("an answer: %v, after %v", ok, time.Since(begin))
			}
			cancel()
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("it was asked %d times", n)
		}
		a.running.Wait()
		well := answer{stage: api.Stage{Name: "warehouse", Ready: true}}
		if got, ok := a.ask(t.Context(), func(context.Context) answer { return well }); !ok || !got.stage.Ready {
			t.Errorf("afterwards: %+v, %v", got, ok)
		}
		a.running.Wait()
	})
}
