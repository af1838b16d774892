package loader

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// While parts are written others are prepared, until this many bytes of events are
// ready: in the time that it takes to commit a whole group of rows, most of the next one
// can be. What is kept of them is the rows.
const maxAheadBytes = 56 << 20

// lookahead is the parts that wait to be written, in order, and the goroutine that
// prepares more of them. Run starts it, one at a time, and waits for it; until then it
// has the reader, the batch, the tables' pictures, the shaper and the filter to
// itself. Writing does not touch them.
type lookahead struct {
	running sync.WaitGroup
	stop    atomic.Bool
	news    chan struct{} // after a part, and after the last; holds one

	mu     sync.Mutex
	busy   bool
	parts  []*part
	err    error   // why there are no more
	before []*load // prepared and not committed: their ids came before those of the next part
}

// room says whether one more part may be prepared. mu is held.
func (a *lookahead) room() bool {
	bytes := int64(0)
	for _, p := range a.parts {
		bytes += p.load.bytes
	}
	return bytes < maxAheadBytes
}

func (a *lookahead) tell() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// prepared takes p in, and says whether to go on.
func (a *lookahead) prepared(p *part, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
	if p == nil {
		return false
	}
	a.parts, a.before = append(a.parts, p), append(a.before, p.load)
	a.tell()
	return p.more && a.room()
}

// prints are the ids of what is prepared and not committed.
func (a *lookahead) prints() [][]fingerprint {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([][]fingerprint, len(a.before))
	for i, ld := range a.before {
		all[i] = ld.prints
	}
	return all
}

// committed forgets the first n loads.
func (a *lookahead) committed(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.before = slices.Delete(a.before, 0, min(n, len(a.before)))
}

// prepareAhead prepares what follows cur and the parts that are ready, unless that is
// being done or is enough.
func (l *Loader) prepareAhead(ctx context.Context, cur *part) {
	a := &l.ahead
	a.mu.Lock()
	defer a.mu.Unlock()
	last := cur
	if n := len(a.parts); n > 0 {
		last = a.parts[n-1]
	}
	if a.busy || a.err != nil || last.careful || !last.more || !a.room() {
		return
	}
	a.busy = true
	a.stop.Store(false)
	a.running.Go(func() {
		for a.prepared(l.prepareNext(ctx)) && !a.stop.Load() {
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.busy = false
		a.tell()
	})
}

// peek waits for a part that is ready, or for the word that there is none.
func (a *lookahead) peek() (*part, error) {
	for {
		a.mu.Lock()
		if len(a.parts) > 0 {
			p := a.parts[0]
			a.mu.Unlock()
			return p, nil
		}
		busy, err := a.busy, a.err
		a.mu.Unlock()
		if !busy {
			return nil, err
		}
		<-a.news
	}
}

// take removes the part that peek returned.
func (a *lookahead) take() *part {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.parts) == 0 {
		return nil
	}
	p := a.parts[0]
	a.parts = slices.Delete(a.parts, 0, 1)
	return p
}

// settle waits for the goroutine, which stops after the part that it has in hand.
func (a *lookahead) settle() {
	a.stop.Store(true)
	a.running.Wait()
}

// drop forgets the parts; they are read again.
func (a *lookahead) drop() {
	a.settle()
	a.parts, a.before, a.err = nil, nil, nil
}
