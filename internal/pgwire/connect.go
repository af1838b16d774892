package pgwire

import (
	"context"
	"net"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/internal/tlsconf"
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
		return nil, tlsconf.Fault("config", "the environment holds settings of PostgreSQL that cannot be read", err)
	}
	c := base.ConnConfig
	c.Host, c.Port = cfg.Host, uint16(cfg.Port)
	c.Database, c.User, c.Password = cfg.Database, user, password.Reveal()
	c.Fallbacks = nil
	c.ConnectTimeout = connectTimeout
	c.RuntimeParams = cfg.Params
	if c.TLSConfig, err = tlsconf.Config(tlsconf.Settings{
		Host: cfg.Host, Mode: cfg.TLS, Private: isSocket(cfg.Host) || cfg.Dial != nil, RootCert: cfg.RootCert, ClientCert: cfg.ClientCert, ClientKey: cfg.ClientKey,
	}); err != nil {
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
		return nil, tlsconf.Fault("config", "the connection cannot be configured", err)
	}
	return p, nil
}

// isSocket says whether a host is the folder of a unix socket.
func isSocket(host string) bool { return filepath.IsAbs(host) }

// quietly closes a connection that is of no more use.
func quietly(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}
