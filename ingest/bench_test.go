package ingest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/loadgen"
)

// discard is a journal without a disk, to measure what lies before it.
type discard struct{}

func (discard) Append(context.Context, []byte, int) (tidegate.Offset, error) {
	return tidegate.Offset{}, nil
}

// quietWriter is a ResponseWriter that costs nothing.
type quietWriter struct {
	header http.Header
	status int
}

func (w *quietWriter) Header() http.Header         { return w.header }
func (w *quietWriter) WriteHeader(status int)      { w.status = status }
func (w *quietWriter) Write(p []byte) (int, error) { return len(p), nil }

const benchEvent = `{"timestamp":"2026-11-21T02:55:03.180Z","integrations":{"Segment.io":true},"event":"Order Completed","type":"track","properties":{"revenue":12.5,"currency":"EUR","order_id":"ord-0000001234","products":3},"context":{"page":{"path":"/shop/checkout","referrer":"https://www.example.com/","search":"?utm_source=news","title":"Checkout","url":"https://shop.example.com/shop/checkout?utm_source=news"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36","locale":"en-US","library":{"name":"analytics.js","version":"npm:next-1.84.3"},"campaign":{"source":"news"},"timezone":"UTC"},"messageId":"ajs-next-1795229703180-%016d","userId":"u1","anonymousId":"ca0514ac-3de2-4d21-92dc-59d1061608e3"}`

func benchBatch(n int) string {
	events := make([]string, n)
	for i := range events {
		events[i] = fmt.Sprintf(benchEvent, i)
	}
	return `{"batch":[` + strings.Join(events, ",") + `],"writeKey":"WK","sentAt":"2026-11-21T02:55:03.200Z"}`
}

// BenchmarkHandler is the cost of a request without network and disk.
func BenchmarkHandler(b *testing.B) {
	for _, c := range []struct {
		name, path, body string
		events           int
	}{
		{"single", "/v1/t", fmt.Sprintf(benchEvent, 1), 1},
		{"batch20", "/v1/batch", benchBatch(20), 20},
		{"batch100", "/v1/batch", benchBatch(100), 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := newHub(b, func(o *Options) { o.Journal, o.Now = discard{}, time.Now })
			body := strings.NewReader(c.body)
			r := httptest.NewRequest(http.MethodPost, c.path, body)
			r.SetBasicAuth("WK", "")
			w := &quietWriter{header: http.Header{}}
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(c.body)
				r.Body = io.NopCloser(body)
				clear(w.header)
				if h.ServeHTTP(w, r); w.status != http.StatusOK {
					b.Fatalf("status %d", w.status)
				}
			}
			b.ReportMetric(float64(c.events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// nobody is a Suppression of nobody.
type nobody struct{}

func (nobody) Suppressed(string, []byte, []byte) bool { return false }

// BenchmarkSuppression is BenchmarkHandler's batch with a list to ask.
func BenchmarkSuppression(b *testing.B) {
	for name, list := range map[string]Suppression{"none": nil, "empty": nobody{}} {
		b.Run(name, func(b *testing.B) {
			h := newHub(b, func(o *Options) { o.Journal, o.Now, o.Suppression = discard{}, time.Now, list })
			text := benchBatch(100)
			body := strings.NewReader(text)
			r := httptest.NewRequest(http.MethodPost, "/v1/batch", body)
			r.SetBasicAuth("WK", "")
			w := &quietWriter{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(text)
				r.Body = io.NopCloser(body)
				clear(w.header)
				h.ServeHTTP(w, r)
			}
			b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkServer is the same over TCP, generator and server on one machine,
// beside a server that reads the bodies and throws them away.
func BenchmarkServer(b *testing.B) {
	for _, c := range []struct{ conns, batch int }{{32, 1}, {256, 1}, {32, 20}, {32, 100}} {
		for _, kind := range []string{"discard", "ingest"} {
			b.Run(fmt.Sprintf("%s/conns%d/batch%d", kind, c.conns, c.batch), func(b *testing.B) {
				handler := loadgen.Discard()
				if kind == "ingest" {
					handler = newHub(b, func(o *Options) { o.Journal, o.Now = discard{}, time.Now })
				}
				server := httptest.NewServer(handler)
				defer server.Close()
				events := max(int64(b.N), int64(c.conns*c.batch))
				r, err := loadgen.Run(b.Context(), loadgen.Options{Address: server.Listener.Addr().String(), WriteKey: "WK", Conns: c.conns, Batch: c.batch, Events: events, Now: time.Now})
				if err != nil || r.Errors+r.Refused > 0 {
					b.Fatalf("%v, %+v", err, r)
				}
				b.ReportMetric(r.EventsPerSecond(), "events/s")
				b.ReportMetric(float64(r.P99.Microseconds()), "p99-µs")
			})
		}
	}
}
