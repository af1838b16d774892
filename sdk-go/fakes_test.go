package analytics

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// received is one request as a hub saw it.
type received struct {
	header http.Header
	path   string
	events []map[string]any
	top    map[string]any
	bytes  int
}

// hub is a server that remembers. Each request is answered by the next step of
// its script, and with 200 when the script is over.
type hub struct {
	*httptest.Server
	mu       sync.Mutex
	script   []http.HandlerFunc
	requests []received
	kept     map[string]int // messageId → how often it was acknowledged
	order    []map[string]any
	arrived  chan struct{} // one token per request answered
}

func newHub(t testing.TB, script ...http.HandlerFunc) *hub {
	t.Helper()
	h := &hub{script: script, kept: map[string]int{}, arrived: make(chan struct{}, 100_000)}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got, err := readRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	h.mu.Lock()
	h.requests = append(h.requests, got)
	var step http.HandlerFunc
	if len(h.script) > 0 {
		step, h.script = h.script[0], h.script[1:]
	}
	h.mu.Unlock()
	defer func() { h.arrived <- struct{}{} }()
	if step != nil {
		step(w, r)
		return
	}
	h.keep(got)
	fmt.Fprintf(w, `{"success":true,"receivedEvents":%d,"okEvents":%d,"errors":[]}`, len(got.events), len(got.events))
}

// keep is what a hub does before it answers 200.
func (h *hub) keep(got received) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range got.events {
		id := e["messageId"].(string)
		if h.kept[id]++; h.kept[id] == 1 {
			h.order = append(h.order, e)
		}
	}
}

// then keeps the events of the request and answers in its own way.
func (h *hub) then(step http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		last := h.requests[len(h.requests)-1]
		h.mu.Unlock()
		h.keep(last)
		step(w, r)
	}
}

func readRequest(r *http.Request) (received, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return received{}, err
	}
	got := received{header: r.Header.Clone(), path: r.URL.Path, bytes: len(raw)}
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return got, err
		}
		if raw, err = io.ReadAll(z); err != nil {
			return got, err
		}
	}
	if err := json.Unmarshal(raw, &got.top); err != nil {
		return got, err
	}
	list, ok := got.top["batch"].([]any)
	if !ok {
		return got, errors.New("no batch")
	}
	for _, e := range list {
		got.events = append(got.events, e.(map[string]any))
	}
	return got, nil
}

func (h *hub) seen() []received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]received(nil), h.requests...)
}

func (h *hub) events() []map[string]any {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]map[string]any(nil), h.order...)
}

// await waits until n requests were answered.
func (h *hub) await(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		select {
		case <-h.arrived:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d of %d requests came", i, n)
		}
	}
}

func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

// cut breaks the connection without an answer.
func cut(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// outcomes is a Callback that remembers.
type outcomes struct {
	mu        sync.Mutex
	succeeded []Message
	failed    []Message
	errs      []error
}

func (o *outcomes) Success(m Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.succeeded = append(o.succeeded, m)
}

func (o *outcomes) Failure(m Message, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = append(o.failed, m)
	o.errs = append(o.errs, err)
}

func (o *outcomes) arrived() []Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.succeeded)
}

func (o *outcomes) lost() []Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.failed)
}

func (o *outcomes) reasons() []error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.errs)
}

// newClient returns a client for tests: quick to retry, silent, and sending only
// full batches and what Flush and Close ask for.
func newClient(t testing.TB, endpoint string, change func(*Config)) *Client {
	t.Helper()
	config := Config{
		WriteKey: "WK", Endpoint: endpoint, Interval: time.Hour, Logger: quiet(),
		Backoff: func(int) time.Duration { return time.Millisecond },
	}
	if change != nil {
		change(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.Close(over) // of those that the test closed, a second time
	})
	return c
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func track(n int) Track {
	return Track{UserId: "u1", Event: "Step", MessageId: fmt.Sprintf("m-%d", n), Properties: Properties{"n": n}}
}

func enqueue(t testing.TB, c *Client, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := c.Enqueue(track(n)); err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
	}
}

// mustHold fails unless the hub has the messages from to to, once and in order.
func mustHold(t testing.TB, h *hub, from, to int) {
	t.Helper()
	events := h.events()
	if len(events) != to-from {
		t.Fatalf("the hub has %d messages, want %d", len(events), to-from)
	}
	for i, e := range events {
		if want := fmt.Sprintf("m-%d", from+i); e["messageId"] != want {
			t.Fatalf("message %d is %v, want %v: the order is lost", i, e["messageId"], want)
		}
	}
}

// mustBalance fails unless the counts of the client agree with each other.
func mustBalance(t testing.TB, c *Client) Stats {
	t.Helper()
	s := c.Stats()
	if s.Accepted+s.Recovered != s.Delivered+s.Failed+s.Queued {
		t.Errorf("the counts do not agree: %+v", s)
	}
	return s
}

// newSink returns a server that reads and acknowledges without looking.
func newSink(t testing.TB) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			_, _ = io.WriteString(w, `{"success":true}`)
		}
	}))
	t.Cleanup(s.Close)
	return s
}
