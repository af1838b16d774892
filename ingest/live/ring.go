package live

import (
	"sync"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader"
)

// ringSize is how many events' fates are remembered.
const ringSize = 1 << 17

// Ring remembers what became of the last events. The zero Ring is ready.
type Ring struct {
	mu    sync.RWMutex
	slots []slot
}

type slot struct {
	position int64
	fate     loader.Fate
}

// Put notes what became of events. It fits loader.Options.OnFates.
func (r *Ring) Put(runs []loader.Fates) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots == nil {
		r.slots = make([]slot, ringSize)
	}
	for _, run := range runs {
		for i, f := range run.Of {
			at := run.First.Position + int64(i)
			r.slots[at%ringSize] = slot{at, f}
		}
	}
}

// Of returns what became of the event at offset: Waiting when that is not known (any more).
func (r *Ring) Of(offset tidegate.Offset) loader.Fate {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.slots == nil {
		return loader.Waiting
	}
	if s := r.slots[offset.Position%ringSize]; s.position == offset.Position {
		return s.fate
	}
	return loader.Waiting
}
