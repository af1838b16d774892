package runner

import (
	"time"

	"github.com/tidegate/tidegate"
)

// Live is how far a run has come that this Runner is carrying.
type Live struct {
	Run tidegate.Run `json:"run"`
	// Left are the changes without an outcome, PerSecond those that got one.
	Left      int64   `json:"left"`
	PerSecond float64 `json:"per_second,omitempty"`
	// EndsAt is when the run ends if it goes on like this; zero when nothing tells yet.
	EndsAt time.Time `json:"ends_at,omitzero"`
	// CanaryUntil is when the rest follows its canary, which is done; zero when none is looked at.
	CanaryUntil time.Time `json:"canary_until,omitzero"`
	// CircuitOpen says that the destination is left alone because it failed too often.
	CircuitOpen bool `json:"circuit_open,omitempty"`
	// Waiting is why no call may be made now, nil while calls are made.
	Waiting *Waiting `json:"waiting,omitempty"`
}

// Waiting is what a run waits for before it may call its destination again.
type Waiting struct {
	Since time.Time          `json:"since"`
	For   *tidegate.RunFault `json:"for"`
}

// longWait is a wait for the quota that is told; a shorter one is how a rate limit is kept.
const longWait = 5 * time.Second

// waits notes that the run asked at since to call, and may not because of f.
func (a *active) waits(since time.Time, f *tidegate.Fault) {
	if a == nil { // a look at drift, which is no run
		return
	}
	told := tidegate.StoredFault(f)
	if f.Err != nil {
		told.Message += ": " + f.Err.Error()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting != nil && a.waiting.For.Code == told.Code {
		since = a.waiting.Since
	}
	a.waiting = &Waiting{Since: since.UTC(), For: told}
}

// calls notes that a call may be made.
func (a *active) calls() {
	if a == nil {
		return
	}
	a.mu.Lock()
	a.waiting = nil
	a.mu.Unlock()
}

// pace is what an estimate of a run's end is made from.
type pace struct {
	since         time.Time // delivery began
	before        int64     // changes that were settled then
	changes, done int64
	until         time.Time // while a canary is looked at: nothing is delivered
}

// watch takes what is shown of the run.
func (a *active) watch(s *State, now time.Time) {
	run := s.Run()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shown = run
	if s.phase != Delivering {
		return
	}
	done := s.settledChanges()
	if a.pace.until = s.canary.until; !a.pace.until.IsZero() {
		a.pace.since = time.Time{} // waiting tells nothing of the pace
	} else if a.pace.since.IsZero() {
		a.pace.since, a.pace.before = now, done
	}
	a.pace.changes, a.pace.done = s.changes(), done
}

// Live returns the run of sync that this Runner is carrying, and when it is likely to end.
func (r *Runner) Live(sync string) (Live, bool) {
	r.mu.Lock()
	a := r.active[sync]
	r.mu.Unlock()
	if a == nil {
		return Live{}, false
	}
	now := r.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	l := Live{Run: a.shown, Left: a.pace.changes - a.pace.done, CanaryUntil: a.pace.until, CircuitOpen: a.account != "" && r.breakers.get(a.account).isOpen(), Waiting: a.waiting}
	if took := now.Sub(a.pace.since); !a.pace.since.IsZero() && took > 0 && a.pace.done > a.pace.before && a.waiting == nil { // nobody knows when it goes on
		l.PerSecond = float64(a.pace.done-a.pace.before) / took.Seconds()
		l.EndsAt = now.Add(time.Duration(float64(l.Left) / l.PerSecond * float64(time.Second))).UTC()
	}
	return l, true
}
