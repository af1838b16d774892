package egress_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client returns one that may reach the loopback servers of the tests.
func client(t *testing.T, o egress.Options) *http.Client {
	t.Helper()
	o.AllowPrivate = true
	c := egress.New(o)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func call(t *testing.T, c *http.Client, method, target string, header http.Header) (*http.Response, error) {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(`{"a":1}`)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := c.Do(req)
	if err == nil {
		t.Cleanup(func() { _ = resp.Body.Close() })
	}
	return resp, err
}

func TestClientRefusesLoopbackUnlessAllowed(t *testing.T) {
	t.Parallel()
	reached := false
	s := serve(t, func(http.ResponseWriter, *http.Request) { reached = true })
	c := egress.New(egress.Options{})
	defer c.CloseIdleConnections()
	port := s.Listener.Addr().(*net.TCPAddr).Port
	for _, target := range []string{s.URL, "http://localhost:" + strconv.Itoa(port) + "/secret?token=hunter2"} { // the second goes through name resolution
		_, err := call(t, c, http.MethodGet, target, nil)
		got := egress.Fault(t.Context(), err)
		var f *tidegate.Fault
		if !errors.As(got, &f) || f.Code != "egress.address_refused" || f.Action != tidegate.Halt || strings.Contains(got.Error(), "hunter2") {
			t.Errorf("%s: %v", target, got)
		}
	}
	if reached {
		t.Error("the server was reached")
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	var got []string
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" other auth="+r.Header.Get("Authorization")+r.Header.Get("X-Api-Key")+r.Header.Get("Referer"))
	})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.Path)
		switch r.URL.Path {
		case "/302":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/307":
			http.Redirect(w, r, "/end", http.StatusTemporaryRedirect)
		case "/307-away", "/302-away":
			http.Redirect(w, r, other.URL+"/x", map[string]int{"/307-away": 307, "/302-away": 302}[r.URL.Path])
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/https":
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		}
	})
	header := http.Header{"Authorization": {"hunter2"}, "X-Api-Key": {"hunter2"}}
	for _, c := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/302", 200, "GET /302,GET /end"},
		{"GET", "/302-away", 200, "GET /302-away,GET other auth="},
		{"GET", "/loop", 302, "GET /loop,GET /loop,GET /loop,GET /loop"},
		{"GET", "/https", 302, "GET /https"},
		{"POST", "/302", 302, "POST /302"},
		{"POST", "/307", 200, "POST /307,POST /end"},
		{"POST", "/307-away", 307, "POST /307-away"},
	} {
		got = nil
		resp, err := call(t, client(t, egress.Options{}), c.method, s.URL+c.path, header)
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
			continue
		}
		if requests := strings.Join(got, ","); requests != c.want || resp.StatusCode != c.status {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, resp.StatusCode, requests, c.status, c.want)
		}
	}
}

func TestResponseLimit(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bomb" {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 1<<20))
			_ = z.Close()
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("x", len(r.URL.Path)-1))
	})
	for path, tooLong := range map[string]bool{"/123456789": false, "/1234567890": false, "/12345678901": true, "/bomb": true} {
		resp, err := call(t, client(t, egress.Options{MaxResponseBytes: 10}), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if len(b) > 10 || (err != nil) != tooLong {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
		if tooLong && tidegate.FaultOf(err).Code != "egress.response_too_large" {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestNoHiddenReplay breaks a kept-alive connection under a write that carries an
// idempotency key: one attempt, whatever the transport thinks of the header.
func TestNoHiddenReplay(t *testing.T) {
	t.Parallel()
	var posts atomic.Int32
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPost {
			if r.Header.Get("Idempotency-Key") != "k" {
				t.Errorf("the header is lost: %v", r.Header)
			}
			posts.Add(1)
			panic(http.ErrAbortHandler)
		}
	})
	c := client(t, egress.Options{})
	resp, err := call(t, c, http.MethodGet, s.URL, nil) // leaves a connection to be reused
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if _, err := call(t, c, http.MethodPost, s.URL, http.Header{"Idempotency-Key": {"k"}}); err == nil || posts.Load() != 1 {
		t.Errorf("%v after %d attempts", err, posts.Load())
	}
}

func TestFaultNamesTheCauseAndNotTheURL(t *testing.T) {
	t.Parallel()
	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client is gone
		<-r.Context().Done()
	})
	broken := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	truncated := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "short")
	})
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	t.Cleanup(tls.Close)
	const gone = "http://127.0.0.1:1" // a port that nobody uses and no test is given
	for name, c := range map[string]struct {
		url, code string
		o         egress.Options
	}{
		"timeout":   {silent.URL, "network.timeout", egress.Options{Timeout: 30 * time.Millisecond}},
		"reset":     {broken.URL, "network.reset", egress.Options{}},
		"truncated": {truncated.URL, "network.truncated", egress.Options{}},
		"tls":       {tls.URL, "network.tls", egress.Options{}},
		"connect":   {gone, "network.connect", egress.Options{Policy: egress.Policy{Ports: []uint16{1}}}},
		"scheme":    {gone, "egress.scheme_refused", egress.Options{HTTPSOnly: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp, err := call(t, client(t, c.o), http.MethodPost, c.url+"/hunter2?k=hunter2", nil)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
			}
			if err == nil {
				t.Fatal("no error")
			}
			f := tidegate.FaultOf(egress.Fault(t.Context(), err))
			if f.Code != c.code || f.Message == "" || strings.Contains(f.Error(), "hunter2") {
				t.Errorf("got %q %q %v, want %s", f.Code, f.Message, f.Err, c.code)
			}
			if wantHalt := c.code == "egress.scheme_refused"; (f.Action == tidegate.Halt) != wantHalt {
				t.Errorf("action %s", f.Action)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := egress.Fault(ctx, errors.New("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call: %v", err)
	}
}

func TestProxyIsOnlyUsedWhenConfigured(t *testing.T) {
	proxied := 0
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { proxied++ })
	t.Setenv("HTTP_PROXY", proxy.URL)
	direct := serve(t, func(http.ResponseWriter, *http.Request) {})
	if _, err := call(t, client(t, egress.Options{}), http.MethodGet, direct.URL, nil); err != nil || proxied != 0 {
		t.Fatalf("%v, %d through the proxy of the environment", err, proxied)
	}
	u, _ := url.Parse(proxy.URL)
	if _, err := call(t, client(t, egress.Options{Proxy: u}), http.MethodGet, direct.URL, nil); err != nil || proxied != 1 {
		t.Fatalf("%v, %d through the configured proxy", err, proxied)
	}
}

func TestMetricsAndUserAgent(t *testing.T) {
	t.Parallel()
	agent := make(chan string, 2)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { agent <- r.UserAgent() })
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	now := time.Unix(0, 0)
	c := client(t, egress.Options{Meter: provider.Meter("test"), Now: func() time.Time { now = now.Add(time.Second); return now }, Name: "destination crm", UserAgent: "tidegate/1"})
	if _, err := call(t, c, http.MethodGet, s.URL, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-agent; got != "tidegate/1" {
		t.Errorf("user agent %q", got)
	}
	if _, err := call(t, c, http.MethodGet, s.URL, http.Header{"User-Agent": {"own"}}); err != nil || <-agent != "own" {
		t.Errorf("own user agent: %v", err)
	}
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	h, ok := rm.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64])
	if !ok || len(h.DataPoints) != 1 || h.DataPoints[0].Count != 2 || h.DataPoints[0].Sum != 2 {
		t.Errorf("%+v", rm.ScopeMetrics)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0": 0, "1.5": 1500 * time.Millisecond, "Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
		"999999999999": 24 * time.Hour, "Fri, 02 Jan 2099 03:00:00 GMT": 24 * time.Hour, "": -1, "soon": -1, "-5": -1, "NaN": -1,
	} {
		got, ok := egress.RetryAfter(http.Header{"Retry-After": {value}}, now)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v %v, want %v", value, got, ok, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("7")
	f.Add("Fri, 02 Jan 2026 03:05:05 GMT")
	f.Add("1e309")
	f.Fuzz(func(t *testing.T, v string) {
		if d, ok := egress.RetryAfter(http.Header{"Retry-After": {v}}, time.Unix(0, 0)); ok && (d < 0 || d > 24*time.Hour) {
			t.Errorf("%q: %v", v, d)
		}
	})
}
