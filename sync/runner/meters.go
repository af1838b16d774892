package runner

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// meters are the runner's metrics.
type meters struct {
	records metric.Int64Counter
	calls   metric.Float64Histogram
}

func newMeters(m metric.Meter) (*meters, error) {
	if m == nil {
		m = noop.NewMeterProvider().Meter("")
	}
	records, err := m.Int64Counter("tidegate.sync.records", metric.WithDescription("Changes settled, by sync and outcome."))
	calls, err2 := m.Float64Histogram("tidegate.sync.call.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of one call of a destination, by account and result."))
	return &meters{records: records, calls: calls}, errors.Join(err, err2)
}

func (m *meters) settled(ctx context.Context, sync string, results []ledger.Result) {
	of := map[destinations.Disposition]int64{}
	for i := 0; i < len(results); { // most are as the one before
		outcome, from := results[i].Disposition, i
		if results[i].Excluded {
			outcome = "excluded"
		}
		for i++; i < len(results) && results[i].Excluded == results[from].Excluded && results[i].Disposition == results[from].Disposition; i++ {
		}
		of[outcome] += int64(i - from)
	}
	for outcome, n := range of {
		m.records.Add(ctx, n, metric.WithAttributes(attribute.String("sync", sync), attribute.String("outcome", string(outcome))))
	}
}

func (m *meters) called(ctx context.Context, account string, took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = tidegate.FaultOf(err).Action.String()
	}
	m.calls.Record(ctx, took.Seconds(), metric.WithAttributes(attribute.String("destination", account), attribute.String("result", result)))
}
