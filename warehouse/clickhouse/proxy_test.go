package clickhouse_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
)

// fate is what becomes of a request on its way.
type fate int

const (
	pass      fate = iota
	cutBefore      // the connection breaks before the server has the request
	cutAfter       // the server has done it, and the connection breaks before its answer
)

// proxy stands between the adapter and the server and breaks connections.
type proxy struct {
	port int
	next *http.Client
	to   string

	mu       sync.Mutex
	fates    func(n int) fate
	requests int // since plan
}

// between returns a proxy before s.
func between(tb testing.TB, s *chdbtest.Server) *proxy {
	tb.Helper()
	p := &proxy{to: s.Address(), next: &http.Client{Transport: &http.Transport{}}}
	front := httptest.NewServer(p)
	at, err := url.Parse(front.URL)
	if err != nil {
		tb.Fatal(err)
	}
	if p.port, err = strconv.Atoi(at.Port()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		front.Close()
		p.next.CloseIdleConnections()
	})
	return p
}

// plan says what becomes of the requests from now on, numbered from 1.
func (p *proxy) plan(fates func(n int) fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fates, p.requests = fates, 0
}

func (p *proxy) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

func (p *proxy) fate() fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	if p.fates == nil {
		return pass
	}
	return p.fates(p.requests)
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := p.fate()
	if what == cutBefore {
		panic(http.ErrAbortHandler)
	}
	out := r.Clone(r.Context())
	out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", p.to
	resp, err := p.next.Do(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	if what == cutAfter {
		_, _ = io.Copy(io.Discard, resp.Body)
		panic(http.ErrAbortHandler)
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// openSoon opens a warehouse over a connection that may break.
func openSoon(tb testing.TB, cfg clickhouse.Config) *clickhouse.Warehouse {
	tb.Helper()
	var err error
	for range 100 {
		var w warehouse.Warehouse
		if w, err = clickhouse.Open(tb.Context(), cfg, env()); err == nil {
			clickhouse.Hurry(w.(*clickhouse.Warehouse))
			return w.(*clickhouse.Warehouse)
		}
	}
	tb.Fatal(err)
	return nil
}
