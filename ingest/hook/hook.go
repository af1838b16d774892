package hook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/tidegate/tidegate"
)

// Receiver turns the calls of one source into events.
type Receiver struct {
	scheme  scheme
	secret  []byte
	name    string // of the scheme
	source  string
	event   cel.Program
	userID  cel.Program
	anonID  cel.Program
	message cel.Program
	at      cel.Program
	props   cel.Program
}

// maxCost bounds one evaluation of an expression.
const maxCost = 100_000

// New compiles the webhook of a source; secret is what its reference stands
// for. A problem is a Halt fault with the code "source.webhook" whose subject is
// the field.
func New(source string, def tidegate.WebhookSource, secret string) (*Receiver, error) {
	r := &Receiver{name: def.Scheme, source: source, secret: []byte(secret)}
	switch known, ok := schemes[def.Scheme]; {
	case def.Scheme == "hmac":
		if def.Header == "" {
			return nil, invalid("header", "the scheme hmac needs the header that holds the signature", "write header: X-Signature")
		}
		algorithm, encoding := def.Algorithm, def.Encoding
		if algorithm == "" {
			algorithm = "sha256"
		}
		if encoding == "" {
			encoding = "hex"
		}
		r.scheme = generic(def.Header, def.Prefix, algorithm, encoding)
	case !ok:
		return nil, invalid("scheme", fmt.Sprintf("there is no scheme %q", def.Scheme), "use stripe, github, shopify, slack, segment, hmac, token or none")
	default:
		r.scheme = known
	}
	if def.Scheme != "none" && secret == "" {
		return nil, invalid("secret", "the scheme "+def.Scheme+" needs a secret", "write secret: ${env:NAME}")
	}
	env, err := cel.NewEnv(
		cel.Variable("body", cel.DynType), cel.Variable("headers", cel.MapType(cel.StringType, cel.StringType)), cel.Variable("query", cel.MapType(cel.StringType, cel.StringType)),
		cel.ParserExpressionSizeLimit(8<<10), cel.ParserRecursionLimit(100), cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true),
	)
	if err != nil {
		return nil, fmt.Errorf("building the expressions of source %s: %w", source, err)
	}
	or := func(text, standard string) string {
		if text == "" {
			return standard
		}
		return text
	}
	var problems []error
	for _, c := range []struct {
		field, text string
		into        *cel.Program
	}{
		{"event", or(def.Event, r.scheme.bodyEvent), &r.event},
		{"user_id", def.UserID, &r.userID},
		{"anonymous_id", def.AnonymousID, &r.anonID},
		{"message_id", or(def.MessageID, r.scheme.bodyID), &r.message},
		{"timestamp", def.Timestamp, &r.at},
		{"properties", def.Properties, &r.props},
	} {
		if c.text == "" {
			continue
		}
		program, err := compile(env, c.text)
		if err != nil {
			problems = append(problems, invalid(c.field, err.Error(), "the variables are body, headers and query"))
			continue
		}
		*c.into = program
	}
	return r, errors.Join(problems...)
}

func compile(env *cel.Env, text string) (cel.Program, error) {
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		var said []string
		for _, e := range issues.Errors() {
			said = append(said, fmt.Sprintf("%d:%d: %s", e.Location.Line(), e.Location.Column()+1, e.Message))
		}
		return nil, fmt.Errorf("the expression cannot be compiled: %s", strings.Join(said, "; "))
	}
	return env.Program(checked, cel.CostLimit(maxCost))
}

func invalid(field, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "source.webhook", Subject: "webhook." + field, Message: message, Hint: hint}
}

func reject(code, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Reject, Code: code, Message: message, Hint: hint}
}

// Call is one request of a webhook.
type Call struct {
	Header http.Header
	Query  url.Values
	Body   []byte
	At     time.Time
}

// Result is what a call becomes: an event, or an answer that the service waits
// for and no event.
type Result struct {
	Event  []byte // the JSON of a track event
	Answer []byte // a body of type text/plain
}

// Receive verifies a call and makes the event of it. A Reject fault has the code
// "webhook.signature" (the call is not proven), "webhook.body" or "webhook.expression".
func (r *Receiver) Receive(c Call) (Result, error) {
	if !r.scheme.verify(r.secret, c.Header, c.Body, c.At) {
		return Result{}, reject("webhook.signature", "the call's signature is missing or wrong", "compare the source's webhook.secret with the service's")
	}
	raw, body, err := parse(c)
	if err != nil {
		return Result{}, reject("webhook.body", "the body is neither JSON nor a form: "+err.Error(), "send JSON")
	}
	if fields, ok := body.(map[string]any); ok && r.name == "slack" && fields["type"] == "url_verification" {
		challenge, _ := fields["challenge"].(string)
		return Result{Answer: []byte(challenge)}, nil
	}
	vars := map[string]any{"body": body, "headers": single(c.Header, strings.ToLower), "query": single(c.Query, nil)}
	e := event{Type: string(tidegate.Track), Properties: raw}
	e.Context.Webhook.Scheme = r.name
	for _, f := range []struct {
		name    string
		program cel.Program
		into    *string
	}{
		{"event", r.event, &e.Event},
		{"user_id", r.userID, &e.UserID},
		{"anonymous_id", r.anonID, &e.AnonymousID},
		{"message_id", r.message, &e.MessageID},
		{"timestamp", r.at, &e.Timestamp},
	} {
		if *f.into, err = text(f.program, vars); err != nil {
			return Result{}, reject("webhook.expression", "webhook."+f.name+": "+err.Error(), "correct the source's expression")
		}
	}
	if r.props != nil {
		v, err := value(r.props, vars)
		if err == nil {
			e.Properties, err = json.Marshal(v)
		}
		if err != nil {
			return Result{}, reject("webhook.expression", "webhook.properties: "+err.Error(), "correct the source's expression")
		}
	}
	r.fill(&e, c)
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // texts stay as they were written
	if err := enc.Encode(e); err != nil {
		return Result{}, reject("webhook.body", "the event cannot be written: "+err.Error(), "send JSON")
	}
	return Result{Event: out.Bytes()}, nil
}

// fill fills what no expression said.
func (r *Receiver) fill(e *event, c Call) {
	if e.Event == "" {
		e.Event = c.Header.Get(r.scheme.event)
	}
	if e.Event == "" {
		e.Event = "webhook"
	}
	if e.MessageID == "" {
		e.MessageID = c.Header.Get(r.scheme.delivery)
	}
	// Deliveries of two services must not meet in one id, and what is repeated
	// without an id of its own is told by its content.
	id := e.MessageID
	if id == "" {
		sum := sha256.Sum256(c.Body)
		id = hex.EncodeToString(sum[:16])
		if len(c.Body) == 0 {
			id = fmt.Sprintf("%s-%d", id, c.At.UnixNano())
		}
	}
	e.MessageID = "hook-" + r.source + "-" + id
	if e.UserID == "" && e.AnonymousID == "" {
		e.AnonymousID = e.MessageID
	}
}

// event is the JSON of what a call becomes.
type event struct {
	Type        string          `json:"type"`
	MessageID   string          `json:"messageId"`
	Event       string          `json:"event"`
	UserID      string          `json:"userId,omitempty"`
	AnonymousID string          `json:"anonymousId,omitempty"`
	Timestamp   string          `json:"timestamp,omitempty"`
	Properties  json.RawMessage `json:"properties"`
	Context     struct {
		Webhook struct {
			Scheme string `json:"scheme"`
		} `json:"webhook"`
	} `json:"context"`
}

// parse reads a body. raw is the JSON that becomes the properties: the body's
// own bytes when it is a JSON object.
func parse(c Call) (raw json.RawMessage, v any, err error) {
	trimmed := bytes.TrimSpace(c.Body)
	isJSON := len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') // whatever it is called: curl calls everything a form
	if kind, _, _ := strings.Cut(c.Header.Get("Content-Type"), ";"); !isJSON && strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return parseForm(string(trimmed))
	}
	if len(trimmed) == 0 { // a call by GET says everything in its address
		fields := map[string]any{}
		for name, value := range single(c.Query, nil) {
			if name != "writeKey" {
				fields[name] = value
			}
		}
		raw, err = json.Marshal(fields)
		return raw, fields, err
	}
	if v, err = decode(trimmed); err != nil {
		return nil, nil, err
	}
	if _, isObject := v.(map[string]any); !isObject { // properties are an object
		raw, err = json.Marshal(map[string]json.RawMessage{"body": trimmed})
		return raw, v, err
	}
	return trimmed, v, nil
}

func parseForm(text string) (json.RawMessage, any, error) {
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, nil, err
	}
	fields := map[string]any{}
	for name, value := range single(form, nil) {
		fields[name] = value
		if name == "payload" && strings.HasPrefix(value, "{") { // Slack and GitHub wrap their JSON so
			if inner, err := decode([]byte(value)); err == nil {
				return json.RawMessage(value), inner, nil
			}
		}
	}
	raw, err := json.Marshal(fields)
	return raw, fields, err
}

// decode keeps whole numbers whole.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the first value")
	}
	return numbers(v), nil
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

// single takes the first of each name's values.
func single(all map[string][]string, rename func(string) string) map[string]string {
	out := make(map[string]string, len(all))
	for name, values := range all {
		if rename != nil {
			name = rename(name)
		}
		if len(values) > 0 {
			out[name] = values[0]
		}
	}
	return out
}
