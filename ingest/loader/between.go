package loader

import (
	"context"
	"errors"
	"fmt"
)

// visit is somebody who wants the warehouse's tables for himself.
type visit struct {
	ctx  context.Context //nolint:containedctx // it is the visitor's, and ends with his call
	use  func(ctx context.Context) error
	done chan struct{}
	err  error // when done
}

var errStopped = errors.New("the loader has stopped")

// Between calls use while nothing is being loaded, and has the loader read the tables'
// columns again afterwards. Events wait in the journal meanwhile. It waits for the
// transaction at hand, and for Run to begin.
func (l *Loader) Between(ctx context.Context, use func(ctx context.Context) error) error {
	v := &visit{ctx: ctx, use: use, done: make(chan struct{})}
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return fmt.Errorf("waiting for the loader: %w", errStopped)
	}
	l.visits = append(l.visits, v)
	if l.interrupt != nil {
		l.interrupt()
	}
	l.mu.Unlock()
	// A visit is not taken back: the loader has dropped what it held for it. When ctx
	// has ended, use is left out.
	<-v.done
	return v.err
}

// receive lets the visitors in, and says whether there were any.
func (l *Loader) receive() bool {
	l.mu.Lock()
	visits := l.visits
	l.visits = nil
	l.mu.Unlock()
	if len(visits) > 0 {
		l.ahead.settle()
	}
	for _, v := range visits {
		if v.err = v.ctx.Err(); v.err == nil {
			v.err = v.use(v.ctx)
		}
		close(v.done)
	}
	return len(visits) > 0
}

// leave turns visitors away for good.
func (l *Loader) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	for _, v := range l.visits {
		v.err = fmt.Errorf("waiting for the loader: %w", errStopped)
		close(v.done)
	}
	l.visits = nil
}
