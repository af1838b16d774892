package clickhouse

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	driver "github.com/ClickHouse/clickhouse-go/v2"
	conns "github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/internal/tlsconf"
)

const (
	connectTimeout = 10 * time.Second
	// queueTimeout is how long a statement waits for a connection that is free, and for the driver's first question on a new one.
	queueTimeout = 30 * time.Minute
	// connectionLife is how long the driver keeps what it knows of the server.
	connectionLife = 24 * time.Hour
	// idleTimeout is shorter than the server's keep_alive_timeout, which was 3 s once: a
	// connection that the server has closed meanwhile looks like one that broke.
	idleTimeout = 2 * time.Second
	// killTimeout bounds what is done for a statement that is given up.
	killTimeout = 3 * time.Second
)

// client speaks to the server as one user, through the vendor's driver.
type client struct {
	conn     conns.Conn
	base     *http.Transport
	database string
	user     string
	packed   bool // blocks are packed in LZ4
	native   bool // the native protocol; see native.go
}

func newClient(cfg Config, user string, password secret.Secret) (*client, error) {
	t, err := tlsconf.Config(tlsconf.Settings{Host: cfg.Host, Mode: cfg.TLS, RootCert: cfg.RootCert, ClientCert: cfg.ClientCert, ClientKey: cfg.ClientKey})
	if err != nil {
		return nil, err
	}
	if cfg.Host == "" {
		return nil, tlsconf.Fault("host", "it is missing", nil)
	}
	connections := cfg.MaxConnections
	if connections == 0 {
		connections = 8
	}
	c := &client{user: user, database: cfg.Database, packed: cfg.Compression != "none", native: cfg.Protocol == "native"}
	if c.user == "" {
		c.user = "default"
	}
	if c.database == "" {
		c.database = "default"
	}
	c.base = httpTransport(t, connections)
	options := &driver.Options{
		Protocol: driver.HTTP, Addr: []string{net.JoinHostPort(cfg.Host, strconv.Itoa(portOf(cfg, t != nil)))}, TLS: t,
		Auth:         driver.Auth{Database: c.database, Username: c.user, Password: password.Reveal()},
		MaxOpenConns: connections, MaxIdleConns: connections, ConnMaxLifetime: connectionLife, DialTimeout: queueTimeout,
		DialStrategy: dialAlone,
		// All connections of the driver share one transport, whose limits are ours.
		TransportFunc: func(*http.Transport) (http.RoundTripper, error) { return &transport{next: c.base}, nil },
	}
	if c.native {
		options.Protocol, options.ReadTimeout = driver.Native, queueTimeout
		options.DialContext = func(ctx context.Context, addr string) (net.Conn, error) { return dialNative(ctx, addr, t) }
		if c.packed {
			options.Compression = &driver.Compression{Method: driver.CompressionLZ4}
		}
	}
	c.conn, err = driver.Open(options)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return c, nil
}

// portOf is the port that cfg says, or that of the protocol.
func portOf(cfg Config, encrypted bool) int {
	switch {
	case cfg.Port != 0:
		return cfg.Port
	case cfg.Protocol == "native" && encrypted:
		return 9440
	case cfg.Protocol == "native":
		return 9000
	case encrypted:
		return 8443
	}
	return 8123
}

// dialNative connects soon or not at all, however long a statement may wait for a connection.
func dialNative(ctx context.Context, addr string, t *tls.Config) (net.Conn, error) {
	d := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	dial := d.DialContext
	if t != nil {
		dial = (&tls.Dialer{NetDialer: d, Config: t}).DialContext
	}
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err //nolint:wrapcheck // the driver's to wrap
	}
	h := &hello{Conn: conn}
	h.late = time.AfterFunc(connectTimeout, func() { _ = conn.Close() })
	return h, nil
}

// hello ends a connection on which the other side says nothing at all: a port of another
// protocol waits for the driver as long as the driver for it.
type hello struct {
	net.Conn
	late *time.Timer
}

func (h *hello) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.late.Stop()
	}
	return n, err //nolint:wrapcheck // the driver's to wrap
}

func (h *hello) Close() error {
	h.late.Stop()
	return h.Conn.Close() //nolint:wrapcheck // the driver's to wrap
}

func httpTransport(t *tls.Config, connections int) *http.Transport {
	dial := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext: dial.DialContext, TLSClientConfig: t, TLSHandshakeTimeout: connectTimeout,
		MaxIdleConnsPerHost: connections, IdleConnTimeout: idleTimeout,
		DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
	}
}

// dialAlone asks the driver's first question on a new connection (its name, its
// version) without the settings and the name of the statement that waits for it.
func dialAlone(ctx context.Context, _ int, o *driver.Options, dial driver.Dial) (driver.DialResult, error) {
	ctx = driver.Context(context.WithValue(ctx, statementKey{}, ""), driver.WithSettings(driver.Settings{}), driver.WithQueryID(""), driver.WithParameters(nil))
	return dial(ctx, o.Addr[0], o)
}

func (c *client) close() error {
	err := c.conn.Close()
	c.base.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("closing connections: %w", err)
	}
	return nil
}

// call is one statement on its way to the server.
type call struct {
	sql      string
	params   []param
	settings map[string]string
	data     []byte   // of an INSERT, packed as the client packs
	repeat   bool     // twice does the same as once
	id       string   // of the statement at the server
	as       []string // types that columns of a result are read as, over the native protocol
}

// newID names a statement or a unit. Later ones sort behind earlier ones of the same clock.
func newID(now time.Time) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("tidegate-%016x-%s", now.UnixMicro(), hex.EncodeToString(b[:]))
}

// maxMessage is how much of an error is read.
const maxMessage = 64 << 10

// ofHTTP are the settings that only the HTTP interface knows.
var ofHTTP = map[string]bool{"compress": true, "decompress": true, "wait_end_of_query": true, "cancel_http_readonly_queries_on_client_close": true}

// with gives the driver what belongs to q.
func (c *client) with(ctx context.Context, q *call) context.Context {
	settings := driver.Settings{}
	for name, value := range q.settings {
		if !c.native || !ofHTTP[name] {
			settings[name] = value
		}
	}
	if !c.native { // blocks without what versions of the native protocol add to them
		settings["client_protocol_version"] = "0"
	}
	params := driver.Parameters{}
	for _, p := range q.params {
		params[p.name] = p.value
	}
	return driver.Context(ctx, driver.WithSettings(settings), driver.WithQueryID(q.id), driver.WithParameters(params))
}

// open runs a statement and returns its answer in the format Native, which has begun well. The caller closes it.
func (c *client) open(ctx context.Context, q *call) (io.ReadCloser, error) {
	if c.native {
		return c.openRows(ctx, q)
	}
	sql := q.sql
	if endsLikeFormat.MatchString(sql) {
		sql += "\n/**/" // a comment, which the driver takes for a clause
	}
	stream, err := c.conn.QueryFormat(c.with(ctx, q), "Native", sql)
	if err != nil {
		return nil, c.failure(ctx, err, q.sql)
	}
	return stream, nil
}

// insert sends rows, which are packed as the client packs.
func (c *client) insert(ctx context.Context, q *call) error {
	if c.native {
		return c.insertBatch(ctx, q)
	}
	if c.packed {
		q.settings["decompress"] = "1"
	}
	with := c.with(context.WithValue(ctx, statementKey{}, q.sql), q)
	if err := c.conn.InsertFormat(with, "Native", "INSERT INTO named_below", bytes.NewReader(q.data)); err != nil {
		return c.failure(ctx, err, q.sql)
	}
	return nil
}

// pack prepares data of an INSERT for its way and for the books of units.
func (c *client) pack(data []byte) ([]byte, error) {
	if !c.packed {
		return bytes.Clone(data), nil
	}
	w := compress.NewWriter(compress.LevelZero, compress.LZ4)
	const step = 1 << 20
	out := make([]byte, 0, len(data)/3+64)
	for len(data) > 0 {
		part := data[:min(step, len(data))]
		if err := w.Compress(part); err != nil {
			return nil, fmt.Errorf("packing rows: %w", err)
		}
		out, data = append(out, w.Data...), data[len(part):]
	}
	return out, nil
}

// run runs a statement whose answer is of no interest. The driver's own Exec does not read it, and so
// takes an error in it, or half of it, for success; over the native protocol there is no such gap.
func (c *client) run(ctx context.Context, q *call) (err error) {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("running a statement: %w", err)
	}
	if q.data != nil {
		return c.insert(ctx, q)
	}
	if c.native {
		if err := c.conn.Exec(c.with(ctx, q), q.sql); err != nil {
			return c.failure(ctx, err, q.sql)
		}
		return nil
	}
	answer, err := c.open(ctx, q)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	message, err := io.ReadAll(io.LimitReader(answer, maxMessage))
	if err != nil {
		return c.failure(ctx, err, q.sql)
	}
	if f := told(message, q.sql, c.user); f != nil {
		return f
	}
	return nil
}

// kill stops a statement at the server, as well as that can be done. It is no
// error when the statement has ended, or when nobody can be reached.
func (c *client) kill(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	// The name is our own: letters, digits and hyphens.
	_ = c.run(ctx, &call{sql: "KILL QUERY WHERE query_id = '" + id + "' ASYNC"})
}
