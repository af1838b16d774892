package forward

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/destinations"
)

// where is where a unit is on its way; see the package comment.
type where uint8

const (
	queued  where = iota // behind others in a lane
	ready                // first in all its lanes
	resting              // ready, and not before a time
	flying               // in a call
	gone                 // settled
)

// unit is one event that is not settled.
type unit struct {
	letter Letter // Event is nil while the unit is parked
	item   destinations.Item
	size   int // bytes that it holds in memory and in a call
	at     where
	// parked units are in the store and hold no event in memory; stored ones have
	// a letter in the store, loaded or not.
	parked, stored bool
	// busy units are being written to the store, and go nowhere meanwhile.
	busy      bool
	notBefore time.Time
}

// lanes are the units in their order: what may leave now, and what waits for
// what. It is pure: no clock, no lock.
//
// Invariant 5: a unit is handed out only as the first of all its lanes, and
// stays their first until it is settled.
type lanes struct {
	of     map[string][]*unit
	ready  []*unit // in the order in which they became so
	toLoad []*unit // ready and parked
	rest   []*unit // ready and not due
	live   []*unit // those that came from the reader and are not parked, in order; settled ones lie between
	units  int     // not settled
	loaded int     // with their event in memory
	bytes  int     // that the loaded ones hold
	parked int     // without it
	read   int64   // the position behind the last event that was read
}

func newLanes() *lanes { return &lanes{of: map[string][]*unit{}} }

// add puts a unit at the end of its lanes.
func (l *lanes) add(u *unit) {
	l.units++
	if u.parked {
		l.parked++
	} else {
		l.loaded, l.bytes = l.loaded+1, l.bytes+u.size
	}
	if !u.stored {
		l.live = append(l.live, u)
	}
	for _, lane := range u.letter.Lanes {
		l.of[lane] = append(l.of[lane], u)
	}
	u.at = queued
	l.promote(u)
}

// promote makes u ready when it is the first of all its lanes.
func (l *lanes) promote(u *unit) {
	if u.at != queued || u.busy {
		return
	}
	for _, lane := range u.letter.Lanes {
		if l.of[lane][0] != u {
			return
		}
	}
	if u.notBefore.IsZero() {
		l.stand(u)
		return
	}
	u.at = resting
	l.rest = append(l.rest, u)
}

// stand makes u ready: to be taken, or to be loaded first.
func (l *lanes) stand(u *unit) {
	u.at = ready
	if u.parked {
		l.toLoad = append(l.toLoad, u)
		return
	}
	l.ready = append(l.ready, u)
}

// blocked are at most n units from the reader that stand behind a parked one, and
// so will not leave soon.
func (l *lanes) blocked(n int) []*unit {
	var list []*unit
	for _, u := range l.live {
		if len(list) == n {
			break
		}
		if u.at != queued || u.stored || u.busy {
			continue
		}
		for _, name := range u.letter.Lanes {
			if l.of[name][0].parked {
				list = append(list, u)
				break
			}
		}
	}
	return list
}

// wake makes those ready that have rested until now, and returns when the next
// has; zero when none rests.
func (l *lanes) wake(now time.Time) (next time.Time) {
	kept := l.rest[:0]
	for _, u := range l.rest {
		switch {
		case u.at != resting:
		case !u.notBefore.After(now):
			u.notBefore = time.Time{}
			l.stand(u)
		default:
			kept = append(kept, u)
			if next.IsZero() || u.notBefore.Before(next) {
				next = u.notBefore
			}
		}
	}
	clear(l.rest[len(kept):])
	l.rest = kept
	return next
}

// take hands out at most records units of together at most bytes (0: any), those
// first that have been ready for longest.
func (l *lanes) take(records, bytes int) []*unit {
	var batch, left []*unit
	size, i := 0, 0
	for ; i < len(l.ready) && len(batch) < records; i++ {
		u := l.ready[i]
		switch {
		case u.at != ready:
			continue
		case u.busy:
			left = append(left, u)
			continue
		}
		if len(batch) > 0 && bytes > 0 && size+u.size > bytes {
			break
		}
		u.at = flying
		size += u.size
		batch = append(batch, u)
	}
	copy(l.ready[i-len(left):i], left)
	clear(l.ready[:i-len(left)])
	l.ready = l.ready[i-len(left):]
	return batch
}

// available counts the units that could be taken, up to n.
func (l *lanes) available(n int) int {
	found := 0
	for _, u := range l.ready {
		if u.at == ready && !u.busy {
			found++
		}
		if found >= n {
			break
		}
	}
	return found
}

// freshFirst lets those be taken first that failed least often: a call that
// probes must not be spent on the one record that the destination cannot take.
func (l *lanes) freshFirst() {
	slices.SortStableFunc(l.ready, func(a, b *unit) int { return a.letter.Attempts - b.letter.Attempts })
}

// due hands out at most n parked units that are ready, to be loaded.
func (l *lanes) due(n int) []*unit {
	var list []*unit
	kept := l.toLoad[:0]
	for _, u := range l.toLoad {
		switch {
		case u.at != ready || !u.parked:
		case len(list) < n && !u.busy:
			u.at = flying
			list = append(list, u)
		default:
			kept = append(kept, u)
		}
	}
	clear(l.toLoad[len(kept):])
	l.toLoad = kept
	return list
}

// load gives a parked unit that due handed out its event back; it may be taken.
// A lane that it did not have yet, because the mapping is another now, it joins
// right behind what has left or may leave there: waiting for nothing else, it
// closes no circle.
func (l *lanes) load(u *unit, names []string) {
	if !u.parked || u.at != flying {
		return
	}
	for _, name := range names {
		if slices.Contains(u.letter.Lanes, name) {
			continue
		}
		u.letter.Lanes = append(slices.Clone(u.letter.Lanes), name)
		list := l.of[name]
		i := 0
		if len(list) > 0 && list[0].at != queued {
			i = 1
		}
		l.of[name] = slices.Insert(list, i, u)
	}
	u.parked = false
	l.parked--
	l.loaded, l.bytes = l.loaded+1, l.bytes+u.size
	l.back(u, time.Time{})
}

// park takes the event of a unit, which is in the store now, out of memory.
func (l *lanes) park(u *unit) {
	if u.parked || u.at == gone {
		return
	}
	u.parked, u.stored = true, true
	l.parked++
	l.loaded, l.bytes = l.loaded-1, l.bytes-u.size
	u.letter.Event, u.item, u.size = nil, destinations.Item{}, 0
}

// back puts a unit that was handed out where it may be taken again, not before a
// time (zero: at once). It is still the first of its lanes.
func (l *lanes) back(u *unit, notBefore time.Time) {
	if u.at != flying {
		return
	}
	u.at, u.notBefore = queued, notBefore
	l.promote(u)
}

// unlock lets a unit that was busy go on.
func (l *lanes) unlock(u *unit) {
	u.busy = false
	if u.at == queued {
		l.promote(u)
	}
}

// settle takes a unit out for good, and lets those behind it go on.
func (l *lanes) settle(u *unit) {
	if u.at == gone {
		return
	}
	u.at = gone
	l.units--
	if u.parked {
		l.parked--
	} else {
		l.loaded, l.bytes = l.loaded-1, l.bytes-u.size
	}
	for _, name := range u.letter.Lanes {
		list := l.of[name]
		if i := slices.Index(list, u); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		if len(list) == 0 {
			delete(l.of, name)
			continue
		}
		l.of[name] = list
	}
	for _, name := range u.letter.Lanes {
		if list := l.of[name]; len(list) > 0 {
			l.promote(list[0])
		}
	}
	u.letter.Event, u.item = nil, destinations.Item{}
}

// cursor is the position below which nothing is needed of the journal any more.
func (l *lanes) cursor() int64 {
	i := 0
	for i < len(l.live) && (l.live[i].at == gone || l.live[i].stored) {
		i++
	}
	clear(l.live[:i])
	l.live = l.live[i:]
	if len(l.live) > 0 {
		return l.live[0].letter.Position
	}
	return l.read
}

// overdue are the units, in order of their positions, of which old says that they
// have waited too long. What is in a call is left alone.
func (l *lanes) overdue(old func(u *unit) bool) []*unit {
	seen := map[*unit]bool{}
	var list []*unit
	for _, lane := range l.of {
		for _, u := range lane {
			if !seen[u] && u.at != flying && u.at != gone && !u.busy && old(u) {
				list = append(list, u)
			}
			seen[u] = true
		}
	}
	slices.SortFunc(list, func(a, b *unit) int { return int(a.letter.Position - b.letter.Position) })
	return list
}
