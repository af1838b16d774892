package loader

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
)

// browserEvent is about 780 bytes, shaped like those of analytics.js.
func browserEvent(i int) []byte {
	return fmt.Appendf(nil, `{"timestamp":"2026-11-21T02:54:57.%03dZ","integrations":{},"type":"track","event":"Product Viewed","properties":{"product_id":"sku-%d","name":"Running Shoe","price":59.9,"quantity":%d,"category":"shoes","in_stock":true},"userId":"user-%d","anonymousId":"b812cc77-3052-466d-8497-43cfabc647eb","context":{"page":{"path":"/p/sku-%d","referrer":"https://www.example.com/","search":"?utm_source=news","title":"Running Shoe","url":"https://shop.example.com/p/sku-%d"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36","locale":"en-US","library":{"name":"analytics.js","version":"next-1.84.3"},"timezone":"UTC","campaign":{"name":"x","source":"news","medium":"email"}},"messageId":"ajs-next-1795229697309-%012d"}`,
		i%1000, i%500, i%7, i%20000, i%500, i%500, i)
}

func browserTape(n, perFrame int) (*tape, tidegate.Offset) {
	tp := newTape()
	var end tidegate.Offset
	for i := 0; i < n; i += perFrame {
		e := envelope.Envelope{Source: "web", ReceivedAt: epoch().Add(time.Duration(i) * time.Millisecond), SentAt: "2026-11-21T02:54:58Z", RequestIP: "203.0.113.7"}
		for k := range perFrame {
			e.Events = append(e.Events, envelope.Event{Body: browserEvent(i + k)})
		}
		end = tp.addRaw(envelope.Append(nil, &e), perFrame)
	}
	return tp, end
}

// BenchmarkLoad loads 400,000 browser events, two rows each, into a new DuckDB file.
// CPU seconds are those of the whole process.
func BenchmarkLoad(b *testing.B) {
	const n = 400_000
	tp, end := browserTape(n, 100)
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		wh := tempDuck(b)
		o := options(tp, wh)
		o.Now = time.Now
		l, err := New(o)
		if err != nil {
			b.Fatal(err)
		}
		before := processTime(b)
		b.StartTimer()
		stop := run(b, l)
		if err := l.Wait(b.Context(), end); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		stop() // with the checkpoint, which is part of what a load costs
		cpu += processTime(b) - before
		b.StartTimer()
	}
	b.ReportMetric(cpu.Seconds()/float64(n*b.N)*1e6, "cpu-s/M")
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
}

// processTime is what the process has used of the processors.
func processTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFreshness is the time from an event's arrival in the journal until it can
// be queried, when nothing else is going on.
func BenchmarkFreshness(b *testing.B) {
	tp := newTape()
	o := options(tp, tempDuck(b))
	o.Now, o.Linger = time.Now, time.Nanosecond
	l, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	defer run(b, l)()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	i := 0
	for b.Loop() {
		i++
		if err := l.Wait(ctx, tp.add("web", epoch(), string(browserEvent(i)))); err != nil {
			b.Fatal(err)
		}
	}
}
