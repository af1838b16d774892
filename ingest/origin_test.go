package ingest

import (
	"net/http"
	"testing"

	"github.com/tidegate/tidegate"
)

func TestAKeyBoundToWebsites(t *testing.T) {
	t.Parallel()
	bound := sourceMap{"WK": {Name: "web", WriteKey: "WK", AllowedOrigins: []string{"https://shop.example.com", "https://*.shop.example.net", "http://localhost:3000/"}}}
	for _, c := range []struct {
		origin, referer string
		want            int
	}{
		{"https://shop.example.com", "", 200},
		{"https://SHOP.example.com", "", 200},
		{"", "https://shop.example.com/cart?x=1", 200},
		{"null", "https://shop.example.com/cart", 200},
		{"https://a.shop.example.net", "", 200},
		{"https://a.b.shop.example.net", "", 200},
		{"http://localhost:3000", "", 200},
		{"", "", 403},
		{"null", "", 403},
		{"http://shop.example.com", "", 403},
		{"https://shop.example.com:8443", "", 403},
		{"https://shop.example.com.evil.example", "", 403},
		{"https://shop.example.net", "", 403},
		{"https://evilshop.example.net", "", 403},
		{"https://evil.example/.shop.example.net", "", 403},
		{"http://a.shop.example.net", "", 403},
		{"https://evil.example", "https://shop.example.com/", 403},
	} {
		h := newHub(t, func(o *Options) { o.Sources = bound })
		change := []func(*http.Request){header("Origin", c.origin), header("Referer", c.referer)}
		w := h.send("/v1/track", `{"userId":"u","event":"E"}`, change...)
		if w.Code != c.want {
			t.Errorf("origin %q referer %q: %d, want %d", c.origin, c.referer, w.Code, c.want)
		}
		inBody := h.send("/v1/t", `{"userId":"u","event":"E","writeKey":"WK"}`, append(change, header("Authorization", ""))...)
		if inBody.Code != c.want {
			t.Errorf("key in the body, origin %q: %d, want %d", c.origin, inBody.Code, c.want)
		}
		if events, _ := h.journal.take(); (len(events) == 2) != (c.want == 200) {
			t.Errorf("origin %q: %d events", c.origin, len(events))
		}
	}
}

func TestASourceHasARateOfItsOwn(t *testing.T) {
	t.Parallel()
	sources := sourceMap{"WK": {Name: "web", WriteKey: "WK", EventsPerSecond: 2}, "APP": {Name: "app", WriteKey: "APP"}}
	h := newHub(t, func(o *Options) { o.Sources, o.Limits.Events = sources, 2 })
	one := func(key string) int {
		return h.send("/v1/track", `{"userId":"u","event":"E"}`, header("Authorization", ""), header("X-Write-Key", key)).Code
	}
	for i, want := range []int{200, 200, 429} {
		if got := one("WK"); got != want {
			t.Errorf("request %d: %d, want %d", i, got, want)
		}
	}
	for range 5 {
		if got := one("APP"); got != 200 {
			t.Errorf("another source: %d", got)
		}
	}
	sources["WK"] = tidegate.Source{Name: "web", WriteKey: "WK", EventsPerSecond: 100} // applied anew
	if got := one("WK"); got != 200 {
		t.Errorf("with a higher rate: %d", got)
	}
}
