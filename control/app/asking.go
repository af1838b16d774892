package app

import (
	"context"
	"sync"
	"time"

	"github.com/tidegate/tidegate/control/api"
)

// askedFor is how long /readyz waits for the warehouse.
const askedFor = time.Second

// answer is what the warehouse says when it is asked how it is.
type answer struct {
	stage  api.Stage
	counts []api.SourceCounts // nil when it does not say
}

// asking asks one question at a time, whoever wants to know: an engine that hangs gives the
// question up when it likes, and is not asked again before.
type asking struct {
	mu      sync.Mutex
	open    *question // nil while nothing is asked
	running sync.WaitGroup
}

type question struct {
	done   chan struct{}
	answer answer // after done
}

// ask returns what question answers; ok is false when it does not until ctx ends.
func (a *asking) ask(ctx context.Context, put func(ctx context.Context) answer) (_ answer, ok bool) {
	a.mu.Lock()
	q := a.open
	if q == nil {
		q = &question{done: make(chan struct{})}
		a.open = q
		a.running.Go(func() {
			patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), askedFor) // others wait for the answer too
			defer cancel()
			q.answer = put(patient)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.open = nil
			close(q.done)
		})
	}
	a.mu.Unlock()
	select {
	case <-q.done:
		return q.answer, true
	case <-ctx.Done():
		return answer{}, false
	}
}
