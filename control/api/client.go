package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/catalog"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/ledger"
)

// Client speaks to a running hub. Errors of the hub are *Problem; a hub that
// cannot be reached is the fault "server.unreachable". It is safe for
// concurrent use; nothing is retried.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// NewClient makes a client of the admin address, "http://127.0.0.1:8081".
func NewClient(baseURL, token string, client *http.Client) *Client {
	return &Client{base: strings.TrimSuffix(baseURL, "/"), token: token, http: client}
}

const maxAnswerBytes = 64 << 20

func (c *Client) send(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader) (*http.Response, error) {
	address := c.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, &tidegate.Fault{
			Action: tidegate.Retry, Code: "server.unreachable", Subject: c.base, Message: "the server does not answer: " + err.Error(),
			Hint: "start it with `tidegate serve`, or name another with --server", Err: err,
		}
	}
	if resp.StatusCode >= http.StatusBadRequest && resp.Header.Get("Content-Type") == "application/problem+json" {
		defer func() { _ = resp.Body.Close() }()
		p := &Problem{}
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(p); err != nil {
			return nil, fmt.Errorf("reading the server's error (%s): %w", resp.Status, err)
		}
		return nil, p
	}
	if resp.StatusCode >= http.StatusBadRequest && path != "/readyz" {
		_ = resp.Body.Close()
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "server.strange", Subject: c.base, Message: "something that is not Tidegate answered " + resp.Status,
			Hint: "look at the admin address",
		}
	}
	return resp, nil
}

// call sends in as JSON (a []byte as it is) and decodes the answer into out.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, header http.Header, in, out any) error {
	var body io.Reader
	switch v := in.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	resp, err := c.send(ctx, method, path, query, header, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		return nil
	}
	dec := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes))
	dec.UseNumber() // plans and rejections show values as they are
	if err := dec.Decode(out); err != nil {
		return fmt.Errorf("reading the server's answer to %s %s: %w", method, path, err)
	}
	return nil
}

func items[T any](l list[T], err error) ([]T, error) { return l.Items, err }

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (out T, err error) {
	err = c.call(ctx, http.MethodGet, path, query, nil, nil, &out)
	return out, err
}

func post[T any](ctx context.Context, c *Client, path string, query url.Values, in any) (out T, err error) {
	err = c.call(ctx, http.MethodPost, path, query, nil, in, &out)
	return out, err
}

// Version returns the server's version.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return get[Version](ctx, c, "/v1/version", nil)
}

// Status tells how far behind each stage is and what became of every event.
func (c *Client) Status(ctx context.Context) (Readiness, error) {
	return get[Readiness](ctx, c, "/v1/status", nil)
}

// Doctor examines the hub.
func (c *Client) Doctor(ctx context.Context) ([]Finding, error) {
	return items(get[list[Finding]](ctx, c, "/v1/doctor", nil))
}

// Project returns the definitions.
func (c *Client) Project(ctx context.Context) (project.Project, error) {
	return get[project.Project](ctx, c, "/v1/project", nil)
}

// CheckProject returns what is wrong with p on the server.
func (c *Client) CheckProject(ctx context.Context, p *project.Project) ([]config.Problem, error) {
	return items(post[list[config.Problem]](ctx, c, "/v1/project/check", nil, p))
}

// PlanProject says what applying p would change.
func (c *Client) PlanProject(ctx context.Context, p *project.Project) (catalog.Plan, error) {
	return post[catalog.Plan](ctx, c, "/v1/project/plan", nil, p)
}

// ApplyProject replaces the definitions. base is the revision that was looked
// at, or catalog.AnyBase.
func (c *Client) ApplyProject(ctx context.Context, p *project.Project, base int64) (out catalog.Plan, err error) {
	header := http.Header{}
	if base != catalog.AnyBase {
		header.Set("If-Match", etag(base))
	}
	err = c.call(ctx, http.MethodPut, "/v1/project", nil, header, p, &out)
	return out, err
}

// Explain says which rows an event would become.
func (c *Client) Explain(ctx context.Context, source string, event []byte) (Explanation, error) {
	return post[Explanation](ctx, c, "/v1/explain", url.Values{"source": {source}}, event)
}

// Tables lists the warehouse's tables.
func (c *Client) Tables(ctx context.Context) ([]TableInfo, error) {
	return items(get[list[TableInfo]](ctx, c, "/v1/tables", nil))
}

func syncPath(name, rest string) string { return "/v1/syncs/" + url.PathEscape(name) + rest }

// Syncs returns every sync's status.
func (c *Client) Syncs(ctx context.Context) ([]SyncStatus, error) {
	return items(get[list[SyncStatus]](ctx, c, "/v1/syncs", nil))
}

// Sync returns one sync's status.
func (c *Client) Sync(ctx context.Context, name string) (SyncStatus, error) {
	return get[SyncStatus](ctx, c, syncPath(name, ""), nil)
}

// SyncPlan computes what a run would send.
func (c *Client) SyncPlan(ctx context.Context, name string, sample int, fresh bool) (SyncPlan, error) {
	return post[SyncPlan](ctx, c, syncPath(name, "/plan"), url.Values{"sample": {strconv.Itoa(sample)}, "fresh": {strconv.FormatBool(fresh)}}, nil)
}

// SyncRun starts a run.
func (c *Client) SyncRun(ctx context.Context, name string) (tidegate.Run, error) {
	return post[tidegate.Run](ctx, c, syncPath(name, "/runs"), nil, nil)
}

// Runs lists a sync's runs, newest first.
func (c *Client) Runs(ctx context.Context, name string, limit int) ([]tidegate.Run, error) {
	return items(get[list[tidegate.Run]](ctx, c, syncPath(name, "/runs"), url.Values{"limit": {strconv.Itoa(limit)}}))
}

// Run returns one run.
func (c *Client) Run(ctx context.Context, id string) (tidegate.Run, error) {
	return get[tidegate.Run](ctx, c, "/v1/runs/"+url.PathEscape(id), nil)
}

// PauseSync keeps a sync from starting by itself.
func (c *Client) PauseSync(ctx context.Context, name string) (SyncStatus, error) {
	return post[SyncStatus](ctx, c, syncPath(name, "/pause"), nil, nil)
}

// ResumeSync lets a paused sync start by itself again.
func (c *Client) ResumeSync(ctx context.Context, name string) (SyncStatus, error) {
	return post[SyncStatus](ctx, c, syncPath(name, "/resume"), nil, nil)
}

// Approve lets a held run go on.
func (c *Client) Approve(ctx context.Context, id string) (tidegate.Run, error) {
	return post[tidegate.Run](ctx, c, "/v1/runs/"+url.PathEscape(id)+"/approve", nil, nil)
}

// Cancel stops a run.
func (c *Client) Cancel(ctx context.Context, id string) (tidegate.Run, error) {
	return post[tidegate.Run](ctx, c, "/v1/runs/"+url.PathEscape(id)+"/cancel", nil, nil)
}

// Rejections lists what the destination does not hold as it should.
func (c *Client) Rejections(ctx context.Context, name string, limit int) ([]ledger.Rejection, error) {
	return items(get[list[ledger.Rejection]](ctx, c, syncPath(name, "/rejections"), url.Values{"limit": {strconv.Itoa(limit)}}))
}

// Causes lists the causes of a sync's rejections, most frequent first.
func (c *Client) Causes(ctx context.Context, name string, limit int) ([]ledger.Cluster, error) {
	return items(get[list[ledger.Cluster]](ctx, c, syncPath(name, "/rejections/causes"), url.Values{"limit": {strconv.Itoa(limit)}}))
}

// RetryRejections makes rejections due now: those of one cluster, or the one of
// a key, when they are set.
func (c *Client) RetryRejections(ctx context.Context, name, cluster string, key tidegate.Key) (int64, error) {
	query := url.Values{}
	if cluster != "" {
		query.Set("cluster", cluster)
	}
	if key != "" {
		query.Set("key", string(key))
	}
	r, err := post[Retried](ctx, c, syncPath(name, "/rejections/retry"), query, nil)
	return r.Retried, err
}

// SyncLog lists results of a sync's change log, newest first.
func (c *Client) SyncLog(ctx context.Context, name string, f ledger.LogFilter) ([]ledger.LogEntry, error) {
	query := url.Values{"limit": {strconv.Itoa(f.Limit)}}
	for k, v := range map[string]string{"run": f.RunID, "key": string(f.Key), "disposition": f.Disposition} {
		if v != "" {
			query.Set(k, v)
		}
	}
	if !f.Before.IsZero() {
		query.Set("before", f.Before.UTC().Format(time.RFC3339Nano))
	}
	return items(get[list[ledger.LogEntry]](ctx, c, syncPath(name, "/log"), query))
}

// Resync forgets what a sync's destination confirmed.
func (c *Client) Resync(ctx context.Context, name string) error {
	_, err := post[Resynced](ctx, c, syncPath(name, "/resync"), nil, nil)
	return err
}

const maxLineBytes = 64 << 20

// errCutOff is a stream that ended without saying so.
var errCutOff = &tidegate.Fault{
	Action: tidegate.Retry, Code: "server.cut_off", Message: "the server's answer ended in the middle", Hint: "look at the server's log, then try again",
}

// stream calls use for each line until the stream's end and returns what ended
// it. A stream without an end is an error (Invariant 6).
func stream(body io.Reader, use func(Line) error) (End, error) {
	scan := bufio.NewScanner(body)
	scan.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
	for scan.Scan() {
		var l Line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return End{}, fmt.Errorf("reading the server's answer: %w", err)
		}
		switch {
		case l.End != nil:
			return *l.End, nil
		case l.Error != nil:
			return End{}, l.Error
		}
		if err := use(l); err != nil {
			return End{}, err
		}
	}
	if err := scan.Err(); err != nil {
		return End{}, fmt.Errorf("reading the server's answer: %w", err)
	}
	return End{}, errCutOff
}

// Query runs one read-only statement: columns once, then row for each row.
func (c *Client) Query(ctx context.Context, q QueryRequest, columns func([]ColumnInfo) error, row func([]json.RawMessage) error) (End, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return End{}, fmt.Errorf("encoding the request: %w", err)
	}
	resp, err := c.send(ctx, http.MethodPost, "/v1/query", nil, nil, bytes.NewReader(b))
	if err != nil {
		return End{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	return stream(resp.Body, func(l Line) error {
		if l.Columns != nil {
			return columns(l.Columns)
		}
		return row(l.Row)
	})
}

// Tail streams events until ctx ends, the limit is reached or, without Follow,
// the journal's end.
func (c *Client) Tail(ctx context.Context, req TailRequest, event func(TailedEvent) error) error {
	query := url.Values{"follow": {strconv.FormatBool(req.Follow)}, "refused": {strconv.FormatBool(req.Refused)}, "limit": {strconv.Itoa(req.Limit)}}
	for name, value := range map[string]string{"source": req.Source, "type": req.Type, "event": req.Event, "user": req.User, "filter": req.Filter} {
		setText(query, name, value)
	}
	if req.From != nil {
		query.Set("from", req.From.String())
	}
	if !req.Since.IsZero() {
		query.Set("since", req.Since.UTC().Format("2006-01-02T15:04:05.999999999Z07:00"))
	}
	resp, err := c.send(ctx, http.MethodGet, "/v1/events", query, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = stream(resp.Body, func(l Line) error {
		if l.Event == nil {
			return nil
		}
		return event(*l.Event)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Lend borrows the warehouse's file: use runs with its path while the server
// has closed it, and Lend returns after the server has taken it back. by is who
// the server says has it. The error of use comes back as it is.
func (c *Client) Lend(ctx context.Context, by string, use func(ctx context.Context, path string) error) error {
	hold, release := io.Pipe() // the request's body: open for as long as the file is ours
	defer func() { _ = release.Close() }()
	resp, err := c.send(ctx, http.MethodPost, "/v1/warehouse/lend", url.Values{"by": {by}}, nil, hold)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var used error
	_, err = stream(resp.Body, func(l Line) error {
		if l.Lent == nil {
			return nil
		}
		used = use(ctx, l.Lent.Path)
		return release.Close()
	})
	return errors.Join(used, err)
}

// Tokens lists the API tokens.
func (c *Client) Tokens(ctx context.Context) ([]store.Token, error) {
	return items(get[list[store.Token]](ctx, c, "/v1/tokens", nil))
}

// CreateToken makes an API token.
func (c *Client) CreateToken(ctx context.Context, t NewToken) (IssuedToken, error) {
	return post[IssuedToken](ctx, c, "/v1/tokens", nil, t)
}

// RevokeToken ends an API token.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil, nil, nil, nil)
}
