package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tidegate/tidegate"
)

// What the SDKs send at most passes with the default limits.
func TestDefaultLimitsLetSDKsThrough(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	event := `{"type":"track","userId":"u","event":"E","messageId":"` + strings.Repeat("m", 99) + `","properties":{"x":"` + strings.Repeat("x", 32_000) + `"}}`
	batch := `{"batch":[` + strings.Repeat(event+",", 14) + event + `]}` // 15 events of 32 KB: 480 KB
	mustFind(t, h.send("/v1/batch", batch), 200, `"okEvents":15`)
	small := `{"type":"page","userId":"u"}`
	mustFind(t, h.send("/v1/batch", `{"batch":[`+strings.Repeat(small+",", 2499)+small+`]}`), 200, `"okEvents":2500`)
	mustFind(t, h.send("/v1/batch", `{"batch":[`+strings.Repeat(small+",", 2500)+small+`]}`), 413, "request.too_many_events")
	var wide strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&wide, `"property_%d":%d,`, i, i)
	}
	mustFind(t, h.send("/v1/track", `{"userId":"u","event":"E","properties":{`+strings.TrimSuffix(wide.String(), ",")+`}}`), 200)
}

func TestBodySizes(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	h := newHub(t, func(o *Options) { o.Limits.BodyBytes = limit })
	frame := len(`{"userId":"u","event":""}`)
	body := func(size int) string {
		return `{"userId":"u","event":"` + strings.Repeat("x", size-frame) + `"}`
	}
	chunked := func(r *http.Request) { r.ContentLength = -1 }
	lying := func(length int64) func(*http.Request) { return func(r *http.Request) { r.ContentLength = length } }
	zipped := header("Content-Encoding", "gzip")
	for _, c := range []struct {
		name   string
		body   string
		change []func(*http.Request)
		status int
	}{
		{"exactly the limit", body(limit), nil, 200},
		{"one byte more", body(limit + 1), nil, 413},
		{"the limit, chunked", body(limit), []func(*http.Request){chunked}, 200},
		{"one byte more, chunked", body(limit + 1), []func(*http.Request){chunked}, 413},
		{"an announced monster", "{}", []func(*http.Request){lying(1 << 40)}, 413},
		{"the limit, zipped", zip(body(limit)), []func(*http.Request){zipped}, 200},
		{"one byte more, zipped", zip(body(limit + 1)), []func(*http.Request){zipped}, 413},
		{"zipped, header forgotten", zip(body(1000)), nil, 200},
		{"zipped and chunked", zip(body(1000)), []func(*http.Request){zipped, chunked}, 200},
		{"a header without compression", body(1000), []func(*http.Request){zipped}, 200},
		{"two gzip members", zip(body(1000)[:500]) + zip(body(1000)[500:]), []func(*http.Request){zipped}, 200},
		{"a byte order mark", "\xef\xbb\xbf" + body(1000), nil, 200},
		{"cut gzip", zip(body(1000))[:40], []func(*http.Request){zipped}, 400},
		{"gzip with a wrong checksum", zip(body(1000))[:len(zip(body(1000)))-8] + "\x00\x00\x00\x00\x00\x00\x00\x00", []func(*http.Request){zipped}, 400},
		{"gzip magic only", "\x1f\x8b", []func(*http.Request){zipped}, 400},
		{"brotli", body(1000), []func(*http.Request){header("Content-Encoding", "br")}, 415},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := h.send("/v1/track", c.body, c.change...)
			mustFind(t, w, c.status, `"success":`)
		})
	}
}

// A bomb costs the limit, not what it unpacks to.
func TestGzipBomb(t *testing.T) { // not parallel: it reads the memory that the process allocated
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	blanks := bytes.Repeat([]byte{' '}, 1<<20)
	for range 64 {
		if _, err := z.Write(blanks); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	h := newHub(t, nil)
	mustFind(t, h.send("/v1/track", `{"userId":"u","event":"E"}`), 200)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	mustFind(t, h.send("/v1/batch", b.String()), 413, "request.too_large")
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 32<<20 {
		t.Errorf("%d bytes allocated for a bomb of 64 MiB", allocated)
	}
}

// blockedBody gives its bytes and then waits until released.
type blockedBody struct {
	first   io.Reader
	reached func()
	release <-chan struct{}
}

func (b *blockedBody) Read(p []byte) (int, error) {
	if n, err := b.first.Read(p); err == nil {
		return n, nil
	}
	b.reached()
	<-b.release
	return 0, io.EOF
}

func TestMemoryOfAllRequestsIsBounded(t *testing.T) {
	t.Parallel()
	const size = 100_000
	h := newHub(t, func(o *Options) { o.Limits = Limits{BodyBytes: size, InFlightBytes: 2 * size} })
	for range 50 { // what a request gave back it must not give again
		mustFind(t, h.send("/v1/track", `{"userId":"u","event":"`+strings.Repeat("x", 60_000)+`"}`), 200)
	}
	release := make(chan struct{})
	var holding, done sync.WaitGroup
	for range 3 { // each holds 50 KB and room for the next step, then stalls
		holding.Add(1)
		body := &blockedBody{first: strings.NewReader(strings.Repeat(" ", size/2)), reached: sync.OnceFunc(holding.Done), release: release}
		r := httptest.NewRequest(http.MethodPost, "/v1/track", body)
		r.ContentLength = -1
		r.SetBasicAuth("WK", "")
		done.Go(func() {
			w := h.do(r)
			if w.Code == http.StatusServiceUnavailable {
				holding.Done()
			}
		})
	}
	holding.Wait()
	w := h.send("/v1/track", `{"userId":"u","event":"`+strings.Repeat("x", 60_000)+`"}`)
	mustFind(t, w, 503, "server.busy")
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
	}
	close(release)
	done.Wait()
	mustFind(t, h.send("/v1/track", `{"userId":"u","event":"`+strings.Repeat("x", 60_000)+`"}`), 200)
}

func TestRateOfASource(t *testing.T) {
	t.Parallel()
	now, throttled := testTime, 0
	h := newHub(t, func(o *Options) {
		o.Throttled = func(source string, events int) {
			if source == "web" {
				throttled += events
			}
		}
		o.Limits = Limits{EventsPerSecond: 10, Events: 20}
		o.Now = func() time.Time { return now }
	})
	ten := `{"batch":[` + strings.Repeat(`{"type":"page","userId":"u"},`, 9) + `{"type":"page","userId":"u"}]}`
	mustFind(t, h.send("/v1/batch", ten), 200)
	mustFind(t, h.send("/v1/batch", ten), 200) // the burst is one whole batch of 20
	w := h.send("/v1/batch", ten)
	mustFind(t, w, 429, "source.rate_limited")
	if !strings.Contains(w.Body.String(), "more than the 10 events per second that it may (events_per_second); send this again in 1 s") {
		t.Errorf("it says %s", w.Body)
	}
	if w.Header().Get("Retry-After") != "1" || w.Header().Get("X-RateLimit-Reset") != fmt.Sprint(now.Unix()+1) {
		t.Errorf("%v", w.Header())
	}
	mustFind(t, h.send("/v1/batch?writeKey=APP", ten, header("Authorization", "")), 200) // another source has its own
	now = now.Add(time.Second)
	mustFind(t, h.send("/v1/batch", ten), 200)
	mustFind(t, h.send("/v1/batch", ten), 429)
	if events, _ := h.journal.take(); len(events) != 40 {
		t.Errorf("%d events kept, want 40", len(events))
	}
	if throttled != 20 {
		t.Errorf("%d events were told to have been sent back, want 20", throttled)
	}
}

// brokenBody fails as a connection does.
type brokenBody struct{ err error }

func (b brokenBody) Read([]byte) (int, error) { return 0, b.err }

func TestBrokenBodies(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	for _, c := range []struct {
		err    error
		status int
	}{{io.ErrUnexpectedEOF, 400}, {fmt.Errorf("reading: %w", os.ErrDeadlineExceeded), 408}, {errors.New("reset"), 400}} {
		r := httptest.NewRequest(http.MethodPost, "/v1/track", brokenBody{c.err})
		r.SetBasicAuth("WK", "")
		mustFind(t, h.do(r), c.status, `"success":false`)
	}
}

func TestServerBoundsItsClients(t *testing.T) {
	t.Parallel()
	s := Server(http.NotFoundHandler(), nil)
	for name, limit := range map[string]time.Duration{"ReadHeaderTimeout": s.ReadHeaderTimeout, "ReadTimeout": s.ReadTimeout, "WriteTimeout": s.WriteTimeout, "IdleTimeout": s.IdleTimeout} {
		if limit <= 0 || limit > 2*time.Minute {
			t.Errorf("%s is %v", name, limit)
		}
	}
	if s.ReadHeaderTimeout != 5*time.Second || s.MaxHeaderBytes != 32<<10 || s.WriteTimeout <= s.ReadTimeout {
		t.Errorf("%+v", s)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	h := newHub(t, func(o *Options) { o.Meter = provider.Meter("ingest") })
	h.send("/v1/batch", `{"batch":[{"type":"page","userId":"u"},{"type":"track","userId":"u"},{"type":"page","userId":"u"}]}`)
	h.send("/v1/track", `{"event":"E"}`)
	h.send("/v1/track", `broken`)
	h.journal.setFailure(&tidegate.Fault{Action: tidegate.Throttle, Code: "journal.full"})
	h.send("/v1/track", `{"event":"E","userId":"u"}`)

	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	sums := map[string]int64{}
	for _, m := range got.ScopeMetrics[0].Metrics {
		if sum, ok := m.Data.(metricdata.Sum[int64]); ok {
			for _, p := range sum.DataPoints {
				sums[m.Name+"{"+p.Attributes.Encoded(attribute.DefaultEncoder())+"}"] = p.Value
			}
		}
	}
	for name, want := range map[string]int64{
		"tidegate.ingest.accepted{source=web}":                       2,
		"tidegate.ingest.refused{code=event.no_name,source=web}":     1,
		"tidegate.ingest.refused{code=event.no_identity,source=web}": 1,
		"tidegate.ingest.requests{status=200}":                       1,
		"tidegate.ingest.requests{status=400}":                       2,
		"tidegate.ingest.requests{status=503}":                       1,
	} {
		if sums[name] != want {
			t.Errorf("%s is %d, want %d (%v)", name, sums[name], want, sums)
		}
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
