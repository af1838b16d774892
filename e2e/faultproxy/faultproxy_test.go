package faultproxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Every fault happens, and what the proxy says of a request is what became of it.
func TestProxy(t *testing.T) {
	t.Parallel()
	reached := 0
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && string(body) == "body" && r.URL.RawQuery == "q=1" {
			reached++
		}
	}))
	defer server.Close()
	proxy := New(server.URL, 0.8, time.Millisecond, 1)
	defer proxy.Close()
	front := httptest.NewServer(proxy)
	defer front.Close()
	const n = 300
	succeeded := 0
	for range n {
		resp, err := http.Post(front.URL+"/path?q=1", "text/plain", io.NopCloser(strings.NewReader("body")))
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			succeeded++
		}
	}
	counts := proxy.Counts()
	for _, f := range append([]Fault{None}, faults...) {
		if counts[f] == 0 {
			t.Errorf("%q never happened", f)
		}
	}
	if want := counts[None] + counts[Slow]; succeeded != want {
		t.Errorf("%d requests succeeded, want %d", succeeded, want)
	}
	if want := counts[None] + counts[Slow] + counts[ResetAfter] + counts[BrokenAfter]; reached != want {
		t.Errorf("%d requests reached the server, want %d", reached, want)
	}
	server.Close()
	for range 100 { // until one request is let through
		if resp, err := http.Get(front.URL); err == nil {
			resp.Body.Close()
		}
	}
	if proxy.Counts()[Down] == 0 {
		t.Error("a server that is down is not told")
	}
}
