package ingest

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"golang.org/x/time/rate"

	"github.com/tidegate/tidegate"
)

// counts are the metrics of the surface and, per source, what is kept about it.
type counts struct {
	accepted, refusedEvents, bytes, requests metric.Int64Counter
	duration                                 metric.Float64Histogram
	limits                                   Limits
	sources                                  sync.Map // name → *tally; bounded by the defined sources
	statuses                                 sync.Map // status → []metric.AddOption; bounded by the statuses of this package
}

// tally is what is kept about one source.
type tally struct {
	name string
	add  []metric.AddOption
	per  float64       // events per second that rate allows
	rate *rate.Limiter // nil: unlimited
}

func newCounts(meter metric.Meter, limits Limits) (*counts, error) {
	if meter == nil {
		meter = noop.Meter{}
	}
	c := &counts{limits: limits}
	for _, m := range []struct {
		to                      *metric.Int64Counter
		name, unit, description string
	}{
		{&c.accepted, "tidegate.ingest.accepted", "{event}", "Events made durable, by source."},
		{&c.refusedEvents, "tidegate.ingest.refused", "{event}", "Events refused, by source and code."},
		{&c.bytes, "tidegate.ingest.received", "By", "Bytes of accepted requests, decompressed, by source."},
		{&c.requests, "tidegate.ingest.requests", "{request}", "Requests answered, by status."},
	} {
		var err error
		if *m.to, err = meter.Int64Counter(m.name, metric.WithUnit(m.unit), metric.WithDescription(m.description)); err != nil {
			return nil, fmt.Errorf("creating the metric %s: %w", m.name, err)
		}
	}
	var err error
	c.duration, err = meter.Float64Histogram("tidegate.ingest.duration", metric.WithUnit("s"), metric.WithDescription("Time from a request's arrival to its answer."),
		metric.WithExplicitBucketBoundaries(.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5))
	if err != nil {
		return nil, fmt.Errorf("creating the metric tidegate.ingest.duration: %w", err)
	}
	return c, nil
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
	t := &tally{name: source.Name, per: per, add: []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("source", source.Name)))}}
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
	return later(http.StatusTooManyRequests, "source.rate_limited", "the source sends more events than its rate allows", delay)
}

func (c *counts) taken(ctx context.Context, t *tally, req *request, size int) {
	c.accepted.Add(ctx, int64(req.ok), t.add...)
	c.bytes.Add(ctx, int64(size), t.add...)
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
	add, ok := c.statuses.Load(status)
	if !ok {
		add, _ = c.statuses.LoadOrStore(status, []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.Int("status", status)))})
	}
	c.requests.Add(ctx, 1, add.([]metric.AddOption)...)
	c.duration.Record(ctx, took.Seconds())
}
