package postgres_test

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/warehouse/postgres"
)

// proxy stands between the adapter and the server. Once armed it breaks the
// first connection on which a COMMIT passes, before or after the server has it.
type proxy struct {
	l      net.Listener
	target string
	group  sync.WaitGroup
	armed  atomic.Int32
	cuts   atomic.Int32
	// deaf refuses new connections after a cut.
	deaf atomic.Bool
}

const (
	cutNothing = iota
	cutBeforeCommit
	cutAfterCommit
)

// between returns a config that goes through a new proxy.
func between(t *testing.T, cfg postgres.Config) (postgres.Config, *proxy) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, target: net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port))}
	p.group.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.group.Wait()
	})
	cfg.Host, cfg.Port = "127.0.0.1", l.Addr().(*net.TCPAddr).Port
	return cfg, p
}

func (p *proxy) serve() {
	for {
		near, err := p.l.Accept()
		if err != nil {
			return
		}
		if p.deaf.Load() {
			_ = near.Close()
			continue
		}
		far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.group.Go(func() { p.carry(near, far) })
	}
}

// carry copies both ways until one side ends.
func (p *proxy) carry(near, far net.Conn) {
	defer near.Close()
	defer far.Close()
	muted := atomic.Bool{}
	ended := make(chan struct{})
	p.group.Go(func() {
		defer close(ended)
		buf := make([]byte, 1<<16)
		for {
			n, err := far.Read(buf)
			if muted.Load() { // the server has answered the COMMIT; nobody hears it
				p.cuts.Add(1)
				_ = near.Close()
				return
			}
			if _, werr := near.Write(buf[:n]); err != nil || werr != nil {
				_ = near.Close()
				return
			}
		}
	})
	buf := make([]byte, 1<<16)
	for {
		n, err := near.Read(buf)
		if err != nil {
			break
		}
		if string(buf[:min(n, 12)]) == "Q\x00\x00\x00\x0bCOMMIT\x00" {
			switch p.armed.Swap(cutNothing) {
			case cutBeforeCommit:
				p.cuts.Add(1)
				n = 0
				err = io.EOF
			case cutAfterCommit:
				muted.Store(true)
			}
		}
		if err != nil {
			break
		}
		if _, err := far.Write(buf[:n]); err != nil {
			break
		}
	}
	if !muted.Load() {
		_ = far.Close()
	}
	_ = near.Close()
	<-ended
}
