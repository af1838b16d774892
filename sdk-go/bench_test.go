package analytics

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// nowhere is a transport that acknowledges at once.
type nowhere struct{}

func (nowhere) RoundTrip(r *http.Request) (*http.Response, error) {
	_, err := io.Copy(io.Discard, r.Body)
	r.Body.Close()
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, err
}

func order() Track {
	return Track{
		UserId: "user-019", Event: "Order Completed",
		Properties: NewProperties().SetRevenue(129.9).SetCurrency("EUR").SetOrderId("o-50314").SetCoupon("SPRING").Set("items", 3).Set("gift", false),
	}
}

// mustEnqueue enqueues, and when the queue is full lets the sender work first.
func mustEnqueue(b *testing.B, c *Client, m Message) {
	for {
		err := c.Enqueue(m)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrQueueFull) {
			b.Fatal(err)
		}
		runtime.Gosched()
	}
}

func BenchmarkEnqueue(b *testing.B) {
	for _, kind := range []string{"memory", "spool"} {
		b.Run(kind, func(b *testing.B) {
			c := newClient(b, "http://nowhere.test", func(cfg *Config) {
				cfg.Transport, cfg.DisableCompression, cfg.QueueBytes = nowhere{}, true, 256<<20
				if kind == "spool" {
					cfg.SpoolDir, cfg.SpoolBytes = b.TempDir(), 4<<30
				}
			})
			m := order()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				mustEnqueue(b, c, m)
			}
			b.StopTimer()
			if err := c.Close(soon(b)); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkEnqueueParallel(b *testing.B) {
	c := newClient(b, "http://nowhere.test", func(cfg *Config) {
		cfg.Transport, cfg.DisableCompression, cfg.QueueBytes = nowhere{}, true, 256<<20
	})
	m := order()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			mustEnqueue(b, c, m)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for name, m := range map[string]Message{
		"order": order(),
		"long":  Track{UserId: "u", Event: "Article Read", Properties: Properties{"text": strings.Repeat("all work and no play ", 50)}},
	} {
		b.Run(name, func(b *testing.B) {
			var e event
			e.set(m)
			id := []byte("0b8e7a52-4a7e-4d8f-9a51-1d2c3b4a5f60")
			dst, err := appendEvent(nil, &e, id)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(dst)))
			b.ReportAllocs()
			for range b.N {
				if dst, err = appendEvent(dst[:0], &e, id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDeliver counts a message from Enqueue to the acknowledgement of a
// server on the loopback.
func BenchmarkDeliver(b *testing.B) {
	for _, plain := range []bool{false, true} {
		b.Run(fmt.Sprintf("gzip=%v", !plain), func(b *testing.B) {
			server := newSink(b)
			c := newClient(b, server.URL, func(cfg *Config) { cfg.DisableCompression = plain })
			m := order()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				mustEnqueue(b, c, m)
			}
			if err := c.Close(soon(b)); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
