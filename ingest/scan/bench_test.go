package scan

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// trackEvent is shaped like what analytics.js sends, about 780 bytes: the context and a
// few more repeat themselves in a batch, the rest differs.
const trackEvent = `{"timestamp":"2026-11-21T02:55:03.%03[1]dZ","integrations":{"Segment.io":true},"event":"%[2]s","type":"track","properties":{"revenue":1%[1]d.5,"currency":"EUR","order_id":"ord-%010[1]d","products":3},"context":{"page":{"path":"/shop/checkout","referrer":"https://www.example.com/","search":"?utm_source=news","title":"Checkout","url":"https://shop.example.com/shop/checkout?utm_source=news"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36","locale":"en-US","library":{"name":"analytics.js","version":"npm:next-1.84.3"},"campaign":{"source":"news"},"timezone":"UTC"},"messageId":"ajs-next-1795229703180-%016[1]d","userId":"u%06[1]d","anonymousId":"ca0514ac-3de2-4d21-92dc-59d1061608e3"}`

func batchOf(n int) []byte {
	events := make([]string, n)
	for i := range events {
		events[i] = fmt.Sprintf(trackEvent, i, []string{"Order Completed", "Product Viewed", "Product Added"}[i*7%3])
	}
	return []byte(`{"batch":[` + strings.Join(events, ",") + `],"writeKey":"WK","sentAt":"2026-11-21T02:55:03.200Z"}`)
}

func BenchmarkScan(b *testing.B) {
	cyrillic := []byte(strings.ReplaceAll(string(batchOf(100)), "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Мозилла пять ноль, Линукс и прочие буквы"))
	for _, c := range []struct {
		name string
		body []byte
	}{{"single", []byte(fmt.Sprintf(trackEvent, 1, "Order Completed"))}, {"batch100", batchOf(100)}, {"batch100cyrillic", cyrillic}} {
		b.Run(c.name, func(b *testing.B) {
			var d Document
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Scan(c.body, 2500); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStandardLibrary is what BenchmarkScan is to be read beside.
func BenchmarkStandardLibrary(b *testing.B) {
	body := batchOf(100)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if !json.Valid(body) {
			b.Fatal("not valid")
		}
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	body := batchOf(100)
	var d Document
	if err := d.Scan(body, 2500); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(20, func() {
		if err := d.Scan(body, 2500); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a batch of 100 into a used document, want 0", n)
	}
}
