package pgwire

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/internal/tlsconf"
	"github.com/tidegate/tidegate/internal/turns"
)

// SSH is a tunnel to the server.
type SSH struct {
	Host       string        `json:"host" doc:"The SSH server."`
	Port       int           `json:"port,omitempty" default:"22" min:"1" max:"65535" doc:"Its port."`
	User       string        `json:"user" doc:"The user to log in as."`
	PrivateKey secret.Secret `json:"private_key" doc:"The user's private key, as in ~/.ssh/id_ed25519."`
	Passphrase secret.Secret `json:"passphrase,omitzero" doc:"What the private key is encrypted with."`
	HostKey    string        `json:"host_key" doc:"The SSH server's public key as ssh-keyscan prints it; more than one line when it has more than one. Another key is refused."`
}

// Tunnel opens connections to the server from a host that is reached by SSH.
// One SSH connection carries all; a broken one is made again at the next dial.
type Tunnel struct {
	addr   string
	config *ssh.ClientConfig

	mu     sync.Mutex
	client *ssh.Client
	closed bool
}

// NewTunnel reads the settings of a tunnel; nothing is connected yet.
func NewTunnel(cfg SSH) (*Tunnel, error) {
	keys, algorithms, err := hostKeys(cfg.HostKey)
	if err != nil {
		return nil, err
	}
	var signer ssh.Signer
	if cfg.Passphrase.Empty() {
		signer, err = ssh.ParsePrivateKey([]byte(cfg.PrivateKey.Reveal()))
	} else {
		signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(cfg.PrivateKey.Reveal()), []byte(cfg.Passphrase.Reveal()))
	}
	if err != nil { // not quoted: it may hold a piece of the key
		return nil, tlsconf.Fault("ssh.private_key", "it is no private key, or its passphrase is missing or wrong", nil)
	}
	return &Tunnel{
		addr: net.JoinHostPort(cfg.Host, strconv.Itoa(cmp.Or(cfg.Port, 22))),
		config: &ssh.ClientConfig{
			User:              cfg.User,
			Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
			HostKeyAlgorithms: algorithms,
			HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
				for _, known := range keys {
					if bytes.Equal(known.Marshal(), key.Marshal()) {
						return nil
					}
				}
				return &tidegate.Fault{
					Action: tidegate.Halt, Code: "warehouse.ssh_host_key", Subject: "warehouse.config.ssh.host_key",
					Message: "the SSH server shows another key: " + ssh.FingerprintSHA256(key),
					Hint:    "find out why; only when the server was given a new key, put that one into ssh.host_key",
				}
			},
			Timeout: connectTimeout,
		},
	}, nil
}

// hostKeys reads lines as in known_hosts or as ssh-keyscan prints them; the names before the keys do not matter.
func hostKeys(text string) (keys []ssh.PublicKey, algorithms []string, err error) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			_, _, key, _, _, err = ssh.ParseKnownHosts([]byte(line))
		}
		if err != nil {
			return nil, nil, tlsconf.Fault("ssh.host_key", "a line is no public key", nil)
		}
		keys = append(keys, key)
		if key.Type() == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			algorithms = append(algorithms, key.Type())
		}
	}
	if len(keys) == 0 {
		return nil, nil, tlsconf.Fault("ssh.host_key", "it is empty", nil)
	}
	return keys, algorithms, nil
}

// Dial opens a connection from the far end of the tunnel.
func (t *Tunnel) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	client, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := client.DialContext(ctx, network, addr)
	if err == nil {
		return &tunnelled{Conn: conn}, nil
	}
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return nil, fmt.Errorf("dialling through the tunnel: %w", err)
	}
	// The SSH connection may have died unnoticed: once more over a new one.
	t.drop(client)
	if client, err = t.connect(ctx); err != nil {
		return nil, err
	}
	if conn, err = client.DialContext(ctx, network, addr); err != nil {
		return nil, fmt.Errorf("dialling through the tunnel: %w", err)
	}
	return &tunnelled{Conn: conn}, nil
}

func (t *Tunnel) connect(ctx context.Context) (*ssh.Client, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, turns.ErrClosed
	}
	if t.client != nil {
		return t.client, nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.ssh", Message: "the SSH server cannot be reached: " + Redacted(err), Hint: "check ssh.host, ssh.port and the network between", Err: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, t.addr, t.config)
	stop()
	if err != nil {
		_ = conn.Close()
		return nil, sshFault(err)
	}
	t.client = ssh.NewClient(c, channels, requests)
	return t.client, nil
}

func sshFault(err error) error {
	var own *tidegate.Fault
	if errors.As(err, &own) {
		return own
	}
	f := &tidegate.Fault{
		Action: tidegate.Retry, Code: "warehouse.ssh", Message: "the SSH connection failed: " + Redacted(err), Err: err,
		Hint: "check ssh.host and ssh.port: what is there has not answered as an SSH server does",
	}
	switch {
	case strings.Contains(err.Error(), "unable to authenticate"):
		f.Action, f.Code, f.Hint = tidegate.Halt, "auth.refused", "put the public half of ssh.private_key into the authorized_keys of ssh.user"
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		f.Action, f.Code, f.Hint = tidegate.Halt, "warehouse.ssh_host_key", "the server has no key of the kind in ssh.host_key: take its line from ssh-keyscan"
	}
	return f
}

func (t *Tunnel) drop(client *ssh.Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client == client {
		t.client = nil
	}
	_ = client.Close()
}

// Close ends the SSH connection and with it all that it carries.
func (t *Tunnel) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.client == nil {
		return nil
	}
	err := t.client.Close()
	_ = t.client.Wait() // its goroutines have ended
	t.client = nil
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// tunnelled is a connection in a tunnel, which knows no deadlines: here one
// closes it, which is all that the driver wants of them.
type tunnelled struct {
	net.Conn
	mu    sync.Mutex
	timer *time.Timer
}

func (t *tunnelled) SetDeadline(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	if !at.IsZero() {
		t.timer = time.AfterFunc(time.Until(at), func() { _ = t.Conn.Close() })
	}
	return nil
}

func (t *tunnelled) Close() error {
	return errors.Join(t.SetDeadline(time.Time{}), t.Conn.Close())
}
