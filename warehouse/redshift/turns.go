package redshift

import (
	"context"
	"sync"
)

// turns lets one at a time work under a name.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn
}

type turn struct {
	free    chan struct{} // holds one token while nobody works
	waiting int           // and working
}

func newTurns() *turns { return &turns{held: map[string]*turn{}} }

// take waits for the turn of name, and returns what gives it back.
func (t *turns) take(ctx context.Context, name string) (release func(), err error) {
	t.mu.Lock()
	one := t.held[name]
	if one == nil {
		one = &turn{free: make(chan struct{}, 1)}
		one.free <- struct{}{}
		t.held[name] = one
	}
	one.waiting++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.waiting--; one.waiting == 0 {
			delete(t.held, name)
		}
	}
	select {
	case <-one.free:
		return func() { one.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
