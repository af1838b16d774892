package api

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// observe tells the meter, whenever it is read, what /v1/status tells a person.
func observe(meter metric.Meter, hub Hub) error {
	if meter == nil {
		return nil
	}
	ready, err1 := meter.Int64ObservableGauge("tidegate.stage.ready", metric.WithDescription("1 when the stage works, by stage."))
	events, err2 := meter.Int64ObservableGauge("tidegate.stage.lag", metric.WithUnit("{event}"), metric.WithDescription("Events waiting before the stage, by stage."))
	age, err3 := meter.Float64ObservableGauge("tidegate.stage.lag.age", metric.WithUnit("s"), metric.WithDescription("Age of the oldest thing waiting before the stage, by stage."))
	books, err4 := meter.Int64ObservableGauge("tidegate.source.events", metric.WithUnit("{event}"), metric.WithDescription("What became of a source's events, by source and state: accepted = loaded + duplicate + waiting + dead + suppressed + dropped."))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return fmt.Errorf("creating the metrics of the stages: %w", err)
	}
	_, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		r := hub.Ready(ctx)
		for _, s := range r.Stages {
			stage := metric.WithAttributes(attribute.String("stage", s.Name))
			o.ObserveInt64(ready, map[bool]int64{true: 1}[s.Ready], stage)
			o.ObserveInt64(events, s.LagEvents, stage)
			o.ObserveFloat64(age, s.LagSeconds, stage)
		}
		for _, s := range r.Sources {
			for state, n := range map[string]int64{
				"accepted": s.Accepted, "loaded": s.Loaded, "duplicate": s.Duplicates, "waiting": s.Waiting, "dead": s.Dead, "suppressed": s.Suppressed, "dropped": s.Dropped,
			} {
				o.ObserveInt64(books, n, metric.WithAttributes(attribute.String("source", s.Source), attribute.String("state", state)))
			}
		}
		return nil
	}, ready, events, age, books)
	if err != nil {
		return fmt.Errorf("observing the stages: %w", err)
	}
	return nil
}
