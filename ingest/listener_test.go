package ingest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tidegate/tidegate"
)

// slow is a journal whose disk takes until the test says.
type slow struct {
	memory
	synced chan struct{}
}

func (s *slow) Append(ctx context.Context, payload []byte, events int) (tidegate.Offset, error) {
	select {
	case <-s.synced:
	case <-ctx.Done():
		return tidegate.Offset{}, ctx.Err()
	}
	return s.memory.Append(ctx, payload, events)
}

// seenConn counts what the server reads.
type seenConn struct {
	net.Conn
	waiting, reads atomic.Int32
}

func (c *seenConn) Read(p []byte) (int, error) {
	c.reads.Add(1)
	c.waiting.Add(1)
	defer c.waiting.Add(-1)
	return c.Conn.Read(p)
}

func (c *seenConn) CloseWrite() error { return errors.New("half") }

const keepAlive = "POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Basic V0s6\r\nContent-Length: 26\r\n\r\n" + `{"event":"A","userId":"u"}`

// While an answer waits for the disk nobody reads the connection; before and
// after it the server does.
func TestNobodyWatchesWhoWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		journal := &slow{synced: make(chan struct{})}
		p := serving(t, newHub(t, func(o *Options) { o.Journal = journal }))
		client, server := net.Pipe()
		defer client.Close()
		seen := &seenConn{Conn: server}
		p.conns <- seen
		answers := bufio.NewReader(client)
		for i := range 3 {
			if _, err := io.WriteString(client, keepAlive); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := seen.waiting.Load(); n != 0 {
				t.Errorf("request %d waits for the disk, and %d reads wait for its client", i, n)
			}
			journal.synced <- struct{}{}
			if r, err := http.ReadResponse(answers, nil); err != nil || r.StatusCode != http.StatusOK {
				t.Fatalf("request %d is answered %v, %v", i, r, err)
			} else if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := seen.waiting.Load(); n != 1 {
				t.Errorf("after request %d, %d reads wait for the next one", i, n)
			}
		}
		if n := seen.reads.Load(); n > 2*3+1 {
			t.Errorf("the server read %d times for 3 requests", n)
		}
	})
}

// A body's last byte is read though it comes alone.
func TestLastByteComesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		client := serving(t, h).dial()
		defer client.Close()
		for _, part := range []string{keepAlive[:len(keepAlive)-1], keepAlive[len(keepAlive)-1:]} {
			if _, err := io.WriteString(client, part); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if r, err := http.ReadResponse(bufio.NewReader(client), nil); err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("answered %v, %v", r, err)
		}
		if events, _ := h.journal.take(); len(events) != 1 {
			t.Errorf("%d events are kept", len(events))
		}
	})
}

// Events that were read are kept though their client has gone.
func TestClientGoneWhileTheDiskWorks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		journal := &slow{synced: make(chan struct{})}
		p := serving(t, newHub(t, func(o *Options) { o.Journal = journal }))
		client := p.dial()
		if _, err := io.WriteString(client, keepAlive); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		journal.synced <- struct{}{}
		synctest.Wait()
		if events, _ := journal.take(); len(events) != 1 {
			t.Errorf("%d events are kept", len(events))
		}
	})
}

// Requests that arrive together are answered one after the other.
func TestRequestsInOneWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		client := serving(t, h).dial()
		defer client.Close()
		go func() { _, _ = io.WriteString(client, keepAlive+keepAlive+keepAlive) }()
		answers := bufio.NewReader(client)
		for range 3 {
			r, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK {
				t.Errorf("answered %d %s (%v)", r.StatusCode, body, err)
			}
		}
		if events, _ := h.journal.take(); len(events) != 3 {
			t.Errorf("%d events are kept", len(events))
		}
	})
}

func TestListenerIsBounded(t *testing.T) {
	t.Parallel()
	for _, bound := range []int{0, 2} {
		t.Run(strconv.Itoa(bound), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				l := Listen(p, bound)
				accepted := make(chan net.Conn, 3)
				ended := make(chan error, 1)
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							ended <- err
							return
						}
						accepted <- c
					}
				}()
				for range 3 {
					go func() {
						client, server := net.Pipe()
						defer client.Close()
						select {
						case p.conns <- &seenConn{Conn: server}:
						case <-p.done:
						}
					}()
				}
				synctest.Wait()
				if want := map[int]int{0: 3, 2: 2}[bound]; len(accepted) != want {
					t.Fatalf("%d connections are served, want %d", len(accepted), want)
				}
				first := <-accepted
				if err := first.(interface{ CloseWrite() error }).CloseWrite(); err == nil || err.Error() != "half" {
					t.Errorf("closing one half of a connection: %v", err)
				}
				for range 2 { // the second time gives nothing back
					_ = first.Close()
				}
				synctest.Wait()
				if len(accepted) != 2 {
					t.Errorf("%d connections are served after one was closed, want 2", len(accepted))
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				if err := <-ended; !errors.Is(err, net.ErrClosed) {
					t.Errorf("accepting after the end: %v", err)
				}
			})
		})
	}
}
