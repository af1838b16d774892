package pgwire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
)

const (
	connectTimeout = 15 * time.Second
	// Grace is how long a cancelled statement has to end before its
	// connection is given up.
	Grace = 5 * time.Second
)

// Dialer opens connections; nil means the network directly.
type Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// Server says where a server is and how it is spoken to.
type Server struct {
	Host           string // a name, an address, or the folder of a unix socket
	Port           int
	Database       string
	TLS            string // verify-full, verify-ca, require, disable; see Config of the adapters
	RootCert       string
	ClientCert     string
	ClientKey      secret.Secret
	MaxConnections int
	Dial           Dialer
	// Params are settings that a connection begins with.
	Params map[string]string
	// AfterConnect prepares a new connection; nil for none.
	AfterConnect func(ctx context.Context, pg *pgconn.PgConn) error
}

// neutral names every setting that pgx would read from the environment; those
// that matter are set to the warehouse's own afterwards. (PGSERVICE cannot be
// overruled: where its file is missing, that is an error.)
const neutral = "host=127.0.0.1 port=5432 user=none dbname=none password=none passfile=/nonexistent application_name=tidegate connect_timeout=15 " +
	"sslmode=disable sslrootcert='' sslcert='' sslkey='' sslpassword='' sslcertmode=allow sslsni=1 sslnegotiation=postgres target_session_attrs=any " +
	"timezone=UTC options='' min_protocol_version=3.0 max_protocol_version=3.0 channel_binding=prefer require_auth='' default_query_exec_mode=exec"

// Pool makes a pool of connections of one role. Nothing is taken from the
// environment of the process: PGHOST and its like are for people.
func Pool(ctx context.Context, cfg Server, user string, password secret.Secret) (*pgxpool.Pool, error) {
	base, err := pgxpool.ParseConfig(neutral)
	if err != nil {
		return nil, ConfigFault("config", "the environment holds settings of PostgreSQL that cannot be read", err)
	}
	c := base.ConnConfig
	c.Host, c.Port = cfg.Host, uint16(cfg.Port)
	c.Database, c.User, c.Password = cfg.Database, user, password.Reveal()
	c.Fallbacks = nil
	c.ConnectTimeout = connectTimeout
	c.RuntimeParams = cfg.Params
	if c.TLSConfig, err = tlsConfig(cfg); err != nil {
		return nil, err
	}
	direct := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	c.DialFunc = direct.DialContext
	if cfg.Dial != nil {
		c.DialFunc = pgconn.DialFunc(cfg.Dial)
		c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // the tunnel's far end resolves it
	}
	c.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler {
		return &canceller{pg: pg}
	}
	if cfg.AfterConnect != nil {
		c.AfterConnect = cfg.AfterConnect
	}
	base.MaxConns = int32(cfg.MaxConnections)
	base.MaxConnIdleTime = 5 * time.Minute
	base.MaxConnLifetime = time.Hour
	base.MaxConnLifetimeJitter = 5 * time.Minute
	base.PingTimeout = connectTimeout
	p, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), base)
	if err != nil {
		return nil, ConfigFault("config", "the connection cannot be configured", err)
	}
	return p, nil
}

// isSocket says whether a host is the folder of a unix socket.
func isSocket(host string) bool { return filepath.IsAbs(host) }

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// tlsConfig is nil for a connection that is not encrypted.
func tlsConfig(cfg Server) (*tls.Config, error) {
	mode := cfg.TLS
	if mode == "" {
		mode = "verify-full"
		if isSocket(cfg.Host) || loopback(cfg.Host) || cfg.Dial != nil {
			mode = "disable"
		}
	}
	t := &tls.Config{ServerName: cfg.Host, MinVersion: tls.VersionTLS12}
	if cfg.RootCert != "" {
		text, err := certificates("root_cert", cfg.RootCert)
		if err != nil {
			return nil, err
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, ConfigFault("root_cert", "it holds no certificate in PEM form", nil)
		}
	}
	if cfg.ClientCert != "" {
		text, err := certificates("client_cert", cfg.ClientCert)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(text, []byte(cfg.ClientKey.Reveal()))
		if err != nil {
			return nil, ConfigFault("client_cert", "certificate and client_key do not fit together", nil) // the error may quote the key
		}
		t.Certificates = []tls.Certificate{pair}
	}
	switch mode {
	case "disable":
		return nil, nil
	case "verify-full":
	case "require":
		t.InsecureSkipVerify = true //nolint:gosec // what the user asked for by name
	case "verify-ca":
		t.InsecureSkipVerify = true //nolint:gosec // the chain is verified below, the name is not
		t.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(t.RootCAs, s) }
	default:
		return nil, ConfigFault("tls", "there is no mode "+strconv.Quote(mode), nil)
	}
	return t, nil
}

// certificates returns the text of a setting that holds it or names its file.
func certificates(field, value string) ([]byte, error) {
	if strings.Contains(value, "-----BEGIN ") {
		return []byte(value), nil
	}
	text, err := os.ReadFile(value)
	if err != nil {
		return nil, ConfigFault(field, "it is no certificate in PEM form, and no file that can be read", err)
	}
	return text, nil
}

func verifyChain(roots *x509.CertPool, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(opts)
	return err
}

// ConfigFault is a setting that cannot be used; field names it below the warehouse's configuration.
func ConfigFault(field, message string, err error) error {
	if err != nil {
		message += ": " + strings.TrimSpace(err.Error())
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.config", Subject: "warehouse.config." + field, Message: message,
		Hint: "correct " + field + " in the warehouse's configuration",
	}
}

// quietly closes a connection that is of no more use.
func quietly(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}
