package snowflake

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/tidegate/tidegate/warehouse"
)

// turns lets the loads of a table run together and a rewrite of it alone, in
// the order in which they came. What it keeps of a table goes with its last user.
type turns struct {
	mu   sync.Mutex
	held map[warehouse.Table]*turn
}

type turn struct {
	*semaphore.Weighted
	users int
}

// together is how many loads run together; a rewrite takes the place of all.
const together = 1 << 20

func newTurns() *turns { return &turns{held: make(map[warehouse.Table]*turn)} }

// load waits until nobody rewrites the table; done ends the turn.
func (t *turns) load(ctx context.Context, table warehouse.Table) (done func(), err error) {
	return t.take(ctx, table, 1)
}

// rewrite waits until nobody uses the table.
func (t *turns) rewrite(ctx context.Context, table warehouse.Table) (done func(), err error) {
	return t.take(ctx, table, together)
}

func (t *turns) take(ctx context.Context, table warehouse.Table, n int64) (func(), error) {
	t.mu.Lock()
	l := t.held[table]
	if l == nil {
		l = &turn{Weighted: semaphore.NewWeighted(together)}
		t.held[table] = l
	}
	l.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(t.held, table)
		}
	}
	if err := l.Acquire(ctx, n); err != nil {
		leave()
		return nil, err
	}
	return func() { l.Release(n); leave() }, nil
}
