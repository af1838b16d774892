package forward

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/ingest/judge"
)

// Tally counts what a forward did since it started: read = filtered +
// withheld + dropped + suppressed + judged dead + unreadable + repeats + delivered
// + dead + what is on its way. Letters that an earlier process left are added to
// what is delivered or dead.
type Tally struct {
	Read       int64 `json:"read" doc:"Accepted events of the forward's sources."`
	Filtered   int64 `json:"filtered" doc:"Left out by types, events or filter."`
	Withheld   int64 `json:"withheld" doc:"Left out for want of consent, or by the event's integrations."`
	Dropped    int64 `json:"dropped" doc:"Left out by a transformation."`
	Suppressed int64 `json:"suppressed" doc:"Left out because nothing may be kept of their person."`
	Violating  int64 `json:"violating" doc:"Refused by the tracking plan or a transformation; they are dead letters of the loader."`
	Unreadable int64 `json:"unreadable" doc:"No JSON objects; they are dead letters of the loader."`
	Repeats    int64 `json:"repeats" doc:"Left out because an event with their message id came before."`
	Delivered  int64 `json:"delivered"`
	Dead       int64 `json:"dead" doc:"Made dead letters."`
	Retried    int64 `json:"retried" doc:"Tries that failed and are made again."`
	Forgotten  int64 `json:"forgotten" doc:"Dead letters beyond what is kept."`
	// DeliveredAt is when the last event was delivered.
	DeliveredAt time.Time `json:"delivered_at,omitzero"`
}

func (p *Tally) judged(fate judge.Fate) {
	switch fate {
	case judge.Drop:
		p.Dropped++
	case judge.Suppress:
		p.Suppressed++
	case judge.Dead:
		p.Violating++
	case judge.Keep:
	}
}

func (f *Forward) count(change func(*Tally)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.counts)
}

// State is how a forward is.
type State string

// The states.
const (
	Opening State = "opening" // the destination is being opened
	Running State = "running"
	Down    State = "down"   // the destination does not answer, and is tried again
	Halted  State = "halted" // somebody must act; it is tried again all the same
	Paused  State = "paused"
)

// Status is how a forward is now.
type Status struct {
	State State
	// Fault is why it is not running, Since since when.
	Fault *tidegate.Fault
	Since time.Time
	Tally Tally
	// InMemory are events on their way; Waiting letters that wait for another try.
	InMemory, Waiting int
	// Letters counts the store's letters, as of a minute ago.
	Letters Counts
	Backlog Backlog
	// Safety is what a repeated delivery does; empty until the destination is open.
	Safety destinations.Safety
	// Overrun says that the forward holds too much of the journal and gives its oldest up.
	Overrun bool
}

// Status tells how the forward is.
func (f *Forward) Status() Status {
	backlog := f.o.Backlog()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Status{State: Running, Tally: f.counts, InMemory: f.lanes.loaded, Waiting: f.lanes.parked, Letters: f.letters, Backlog: backlog, Overrun: f.overrun > 0}
	if f.opened != nil {
		s.Safety = f.opened.Object.SafetyIn(f.o.Def.Mode)
	}
	switch {
	case !f.paused.IsZero():
		s.State, s.Since = Paused, f.paused
	case f.breaker.fault != nil && (f.breaker.open() || f.opened == nil):
		s.State, s.Fault, s.Since = Down, f.breaker.fault, f.breaker.down
		if s.Fault.Action == tidegate.Halt {
			s.State = Halted
		}
	case f.opened == nil:
		s.State = Opening
	case f.storeErr != nil:
		s.State, s.Fault = Down, f.storeErr
	}
	return s
}

// Settled says whether nothing is on its way and the journal was read up to end.
func (f *Forward) Settled(end tidegate.Offset) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lanes.read >= end.Position && f.lanes.loaded == 0
}

// meters are the metrics of one forward.
type meters struct {
	of      attribute.KeyValue
	events  metric.Int64Counter
	calls   metric.Float64Histogram
	latency metric.Float64Histogram
}

func newMeters(m metric.Meter, name string) (*meters, error) {
	if m == nil {
		m = noop.NewMeterProvider().Meter("")
	}
	events, err1 := m.Int64Counter("tidegate.forward.events", metric.WithDescription("Events that calls settled or put off, by forward and outcome."))
	calls, err2 := m.Float64Histogram("tidegate.forward.call.duration", metric.WithUnit("s"), metric.WithDescription("Duration of one call of a destination, by forward, account and result."))
	latency, err3 := m.Float64Histogram("tidegate.forward.latency", metric.WithUnit("s"), metric.WithDescription("From the acceptance of an event to the request that carries it first, by forward."))
	return &meters{of: attribute.String("forward", name), events: events, calls: calls, latency: latency}, errors.Join(err1, err2, err3)
}

func (m *meters) leaving(ctx context.Context, now time.Time, units []*unit) {
	of := metric.WithAttributes(m.of)
	for _, u := range units {
		if u.letter.Attempts == 0 && !u.stored {
			m.latency.Record(ctx, now.Sub(u.letter.ReceivedAt).Seconds(), of)
		}
	}
}

func (m *meters) called(ctx context.Context, account string, took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = tidegate.FaultOf(err).Action.String()
	}
	m.calls.Record(ctx, took.Seconds(), metric.WithAttributes(m.of, attribute.String("destination", account), attribute.String("result", result)))
}

func (m *meters) settled(ctx context.Context, fates []fate) {
	of := map[string]int64{}
	for i := range fates {
		switch t := &fates[i]; {
		case t.done:
			of["delivered"]++
		case t.dead:
			of["dead"]++
		default:
			of["retried"]++
		}
	}
	for outcome, n := range of {
		m.events.Add(ctx, n, metric.WithAttributes(m.of, attribute.String("outcome", outcome)))
	}
}

func (m *meters) died(ctx context.Context, n int) {
	m.events.Add(ctx, int64(n), metric.WithAttributes(m.of, attribute.String("outcome", "dead")))
}

// sizeOf bounds the encoded size of an item from above, as a connector writes it.
func sizeOf(item *destinations.Item) int {
	return 128 + destinations.JSONSize(map[string]any(item.Record)) + destinations.JSONSize(item.Identifier) + len(item.IdempotencyKey)
}
