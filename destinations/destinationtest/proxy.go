package destinationtest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// intercept stands in for the simulator at one request; it may call next.
type intercept func(w http.ResponseWriter, r *http.Request, next http.Handler)

// proxy stands between a connector and its simulator: it records what comes by
// and lets an intercept answer.
type proxy struct {
	server *httptest.Server
	sim    http.Handler

	mu       sync.Mutex
	seen     []string // URLs, in order
	inFlight int
	peak     int
	hook     intercept
	at       int // the request, counted from the arming, at which hook works; -1: every one
	count    int // requests since the arming
	fired    int
	largest  int // bytes of a body, ever
}

func newProxy(t *testing.T, sim http.Handler) *proxy {
	t.Helper()
	p := &proxy{sim: sim}
	p.server = httptest.NewServer(p)
	t.Cleanup(p.server.Close)
	return p
}

func (p *proxy) url() string { return p.server.URL }

// arm lets hook answer the at-th request from now on; a nil hook only counts.
func (p *proxy) arm(at int, hook intercept) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook, p.at, p.count, p.fired, p.peak = hook, at, 0, 0, 0
}

// tally returns how many requests came, how often the hook answered and how
// many requests were under way at once, since the arming.
func (p *proxy) tally() (requests, fired, peak int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count, p.fired, p.peak
}

// heaviest returns the bytes of the largest body so far.
func (p *proxy) heaviest() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.largest
}

func (p *proxy) urls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.seen...)
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a client that leaves early leaves a short body
	r.Body = io.NopCloser(bytes.NewReader(body))
	p.mu.Lock()
	p.largest = max(p.largest, len(body))
	p.seen = append(p.seen, r.URL.String())
	hook := p.hook
	if p.at >= 0 && p.count != p.at {
		hook = nil
	}
	p.count++
	p.inFlight++
	p.peak = max(p.peak, p.inFlight)
	if hook != nil {
		p.fired++
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.inFlight--
		p.mu.Unlock()
	}()
	if hook == nil {
		p.sim.ServeHTTP(w, r)
		return
	}
	hook(w, r, p.sim)
}

// status answers with a status code and a vendor-like JSON error.
func status(code int, header ...string) intercept {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		drain(r)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"status":"error","message":"injected `+strconv.Itoa(code)+`"}`)
	}
}

// page answers 200 with a web page, as a login page or a captive portal does.
func page(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	drain(r)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, "<!doctype html><title>Please log in</title>")
}

// reset breaks the connection before anything is applied.
func reset(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	drain(r)
	panic(http.ErrAbortHandler)
}

// resetAfter applies the call and breaks the connection before the answer.
func resetAfter(_ http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// silentAfter applies the call and never answers.
func silentAfter(_ http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), r)
	drain(r)
	<-r.Context().Done()
}

// truncate applies the call and sends half of the answer.
func truncate(w http.ResponseWriter, r *http.Request, next http.Handler) {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	body := rec.Body.String()
	if body == "" { // half of nothing: promise something
		body = strings.Repeat(" ", 64)
	}
	for name, v := range rec.Header() {
		w.Header()[name] = v
	}
	code := rec.Code
	if code == http.StatusNoContent {
		code = http.StatusOK
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body[:len(body)/2])
}

// drain reads the body, after which the server notices a client that leaves.
func drain(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
