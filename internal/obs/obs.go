// Package obs sets up what the hub tells about itself: logs (slog, JSON),
// metrics (a Prometheus page, and OTLP where the environment asks for it) and
// traces (OTLP). A healthy system is silent in its log; metrics tell the rest.
//
// The OTLP exporters are made when OTEL_EXPORTER_OTLP_ENDPOINT (or its
// per-signal form) is set and read every other OTEL_ variable themselves. There
// is no global state: what needs a meter is given one. A Telemetry is safe for
// concurrent use; its exporters' goroutines end with Shutdown.
package obs

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/tidegate/tidegate/"

// Telemetry is where metrics and traces go.
type Telemetry struct {
	registry *prometheus.Registry
	metrics  *sdkmetric.MeterProvider
	traces   *sdktrace.TracerProvider
	tracing  bool // someone listens
}

// New sets metrics and traces up. getenv is os.Getenv or a test's.
func New(ctx context.Context, version string, getenv func(string) string) (*Telemetry, error) {
	t := &Telemetry{registry: prometheus.NewRegistry()}
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	page, err := otelprom.New(otelprom.WithRegisterer(t.registry), otelprom.WithoutScopeInfo(), otelprom.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("making the metrics page: %w", err)
	}
	res := resource.NewSchemaless(attribute.String("service.name", "tidegate"), attribute.String("service.version", version))
	metricOptions := []sdkmetric.Option{sdkmetric.WithReader(page), sdkmetric.WithResource(res)}
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT")+getenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") != "" {
		exporter, err := otlpmetrichttp.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("making the OTLP metrics exporter: %w", err)
		}
		metricOptions = append(metricOptions, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	}
	t.tracing = getenv("OTEL_EXPORTER_OTLP_ENDPOINT")+getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	if !t.tracing { // an exemplar names a trace
		metricOptions = append(metricOptions, sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter))
	}
	t.metrics = sdkmetric.NewMeterProvider(metricOptions...)
	traceOptions := []sdktrace.TracerProviderOption{sdktrace.WithResource(res)}
	if t.tracing {
		exporter, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("making the OTLP trace exporter: %w", err)
		}
		traceOptions = append(traceOptions, sdktrace.WithBatcher(exporter))
	} else {
		traceOptions = append(traceOptions, sdktrace.WithSampler(sdktrace.NeverSample()))
	}
	t.traces = sdktrace.NewTracerProvider(traceOptions...)
	return t, nil
}

// Meter returns the meter of one package: "ingest", "sync/runner".
func (t *Telemetry) Meter(pkg string) metric.Meter { return t.metrics.Meter(scope + pkg) }

// Tracer returns the tracer of one package.
func (t *Telemetry) Tracer(pkg string) trace.Tracer { return t.traces.Tracer(scope + pkg) }

// Traced makes one span of each request that h serves, under the caller's
// trace when the request names one. Where nobody listens it is h itself and
// costs nothing. Spans hold method, path and status; never a body or a credential.
func (t *Telemetry) Traced(name string, h http.Handler) http.Handler {
	if !t.tracing {
		return h
	}
	return traced(t.Tracer(name), name, h)
}

func traced(tracer trace.Tracer, name string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := tracer.Start(ctx, name+" "+r.Method, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path)))
		defer span.End()
		sw := &statusWriter{ResponseWriter: w}
		h.ServeHTTP(sw, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", max(sw.status, http.StatusOK)))
		if sw.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(sw.status))
		}
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection (streams flush).
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Handler serves the Prometheus page.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Shutdown flushes what is not exported yet and ends the exporters.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	return errors.Join(t.metrics.Shutdown(ctx), t.traces.Shutdown(ctx))
}
