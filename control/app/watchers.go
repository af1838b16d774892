package app

import (
	"context"
	"errors"
	"sync"

	"github.com/tidegate/tidegate"
)

// watchers are those who read a live view or a stream, which has no end of its own: the
// hub's end is theirs. They are told, and find their place again by the last offset.
type watchers struct {
	mu    sync.Mutex
	ended bool
	next  int
	stop  map[int]context.CancelCauseFunc
}

// add returns a context for one that reads, which ends with the hub. done is called at its
// end with what it came to, and puts the hub's end in the place of a cancelled read.
func (w *watchers) add(ctx context.Context) (_ context.Context, done func(err *error)) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		cancel(errStopping())
	}
	if w.stop == nil {
		w.stop = map[int]context.CancelCauseFunc{}
	}
	id := w.next
	w.next++
	w.stop[id] = cancel
	return ctx, func(err *error) {
		w.mu.Lock()
		delete(w.stop, id)
		w.mu.Unlock()
		var stopping *tidegate.Fault
		if errors.Is(*err, context.Canceled) && errors.As(context.Cause(ctx), &stopping) {
			*err = stopping
		}
		cancel(nil)
	}
}

// end ends all of them, and those who come later at once.
func (w *watchers) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, stop := range w.stop {
		stop(errStopping())
	}
}

func errStopping() error {
	return &tidegate.Fault{Action: tidegate.Retry, Code: "server.stopping", Message: "the server is stopping", Hint: "come back when it runs again, and go on after the last offset"}
}
