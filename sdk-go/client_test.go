package analytics

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestConfigsThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field  string
		change func(*Config)
	}{
		{"WriteKey", func(c *Config) { c.WriteKey = "" }},
		{"WriteKey", func(c *Config) { c.WriteKey = "a:b" }},
		{"Endpoint", func(c *Config) { c.Endpoint = "" }},
		{"Endpoint", func(c *Config) { c.Endpoint = "events.example.com" }},
		{"Endpoint", func(c *Config) { c.Endpoint = "ftp://events.example.com" }},
		{"Endpoint", func(c *Config) { c.Endpoint = "http://" }},
		{"Endpoint", func(c *Config) { c.Endpoint = "http://u:secret@h" }},
		{"Endpoint", func(c *Config) { c.Endpoint = "http://h?x=1" }},
		{"Interval", func(c *Config) { c.Interval = -1 }},
		{"BatchSize", func(c *Config) { c.BatchSize = -1 }},
		{"BatchSize", func(c *Config) { c.BatchSize = MaxBatchSize + 1 }},
		{"BatchBytes", func(c *Config) { c.BatchBytes = MaxBatchBytes + 1 }},
		{"MaxMessageBytes", func(c *Config) { c.MaxMessageBytes = 1<<20 + 1 }},
		{"QueueBytes", func(c *Config) { c.QueueBytes = -1 }},
		{"SpoolBytes", func(c *Config) { c.SpoolBytes = -1 }},
		{"SpoolSync", func(c *Config) { c.SpoolSync = -1 }},
		{"AttemptTimeout", func(c *Config) { c.AttemptTimeout = -1 }},
		{"GiveUpAfter", func(c *Config) { c.GiveUpAfter = -1 }},
		{"DefaultContext", func(c *Config) { c.DefaultContext = &Context{Extra: map[string]any{"c": make(chan int)}} }},
		{"DefaultContext", func(c *Config) { c.DefaultContext = &Context{UserAgent: strings.Repeat("x", 300_000)} }},
	} {
		config := Config{WriteKey: "WK", Endpoint: "http://hub.test"}
		c.change(&config)
		client, err := New(config)
		var wrong ConfigError
		if !errors.As(err, &wrong) || wrong.Field != c.field || client != nil {
			t.Errorf("%s: the error is %v", c.field, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells a password: %v", err)
		}
	}
}

func TestBatchURL(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"http://hub.test":               "http://hub.test/v1/batch",
		"https://hub.test/":             "https://hub.test/v1/batch",
		"https://hub.test/v1":           "https://hub.test/v1/batch",
		"https://hub.test/v1/batch":     "https://hub.test/v1/batch",
		"https://hub.test/events/":      "https://hub.test/events/v1/batch",
		"https://hub.test:8443/a/v1///": "https://hub.test:8443/a/v1/batch",
	} {
		if got := (&Config{Endpoint: given}).batchURL(); got != want {
			t.Errorf("%s becomes %s, want %s", given, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		msg   Message
		field string // of the FieldError, "" for none
	}{
		{Track{UserId: "u", Event: "E"}, ""},
		{Track{AnonymousId: "a", Event: "E"}, ""},
		{Track{UserId: "u"}, "analytics.Track.Event"},
		{Track{Event: "E"}, "analytics.Track.UserId"},
		{&Track{Event: "E"}, "analytics.Track.UserId"},
		{Identify{UserId: "u"}, ""},
		{Identify{}, "analytics.Identify.UserId"},
		{Page{AnonymousId: "a"}, ""},
		{Page{}, "analytics.Page.UserId"},
		{Screen{UserId: "u"}, ""},
		{Screen{}, "analytics.Screen.UserId"},
		{Group{UserId: "u", GroupId: "g"}, ""},
		{Group{UserId: "u"}, "analytics.Group.GroupId"},
		{Group{GroupId: "g"}, "analytics.Group.UserId"},
		{Alias{UserId: "u", PreviousId: "p"}, ""},
		{Alias{UserId: "u"}, "analytics.Alias.PreviousId"},
		{Alias{PreviousId: "p"}, "analytics.Alias.UserId"},
		{Track{UserId: "u", Event: "E", MessageId: strings.Repeat("m", 99)}, ""},
		{Track{UserId: "u", Event: "E", MessageId: strings.Repeat("m", 100)}, "analytics.Track.MessageId"},
		{Track{UserId: "u", Event: "E", Timestamp: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "analytics.Track.Timestamp"},
	} {
		err := c.msg.Validate()
		var wrong FieldError
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%+v: %v", c.msg, err)
		case c.field != "" && (!errors.As(err, &wrong) || wrong.Type+"."+wrong.Name != c.field):
			t.Errorf("%+v: the error is %v, want one of %s", c.msg, err, c.field)
		}
	}
	client := newClient(t, "http://nowhere.test", nil)
	for _, none := range []Message{nil, (*Track)(nil), (*Identify)(nil), (*Page)(nil), (*Screen)(nil), (*Group)(nil), (*Alias)(nil)} {
		if err := client.Enqueue(none); err == nil {
			t.Errorf("%T(nil) is accepted", none)
		}
		if err := client.EnqueueContext(context.Background(), none); err == nil {
			t.Errorf("%T(nil) is accepted with a context", none)
		}
	}
}

func TestMessageTooBig(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	client := newClient(t, h.URL, nil)
	m := track(0)
	m.Properties["pad"] = strings.Repeat("x", DefaultMaxMessageBytes)
	if err := client.Enqueue(m); !errors.Is(err, ErrMessageTooBig) {
		t.Errorf("the error is %v", err)
	}
	enqueue(t, client, 1, 2)
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, h, 1, 2)
}

// What the caller does with its maps after Enqueue does not reach the message,
// and is no race.
func TestEnqueueCopies(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	client := newClient(t, h.URL, func(c *Config) { c.BatchSize = 1 })
	p := Properties{"n": 0}
	for n := range 100 {
		p["n"] = n
		if err := client.Enqueue(&Track{UserId: "u", Event: "E", Properties: p}); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	for n, e := range h.events() {
		if got := e["properties"].(map[string]any)["n"]; got != float64(n) {
			t.Fatalf("message %d has n = %v", n, got)
		}
	}
}

// The callback gets every type as it was sent.
func TestCallbackMessages(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 12, 0, 0, 5e8, time.UTC)
	surroundings := &Context{Locale: "de", Extra: map[string]any{"own": true}, IP: net.ParseIP("2001:db8::1")}
	sent := []Message{
		Track{Type: "track", MessageId: "1", UserId: "u", AnonymousId: "a", Event: "E", Timestamp: at, Properties: Properties{"x": 1.5}, Context: surroundings},
		Identify{Type: "identify", MessageId: "2", UserId: "u", Timestamp: at, Traits: Traits{"t": nil}},
		Page{Type: "page", MessageId: "3", UserId: "u", Name: "N", Category: "C", Timestamp: at, Integrations: Integrations{"All": false}},
		Screen{Type: "screen", MessageId: "4", UserId: "u", Name: "N", Category: "C", Timestamp: at},
		Group{Type: "group", MessageId: "5", UserId: "u", GroupId: "g", Timestamp: at, Traits: Traits{"a": []any{"b"}}},
		Alias{Type: "alias", MessageId: "6", UserId: "u", PreviousId: "p", Timestamp: at},
	}
	h := newHub(t)
	heard := &outcomes{}
	client := newClient(t, h.URL, func(c *Config) { c.Callback = heard })
	for _, m := range sent {
		if err := client.Enqueue(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(heard.succeeded, sent) {
		t.Errorf("the callback heard of\n%+v, want\n%+v", heard.succeeded, sent)
	}
}

func TestOnAttempt(t *testing.T) {
	t.Parallel()
	type key struct{}
	h := newHub(t, status(500))
	var mu sync.Mutex
	var told []Attempt
	var results []AttemptResult
	carried := 0
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	client := newClient(t, h.URL, func(c *Config) {
		c.OnAttempt = func(ctx context.Context, a Attempt) (context.Context, func(AttemptResult)) {
			a.Header.Set("Traceparent", "00-trace")
			mu.Lock()
			defer mu.Unlock()
			told = append(told, a)
			return context.WithValue(ctx, key{}, true), func(r AttemptResult) {
				mu.Lock()
				defer mu.Unlock()
				results = append(results, r)
			}
		}
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Context().Value(key{}) != nil {
				carried++
			}
			return base.RoundTrip(r)
		})
	})
	enqueue(t, client, 0, 3)
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || told[0].Messages != 3 || told[0].Bytes == 0 || told[1].Number != 1 || carried != 2 {
		t.Errorf("told of %+v, %d requests under its context", told, carried)
	}
	if len(results) != 2 || results[0].Status != 500 || results[0].Err == nil || results[1].Status != 200 || results[1].Err != nil {
		t.Errorf("results %+v", results)
	}
	for _, r := range h.seen() {
		if r.header.Get("Traceparent") != "00-trace" {
			t.Error("a header that the hook set did not arrive")
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A healthy client is silent; an outage is told once at each end, a loss always,
// and never with what a message holds.
func TestLog(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	h := newHub(t)
	client := newClient(t, h.URL, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&lines, nil)) })
	secret := Track{UserId: "ada@example.com", Event: "E", MessageId: "m"}
	send := func() {
		t.Helper()
		if err := client.Enqueue(secret); err != nil {
			t.Fatal(err)
		}
		_ = client.Flush(soon(t)) // some are lost, and that is looked at below
	}
	send()
	if lines.Len() > 0 {
		t.Errorf("a healthy client logs %s", lines.String())
	}
	h.mu.Lock()
	h.script = []http.HandlerFunc{status(500), status(500), status(503)}
	h.mu.Unlock()
	send()
	h.mu.Lock()
	h.script = []http.HandlerFunc{status(401)}
	h.mu.Unlock()
	send()
	got := lines.String()
	for _, want := range []string{"delivery fails", "delivery works again", "messages were not delivered"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q is told %d times in\n%s", want, strings.Count(got, want), got)
		}
	}
	if strings.Contains(got, "ada@") {
		t.Errorf("the log tells of a person:\n%s", got)
	}
}

func TestEnqueueContext(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	client := newClient(t, h.URL, nil)
	ctx := WithAnonymousId(context.Background(), "an-1")
	ctx = WithIdentity(ctx, Identity{Context: &Context{Locale: "de", IP: net.IPv4(203, 0, 113, 7)}})
	known := WithUserId(ctx, "u1")
	for _, c := range []struct {
		ctx context.Context
		msg Message
	}{
		{ctx, Track{Event: "A"}},
		{known, Track{Event: "B", Context: &Context{Locale: "fr"}}},
		{known, &Track{Event: "C", UserId: "other", AnonymousId: "own"}},
		{known, Alias{}},
	} {
		if err := client.EnqueueContext(c.ctx, c.msg); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.EnqueueContext(context.Background(), Track{Event: "E"}); err == nil {
		t.Error("a message of nobody is accepted")
	}
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []map[string]any{
		{"anonymousId": "an-1", "context": map[string]any{"locale": "de", "ip": "203.0.113.7"}},
		{"anonymousId": "an-1", "userId": "u1", "context": map[string]any{"locale": "fr", "ip": "203.0.113.7"}},
		{"anonymousId": "own", "userId": "other"},
		{"previousId": "an-1", "userId": "u1"},
	} {
		for name, value := range want {
			if got := h.events()[i][name]; !reflect.DeepEqual(got, value) {
				t.Errorf("message %d has %s = %v, want %v", i, name, got, value)
			}
		}
	}
}

func TestMiddleware(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		cookie string
		want   string
	}{
		{"ours", "tg_aid=an-1", "an-1"},
		{"Segment's, as JSON", "ajs_anonymous_id=%22an-2%22", "an-2"},
		{"Segment's, as it is", "ajs_anonymous_id=an-2", "an-2"},
		{"RudderStack's", "rl_anonymous_id=RS_ENC_v3_ImFuLTMi", "an-3"},
		{"ours before others", "ajs_anonymous_id=an-2; tg_aid=an-1", "an-1"},
		{"RudderStack's older form", "rl_anonymous_id=RudderEncrypt%3AU2FsdGVk", ""},
		{"nonsense, then Segment's", "tg_aid=%zz; ajs_anonymous_id=an-2", "an-2"},
		{"control characters", "tg_aid=a%0ab", ""},
		{"an object", "tg_aid=%7B%22a%22:1%7D", ""},
		{"too long", "tg_aid=" + strings.Repeat("x", 300), ""},
		{"none", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/cart?token=secret&utm_source=news", nil)
			r.Header.Set("Cookie", c.cookie)
			var got Identity
			handler := Middleware(MiddlewareConfig{})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = IdentityFrom(r.Context()) }))
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if got.AnonymousId != c.want || got.UserId != "" {
				t.Errorf("the identity is %+v", got)
			}
			if w.Header().Get("Set-Cookie") != "" {
				t.Error("a cookie is set that nobody asked for")
			}
		})
	}
}

func TestMiddlewareSurroundings(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "https://shop.test/cart?token=secret&utm_source=news&utm_campaign=spring", nil)
	r.RemoteAddr = "[2001:db8::1]:4711"
	r.Header.Set("User-Agent", "UA")
	r.Header.Set("Accept-Language", "de-DE,de;q=0.9,en;q=0.8")
	r.Header.Set("Referer", "https://other.test/page?session=secret")
	var got Identity
	config := MiddlewareConfig{UserId: func(*http.Request) string { return "u1" }, NewVisitor: true, CookieDomain: "shop.test"}
	w := httptest.NewRecorder()
	Middleware(config)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = IdentityFrom(r.Context()) })).ServeHTTP(w, r)
	want := Context{
		UserAgent: "UA", Locale: "de-DE", IP: net.ParseIP("2001:db8::1"), Page: PageInfo{Path: "/cart", Referrer: "https://other.test/page"},
		Campaign: CampaignInfo{Name: "spring", Source: "news"},
	}
	if got.UserId != "u1" || !reflect.DeepEqual(*got.Context, want) {
		t.Errorf("the identity is %+v with %+v, want %+v", got, *got.Context, want)
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Value != got.AnonymousId || cookies[0].Domain != "shop.test" || !cookies[0].Secure || len(got.AnonymousId) != 36 {
		t.Errorf("the cookies are %v for %q", cookies, got.AnonymousId)
	}
	config.ClientIP = func(*http.Request) net.IP { return net.IPv4(203, 0, 113, 7) }
	Middleware(config)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = IdentityFrom(r.Context()) })).ServeHTTP(w, r)
	if !got.Context.IP.Equal(net.IPv4(203, 0, 113, 7)) {
		t.Errorf("the address is %v", got.Context.IP)
	}
}

func TestIDsAreRandomUUIDs(t *testing.T) {
	t.Parallel()
	e, err := newEntropy()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 10_000 {
		id, err := e.appendUUID(nil)
		if err != nil {
			t.Fatal(err)
		}
		text := string(id)
		if len(text) != 36 || text[14] != '4' || !strings.ContainsRune("89ab", rune(text[19])) || strings.Count(text, "-") != 4 || seen[text] {
			t.Fatalf("%q is not a new version 4 UUID", text)
		}
		seen[text] = true
	}
}

func TestFlushOfNothing(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	client := newClient(t, h.URL, nil)
	if err := client.Flush(soon(t)); err != nil {
		t.Error(err)
	}
	if err := client.Close(soon(t)); err != nil {
		t.Error(err)
	}
	if len(h.seen()) != 0 {
		t.Error("nothing was sent as a request")
	}
}
