package ingest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Listen bounds the connections of l (0: no bound): a further client waits until
// one of them ends. It makes of each one a connection whose client can be left
// unwatched while an answer waits for the disk. Server serves any listener, only
// slower.
func Listen(l net.Listener, connections int) net.Listener {
	bounded := &listener{Listener: l, closed: make(chan struct{})}
	if connections > 0 {
		bounded.slots = make(chan struct{}, connections)
	}
	return bounded
}

// listener is not netutil.LimitListener because that one's connections cannot
// be looked into and have lost CloseWrite.
type listener struct {
	net.Listener
	slots  chan struct{} // nil: no bound
	close  sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	if l.slots != nil {
		select {
		case l.slots <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	c, err := l.Listener.Accept()
	if err != nil {
		l.release()
		return nil, err
	}
	return &conn{Conn: c, release: sync.OnceFunc(l.release)}, nil
}

func (l *listener) release() {
	if l.slots != nil {
		<-l.slots
	}
}

func (l *listener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// conn is a connection that net/http can be kept from watching.
//
// As soon as a body was read to its end, net/http starts a goroutine that reads
// one byte in order to notice that the client hangs up, and stops it before it
// answers: a system call, a park, a wake-up and three deadlines a request, a
// tenth of what a single call costs. Events that were read are kept whether
// their sender is still there or not, so nobody here wants to know. An unwatched
// connection gives that goroutine no byte and no error, with which it ends.
//
//	watched ──unwatch──▶ unwatched ──a deadline for the next request──▶ watched
//
// Its methods are called by one goroutine at a time, or in the order that
// net/http's own lock makes.
type conn struct {
	net.Conn
	release   func()
	unwatched atomic.Bool
}

// Read reads nothing for the watcher, whose buffer is the only one of one byte:
// all else is read through a bufio.Reader, which asks for no less than a buffer of
// its own holds, also when one byte of a body is left.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 1 && c.unwatched.Load() {
		return 0, nil
	}
	return c.Conn.Read(p)
}

// SetReadDeadline ends the unwatched time: net/http sets a deadline before it
// waits for the next request. The watcher's has no time and is not needed.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.unwatched.Load() {
		if t.IsZero() {
			return nil
		}
		c.unwatched.Store(false)
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite is what net/http closes with when a client is still sending.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

type connKey struct{}

// withConn is the ConnContext of the server.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// unwatch says that r is answered whether its client hangs up or not. It is
// called before the body is read.
func unwatch(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.unwatched.Store(true)
	}
}
