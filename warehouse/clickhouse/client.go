package clickhouse

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"

	"github.com/tidegate/tidegate/internal/secret"
)

const (
	connectTimeout = 10 * time.Second
	// idleTimeout is shorter than the server's keep_alive_timeout, which was 3 s once: a
	// connection that the server has closed meanwhile looks like one that broke.
	idleTimeout = 2 * time.Second
	// killTimeout bounds what is done for a statement that is given up.
	killTimeout = 3 * time.Second
	// maxURL is how long parameters may be in the address; longer ones go in the body.
	maxURL = 4 << 10
)

// client speaks to the HTTP interface as one user.
type client struct {
	http     *http.Client
	base     url.URL
	database string
	user     string
	password secret.Secret
	packed   bool // rows travel in LZ4
}

func newClient(cfg Config, user string, password secret.Secret) (*client, error) {
	t, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	scheme, port := "http", 8123
	if t != nil {
		scheme, port = "https", 8443
	}
	if cfg.Port != 0 {
		port = cfg.Port
	}
	if cfg.Host == "" {
		return nil, configFault("host", "it is missing", nil)
	}
	connections := cfg.MaxConnections
	if connections == 0 {
		connections = 8
	}
	dial := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	c := &client{
		base: url.URL{Scheme: scheme, Host: net.JoinHostPort(cfg.Host, strconv.Itoa(port)), Path: "/"},
		user: user, password: password, database: cfg.Database, packed: cfg.Compression != "none",
		http: &http.Client{
			Transport: &http.Transport{
				DialContext: dial.DialContext, TLSClientConfig: t, TLSHandshakeTimeout: connectTimeout,
				MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections, IdleConnTimeout: idleTimeout,
				DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if c.user == "" {
		c.user = "default"
	}
	if c.database == "" {
		c.database = "default"
	}
	return c, nil
}

// call is one statement on its way to the server.
type call struct {
	sql      string
	params   []param
	settings map[string]string
	data     []byte // of an INSERT, packed as the client packs
	repeat   bool   // twice does the same as once
	id       string // of the statement at the server, set by send
}

// newID names a statement or a unit. Later ones sort behind earlier ones of the same clock.
func newID(now time.Time) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("tidegate-%016x-%s", now.UnixMicro(), hex.EncodeToString(b[:]))
}

// send runs a statement. The caller closes the body of the answer, which has begun well.
func (c *client) send(ctx context.Context, q *call) (*http.Response, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("running a statement: %w", err)
	}
	req, err := c.request(ctx, q)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, connectError(ctx, err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-ClickHouse-Exception-Code") != "" {
		defer func() { _ = resp.Body.Close() }()
		message, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
		if err != nil && ctx.Err() != nil {
			return nil, connectError(ctx, err)
		}
		return nil, c.fault(ctx, string(message), resp, q.sql)
	}
	return resp, nil
}

// maxMessage is how much of an error is read.
const maxMessage = 64 << 10

func (c *client) request(ctx context.Context, q *call) (*http.Request, error) {
	values := url.Values{"database": {c.database}, "query_id": {q.id}, "default_format": {"Native"}}
	for name, value := range q.settings {
		values.Set(name, value)
	}
	var body io.Reader = strings.NewReader(q.sql)
	contentType := "text/plain; charset=utf-8"
	size := 0
	for _, p := range q.params {
		size += len(p.value) + 16
	}
	switch {
	case q.data != nil:
		values.Set("query", q.sql)
		body, contentType = bytes.NewReader(q.data), "application/octet-stream"
		if c.packed {
			values.Set("decompress", "1")
		}
	case size > maxURL:
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		err := w.WriteField("query", q.sql)
		for _, p := range q.params {
			err = errors.Join(err, w.WriteField("param_"+p.name, p.value))
		}
		if err = errors.Join(err, w.Close()); err != nil {
			return nil, fmt.Errorf("writing the parameters: %w", err)
		}
		body, contentType = &form, w.FormDataContentType()
	default:
		for _, p := range q.params {
			values.Set("param_"+p.name, p.value)
		}
	}
	at := c.base
	at.RawQuery = values.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), body)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "tidegate")
	req.Header.Set("X-ClickHouse-User", c.user)
	if !c.password.Empty() {
		req.Header.Set("X-ClickHouse-Key", c.password.Reveal())
	}
	return req, nil
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

// run runs a statement whose answer is of no interest.
func (c *client) run(ctx context.Context, q *call) (err error) {
	resp, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	message, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	if err != nil {
		return connectError(ctx, err)
	}
	if at := bytes.Index(message, []byte("Code: ")); at >= 0 && bytes.Contains(message, []byte("DB::Exception")) {
		return c.fault(ctx, string(message[at:]), resp, q.sql)
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
