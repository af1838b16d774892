package turns

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is the answer of a warehouse to every call after Close.
var ErrClosed = errors.New("the warehouse is closed")

// Door lets calls into a warehouse until it is closed. The zero value is open.
type Door struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

// Enter lets the caller in, who leaves once, or is ErrClosed.
func (d *Door) Enter() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	d.inside.Add(1)
	return nil
}

// Leave ends what Enter began.
func (d *Door) Leave() { d.inside.Done() }

// Close lets nobody in any more and waits until all who are inside have left; first says that
// it was not closed before.
func (d *Door) Close() (first bool) {
	d.mu.Lock()
	first = !d.closed
	d.closed = true
	d.mu.Unlock()
	d.inside.Wait()
	return first
}

// Held are turns that one user has, together with others, until it gives all of them up. It is used
// by one goroutine. The zero value holds nothing.
type Held[K comparable] struct{ done map[K]func() }

// Take waits for the turn of a name, unless it is held already.
func (h *Held[K]) Take(ctx context.Context, of *Turns[K], name K) error {
	return h.hold(ctx, of.Together, name)
}

// TakeAlone is Take of a turn that is nobody else's meanwhile.
func (h *Held[K]) TakeAlone(ctx context.Context, of *Turns[K], name K) error {
	return h.hold(ctx, of.Alone, name)
}

func (h *Held[K]) hold(ctx context.Context, take func(context.Context, K) (func(), error), name K) error {
	if h.done[name] != nil {
		return nil
	}
	done, err := take(ctx, name)
	if err != nil {
		return err
	}
	if h.done == nil {
		h.done = map[K]func(){}
	}
	h.done[name] = done
	return nil
}

// Empty says that no turn is held.
func (h *Held[K]) Empty() bool { return len(h.done) == 0 }

// Give gives up the turn of a name, if it is held.
func (h *Held[K]) Give(name K) {
	if done := h.done[name]; done != nil {
		delete(h.done, name)
		done()
	}
}

// Release gives all turns up and returns whose they were.
func (h *Held[K]) Release() []K {
	names := make([]K, 0, len(h.done))
	for name, done := range h.done {
		done()
		names = append(names, name)
	}
	clear(h.done)
	return names
}
