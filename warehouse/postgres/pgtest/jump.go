package pgtest

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

	"golang.org/x/crypto/ssh"
)

// Jump is an SSH server that forwards connections and nothing else. The other fields are what a client of it needs.
type Jump struct {
	Host                   string // loopback
	Port                   int
	User                   string
	PrivateKey, Passphrase string // the key in PEM form, encrypted with the passphrase
	HostKey                string // as in known_hosts

	l         net.Listener
	config    *ssh.ServerConfig
	group     sync.WaitGroup
	forwarded atomic.Int32

	mu    sync.Mutex
	conns []net.Conn
}

const passphrase = "passphrase"

func keyPair(tb testing.TB) (ssh.Signer, string) {
	tb.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	if err != nil {
		tb.Fatal(err)
	}
	return signer, string(pem.EncodeToMemory(block))
}

// StartJump starts an SSH server with keys of its own, which ends with tb.
func StartJump(tb testing.TB) *Jump {
	tb.Helper()
	host, _ := keyPair(tb)
	user, private := keyPair(tb)
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	j := &Jump{
		Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: "tunnel", PrivateKey: private, Passphrase: passphrase,
		HostKey: "127.0.0.1 " + string(ssh.MarshalAuthorizedKey(host.PublicKey())), l: l,
	}
	j.config = &ssh.ServerConfig{
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() == j.User && bytes.Equal(key.Marshal(), user.PublicKey().Marshal()) {
				return nil, nil
			}
			return nil, errors.New("unknown")
		},
	}
	j.config.AddHostKey(host)
	j.group.Go(j.serve)
	tb.Cleanup(func() {
		_ = l.Close()
		j.HangUp()
		j.group.Wait()
	})
	return j
}

// Forwarded is how many connections it has forwarded.
func (j *Jump) Forwarded() int { return int(j.forwarded.Load()) }

// HangUp breaks all connections.
func (j *Jump) HangUp() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.conns {
		_ = c.Close()
	}
	j.conns = nil
}

func (j *Jump) serve() {
	for {
		c, err := j.l.Accept()
		if err != nil {
			return
		}
		j.mu.Lock()
		j.conns = append(j.conns, c)
		j.mu.Unlock()
		j.group.Go(func() {
			defer func() { _ = c.Close() }()
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

func (j *Jump) forward(ch ssh.NewChannel) {
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
		_ = ch.Reject(ssh.ConnectionFailed, "Connection refused") // as OpenSSH says it
		return
	}
	defer func() { _ = far.Close() }()
	near, requests, err := ch.Accept()
	if err != nil {
		return
	}
	defer func() { _ = near.Close() }()
	j.forwarded.Add(1)
	j.group.Go(func() { ssh.DiscardRequests(requests) })
	j.group.Go(func() {
		_, _ = io.Copy(near, far)
		_ = near.Close()
	})
	_, _ = io.Copy(far, near)
}
