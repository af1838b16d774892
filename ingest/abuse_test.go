package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pipes is a listener whose connections are pipes, so that the server's times
// are those of the test.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.done) }); return nil }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (p *pipes) Addr() net.Addr { return pipeAddr{} }

// dial returns a connection to the server.
func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// serving runs the real server on pipes until the test ends.
func serving(t *testing.T, h http.Handler) *pipes {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	s := Server(h, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(Listen(p, 100)) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return p
}

// answerTo writes a request as it is and returns the status of the answer, 0 when
// the connection was closed without one, and how long that took.
func (p *pipes) answerTo(t *testing.T, request string) (int, string, time.Duration) {
	t.Helper()
	began := time.Now()
	conn := p.dial()
	defer conn.Close()
	var writing sync.WaitGroup
	writing.Go(func() { _, _ = io.WriteString(conn, request) }) // the server may close before the end
	defer writing.Wait()
	defer conn.Close()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", time.Since(began)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("the answer's body: %v", err)
	}
	return response.StatusCode, string(body), time.Since(began)
}

const (
	head = "POST /v1/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic V0s6\r\n"
	good = head + "Content-Length: 50\r\n\r\n" + `{"batch":[{"type":"page","anonymousId":"goodie"}]}`
)

// Whatever a stranger does to the server, it answers or hangs up in time, keeps
// nothing of it, and serves others meanwhile.
func TestAbuse(t *testing.T) {
	t.Parallel()
	sized := func(body string) string {
		return head + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	}
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	event := func(properties string) string {
		return sized(`{"batch":[{"type":"page","userId":"u","properties":` + properties + `}]}`)
	}
	for name, c := range map[string]struct {
		request string
		status  int
		says    string
		within  time.Duration // a second when zero: before it hangs up, net/http lets its answer arrive
	}{
		"slow headers":                {request: "POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuth", status: 400, within: readHeaderTimeout},
		"no headers at all":           {within: readHeaderTimeout},
		"a slow body":                 {request: head + "Content-Length: 100\r\n\r\n{\"batch\"", status: 408, says: "request.timeout", within: readTimeout},
		"a huge header":               {request: head + "X-Huge: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", status: 431},
		"many headers":                {request: head + strings.Repeat("X-Many: x\r\n", 8<<10) + "\r\n", status: 431},
		"a huge request line":         {request: "POST /v1/batch?" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", status: 431},
		"no HTTP":                     {request: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", status: 400},
		"a length that is none":       {request: head + "Content-Length: -5\r\n\r\n", status: 400},
		"two lengths":                 {request: head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345", status: 400},
		"a length too large":          {request: head + "Content-Length: 99999999999\r\n\r\n", status: 413, says: "request.too_large"},
		"chunks that are none":        {request: head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", status: 400, says: "request.cut_short"},
		"a bomb":                      {request: sized(zip(strings.Repeat(" ", 64<<20))), status: 413, says: "request.too_large"},
		"half a gzip":                 {request: sized(zip(strings.Repeat("x", 100))[:20]), status: 400, says: "request.bad_gzip"},
		"an encoding that is unknown": {request: head + "Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}", status: 415, says: "request.encoding"},
		"nesting beyond the scanner":  {request: event(deep(600)), status: 400, says: "request.bad_json"},
		"nesting beyond the limit":    {request: event(deep(100)), status: 400, says: "event.too_deep"},
		"arrays without end":          {request: sized(strings.Repeat("[", 1<<20)), status: 400, says: "request.bad_json"},
		"a million empty events":      {request: sized(`{"batch":[` + strings.Repeat("{},", 1<<20) + "{}]}"), status: 413, says: "request.too_many_events"},
		"a NUL":                       {request: event("\"\x00\""), status: 400, says: "request.bad_json"},
		"no UTF-8":                    {request: event("\"\xff\""), status: 400, says: "request.bad_json"},
		"names in other letters":      {request: sized(`{"BATCH":[],"batch":[{"TYPE":"page","type":"track","USERID":"u","Event":"E"}]}`), status: 400, says: "event.no_identity"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, nil)
				p := serving(t, h)
				var others sync.WaitGroup
				others.Go(func() {
					for range 3 {
						if status, body, took := p.answerTo(t, good); status != http.StatusOK || took > 0 {
							t.Errorf("another client is answered %d after %v: %s", status, took, body)
						}
					}
				})
				status, body, took := p.answerTo(t, c.request)
				others.Wait()
				if status != c.status || !strings.Contains(body, c.says) || took > max(c.within, time.Second) {
					t.Errorf("answered %d after %v: %s; want %d within %v, with %s", status, took, body, c.status, c.within, c.says)
				}
				events, _ := h.journal.take()
				for _, e := range events {
					if !bytes.Contains(e.Body, []byte("goodie")) {
						t.Errorf("kept %s", e.Body)
					}
				}
				if len(events) != 3 {
					t.Errorf("%d events of the other client are kept", len(events))
				}
			})
		})
	}
}

// A client that writes all of a body before it reads learns that the body is too large, and
// is not cut off, which it would take for a reason to try again.
func TestTooLargeIsAnswered(t *testing.T) {
	t.Parallel()
	body := strings.Repeat(" ", 15<<20)
	for name, request := range map[string]string{
		"of a length": head + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body,
		"in a chunk":  head + "Transfer-Encoding: chunked\r\n\r\n" + strconv.FormatInt(int64(len(body)), 16) + "\r\n" + body + "\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				conn := serving(t, newHub(t, nil)).dial()
				defer conn.Close()
				if n, err := io.WriteString(conn, request); err != nil {
					t.Fatalf("cut off after %d of %d bytes: %v", n, len(request), err)
				}
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusRequestEntityTooLarge {
					t.Errorf("answered %d, %v", response.StatusCode, err)
				}
			})
		})
	}
}

// What one body makes the server allocate is bounded by its size, whatever is in it.
func TestMemoryOfAbuse(t *testing.T) { // not parallel: it reads the memory that the process allocated
	h := newHub(t, nil)
	for name, body := range map[string]string{
		"empty events": `{"batch":[` + strings.Repeat("{},", 1<<20) + "{}]}",
		"nesting":      strings.Repeat(`{"batch":[`, 400_000),
		"names":        "{" + strings.Repeat(`"\u0061":1,`, 300_000) + `"b":1}`,
		"bytes":        strings.Repeat("\x00", 4<<20),
	} {
		mustFind(t, h.send("/v1/track", `{"userId":"u","event":"E"}`), http.StatusOK)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := h.send("/v1/batch", body)
		runtime.ReadMemStats(&after)
		if w.Code < 400 || w.Code > 499 {
			t.Errorf("%s: answered %d", name, w.Code)
		}
		if allocated := int(after.TotalAlloc - before.TotalAlloc); allocated > 12*len(body)+1<<20 {
			t.Errorf("%s: %d bytes allocated for a body of %d", name, allocated, len(body))
		}
	}
}

// Names count letter by letter, and of a repeated one the last: an event cannot
// say one thing to the door and another to the readers of the journal.
func TestNamesInOtherLetters(t *testing.T) {
	t.Parallel()
	list := &forgotten{users: map[string]bool{"gone": true}}
	h := newHub(t, func(o *Options) { o.Suppression = list })
	mustFind(t, h.send("/v1/track", `{"userId":"a","USERID":"gone","UserId":"gone","event":"E","EVENT":"F","messageId":"m","MESSAGEID":"n"}`), http.StatusOK)
	mustFind(t, h.send("/v1/track", `{"userId":"a","userId":"gone","event":"E","messageId":"m"}`), http.StatusOK)
	mustFind(t, h.send("/v1/track", `{"userId":"gone","userId":"a","event":"E","messageId":"m"}`), http.StatusOK)
	mustFind(t, h.send("/v1/track", `{"USERID":"a","event":"E"}`), http.StatusBadRequest, RefusedNoIdentity)
	mustFind(t, h.send("/v1/track", `{"userId":"a","Event":"E"}`), http.StatusBadRequest, RefusedNoName)
	events, _ := h.journal.take()
	var refusals []string
	for _, e := range events {
		refusals = append(refusals, e.Refusal)
	}
	if diff := cmp.Diff([]string{"", gone, ""}, refusals); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
}
