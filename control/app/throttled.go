package app

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/control/api"
)

// throttledFor is how long doctor speaks of a source that was sent back for its rate.
const throttledFor = 15 * time.Minute

// throttled are the sources that were sent back for their rate, and when.
type throttled struct {
	now func() time.Time
	mu  sync.Mutex
	of  map[string]sentBack // by source; bounded by those that are defined
}

type sentBack struct {
	since, last time.Time
	events      int64
}

func (t *throttled) add(source string, events int) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = map[string]sentBack{}
	}
	s := t.of[source]
	if now.Sub(s.last) > throttledFor {
		s = sentBack{since: now}
	}
	s.last, s.events = now, s.events+int64(events)
	t.of[source] = s
}

// findings names the sources of the last minutes.
func (t *throttled) findings() (found []api.Finding) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, source := range slices.Sorted(maps.Keys(t.of)) {
		s := t.of[source]
		if now.Sub(s.last) > throttledFor {
			continue
		}
		found = append(found, api.Finding{
			Check: "source " + source, Level: "warning",
			Detail: fmt.Sprintf("%d times an event above its rate was answered 429, since %s, last at %s", s.events, s.since.UTC().Format(time.TimeOnly), s.last.UTC().Format(time.TimeOnly)),
			Hint:   "SDKs send again; where they fall behind, raise events_per_second of the source (or of settings.limits)",
		})
	}
	return found
}
