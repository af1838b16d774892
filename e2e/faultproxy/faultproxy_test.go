package faultproxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
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

func TestPlan(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	proxy := NewPlanned(server.URL, time.Millisecond, Wait, None, Broken)
	defer proxy.Close()
	front := httptest.NewServer(proxy)
	defer front.Close()
	var got []string
	for _, method := range []string{"GET", "POST", "GET", "POST", "POST", "POST"} {
		req, err := http.NewRequest(method, front.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://shop.example.com")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got = append(got, method+" "+resp.Status+" "+resp.Header.Get("Retry-After")+resp.Header.Get("Access-Control-Allow-Origin"))
	}
	want := []string{
		"GET 200 OK ", "POST 429 Too Many Requests 1https://shop.example.com", "GET 200 OK ", "POST 200 OK ",
		"POST 500 Internal Server Error https://shop.example.com", "POST 200 OK ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
