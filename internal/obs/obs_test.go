package obs

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
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

// TestARequestBecomesASpanAtTheCollector sends to an OTLP collector of the
// test's own and looks for the request's span under the caller's trace.
func TestARequestBecomesASpanAtTheCollector(t *testing.T) {
	got := make(chan []byte, 8)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.URL.Path == "/v1/traces" {
			got <- body
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tel, err := New(t.Context(), "test", os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	h := tel.Traced("ingest", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	r := httptest.NewRequest(http.MethodPost, "/v1/batch", http.NoBody)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d went through as %d", http.StatusServiceUnavailable, w.Code)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := string(<-got)
	for _, want := range []string{"ingest POST", "/v1/batch", "\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"} {
		if !strings.Contains(body, want) {
			t.Errorf("the exported span lacks %q", want)
		}
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
