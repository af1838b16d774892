package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/egress"
)

const (
	objectName     = "records"
	maxAnswerBytes = 4 << 20
)

// Kind is the registration of this connector.
func Kind() destinations.Kind {
	k := destinations.Define("webhook", "Webhook", func(_ context.Context, cfg Config, env destinations.Env) (destinations.Destination, error) {
		return open(cfg, env)
	})
	k.Simulate = func(options json.RawMessage) (destinations.Simulator, error) { return NewSimulator(options) }
	k.SimulatorConfig = simulatorConfig
	return k
}

// Destination is one HTTP endpoint.
type Destination struct {
	cfg     Config
	env     destinations.Env
	upsert  request
	removed request
	jobs    target // of Config.Jobs
	read    target // of Config.Read
	sign    signer
	secrets []string // what must not come back in a message
	closed  atomic.Bool
}

// request is how one kind of change is sent.
type request struct {
	target   target
	method   string
	template *template // nil: the default envelope
	noBody   bool
}

var (
	_ destinations.Destination = (*Destination)(nil)
	_ destinations.Poller      = (*Destination)(nil)
	_ destinations.Audiencer   = (*Destination)(nil)
	_ destinations.Checker     = checker{}
	_ destinations.Reader      = reader{}
)

// checker proves the credentials.
type checker struct {
	d   *Destination
	url string
}

// able adds to a Destination what its configuration allows: whoever asks for a
// capability must not find one that cannot work.
func able(d *Destination) destinations.Destination {
	c, r := checker{d, d.cfg.CheckURL}, reader{d}
	switch {
	case d.cfg.CheckURL != "" && d.cfg.Read != nil:
		return struct {
			*Destination
			checker
			reader
		}{d, c, r}
	case d.cfg.CheckURL != "":
		return struct {
			*Destination
			checker
		}{d, c}
	case d.cfg.Read != nil:
		return struct {
			*Destination
			reader
		}{d, r}
	}
	return d
}

// open compiles the configuration. What could not be judged while references
// to secrets were unresolved is judged here.
func open(cfg Config, env destinations.Env) (destinations.Destination, error) {
	setDefaults(&cfg)
	if problems := cfg.Validate(); len(problems) > 0 {
		return nil, halt("webhook.config", problems[0].Path, problems[0].Message, problems[0].Hint)
	}
	d := &Destination{cfg: cfg, env: env}
	text := cfg.URL
	if text == "" {
		text = cfg.SecretURL.Reveal()
	}
	var err error
	if d.upsert, err = compile(text, cfg.Method, cfg.Body, cfg.Batch); err != nil {
		return nil, halt("webhook.config", "url", err.Error(), "")
	}
	if d.removed, err = compile(or(cfg.Removed.URL, text), or(cfg.Removed.Method, cfg.Method), or(cfg.Removed.Body, cfg.Body), cfg.Batch); err != nil {
		return nil, halt("webhook.config", "removed.url", err.Error(), "")
	}
	d.removed.noBody = d.removed.method == http.MethodDelete && cfg.Removed.Body == "" && d.removed.target.namesRecord()
	if d.removed.target.origin() != d.upsert.target.origin() {
		return nil, halt("webhook.config", "removed.url", "it must be on the same host as the URL of other records", "")
	}
	if d.sign, err = newSigner(cfg.Auth); err != nil {
		return nil, halt("webhook.config", "auth.secret", err.Error(), "a secret of Standard Webhooks is 'whsec_' and base64")
	}
	if cfg.URL == "" {
		// Endpoints quote the path that they were called by, without the host.
		for _, literal := range d.upsert.target.literals {
			d.secrets = append(d.secrets, strings.Trim(strings.TrimPrefix(literal, d.upsert.target.base.Scheme+"://"+d.upsert.target.base.Host), "/"))
		}
	}
	if err := d.collectSecrets(); err != nil {
		return nil, err
	}
	if err := d.compileReads(); err != nil {
		return nil, err
	}
	if cfg.CheckURL == "" {
		return able(d), nil
	}
	check, err := parseTarget(cfg.CheckURL)
	if err != nil || check.perRecord() || check.origin() != d.upsert.target.origin() {
		return nil, halt("webhook.config", "check_url", "it must be a plain URL on the same host as the URL of records", "")
	}
	return able(d), nil
}

// compileReads compiles the URLs of jobs and records.
func (d *Destination) compileReads() (err error) {
	if j := d.cfg.Jobs; j != nil {
		if d.jobs, err = parseJobURL(j.URL); err != nil || d.jobs.origin() != d.upsert.target.origin() {
			return halt("webhook.config", "jobs.url", "it must be on the same host as the URL of records and hold {job} once", "")
		}
	}
	if r := d.cfg.Read; r != nil {
		var ok bool
		if d.read, ok = checkRead(r.URL); !ok || d.read.origin() != d.upsert.target.origin() {
			return halt("webhook.config", "read.url", "it must be on the same host as the URL of records and hold {identifier} once", "")
		}
	}
	return nil
}

// setDefaults fills what the decoder of a configuration would have filled.
func setDefaults(c *Config) {
	c.Method, c.ContentType, c.Safety, c.Answer, c.Auth.Kind = or(c.Method, http.MethodPost), or(c.ContentType, "application/json"), or(c.Safety, "dedupable"), or(c.Answer, "auto"), or(c.Auth.Kind, "none")
	c.Auth.Header = or(c.Auth.Header, "X-Api-Key")
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Limits.Concurrency <= 0 {
		c.Limits.Concurrency = 4
	}
	if c.Limits.Per <= 0 {
		c.Limits.Per = time.Second
	}
	if c.Limits.Records <= 0 {
		c.Limits.Records = 1
		if c.Batch {
			c.Limits.Records = 100
		}
	}
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func compile(url, method, body string, batched bool) (request, error) {
	r := request{method: method}
	var err error
	if r.target, err = parseTarget(url); err != nil {
		return r, err
	}
	if batched && r.target.perRecord() {
		return r, errors.New("a URL with placeholders names one record and cannot be used with batch")
	}
	if body != "" {
		r.template, err = parseTemplate(body, batched)
	}
	return r, err
}

// collectSecrets gathers what must not be echoed, and refuses what cannot be sent.
func (d *Destination) collectSecrets() error {
	a := d.cfg.Auth
	for name, s := range map[string]string{"auth.password": a.Password.Reveal(), "auth.token": a.Token.Reveal(), "auth.secret": a.Secret.Reveal(), "auth.previous_secret": a.PreviousSecret.Reveal()} {
		if !fieldValue(s) {
			return halt("webhook.config", name, "the secret holds a control character, perhaps a line end of a file", "")
		}
		d.secrets = append(d.secrets, s)
	}
	if a.Kind == "basic" {
		d.secrets = append(d.secrets, base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password.Reveal())))
	}
	for name, s := range d.cfg.SecretHeaders {
		if !fieldValue(s.Reveal()) {
			return halt("webhook.config", "secret_headers."+name, "the secret holds a control character, perhaps a line end of a file", "")
		}
		d.secrets = append(d.secrets, s.Reveal())
	}
	return nil
}

// Objects returns the one open object; its limits are the configuration's.
func (d *Destination) Objects(context.Context) ([]destinations.Object, error) {
	if d.closed.Load() {
		return nil, errClosed
	}
	l := d.cfg.Limits
	o := destinations.Object{
		Name: objectName, Label: "Records", Open: true, Fields: []destinations.Field{}, Safety: destinations.Safety(d.cfg.Safety),
		Modes: tidegate.Modes(), Removals: d.removals(),
		Limit: destinations.Limit{Records: l.Records, Bytes: l.Bytes, Concurrency: l.Concurrency, Calls: l.Calls, Per: l.Per},
	}
	if l.Calls == 0 {
		o.Limit.Per = 0
	}
	return []destinations.Object{o}, nil
}

// removals are what the endpoint can be told to do: a DELETE says one thing only.
func (d *Destination) removals() []tidegate.Removal {
	if d.removed.method == http.MethodDelete || d.removed.template != nil && d.cfg.Removed.Body != "" {
		return []tidegate.Removal{tidegate.Delete}
	}
	return []tidegate.Removal{tidegate.Delete, tidegate.Archive, tidegate.Clear}
}

var errClosed = errors.New("the destination is closed")

// Close makes later calls fail.
func (d *Destination) Close() error {
	d.closed.Store(true)
	return nil
}

// Write makes one HTTP call.
func (d *Destination) Write(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	switch {
	case d.closed.Load():
		return nil, errClosed
	case b.Object != objectName:
		return nil, halt("webhook.object", "object "+b.Object, "there is no such object", "the only object is "+objectName)
	case len(b.Items) == 0:
		return nil, nil
	case len(b.Items) > d.cfg.Limits.Records:
		return nil, reject("webhook.batch_size", fmt.Sprintf("%d records in one call, %d are allowed", len(b.Items), d.cfg.Limits.Records), "")
	}
	r := d.upsert
	if b.Items[0].Op == tidegate.Removed {
		r = d.removed
	}
	req, err := d.request(ctx, &b, r)
	if err != nil {
		return nil, fmt.Errorf("preparing the call: %w", err)
	}
	answer, err := d.do(req)
	if err != nil {
		return nil, fmt.Errorf("sending %d records: %w", len(b.Items), err)
	}
	if out, later := d.pending(&b, answer); later {
		return out, nil
	}
	return d.outcomes(&b, r, answer)
}

// request builds the call of b.
func (d *Destination) request(ctx context.Context, b *destinations.Batch, r request) (*http.Request, error) {
	url, err := r.target.expand(&b.Items[0])
	if err != nil {
		return nil, err
	}
	key := idempotencyKey(b)
	var body []byte
	if !r.noBody {
		if r.template != nil {
			body, err = r.template.body(b, d.cfg.Batch, key)
		} else {
			body, err = defaultBody(b, d.cfg.Batch)
		}
		if err != nil {
			return nil, err
		}
		if isJSON(d.cfg.ContentType) && !json.Valid(body) {
			return nil, reject("record.not_json", "the body's template did not make JSON", "use the filter json, as in {{ record.name | json }}")
		}
		if limit := d.cfg.Limits.Bytes; limit > 0 && len(body) > limit {
			return nil, tooLarge(limit)
		}
	}
	var reader io.Reader = http.NoBody
	if len(body) > 0 {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, url, reader)
	if err != nil {
		return nil, reject("record.url", "the record does not make a URL that can be called", "")
	}
	if !r.noBody {
		req.Header.Set("Content-Type", d.cfg.ContentType)
	}
	if d.cfg.IdempotencyHeader != "" {
		req.Header.Set(d.cfg.IdempotencyHeader, key)
	}
	d.authenticate(req)
	d.sign.sign(req.Header, key, d.env.Now(), body)
	return req, nil
}

// idempotencyKey is the item's own for one record, and one made of the items'
// for many: the same batch again has the same key.
func idempotencyKey(b *destinations.Batch) string {
	if len(b.Items) == 1 && b.Items[0].IdempotencyKey != "" {
		return b.Items[0].IdempotencyKey
	}
	h := sha256.New()
	for i := range b.Items {
		it := &b.Items[i]
		_, _ = fmt.Fprintf(h, "%s\x00%s\x00%s\x00", it.Op, it.Key, it.IdempotencyKey) // a hash never fails
	}
	return "tg_" + hex.EncodeToString(h.Sum(nil)[:16])
}

func (d *Destination) authenticate(req *http.Request) {
	req.Header.Set("Accept", "application/json, */*;q=0.5")
	for name, v := range d.cfg.Headers {
		req.Header.Set(name, v)
	}
	for name, v := range d.cfg.SecretHeaders {
		req.Header.Set(name, v.Reveal())
	}
	switch a := d.cfg.Auth; a.Kind {
	case "basic":
		req.SetBasicAuth(a.Username, a.Password.Reveal())
	case "bearer":
		req.Header.Set("Authorization", "Bearer "+a.Token.Reveal())
	case "header":
		req.Header.Set(a.Header, a.Token.Reveal())
	}
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// do makes the call and reads the answer to its end. Of a refusal the status is
// enough: a body that breaks off then only costs the explanation.
func (d *Destination) do(req *http.Request) (reply, error) {
	ctx := req.Context()
	patient, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	resp, err := d.env.HTTP.Do(req.WithContext(patient))
	if err != nil {
		return reply{}, egress.Fault(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err == nil && len(body) > maxAnswerBytes {
		err = &tidegate.Fault{Action: tidegate.Retry, Code: "webhook.answer_too_large", Message: fmt.Sprintf("the answer is longer than %d bytes", maxAnswerBytes)}
	}
	if err == nil {
		return reply{resp.StatusCode, resp.Header, body}, nil
	}
	if ctx.Err() == nil && resp.StatusCode >= 300 && d.cfg.Statuses.mean(resp.StatusCode, false, false) != delivered {
		return reply{status: resp.StatusCode, header: resp.Header}, nil
	}
	return reply{}, egress.Fault(ctx, err)
}

// Check calls check_url with the credentials of a write.
func (c checker) Check(ctx context.Context) error {
	d := c.d
	if d.closed.Load() {
		return errClosed
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return halt("webhook.config", "check_url", "it cannot be called", "")
	}
	d.authenticate(req)
	d.sign.sign(req.Header, "check", d.env.Now(), nil)
	answer, err := d.do(req)
	if err != nil {
		return fmt.Errorf("checking the credentials: %w", err)
	}
	if answer.status >= 200 && answer.status <= 299 {
		if f := d.believe(answer); f != nil {
			return fmt.Errorf("checking the credentials: %w", f)
		}
		return nil
	}
	return fmt.Errorf("checking the credentials: %w", d.refusal(request{}, answer))
}

// clean makes a text of the endpoint fit to be shown: no secret of ours, no
// control characters, not long. Invariant 9.
func (d *Destination) clean(s string) string {
	for _, secret := range d.secrets {
		if len(secret) >= 4 {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}
