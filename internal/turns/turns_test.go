package turns

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestAloneAndTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var turns Turns[string]
		var mu sync.Mutex
		var together, alone int
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				take, count := turns.Together, &together
				if i%3 == 0 {
					take, count = turns.Alone, &alone
				}
				done, err := take(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				defer done()
				mu.Lock()
				*count++
				if alone > 1 || alone == 1 && together > 0 {
					t.Errorf("%d work alone beside %d together", alone, together)
				}
				mu.Unlock()
				defer func() { mu.Lock(); *count--; mu.Unlock() }()
			})
		}
		wg.Wait()
		if len(turns.held) != 0 {
			t.Errorf("%d names are still held", len(turns.held))
		}
	})
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var turns Turns[string]
		first, err := turns.Together(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		second, err := turns.Together(t.Context(), "a")
		if err != nil {
			t.Fatal("two do not work together:", err)
		}
		other, err := turns.Alone(t.Context(), "b")
		if err != nil {
			t.Fatal("another name is held:", err)
		}
		other()
		why := errors.New("no patience")
		ctx, stop := context.WithCancelCause(t.Context())
		got := make(chan error, 1)
		go func() {
			_, err := turns.Alone(ctx, "a")
			got <- err
		}()
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatal("one works alone beside two:", err)
		default:
		}
		stop(why)
		if err := <-got; !errors.Is(err, why) {
			t.Errorf("%v, want the cause", err)
		}
		first()
		second()
		done, err := turns.Alone(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		done()
		if len(turns.held) != 0 {
			t.Errorf("%d names are still held", len(turns.held))
		}
	})
}
