package postgres_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse/postgres"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// jump is an SSH server that forwards connections and nothing else.
type jump struct {
	l         net.Listener
	config    *ssh.ServerConfig
	group     sync.WaitGroup
	forwarded atomic.Int32

	mu    sync.Mutex
	conns []net.Conn
}

func keyPair(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// startJump returns a server and a configuration that goes through it.
func startJump(t *testing.T) (*jump, postgres.SSH) {
	t.Helper()
	host, _ := keyPair(t)
	user, private := keyPair(t)
	j := &jump{config: &ssh.ServerConfig{
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() == "tunnel" && bytes.Equal(key.Marshal(), user.PublicKey().Marshal()) {
				return nil, nil
			}
			return nil, errors.New("unknown")
		},
	}}
	j.config.AddHostKey(host)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	j.l = l
	j.group.Go(j.serve)
	t.Cleanup(func() {
		_ = l.Close()
		j.hangUp()
		j.group.Wait()
	})
	return j, postgres.SSH{
		Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: "tunnel",
		PrivateKey: secret.New(string(private)), Passphrase: secret.New("passphrase"),
		HostKey: "127.0.0.1 " + string(ssh.MarshalAuthorizedKey(host.PublicKey())),
	}
}

func (j *jump) hangUp() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.conns {
		_ = c.Close()
	}
	j.conns = nil
}

func (j *jump) serve() {
	for {
		c, err := j.l.Accept()
		if err != nil {
			return
		}
		j.mu.Lock()
		j.conns = append(j.conns, c)
		j.mu.Unlock()
		j.group.Go(func() {
			defer c.Close()
			_, channels, requests, err := ssh.NewServerConn(c, j.config)
			if err != nil {
				return
			}
			j.group.Go(func() { ssh.DiscardRequests(requests) })
			for ch := range channels {
				j.group.Go(func() { j.forward(ch) })
			}
		})
	}
}

func (j *jump) forward(ch ssh.NewChannel) {
	var to struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}
	if ch.ChannelType() != "direct-tcpip" || ssh.Unmarshal(ch.ExtraData(), &to) != nil {
		_ = ch.Reject(ssh.Prohibited, "no")
		return
	}
	far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		_ = ch.Reject(ssh.ConnectionFailed, "no")
		return
	}
	defer far.Close()
	near, requests, err := ch.Accept()
	if err != nil {
		return
	}
	defer near.Close()
	j.forwarded.Add(1)
	j.group.Go(func() { ssh.DiscardRequests(requests) })
	j.group.Go(func() {
		_, _ = io.Copy(near, far)
		_ = near.Close()
	})
	_, _ = io.Copy(far, near)
}

// TestSSHTunnel: everything goes through the tunnel, cancels too, and a tunnel
// that breaks is made again.
func TestSSHTunnel(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	j, tunnel := startJump(t)
	cfg.SSH = &tunnel
	w := open(t, cfg)
	defer w.Close()
	if got := warehousetest.Rows(t, w, "SELECT count(*) FROM generate_series(1, 100000)"); got[0][0] != int64(100_000) || j.forwarded.Load() == 0 {
		t.Errorf("got %v over %d connections of the tunnel", got, j.forwarded.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := w.Query(ctx, "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b")
	if err == nil {
		_, err = r.Next(ctx)
		_ = r.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	j.hangUp()
	for { // the connections of the pool that died are found out one by one
		r, err := w.Query(t.Context(), "SELECT 1")
		if err == nil {
			_ = r.Close()
			break
		}
		if f := tidegate.FaultOf(err); f.Action != tidegate.Retry {
			t.Fatal(err)
		}
	}
}

func TestSSHTunnelRefused(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	_, tunnel := startJump(t)
	stranger, private := keyPair(t)
	for _, c := range []struct {
		name   string
		change func(*postgres.SSH)
		code   string
		action tidegate.Action
	}{
		{"another host key", func(s *postgres.SSH) { s.HostKey = string(ssh.MarshalAuthorizedKey(stranger.PublicKey())) }, "warehouse.ssh_host_key", tidegate.Halt},
		{"another user key", func(s *postgres.SSH) { s.PrivateKey = secret.New(string(private)) }, "auth.refused", tidegate.Halt},
		{"another user", func(s *postgres.SSH) { s.User = "root" }, "auth.refused", tidegate.Halt},
		{"another passphrase", func(s *postgres.SSH) { s.Passphrase = secret.New("wrong") }, "warehouse.config", tidegate.Halt},
		{"another kind of host key", func(s *postgres.SSH) {
			s.HostKey = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGoNSFk4loLu27/ZP9tI/PMaO4Q7opW19TMulBeUxWRCU4aVHP02v6ljWNw4yhlmmTvlkanW00tlU3pg6w2mwkg="
		}, "warehouse.ssh_host_key", tidegate.Halt},
		{"nobody listens", func(s *postgres.SSH) { s.Port = 1 }, "warehouse.ssh", tidegate.Retry},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, s := cfg, tunnel
			c.change(&s)
			cfg.SSH = &s
			w, err := postgres.Open(t.Context(), cfg, env())
			if err == nil {
				_ = w.Close()
			}
			fault(t, err, c.action, c.code, "")
		})
	}
}
