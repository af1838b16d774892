// Package turns keeps those apart who work on one thing, a table say, inside of one process, and lets callers in until what they call is closed.
//
// Invariants: who works alone has nobody beside, who works together has others of that kind only, and all
// get their turn in the order in which they came. What is kept of a name goes with its last user. It keeps
// nobody of another process away. Everything here is safe for concurrent use.
package turns

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Turns are those of the names of one kind. The zero value is ready.
type Turns[K comparable] struct {
	mu   sync.Mutex
	held map[K]*turn
}

type turn struct {
	*semaphore.Weighted
	users int
}

// most is how many work together; one alone takes the place of all.
const most = 1 << 20

// Together waits until nobody works on name alone, or ctx is done; done ends the turn.
func (t *Turns[K]) Together(ctx context.Context, name K) (done func(), err error) {
	return t.take(ctx, name, 1)
}

// Alone waits until nobody works on name, or ctx is done; done ends the turn.
func (t *Turns[K]) Alone(ctx context.Context, name K) (done func(), err error) {
	return t.take(ctx, name, most)
}

func (t *Turns[K]) take(ctx context.Context, name K, n int64) (func(), error) {
	t.mu.Lock()
	if t.held == nil {
		t.held = map[K]*turn{}
	}
	one := t.held[name]
	if one == nil {
		one = &turn{Weighted: semaphore.NewWeighted(most)}
		t.held[name] = one
	}
	one.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(t.held, name)
		}
	}
	if err := one.Acquire(ctx, n); err != nil {
		leave()
		return nil, fmt.Errorf("waiting for a turn: %w", context.Cause(ctx))
	}
	return func() { one.Release(n); leave() }, nil
}
