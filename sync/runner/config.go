package runner

import (
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/retry"
)

// Config is what Step knows of a run before it begins.
type Config struct {
	// Run is the run as stored, its Epoch that of the lease.
	Run             tidegate.Run
	Mode            tidegate.Mode
	Guards          tidegate.Guards
	Removal         tidegate.Removal
	Object          string
	IdentifierField string
	Limit           destinations.Limit
	Safety          destinations.Safety
	// OnCreate names the fields that are sent with added records only.
	OnCreate map[string]bool
	// Befores says that calls need the confirmed records too, to find what somebody else changed.
	Befores bool
	// RetryFor is how long a record that fails is tried again.
	RetryFor time.Duration
	// Canary is how many records are sent before the others, CanaryWait how long those are looked at.
	Canary     int
	CanaryWait time.Duration
	// Review holds the plan for a person whatever it is like.
	Review bool
	// LeaseUntil is until when the run may send.
	LeaseUntil time.Time
	// Seed makes the jitter.
	Seed   uint64
	Tuning Tuning
}

// Tuning holds the numbers that a run is delivered with. Zero values mean the
// defaults that the comments name.
type Tuning struct {
	Tries         int           // calls per record and run (5); throttled ones do not count
	Backoff       retry.Backoff // between tries (500 ms to 30 s)
	Throttles     int           // throttled calls in a row before the run gives up (30)
	ThrottleLimit time.Duration // a Throttle longer than this ends the run instead (5 min)
	Down          int           // failed calls in a row, none answered, that mean the destination is down (20)
	FlushRows     int           // outcomes that are recorded in one call (5,000)
	FlushEvery    time.Duration // or after this long (100 ms)
	WindowRows    int           // changes read and intended at once (as many as keep the concurrency busy, 5,000 to 20,000; less when they are large)
	Patience      time.Duration // how long a ledger that is away is waited for (10 min)
	PlanTries     int           // attempts to plan (3)
	Next          retry.Backoff // until a later run tries a record again (30 s to 6 h)
	Poll          retry.Backoff // between two questions for one ticket (1 s to 1 min)
	TicketFor     time.Duration // how long a ticket is asked for before its records are in doubt (24 h)
	TicketGrace   time.Duration // how long tickets are still asked for when the run is to end (1 min)
}

func (t Tuning) withDefaults(limit destinations.Limit, safety destinations.Safety) Tuning {
	orInt := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	orDuration := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	orInt(&t.Tries, 5)
	orInt(&t.Throttles, 30)
	orInt(&t.Down, 20)
	orInt(&t.FlushRows, 5000)
	orInt(&t.PlanTries, 3)
	orDuration(&t.Backoff.Base, 500*time.Millisecond)
	orDuration(&t.Backoff.Cap, 30*time.Second)
	orDuration(&t.ThrottleLimit, 5*time.Minute)
	orDuration(&t.FlushEvery, 100*time.Millisecond)
	orDuration(&t.Patience, 10*time.Minute)
	orDuration(&t.Next.Base, 30*time.Second)
	orDuration(&t.Poll.Base, time.Second)
	orDuration(&t.Poll.Cap, time.Minute)
	orDuration(&t.TicketFor, 24*time.Hour)
	orDuration(&t.TicketGrace, time.Minute)
	orDuration(&t.Next.Cap, 6*time.Hour)
	if t.WindowRows <= 0 {
		busy := limit.Records * limit.Concurrency
		if safety == destinations.Unsafe {
			// After a crash everything intended is in doubt and a person must look at
			// it: intend no more than can be in flight.
			t.WindowRows = max(busy, 1)
		} else {
			t.WindowRows = min(max(2*busy, 5000), 20_000)
		}
	}
	return t
}

func sane(l destinations.Limit) destinations.Limit {
	l.Records = max(l.Records, 1)
	l.Concurrency = max(l.Concurrency, 1)
	return l
}
