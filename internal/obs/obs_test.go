package obs

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/metric"
)

func TestMetricsPageShowsWhatWasCounted(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	tel, err := New(ctx, "test", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	counter, err := tel.Meter("ingest").Int64Counter("tidegate.events.accepted", metric.WithUnit("{event}"))
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(ctx, 3)
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if page := w.Body.String(); !strings.Contains(page, "tidegate_events_accepted_total 3") {
		t.Errorf("the page lacks tidegate_events_accepted_total 3:\n%s", page)
	}
	if err := tel.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func TestSpansAreRecordedOnlyWhereSomeoneListens(t *testing.T) {
	t.Parallel()
	tel, err := New(context.Background(), "test", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	_, span := tel.Tracer("ingest").Start(context.Background(), "request")
	if span.IsRecording() {
		t.Error("without an OTLP endpoint spans must cost nothing")
	}
}
