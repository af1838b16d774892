package webhook

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/secret"
)

// Config is the configuration of one endpoint.
type Config struct {
	URL       string        `json:"url,omitempty" doc:"Where records are sent. Behind the host it may hold placeholders, one record a call: {identifier}, {destination_id}, {op} and {record.FIELD}."`
	SecretURL secret.Secret `json:"secret_url,omitzero" doc:"Instead of url, when the URL itself is a credential, as that of a chat's incoming webhook is."`
	Method    string        `json:"method,omitempty" default:"POST" enum:"POST,PUT,PATCH" doc:"The HTTP method for added and changed records."`
	Batch     bool          `json:"batch,omitempty" doc:"Send many records in one body instead of one record a call."`
	Body      string        `json:"body,omitempty" doc:"A Liquid template of the body. Variables: op, key, identifier, previous_identifier (when the identifier of a record changes), destination_id, record and idempotency_key (with batch: records, a list of these), object, mode, identifier_field, removal (delete, archive or clear) and audience. Without it a JSON envelope with the same names is sent."`
	Removed   Removed       `json:"removed,omitzero" doc:"How removed records are sent, where that differs."`

	ContentType   string                   `json:"content_type,omitempty" default:"application/json" pattern:"^[a-zA-Z0-9!#$&^_.+-]+/[a-zA-Z0-9!#$&^_.+-]+(; ?[a-zA-Z0-9-]+=[a-zA-Z0-9._-]+)*$" doc:"The Content-Type of the body. A body of a JSON type is checked to be JSON before it is sent."`
	Headers       map[string]string        `json:"headers,omitempty" doc:"More headers of every call."`
	SecretHeaders map[string]secret.Secret `json:"secret_headers,omitempty" doc:"More headers of every call whose values are secrets."`
	Auth          Auth                     `json:"auth,omitzero" doc:"How calls are authenticated or signed."`
	CheckURL      string                   `json:"check_url,omitempty" doc:"A URL on the same host that answers GET with 2xx when the credentials are good. Without it the connection cannot be checked before a sync."`

	IdempotencyHeader string        `json:"idempotency_header,omitempty" default:"Idempotency-Key" pattern:"^[A-Za-z0-9!#$%&'*+.^_|~-]*$" doc:"The header that carries a key which stays the same when a call is repeated. Empty for none."`
	Safety            string        `json:"safety,omitempty" default:"dedupable" enum:"idempotent,dedupable,unsafe" doc:"What the endpoint does with a repeated call: idempotent, it leaves the same state; dedupable, it drops a call with an idempotency key that it has seen; unsafe, it does the thing twice, so a call of which nothing is known is not repeated without a person's word."`
	Timeout           time.Duration `json:"timeout,omitempty" default:"30s" doc:"How long one call may take."`
	Answer            string        `json:"answer,omitempty" default:"auto" enum:"auto,json,any" doc:"What a good answer's body is: auto, anything but a web page (which is usually a login page or a wrong URL); json, JSON; any, whatever it is."`
	Statuses          Statuses      `json:"statuses,omitzero" doc:"What status codes mean, where that differs from the usual."`
	Jobs              *Jobs         `json:"jobs,omitempty" doc:"How writes are followed that the endpoint takes with a 202 and finishes later. Without it a 202 is a delivery."`
	Read              *Read         `json:"read,omitempty" doc:"How a record is read back: for drift and for the field policies if_empty and if_newer."`
	Results           *Results      `json:"results,omitempty" doc:"Where a good answer's body says what became of each record. Without it the status code speaks for all."`
	Limits            Limits        `json:"limits,omitzero" doc:"What the endpoint can take."`
}

// Removed says how removed records are sent.
type Removed struct {
	URL    string `json:"url,omitempty" doc:"Like url, for removed records; url when empty. The host must be the same."`
	Method string `json:"method,omitempty" enum:"POST,PUT,PATCH,DELETE" doc:"The HTTP method for removed records; method when empty. A DELETE whose URL names the record has no body unless one is given, and the answers 404 and 410 to it mean that the record is gone."`
	Body   string `json:"body,omitempty" doc:"Like body, for removed records; body when empty."`
}

// Auth says how calls are authenticated or signed.
type Auth struct {
	Kind           string        `json:"kind,omitempty" default:"none" enum:"none,basic,bearer,header,hmac" doc:"none; basic, username and password; bearer, a token; header, a token in a header of any name; hmac, a signature by the rules of Standard Webhooks."`
	Username       string        `json:"username,omitempty" doc:"basic: the user's name."`
	Password       secret.Secret `json:"password,omitzero" doc:"basic: the user's password."`
	Token          secret.Secret `json:"token,omitzero" doc:"bearer and header: the token."`
	Header         string        `json:"header,omitempty" default:"X-Api-Key" pattern:"^[A-Za-z0-9!#$%&'*+.^_|~-]+$" doc:"header: the header's name."`
	Secret         secret.Secret `json:"secret,omitzero" doc:"hmac: the signing secret, 'whsec_' and base64; a text without that prefix is used as it is."`
	PreviousSecret secret.Secret `json:"previous_secret,omitzero" doc:"hmac: a secret that is being replaced; calls carry a signature by each."`
}

// Statuses maps status codes (`409`) and classes (`5xx`). A code beats a class.
type Statuses struct {
	Delivered []string `json:"delivered,omitempty" pattern:"^[2-5]([0-9][0-9]|xx)$" doc:"Codes that mean that the records were taken; usually 2xx."`
	Rejected  []string `json:"rejected,omitempty" pattern:"^[2-5]([0-9][0-9]|xx)$" doc:"Codes that mean that the records are bad and nothing was taken; usually 400, 409, 413, 422 and other 4xx."`
	Retried   []string `json:"retried,omitempty" pattern:"^[2-5]([0-9][0-9]|xx)$" doc:"Codes that mean to try again; usually 408, 425 and 5xx."`
	Halted    []string `json:"halted,omitempty" pattern:"^[2-5]([0-9][0-9]|xx)$" doc:"Codes that mean that nothing can be sent until someone acts; usually 3xx, 401, 403, 405, 415, and 404 and 410 where the URL does not name a record."`
}

// Results says where an answer holds what became of each record. Paths are
// dotted, `errors.0.message`; a dot in a name is written `\.`.
type Results struct {
	Path       string `json:"path,omitempty" doc:"Path to the list of results. Empty: the answer as a whole is the result of the call."`
	Index      string `json:"index,omitempty" doc:"Path in a result to the record's position in the body, counted from 0."`
	Identifier string `json:"identifier,omitempty" doc:"Path in a result to the record's identifier. Without index and identifier, results are in the order of the records."`
	Status     string `json:"status,omitempty" doc:"Path in a result to a status: a text, a number or a truth value."`
	Error      string `json:"error,omitempty" doc:"Path in a result to an error. Without status, a result with an error is a rejection and any other a success."`
	ID         string `json:"id,omitempty" doc:"Path in a result to the endpoint's own id of the record."`

	Delivered []string `json:"delivered,omitempty" doc:"Statuses that mean delivered, beside true, 200 to 299, ok, success, succeeded, created, updated, deleted, delivered, accepted and unchanged."`
	Rejected  []string `json:"rejected,omitempty" doc:"Statuses that mean rejected, beside false, 400 to 499, error, failed, failure, invalid, rejected and skipped."`
	Retried   []string `json:"retried,omitempty" doc:"Statuses that mean to try again, beside 408, 425, 429, 500 to 599, retry, throttled and rate_limited."`
	Unlisted  string   `json:"unlisted,omitempty" default:"in_doubt" enum:"in_doubt,delivered" doc:"What became of a record that no result names: in_doubt, or delivered for endpoints that list failures only."`
}

// Jobs says how a write is followed that the endpoint finishes later.
type Jobs struct {
	ID      string   `json:"id" write:"PATH" doc:"Path in the answer 202 to the id of the job."`
	URL     string   `json:"url" write:"https://HOST/jobs/{job}" doc:"Where a GET asks for the job, on the same host as url; {job} stands for its id. A 404 or 410 means that the job is not known, and its records are sent again."`
	State   string   `json:"state,omitempty" doc:"Path in the job's answer to its state. Without it a 202 means that it is not done, and any other good answer that it is."`
	Running []string `json:"running,omitempty" doc:"States of a job that is not done, beside accepted, queued, pending, waiting, started, running, processing, in_progress and 202."`
}

// Read says how a record is read back.
type Read struct {
	URL  string `json:"url" write:"https://HOST/records/{identifier}" doc:"Where a GET returns the record, on the same host as url; {identifier} stands for its identifier. A 404 or 410 means that there is none."`
	Path string `json:"path,omitempty" doc:"Path in the answer to the record; the answer as a whole when empty."`
}

// Limits is what the endpoint can take.
type Limits struct {
	Records     int           `json:"records,omitempty" min:"1" max:"10000" doc:"Records a call; 100 with batch, otherwise 1."`
	Bytes       int           `json:"bytes,omitempty" min:"1024" max:"16777216" doc:"Bytes of a body; unlimited when absent, and then a 413 makes batches smaller."`
	Concurrency int           `json:"concurrency,omitempty" default:"4" min:"1" max:"256" doc:"Calls at once."`
	Calls       int           `json:"calls,omitempty" min:"1" doc:"Calls in the time that per names; unlimited when absent."`
	Per         time.Duration `json:"per,omitempty" default:"1s" doc:"The time in which calls are counted."`
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// ownHeaders are set by the connector or by HTTP itself.
var ownHeaders = []string{
	"Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Webhook-Id", "Webhook-Signature", "Webhook-Timestamp",
}

// credentials are headers whose values are secrets.
var credentials = []string{"Api-Key", "Apikey", "Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "X-Auth-Token"}

// Validate implements config.Validator: the rules between fields.
func (c Config) Validate() []config.Problem {
	v := validation{c: c}
	v.urls()
	v.bodies()
	v.headers()
	v.auth()
	v.meanings()
	v.limits()
	return v.problems
}

type validation struct {
	c        Config
	problems []config.Problem
}

func (v *validation) add(path, message, hint string) {
	v.problems = append(v.problems, config.Problem{Path: path, Message: message, Hint: hint})
}

func (v *validation) urls() {
	c := v.c
	if (c.URL == "") == c.SecretURL.Empty() {
		v.add("url", "exactly one of url and secret_url must be set", "write `url: https://HOST/PATH`, or `secret_url: ${secret:NAME}` where the address itself is a secret")
		return
	}
	check := func(path, text string) (target, bool) {
		t, err := parseTarget(text)
		switch {
		case err != nil:
			v.add(path, err.Error(), "")
			return target{}, false
		case c.Batch && t.perRecord():
			v.add(path, "a URL with placeholders names one record and cannot be used with batch", "remove the placeholders or batch")
		}
		return t, true
	}
	main, known := target{}, false
	if c.URL != "" {
		main, known = check("url", c.URL)
	}
	if c.Removed.URL != "" {
		if t, ok := check("removed.url", c.Removed.URL); ok && known && t.origin() != main.origin() {
			v.add("removed.url", "it must be on the same host as url, because it gets the same credentials", "")
		}
	}
	if c.Jobs != nil {
		if t, err := parseJobURL(c.Jobs.URL); err != nil {
			v.add("jobs.url", err.Error(), "")
		} else if known && t.origin() != main.origin() {
			v.add("jobs.url", "it must be on the same host as url, because it gets the same credentials", "")
		}
		if c.Jobs.ID == "" {
			v.add("jobs.id", "the path to the job's id is missing", "write `id: PATH`: where the id is in the answer 202, as in data.job_id")
		}
	}
	if c.Read != nil {
		if t, ok := checkRead(c.Read.URL); !ok {
			v.add("read.url", "it must be a URL with the placeholder {identifier} and no other", "")
		} else if known && t.origin() != main.origin() {
			v.add("read.url", "it must be on the same host as url, because it gets the same credentials", "")
		}
	}
	if c.CheckURL != "" {
		if t, ok := check("check_url", c.CheckURL); ok && (t.perRecord() || known && t.origin() != main.origin()) {
			v.add("check_url", "it must be on the same host as url, because it gets the same credentials, and cannot hold placeholders", "")
		}
	}
}

func (v *validation) bodies() {
	c := v.c
	for _, body := range []struct{ path, text string }{{"body", c.Body}, {"removed.body", c.Removed.Body}} {
		if body.text == "" {
			continue
		}
		if _, err := parseTemplate(body.text, c.Batch); err != nil {
			v.add(body.path, err.Error(), "")
		}
	}
	if c.Removed.Method == http.MethodDelete && c.URL != "" && !c.Batch && c.Removed.Body == "" {
		text := c.Removed.URL
		if text == "" {
			text = c.URL
		}
		if t, err := parseTarget(text); err == nil && !t.perRecord() {
			v.add("removed.method", "a DELETE must name the record that it deletes", "put {identifier} into removed.url, or give removed.body")
		}
	}
}

func (v *validation) headers() {
	c := v.c
	seen := map[string]string{}
	check := func(path, name string) {
		canonical := http.CanonicalHeaderKey(name)
		switch other := seen[canonical]; {
		case !headerName.MatchString(name):
			v.add(path, fmt.Sprintf("%q is not the name of a header", name), "")
		case slices.Contains(ownHeaders, canonical), strings.EqualFold(name, c.IdempotencyHeader):
			v.add(path, fmt.Sprintf("the header %s is set by Tidegate", canonical), "")
		case other != "":
			v.add(path, fmt.Sprintf("the header %s is set by %s too", canonical, other), "keep one of them")
		}
		seen[canonical] = path
	}
	switch c.Auth.Kind {
	case "basic", "bearer":
		seen["Authorization"] = "auth"
	case "header":
		check("auth.header", c.Auth.Header)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		check("headers."+name, name)
		if slices.Contains(credentials, http.CanonicalHeaderKey(name)) {
			v.add("headers."+name, "what this header holds is a secret", "write it under secret_headers or auth, as a reference")
		}
		if !fieldValue(c.Headers[name]) {
			v.add("headers."+name, "the value holds a control character", "")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.SecretHeaders)) {
		check("secret_headers."+name, name)
	}
}

// fieldValue says whether s can be the value of a header.
func fieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func (v *validation) auth() {
	a := v.c.Auth
	given := map[string]bool{
		"username": a.Username != "", "password": !a.Password.Empty(), "token": !a.Token.Empty(),
		"secret": !a.Secret.Empty(), "previous_secret": !a.PreviousSecret.Empty(),
	}
	needs := map[string][]string{"basic": {"username", "password"}, "bearer": {"token"}, "header": {"token"}, "hmac": {"secret"}}[a.Kind]
	for _, name := range slices.Sorted(maps.Keys(given)) {
		needed := slices.Contains(needs, name)
		optional := name == "previous_secret" && a.Kind == "hmac" || name == "password" && a.Kind == "basic"
		switch {
		case needed && !given[name] && !optional:
			hint := "write `username: NAME` below `auth:`"
			if name != "username" {
				hint = config.SecretHint("`" + name + ": ${secret:NAME}` below `auth:`")
			}
			v.add("auth."+name, fmt.Sprintf("the kind %s needs it", a.Kind), hint)
		case given[name] && !needed && !optional:
			v.add("auth."+name, fmt.Sprintf("the kind %q does not use it", a.Kind), "set auth.kind, or remove it")
		}
	}
}

func (v *validation) meanings() {
	c := v.c
	seen := map[string]string{}
	for _, list := range []struct {
		name  string
		codes []string
	}{{"delivered", c.Statuses.Delivered}, {"rejected", c.Statuses.Rejected}, {"retried", c.Statuses.Retried}, {"halted", c.Statuses.Halted}} {
		for i, code := range list.codes {
			if other, ok := seen[code]; ok && other != list.name {
				v.add(fmt.Sprintf("statuses.%s[%d]", list.name, i), fmt.Sprintf("%s is among %s too", code, other), "keep one of them")
			}
			seen[code] = list.name
		}
	}
	if c.Safety == "dedupable" && c.IdempotencyHeader == "" && c.Auth.Kind != "hmac" && c.Body != "" && !strings.Contains(c.Body, "idempotency_key") {
		v.add("safety", "no call carries an idempotency key by which the endpoint could drop repeats", "set idempotency_header, put {{ idempotency_key }} into body, or set safety")
	}
	r := c.Results
	if r == nil {
		return
	}
	if r.Status == "" && r.Error == "" {
		v.add("results", "status or error must be set", "write `status: PATH` or `error: PATH`: where each result says how it went")
	}
	if r.Index != "" && r.Identifier != "" {
		v.add("results.identifier", "index and identifier are two ways to say the same", "keep one of them")
	}
	if r.Path == "" && (r.Index != "" || r.Identifier != "") {
		v.add("results.path", "index and identifier need the path to the list of results", "write `path: PATH`: where that list is in the answer")
	}
	if r.Path == "" && c.Batch && r.ID != "" {
		v.add("results.id", "with batch, an id needs the path to the list of results", "write `path: PATH`: where that list is in the answer")
	}
}

func (v *validation) limits() {
	c := v.c
	if !c.Batch && c.Limits.Records > 1 {
		v.add("limits.records", "without batch a call carries one record", "set batch: true")
	}
	if c.Limits.Calls > 0 && c.Limits.Per <= 0 {
		v.add("limits.per", "it must be longer than nothing", "")
	}
	if c.Timeout <= 0 {
		v.add("timeout", "it must be longer than nothing", "")
	}
}
