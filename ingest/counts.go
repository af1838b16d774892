package ingest

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"golang.org/x/time/rate"

	"github.com/tidegate/tidegate"
)

// counts are the metrics of the surface and, per source, what is kept about it.
// What every request adds to is a plain number, read when somebody collects:
// an instrument looks for its series at every call.
type counts struct {
	refusedEvents metric.Int64Counter
	duration      metric.Float64Histogram
	limits        Limits
	sources       sync.Map // name → *tally; bounded by the defined sources
	statuses      sync.Map // status → *answers; bounded by the statuses of this package
}

// tally is what is kept about one source.
type tally struct {
	*sums
	name string
	per  float64       // events per second that rate allows
	rate *rate.Limiter // nil: unlimited
}

// sums are a source's events and bytes that were made durable, and its events that were
// sent back for its rate, each time that they came.
type sums struct {
	events, bytes, throttled atomic.Int64
	series                   metric.MeasurementOption
}

// answers are those of one status.
type answers struct {
	requests atomic.Int64
	series   metric.MeasurementOption
}

func series(of attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(of))
}

func newCounts(meter metric.Meter, limits Limits) (*counts, error) {
	if meter == nil {
		meter = noop.Meter{}
	}
	c := &counts{limits: limits}
	for _, m := range []struct {
		observe                 func(context.Context, metric.Int64Observer) error
		name, unit, description string
	}{
		{c.eachSource(func(s *sums) int64 { return s.events.Load() }), "tidegate.ingest.accepted", "{event}", "Events made durable, by source."},
		{c.eachSource(func(s *sums) int64 { return s.bytes.Load() }), "tidegate.ingest.received", "By", "Bytes of accepted requests, decompressed, by source."},
		{c.eachSource(func(s *sums) int64 { return s.throttled.Load() }), "tidegate.ingest.throttled", "{event}", "Events answered 429 because of their source's rate, each time that they came, by source; their senders still have them."},
		{c.eachStatus, "tidegate.ingest.requests", "{request}", "Requests answered, by status."},
	} {
		if _, err := meter.Int64ObservableCounter(m.name, metric.WithUnit(m.unit), metric.WithDescription(m.description), metric.WithInt64Callback(m.observe)); err != nil {
			return nil, fmt.Errorf("creating the metric %s: %w", m.name, err)
		}
	}
	var err error
	if c.refusedEvents, err = meter.Int64Counter("tidegate.ingest.refused", metric.WithUnit("{event}"), metric.WithDescription("Events refused, by source and code.")); err != nil {
		return nil, fmt.Errorf("creating the metric tidegate.ingest.refused: %w", err)
	}
	c.duration, err = meter.Float64Histogram("tidegate.ingest.duration", metric.WithUnit("s"), metric.WithDescription("Time from a request's arrival to its answer."),
		metric.WithExplicitBucketBoundaries(.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5))
	if err != nil {
		return nil, fmt.Errorf("creating the metric tidegate.ingest.duration: %w", err)
	}
	return c, nil
}

func (c *counts) eachSource(value func(*sums) int64) metric.Int64Callback {
	return func(_ context.Context, o metric.Int64Observer) error {
		c.sources.Range(func(_, t any) bool {
			s := t.(*tally).sums
			o.Observe(value(s), s.series)
			return true
		})
		return nil
	}
}

func (c *counts) eachStatus(_ context.Context, o metric.Int64Observer) error {
	c.statuses.Range(func(_, a any) bool {
		o.Observe(a.(*answers).requests.Load(), a.(*answers).series)
		return true
	})
	return nil
}

// of returns the tally of a source, making it at its first request and when its
// rate was changed.
func (c *counts) of(source tidegate.Source) *tally {
	per := source.EventsPerSecond
	if per == 0 {
		per = c.limits.EventsPerSecond
	}
	have, ok := c.sources.Load(source.Name)
	if ok && have.(*tally).per == per {
		return have.(*tally)
	}
	t := &tally{name: source.Name, per: per}
	if ok {
		t.sums = have.(*tally).sums
	} else {
		t.sums = &sums{series: series(attribute.String("source", source.Name))}
	}
	if per > 0 {
		t.rate = rate.NewLimiter(rate.Limit(per), max(int(math.Ceil(per)), c.limits.Events)) // never below one batch
	}
	if ok {
		c.sources.Store(source.Name, t)
		return t
	}
	kept, _ := c.sources.LoadOrStore(source.Name, t)
	return kept.(*tally)
}

// admit takes events out of the source's rate, or says when to come again.
func (t *tally) admit(now time.Time, events int) *problem {
	if t.rate == nil {
		return nil
	}
	r := t.rate.ReserveN(now, events)
	delay := r.DelayFrom(now)
	if delay == 0 {
		return nil
	}
	r.CancelAt(now)
	t.throttled.Add(int64(events))
	return later(http.StatusTooManyRequests, "source.rate_limited",
		fmt.Sprintf("the source sends more than the %g events per second that it may (events_per_second); send this again in %d s", t.per, retrySeconds(delay)), delay)
}

func (c *counts) taken(ctx context.Context, t *tally, req *request, size int) {
	t.events.Add(int64(req.ok))
	t.bytes.Add(int64(size))
	if req.ok < len(req.env.Events) {
		c.refused(ctx, t, req)
	}
}

// refused counts the refused events of a request, kept or not.
func (c *counts) refused(ctx context.Context, t *tally, req *request) {
	byCode := map[string]int64{}
	for i := range req.env.Events {
		if code := req.env.Events[i].Refusal; code != "" {
			byCode[code]++
		}
	}
	for code, n := range byCode {
		c.refusedEvents.Add(ctx, n, metric.WithAttributes(attribute.String("source", t.name), attribute.String("code", code)))
	}
}

func (c *counts) answered(ctx context.Context, status int, took time.Duration) {
	a, ok := c.statuses.Load(status)
	if !ok {
		a, _ = c.statuses.LoadOrStore(status, &answers{series: series(attribute.Int("status", status))})
	}
	a.(*answers).requests.Add(1)
	c.duration.Record(ctx, took.Seconds())
}
