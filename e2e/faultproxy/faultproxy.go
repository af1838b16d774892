// Package faultproxy stands between a client and a server and does to requests
// what bad networks and tired servers do.
//
// Invariants: a request that it answers with a fault "before" has not reached the
// server; one "after" has, whole, and its answer was lost. The choice is made by a
// seeded generator, or by a plan, so that a run can be repeated. It does not shape
// bandwidth and does not look into bodies. A Proxy may be used by many requests at once.
package faultproxy

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Fault is what becomes of one request.
type Fault string

// The faults.
const (
	None        Fault = "none"
	TooMany     Fault = "429 before"
	Wait        Fault = "429, a second to wait, before" // by plan only
	Broken      Fault = "500 before"
	Away        Fault = "503 before"
	ResetBefore Fault = "reset before"
	ResetAfter  Fault = "reset after"
	BrokenAfter Fault = "500 after"
	Slow        Fault = "slow answer"
	Down        Fault = "server down"
)

var faults = []Fault{TooMany, Broken, Away, ResetBefore, ResetAfter, BrokenAfter, Slow}

// maxBody bounds what one request may carry.
const maxBody = 16 << 20

// Proxy is a handler that forwards requests to one server.
type Proxy struct {
	target string
	rate   float64
	slow   time.Duration
	client *http.Client

	mu     sync.Mutex
	rng    *rand.Rand
	plan   []Fault // what becomes of the next POSTs; only when rng is nil
	counts map[Fault]int
}

// New returns a proxy to target ("http://host:port") that faults the given share
// of requests; a slow answer takes slow.
func New(target string, rate float64, slow time.Duration, seed uint64) *Proxy {
	return &Proxy{
		target: target, rate: rate, slow: slow, rng: rand.New(rand.NewPCG(seed, 5)), counts: map[Fault]int{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: time.Minute},
	}
}

// NewPlanned returns a proxy to target that does to the POSTs what the plan says,
// in the order in which they come, and nothing to those after it or to others.
func NewPlanned(target string, slow time.Duration, plan ...Fault) *Proxy {
	p := New(target, 0, slow, 0)
	p.rng, p.plan = nil, plan
	return p
}

// Plan adds to the plan of a Proxy that NewPlanned made.
func (p *Proxy) Plan(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = append(p.plan, faults...)
}

// Planned returns how many entries of the plan no request has met yet.
func (p *Proxy) Planned() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.plan)
}

// Counts returns how often each fault happened.
func (p *Proxy) Counts() map[Fault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[Fault]int{}
	for f, n := range p.counts {
		out[f] = n
	}
	return out
}

// Close lets go of the connections to the server.
func (p *Proxy) Close() { p.client.CloseIdleConnections() }

func (p *Proxy) choose(method string) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := None
	switch {
	case p.rng != nil && p.rng.Float64() < p.rate:
		f = faults[p.rng.IntN(len(faults))]
	case p.rng == nil && method == http.MethodPost && len(p.plan) > 0:
		f, p.plan = p.plan[0], p.plan[1:]
	}
	p.counts[f]++
	return f
}

func (p *Proxy) note(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[f]++
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		reset(w) // the client broke off, or sends more than any SDK does
		return
	}
	fault := p.choose(r.Method)
	switch fault {
	case Wait:
		w.Header().Set("Retry-After", "1")
		answer(w, r, http.StatusTooManyRequests)
		return
	case TooMany:
		answer(w, r, http.StatusTooManyRequests)
		return
	case Broken:
		answer(w, r, http.StatusInternalServerError)
		return
	case Away:
		answer(w, r, http.StatusServiceUnavailable)
		return
	case ResetBefore:
		reset(w)
		return
	default: // the server is to see it
	}
	status, header, text, err := p.forward(r, body)
	if err != nil {
		p.note(Down)
		reset(w)
		return
	}
	switch fault {
	case ResetAfter:
		reset(w)
		return
	case BrokenAfter:
		answer(w, r, http.StatusInternalServerError)
		return
	case Slow:
		timer := time.NewTimer(p.slow)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	default:
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may be gone; that is its business
}

func (p *Proxy) forward(r *http.Request, body []byte) (int, http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, p.target+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("forwarding: %w", err)
	}
	req.Header = r.Header.Clone()
	req.Header.Set("X-Forwarded-Host", r.Host) // as proxies do: the server tells SDKs where to send
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("forwarding: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("reading an answer: %w", err)
	}
	return resp.StatusCode, resp.Header, text, nil
}

// answer gives a JSON error without a Retry-After, so that the client's own
// backoff is what waits. Browsers may read it, as they may the server's own.
func answer(w http.ResponseWriter, r *http.Request, status int) {
	if origin := r.Header.Get("Origin"); origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"success":false,"code":"proxy.fault","message":"status %d was due"}`, status)
}

// reset breaks the connection without an answer.
func reset(w http.ResponseWriter) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler) // HTTP/2: the server resets the stream
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0) // a reset, not a polite end
	}
	_ = conn.Close()
}
