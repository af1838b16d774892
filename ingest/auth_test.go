package ingest

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestWriteKey(t *testing.T) {
	t.Parallel()
	basic := func(credential string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(credential))
	}
	for _, c := range []struct {
		name          string
		authorization string
		xWriteKey     string
		query         string
		bodyKey       string // raw JSON
		status        int
		source, code  string
	}{
		{name: "basic with a colon", authorization: basic("WK:"), status: 200, source: "web"},
		{name: "basic without a colon", authorization: basic("WK"), status: 200, source: "web"},
		{name: "basic with a password", authorization: basic("WK:ignored"), status: 200, source: "web"},
		{name: "basic in lower case", authorization: strings.Replace(basic("WK:"), "Basic", "basic", 1), status: 200, source: "web"},
		{name: "basic without padding", authorization: strings.TrimRight(basic("WK"), "="), status: 200, source: "web"},
		{name: "the body", bodyKey: `"WK"`, status: 200, source: "web"},
		{name: "the body, escaped", bodyKey: `"\u0057K"`, status: 200, source: "web"},
		{name: "the query", query: "?writeKey=APP", status: 200, source: "app"},
		{name: "X-Write-Key", xWriteKey: "APP", status: 200, source: "app"},
		{name: "basic goes before the rest", authorization: basic("WK:"), xWriteKey: "APP", query: "?writeKey=APP", bodyKey: `"APP"`, status: 200, source: "web"},
		{name: "a bearer token and a key in the body", authorization: "Bearer abc.def", bodyKey: `"WK"`, status: 200, source: "web"},
		{name: "an empty basic user and a key in the body", authorization: basic(":"), bodyKey: `"WK"`, status: 200, source: "web"},
		{name: "an unreadable credential and a key in the body", authorization: "Basic !!!", bodyKey: `"WK"`, status: 200, source: "web"},
		{name: "nothing", status: 401, code: "auth.no_write_key"},
		{name: "a bearer token alone", authorization: "Bearer abc", status: 401, code: "auth.no_write_key"},
		{name: "a number in the body", bodyKey: `7`, status: 401, code: "auth.no_write_key"},
		{name: "a long credential", authorization: basic(strings.Repeat("x", 4000)), status: 401, code: "auth.no_write_key"},
		{name: "a long key in the body", bodyKey: `"` + strings.Repeat("x", 4000) + `"`, status: 401, code: "auth.no_write_key"},
		{name: "an unknown key in the header", authorization: basic("NO:"), bodyKey: `"WK"`, status: 401, code: codeUnknownKey},
		{name: "an unknown key in the body", bodyKey: `"NO"`, status: 401, code: codeUnknownKey},
		{name: "a disabled source", authorization: basic("OFF:"), status: 404, code: "source.disabled"},
		{name: "a disabled source in the body", bodyKey: `"OFF"`, status: 404, code: "source.disabled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range []Mode{Strict, Segment} {
				h := newHub(t, func(o *Options) { o.Mode = mode })
				body := `{"userId":"u","event":"E"}`
				if c.bodyKey != "" {
					body = `{"userId":"u","event":"E","writeKey":` + c.bodyKey + `}`
				}
				w := h.send("/v1/track"+c.query, body, header("Authorization", c.authorization), header("X-Write-Key", c.xWriteKey))
				want := c.status
				if mode == Segment && want == 401 {
					want = 200
				}
				events, _ := h.journal.take()
				switch {
				case w.Code != want:
					t.Errorf("%s: status %d, want %d: %s", mode, w.Code, want, w.Body)
				case c.source != "" && (len(events) != 1 || events[0].Source != c.source):
					t.Errorf("%s: %+v, want one event of %s", mode, events, c.source)
				case c.source == "" && len(events) != 0:
					t.Errorf("%s: %d events kept", mode, len(events))
				case want == c.status && c.code != "" && !strings.Contains(w.Body.String(), `"code":"`+c.code+`"`):
					t.Errorf("%s: no code %s in %s", mode, c.code, w.Body)
				}
			}
		})
	}
}

// A flood with a wrong key must not cost more than its headers.
func TestUnknownKeyIsRefusedBeforeTheBodyIsRead(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	body := &untouchable{t: t}
	r := httptest.NewRequest(http.MethodPost, "/v1/batch", body)
	r.SetBasicAuth("NO", "")
	mustFind(t, h.do(r), 401, codeUnknownKey)
}

type untouchable struct{ t *testing.T }

func (u *untouchable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, http.ErrBodyReadAfterClose
}

func TestCORS(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	r := httptest.NewRequest(http.MethodOptions, "/v1/t", nil)
	r.Header.Set("Origin", "https://shop.example.com")
	r.Header.Set("Access-Control-Request-Method", "POST")
	r.Header.Set("Access-Control-Request-Headers", "anonymousid,authorization,content-type,rsa-retry-attempt,sentat")
	w := h.do(r)
	if w.Code != http.StatusNoContent {
		t.Errorf("preflight: status %d", w.Code)
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      "https://shop.example.com",
		"Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Methods":     "GET,POST,OPTIONS",
		"Access-Control-Allow-Headers":     "anonymousid,authorization,content-type,rsa-retry-attempt,sentat",
		"Access-Control-Max-Age":           "86400",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("preflight: %s is %q, want %q", name, got, want)
		}
	}
	if w := h.do(httptest.NewRequest(http.MethodOptions, "/anything", nil)); w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "" || w.Header().Get("Access-Control-Allow-Headers") != askedHeaders {
		t.Errorf("OPTIONS without an origin: %d %v", w.Code, w.Header())
	}
	// Answers of every kind can be read by the page that asked.
	for _, c := range []struct{ path, body, origin string }{
		{"/v1/t", `{"userId":"u","event":"E"}`, "https://a.example"},
		{"/v1/t", `broken`, "null"},
		{"/v1/nothing", ``, "https://a.example"},
	} {
		w := h.send(c.path, c.body, header("Origin", c.origin))
		if w.Header().Get("Access-Control-Allow-Origin") != c.origin || w.Header().Get("Vary") != "Origin" {
			t.Errorf("%s: %v", c.path, w.Header())
		}
	}
	r = httptest.NewRequest(http.MethodGet, "/v1/projects/WK/settings", nil)
	r.Header.Set("Origin", "https://a.example")
	if w := h.do(r); w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Credentials") != "" || !strings.HasPrefix(w.Header().Get("Cache-Control"), "public") {
		t.Errorf("settings are to be cached for all origins: %v", w.Header())
	}
}

func TestClientIPAndAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                              string
		trust                             []netip.Prefix
		remote, forwarded                 string
		forwardedHost, forwardedProto, ip string
		apiHost                           string
	}{
		{name: "direct", remote: "203.0.113.9:1234", ip: "203.0.113.9", apiHost: `"apiHost":"hub.example/v1"`},
		{name: "direct, IPv6", remote: "[2001:db8::1]:1234", ip: "2001:db8::1"},
		{name: "a stranger speaks for others", remote: "203.0.113.9:1234", forwarded: "10.0.0.1", forwardedHost: "evil.example", forwardedProto: "https", ip: "203.0.113.9", apiHost: `"apiHost":"hub.example/v1"`},
		{name: "a proxy on this machine", remote: "127.0.0.1:1", forwarded: "198.51.100.7", forwardedHost: "events.example", forwardedProto: "https", ip: "198.51.100.7", apiHost: `"apiHost":"events.example/v1"`},
		{name: "nobody is trusted", trust: []netip.Prefix{}, remote: "127.0.0.1:1", forwarded: "198.51.100.7", forwardedHost: "events.example", ip: "127.0.0.1", apiHost: `"apiHost":"hub.example/v1"`},
		{name: "the client lies to the left of the proxy's word", remote: "127.0.0.1:1", forwarded: "1.1.1.1, 198.51.100.7", ip: "198.51.100.7"},
		{name: "two proxies", trust: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, remote: "10.0.0.1:1", forwarded: "1.1.1.1, 198.51.100.7, 10.0.0.2", ip: "198.51.100.7"},
		{name: "all of them proxies", remote: "127.0.0.1:1", forwarded: "127.0.0.3, 127.0.0.2", ip: "127.0.0.3"},
		{name: "rubbish from a proxy", remote: "127.0.0.1:1", forwarded: "198.51.100.7, rubbish", ip: "127.0.0.1"},
		{name: "with ports", remote: "127.0.0.1:1", forwarded: "198.51.100.7:555", ip: "198.51.100.7"},
		{name: "IPv6 with a port", remote: "127.0.0.1:1", forwarded: "[2001:db8::1]:555", ip: "2001:db8::1"},
		{name: "an IPv4 in IPv6", remote: "[::1]:1", forwarded: "::ffff:198.51.100.7", ip: "198.51.100.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, func(o *Options) { o.TrustedProxies = c.trust })
			proxied := func(r *http.Request) {
				r.RemoteAddr, r.Host = c.remote, "hub.example"
				for name, value := range map[string]string{"X-Forwarded-For": c.forwarded, "X-Forwarded-Host": c.forwardedHost, "X-Forwarded-Proto": c.forwardedProto} {
					if value != "" {
						r.Header.Set(name, value)
					}
				}
			}
			mustFind(t, h.send("/v1/track", `{"userId":"u","event":"E"}`, proxied), 200)
			if events, _ := h.journal.take(); len(events) != 1 || events[0].RequestIP != c.ip {
				t.Errorf("events %+v, want the IP %s", events, c.ip)
			}
			r := httptest.NewRequest(http.MethodGet, "/v1/projects/WK/settings", nil)
			proxied(r)
			mustFind(t, h.do(r), 200, c.apiHost)
		})
	}
}

func TestPublicURL(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(o *Options) { o.PublicURL = "https://events.example.com:8443/hub/" })
	mustFind(t, h.do(httptest.NewRequest(http.MethodGet, "/v1/projects/WK/settings", nil)), 200, `"apiHost":"events.example.com:8443/hub/v1"`, `"protocol":"https"`)
	h = newHub(t, nil)
	r := httptest.NewRequest(http.MethodGet, "/v1/projects/WK/settings", nil)
	r.Host = `evil"/><script>`
	mustFind(t, h.do(r), 400, "request.bad_host")
}

func TestSourceConfig(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	mustFind(t, h.do(httptest.NewRequest(http.MethodGet, "/sourceConfig/?writeKey=OFF", nil)), 200, `"enabled":false`)
	mustFind(t, h.do(httptest.NewRequest(http.MethodGet, "/sourceConfig/?writeKey=NO", nil)), 401, codeUnknownKey)
	mustFind(t, h.do(httptest.NewRequest(http.MethodGet, "/sourceConfig/", nil)), 401, "auth.no_write_key")
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Options){
		"no journal":          func(o *Options) { o.Journal = nil },
		"no sources":          func(o *Options) { o.Sources = nil },
		"no clock":            func(o *Options) { o.Now = nil },
		"unknown mode":        func(o *Options) { o.Mode = "lax" },
		"public URL":          func(o *Options) { o.PublicURL = "events.example.com" },
		"public URL password": func(o *Options) { o.PublicURL = "https://u:p@events.example.com" },
		"negative limit":      func(o *Options) { o.Limits.Events = -1 },
		"negative rate":       func(o *Options) { o.Limits.EventsPerSecond = -1 },
		"memory":              func(o *Options) { o.Limits.InFlightBytes = 1000 },
	} {
		o := Options{Journal: &memory{}, Sources: testSources, Now: fixedNow, NewID: func() string { return "x" }}
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
