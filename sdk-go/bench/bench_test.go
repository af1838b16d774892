package bench

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	official "gopkg.in/segmentio/analytics-go.v3"

	tidegate "github.com/tidegate/tidegate/sdk-go"
)

// silent keeps the official client from logging.
type silent struct{}

func (silent) Logf(string, ...any)   {}
func (silent) Errorf(string, ...any) {}

// nowhere is a transport that acknowledges at once, so that the client alone is measured.
type nowhere struct{}

func (nowhere) RoundTrip(r *http.Request) (*http.Response, error) {
	_, err := io.Copy(io.Discard, r.Body)
	r.Body.Close()
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Body: http.NoBody, Header: http.Header{}, Request: r}, err
}

// subject is one client under one load: enqueue accepts a message or fails the
// benchmark; finish delivers the rest.
type subject struct {
	enqueue func(b *testing.B)
	finish  func(b *testing.B)
}

func theirs(b *testing.B, endpoint string, transport http.RoundTripper) subject {
	b.Helper()
	c, err := official.NewWithConfig("WK", official.Config{Endpoint: endpoint, Transport: transport, Logger: silent{}})
	if err != nil {
		b.Fatal(err)
	}
	m := official.Track{
		UserId: "user-019", Event: "Order Completed",
		Properties: official.NewProperties().SetRevenue(129.9).SetCurrency("EUR").SetOrderId("o-50314").SetCoupon("SPRING").Set("items", 3).Set("gift", false),
	}
	return subject{
		enqueue: func(b *testing.B) {
			if err := c.Enqueue(m); err != nil {
				b.Fatal(err)
			}
		},
		finish: func(b *testing.B) {
			if err := c.Close(); err != nil {
				b.Fatal(err)
			}
		},
	}
}

func ours(b *testing.B, endpoint string, transport http.RoundTripper, plain bool, spool string) subject {
	b.Helper()
	c, err := tidegate.New(tidegate.Config{WriteKey: "WK", Endpoint: endpoint, Transport: transport, DisableCompression: plain, SpoolDir: spool})
	if err != nil {
		b.Fatal(err)
	}
	m := tidegate.Track{
		UserId: "user-019", Event: "Order Completed",
		Properties: tidegate.NewProperties().SetRevenue(129.9).SetCurrency("EUR").SetOrderId("o-50314").SetCoupon("SPRING").Set("items", 3).Set("gift", false),
	}
	return subject{
		enqueue: func(b *testing.B) {
			for {
				err := c.Enqueue(m)
				if err == nil {
					return
				}
				if !errors.Is(err, tidegate.ErrQueueFull) {
					b.Fatal(err)
				}
				runtime.Gosched() // the official client waits inside Enqueue; ours says so and the benchmark waits
			}
		},
		finish: func(b *testing.B) {
			if err := c.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		},
	}
}

func drive(b *testing.B, s subject) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		s.enqueue(b)
	}
	s.finish(b)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkEnqueue is the cost of a message in the program, with a transport that
// costs nothing. The time until the last message is handed over counts.
func BenchmarkEnqueue(b *testing.B) {
	b.Run("official", func(b *testing.B) { drive(b, theirs(b, "http://nowhere.test", nowhere{})) })
	b.Run("tidegate", func(b *testing.B) { drive(b, ours(b, "http://nowhere.test", nowhere{}, true, "")) })
}

// BenchmarkDeliver counts messages from Enqueue to the acknowledgement of a
// server on the loopback that must have read them whole.
func BenchmarkDeliver(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			_, _ = io.WriteString(w, `{"success":true}`)
		}
	}))
	defer server.Close()
	b.Run("official", func(b *testing.B) { drive(b, theirs(b, server.URL, nil)) })
	b.Run("tidegate", func(b *testing.B) { drive(b, ours(b, server.URL, nil, true, "")) })
	b.Run("tidegate-gzip", func(b *testing.B) { drive(b, ours(b, server.URL, nil, false, "")) })
	b.Run("tidegate-gzip-spool", func(b *testing.B) { drive(b, ours(b, server.URL, nil, false, b.TempDir())) })
}
