package analytics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFaultsAreSurvived(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		script func(h *hub) []http.HandlerFunc
	}{
		{"429", func(*hub) []http.HandlerFunc { return []http.HandlerFunc{status(429)} }},
		{"500 and 503", func(*hub) []http.HandlerFunc { return []http.HandlerFunc{status(500), status(503), status(500)} }},
		{"502, 504, 408, 425, 410, 460, 511", func(*hub) []http.HandlerFunc {
			return []http.HandlerFunc{status(502), status(504), status(408), status(425), status(410), status(460), status(511)}
		}},
		{"connection reset", func(*hub) []http.HandlerFunc { return []http.HandlerFunc{cut, cut} }},
		{"answer lost after the events were kept", func(h *hub) []http.HandlerFunc { return []http.HandlerFunc{h.then(cut)} }},
		{"500 after the events were kept", func(h *hub) []http.HandlerFunc { return []http.HandlerFunc{h.then(status(500))} }},
		{"a redirect that drops the body", func(*hub) []http.HandlerFunc {
			return []http.HandlerFunc{status(302, "Location", "/login"), status(301, "Location", "/v1/batch/")}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t)
			h.script = c.script(h)
			faults := len(h.script)
			heard := &outcomes{}
			client := newClient(t, h.URL, func(cfg *Config) { cfg.BatchSize, cfg.Callback = 5, heard })
			enqueue(t, client, 0, 12)
			if err := client.Close(soon(t)); err != nil {
				t.Fatal(err)
			}
			mustHold(t, h, 0, 12)
			s := mustBalance(t, client)
			if s.Delivered != 12 || s.Failed != 0 || s.Retries != uint64(faults) {
				t.Errorf("counts %+v after %d faults", s, faults)
			}
			if len(heard.succeeded) != 12 || len(heard.failed) != 0 {
				t.Errorf("the callback heard of %d successes and %d failures", len(heard.succeeded), len(heard.failed))
			}
			for i, r := range h.seen()[1 : faults+1] {
				if got := r.header.Get("X-Retry-Count"); got != fmt.Sprint(i+1) {
					t.Errorf("attempt %d says X-Retry-Count %q", i+1, got)
				}
			}
		})
	}
}

func TestFinalRefusals(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 401, 403, 404, 422, 501, 505} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			h := newHub(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(code)
				fmt.Fprint(w, `{"success":false,"code":"source.unknown_key","message":"no source has this write key"}`)
			})
			heard := &outcomes{}
			client := newClient(t, h.URL, func(cfg *Config) { cfg.BatchSize, cfg.Callback = 3, heard })
			enqueue(t, client, 0, 3)
			h.await(t, 1)
			err := client.Flush(soon(t))
			if err == nil {
				err = client.loss("", 0)
			}
			enqueue(t, client, 3, 6) // what comes later is not held against it
			if err := client.Flush(soon(t)); err != nil {
				t.Fatal(err)
			}
			var server *ServerError
			if !errors.As(err, &server) || server.Status != code || server.Code != "source.unknown_key" {
				t.Errorf("the error is %v", err)
			}
			if len(heard.failed) != 3 || len(heard.succeeded) != 3 {
				t.Errorf("the callback heard of %d failures and %d successes", len(heard.failed), len(heard.succeeded))
			}
			if len(h.seen()) != 2 {
				t.Errorf("%d requests: a final refusal was tried again", len(h.seen()))
			}
			mustHold(t, h, 3, 6)
			mustBalance(t, client)
		})
	}
}

// A server that takes at most so many bytes gets what it can take, in order, and
// is not asked again for more than it said no to.
func TestTooLargeIsSplit(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	small := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		last := h.requests[len(h.requests)-1]
		h.mu.Unlock()
		if len(last.events) > 3 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		h.keep(last)
	})
	for range 200 {
		h.script = append(h.script, small.ServeHTTP)
	}
	client := newClient(t, h.URL, func(cfg *Config) { cfg.BatchSize, cfg.MaxMessageBytes = 40, 200 })
	enqueue(t, client, 0, 100)
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, h, 0, 100)
	refusals := len(h.seen()) - (100+2)/3
	if refusals > 20 {
		t.Errorf("%d requests were refused: the client does not learn", refusals)
	}
}

func TestOneMessageTooLargeForTheServer(t *testing.T) {
	t.Parallel()
	h := newHub(t, status(413), status(413), status(413))
	heard := &outcomes{}
	client := newClient(t, h.URL, func(cfg *Config) { cfg.Callback, cfg.BatchSize = heard, 4 })
	enqueue(t, client, 0, 4)
	err := client.Close(soon(t))
	var server *ServerError
	if !errors.As(err, &server) || server.Status != 413 {
		t.Errorf("the error is %v", err)
	}
	if len(heard.failed) != 1 || heard.failed[0].(Track).MessageId != "m-0" {
		t.Errorf("lost %v, want only the first", heard.failed)
	}
	mustHold(t, h, 1, 4)
}

func TestCompressionIsGivenUp(t *testing.T) {
	t.Parallel()
	h := newHub(t, status(415))
	client := newClient(t, h.URL, nil)
	enqueue(t, client, 0, 3)
	if err := client.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
	enqueue(t, client, 3, 6)
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, h, 0, 6)
	for i, want := range []string{"gzip", "", ""} {
		if got := h.seen()[i].header.Get("Content-Encoding"); got != want {
			t.Errorf("request %d has Content-Encoding %q, want %q", i, got, want)
		}
	}
}

// The server accepts a batch but for the messages that it names.
func TestSingleRefusals(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"success":true,"receivedEvents":3,"okEvents":2,"errors":[{"index":1,"code":"event.blocked","message":"the plan blocks it"}]}`)
	})
	heard := &outcomes{}
	client := newClient(t, h.URL, func(cfg *Config) { cfg.Callback = heard })
	enqueue(t, client, 0, 3)
	err := client.Close(soon(t))
	var server *ServerError
	if !errors.As(err, &server) || server.Code != "event.blocked" {
		t.Errorf("the error is %v", err)
	}
	if len(heard.failed) != 1 || heard.failed[0].(Track).MessageId != "m-1" || len(heard.succeeded) != 2 {
		t.Errorf("failed %v, succeeded %v", heard.failed, heard.succeeded)
	}
	if s := mustBalance(t, client); s.Delivered != 2 || s.Failed != 1 {
		t.Errorf("counts %+v", s)
	}
}

func TestSlowAnswersTimeOut(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	h := newHub(t)
	h.script = []http.HandlerFunc{h.then(func(http.ResponseWriter, *http.Request) { <-release })}
	client := newClient(t, h.URL, func(cfg *Config) { cfg.AttemptTimeout = 50 * time.Millisecond })
	enqueue(t, client, 0, 3)
	err := client.Close(soon(t))
	close(release)
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, h, 0, 3)
	if s := client.Stats(); s.Requests < 2 || s.Retries != s.Requests-1 || s.Delivered != 3 { // on a busy machine a good answer may be slow too
		t.Errorf("counts %+v", s)
	}
}

func TestPermanentRedirectsAreFollowed(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	front := newHub(t, status(308, "Location", h.URL+"/v1/batch"), status(307, "Location", h.URL+"/v1/batch"))
	client := newClient(t, front.URL, nil)
	enqueue(t, client, 0, 2)
	if err := client.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
	enqueue(t, client, 2, 4)
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, h, 0, 4)
}

// Many goroutines enqueue while the server stumbles; each one's messages arrive
// once and in its order.
func TestOrderPerUserUnderConcurrency(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for i := range 40 {
		switch i % 4 {
		case 0:
			h.script = append(h.script, status(500))
		case 1:
			h.script = append(h.script, h.then(cut))
		default:
			h.script = append(h.script, h.then(status(200)))
		}
	}
	client := newClient(t, h.URL, func(cfg *Config) { cfg.BatchSize = 50 })
	const users, each = 8, 500
	var wg sync.WaitGroup
	for u := range users {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range each {
				if err := client.Enqueue(Track{UserId: fmt.Sprint(u), Event: "Step", Properties: Properties{"n": n}}); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for _, e := range h.events() {
		user := e["userId"].(string)
		if n := int(e["properties"].(map[string]any)["n"].(float64)); n != next[user] {
			t.Fatalf("user %s: message %d came when %d was due", user, n, next[user])
		}
		next[user]++
	}
	for u := range users {
		if next[fmt.Sprint(u)] != each {
			t.Errorf("user %d: %d of %d messages came", u, next[fmt.Sprint(u)], each)
		}
	}
}

func TestQueueFullAndRoomAgain(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	h := newHub(t)
	h.script = []http.HandlerFunc{h.then(func(http.ResponseWriter, *http.Request) { <-gate })}
	client := newClient(t, h.URL, func(cfg *Config) { cfg.QueueBytes, cfg.BatchSize = 4000, 2 })
	n := 0
	var err error
	for ; err == nil; n++ {
		err = client.Enqueue(track(n))
	}
	n-- // the last one was refused
	if !errors.Is(err, ErrQueueFull) {
		t.Fatal(err)
	}
	if s := mustBalance(t, client); s.QueueFull != 1 || s.QueuedBytes > 4000 || s.Queued != uint64(n) {
		t.Errorf("counts %+v, want %d queued", s, n)
	}
	close(gate)
	if err := client.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
	enqueue(t, client, n, n+2)
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, h, 0, n+2)
}

func TestCloseWithoutTime(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for range 1000 {
		h.script = append(h.script, status(503))
	}
	heard := &outcomes{}
	client := newClient(t, h.URL, func(cfg *Config) { cfg.Callback, cfg.BatchSize = heard, 4 })
	enqueue(t, client, 0, 10)
	h.await(t, 2) // it is trying
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := client.Close(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "10 messages") {
		t.Errorf("the error is %v", err)
	}
	if len(heard.failed) != 10 {
		t.Fatalf("the callback heard of %d failures", len(heard.failed))
	}
	for _, err := range heard.errs {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("a message failed with %v", err)
		}
	}
	mustBalance(t, client)
	if err := client.Enqueue(track(11)); !errors.Is(err, ErrClosed) {
		t.Errorf("Enqueue after Close: %v", err)
	}
	if err := client.Close(soon(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
}

func TestFlushEndsWithItsContext(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	h := newHub(t)
	h.script = []http.HandlerFunc{h.then(func(http.ResponseWriter, *http.Request) { <-gate })}
	client := newClient(t, h.URL, nil)
	enqueue(t, client, 0, 3)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := client.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	if s := client.Stats(); s.Queued != 3 {
		t.Errorf("counts %+v", s)
	}
	close(gate)
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, h, 0, 3)
}

func TestBatchesKeepTheLimits(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	client := newClient(t, h.URL, func(cfg *Config) { cfg.BatchBytes, cfg.BatchSize, cfg.DisableCompression = 5000, 30, true })
	pad := strings.Repeat("x", 300)
	for n := range 200 {
		m := track(n)
		if n%3 == 0 {
			m.Properties["pad"] = pad
		}
		if err := client.Enqueue(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, h, 0, 200)
	for i, r := range h.seen() {
		if r.bytes > 5000 || len(r.events) > 30 {
			t.Errorf("request %d has %d bytes and %d messages", i, r.bytes, len(r.events))
		}
	}
}

// A transport may read a body until it closes it, also after it gave an answer;
// what it reads must not change under it.
func TestBodiesAreLeftToTheirReaders(t *testing.T) {
	t.Parallel()
	var open []io.ReadCloser
	attempts := 0
	late := roundTrip(func(r *http.Request) (*http.Response, error) {
		open = append(open, r.Body)
		code := http.StatusServiceUnavailable
		if attempts++; attempts == 4 {
			code = http.StatusOK
		}
		return &http.Response{StatusCode: code, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	})
	var bodies []string
	client := newClient(t, "http://hub.test", func(c *Config) {
		c.Transport, c.DisableCompression = late, true
		at := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
		c.Now = func() time.Time { at = at.Add(time.Second); return at }
	})
	enqueue(t, client, 0, 1)
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, body := range open {
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		body.Close()
		bodies = append(bodies, string(text))
	}
	slices.Sort(bodies)
	if len(slices.Compact(bodies)) != 4 { // sentAt differs
		t.Errorf("the bodies are\n%s", strings.Join(bodies, "\n"))
	}
}

// A Flush that waits while Close runs out of time does not say that all is well.
func TestFlushDuringClose(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for range 1000 {
		h.script = append(h.script, status(503))
	}
	client := newClient(t, h.URL, nil)
	enqueue(t, client, 0, 3)
	flushed := make(chan error, 1)
	go func() { flushed <- client.Flush(context.Background()) }()
	h.await(t, 2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := client.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	if err := <-flushed; !errors.Is(err, ErrClosed) {
		t.Errorf("Flush: %v", err)
	}
}
