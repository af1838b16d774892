package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

var now = time.Unix(1531420618, 0)

func signature(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// vectors are calls that their services sign so; github's and slack's are the
// examples of their documentation.
func vectors() map[string]struct {
	def    tidegate.WebhookSource
	secret string
	call   Call
} {
	const slack = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	const body = `{"id":"evt_1","type":"charge.failed"}`
	at := strconv.FormatInt(now.Unix(), 10)
	mac512 := hmac.New(sha512.New, []byte("hush"))
	mac512.Write([]byte(body))
	shopify := hmac.New(sha256.New, []byte("hush"))
	shopify.Write([]byte(body))
	type vector = struct {
		def    tidegate.WebhookSource
		secret string
		call   Call
	}
	return map[string]vector{
		"github": {
			tidegate.WebhookSource{Scheme: "github", Event: "'x'", Properties: "{}"},
			"It's a Secret to Everybody",
			Call{Header: headers("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"), Body: []byte("Hello, World!")},
		},
		"slack": {
			tidegate.WebhookSource{Scheme: "slack"},
			"8f742231b10e8888abcd99yyyzzz85a5",
			Call{
				Header: headers("Content-Type", "application/x-www-form-urlencoded", "X-Slack-Request-Timestamp", "1531420618", "X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
				Body:   []byte(slack),
			},
		},
		"stripe": {
			tidegate.WebhookSource{Scheme: "stripe"},
			"hush",
			Call{Header: headers("Stripe-Signature", "t="+at+", v1="+strings.Repeat("0", 64)+",v0=1,v1="+signature("hush", at+"."+body)), Body: []byte(body)},
		},
		"shopify": {
			tidegate.WebhookSource{Scheme: "shopify"},
			"hush",
			Call{Header: headers("X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(shopify.Sum(nil))), Body: []byte(body)},
		},
		"hmac": {
			tidegate.WebhookSource{Scheme: "hmac", Header: "X-Sig", Prefix: "v=", Algorithm: "sha512", Encoding: "base64"},
			"hush",
			Call{Header: headers("X-Sig", "v="+base64.StdEncoding.EncodeToString(mac512.Sum(nil))), Body: []byte(body)},
		},
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	for name, v := range vectors() {
		r, err := New("src", v.def, v.secret)
		if err != nil {
			t.Fatal(err)
		}
		v.call.At = now
		if _, err := r.Receive(v.call); err != nil && (tidegate.FaultOf(err).Code == "webhook.signature" || name != "github") { // github's example is no JSON
			t.Errorf("%s: %v", name, err)
		}
		// Each byte of the body counts.
		for i := range v.call.Body {
			changed := v.call
			changed.Body = append([]byte(nil), v.call.Body...)
			changed.Body[i] ^= 1
			if _, err := r.Receive(changed); err == nil || tidegate.FaultOf(err).Code != "webhook.signature" {
				t.Errorf("%s: byte %d changed: %v", name, i, err)
			}
		}
		other, err := New("src", v.def, v.secret+"x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Receive(v.call); err == nil {
			t.Errorf("%s: accepted under another secret", name)
		}
		v.call.Header = http.Header{}
		if _, err := r.Receive(v.call); err == nil {
			t.Errorf("%s: accepted without a signature", name)
		}
	}
}

func TestTimesAreChecked(t *testing.T) {
	t.Parallel()
	const body = `{"type":"event_callback","event_id":"Ev1","event":{"type":"message"}}`
	for _, at := range []time.Duration{-window - time.Second, -window, 0, window, window + time.Second} {
		stamp := strconv.FormatInt(now.Add(at).Unix(), 10)
		for name, call := range map[string]Call{
			"stripe": {Header: headers("Stripe-Signature", "t="+stamp+",v1="+signature("hush", stamp+"."+body))},
			"slack":  {Header: headers("X-Slack-Request-Timestamp", stamp, "X-Slack-Signature", "v0="+signature("hush", "v0:"+stamp+":"+body))},
		} {
			r, err := New("src", tidegate.WebhookSource{Scheme: name}, "hush")
			if err != nil {
				t.Fatal(err)
			}
			call.Body, call.At = []byte(body), now
			_, err = r.Receive(call)
			if good := at >= -window && at <= window; good != (err == nil) {
				t.Errorf("%s signed %v away: %v", name, at, err)
			}
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		def  tidegate.WebhookSource
		call Call
		want string
	}{
		{
			"github names its event and delivery in headers",
			tidegate.WebhookSource{Scheme: "none", Event: `headers["x-github-event"]`, MessageID: `headers["x-github-delivery"]`, UserID: "body.sender.login"},
			Call{Header: headers("X-GitHub-Event", "push", "X-GitHub-Delivery", "d-1"), Body: []byte(`{"sender":{"login":"octo"},"big":12345678901234567890,"<a>":1.50}`)},
			`{"type":"track","messageId":"hook-src-d-1","event":"push","userId":"octo","properties":{"sender":{"login":"octo"},"big":12345678901234567890,"<a>":1.50},"context":{"webhook":{"scheme":"none"}}}`,
		},
		{
			"expressions make the properties",
			tidegate.WebhookSource{Scheme: "none", Event: "'Order ' + body.state", UserID: "body.customer.id", Timestamp: "body.at", Properties: "{'total': body.items.map(i, i.price * double(i.n)), 'first': body.items[0].sku}", MessageID: "body.id"},
			Call{Body: []byte(`{"id":7,"state":"paid","customer":{"id":42},"at":"2026-11-21T08:00:00Z","items":[{"sku":"a","price":2.5,"n":2}]}`)},
			`{"type":"track","messageId":"hook-src-7","event":"Order paid","userId":"42","timestamp":"2026-11-21T08:00:00Z","properties":{"first":"a","total":[5]},"context":{"webhook":{"scheme":"none"}}}`,
		},
		{
			"what the body lacks is left out",
			tidegate.WebhookSource{Scheme: "none", Event: "body.kind", UserID: "body.user.id", MessageID: "body.id"},
			Call{Body: []byte(`{"id":"x","user":{}}`)},
			`{"type":"track","messageId":"hook-src-x","event":"webhook","anonymousId":"hook-src-x","properties":{"id":"x","user":{}},"context":{"webhook":{"scheme":"none"}}}`,
		},
		{
			"a form",
			tidegate.WebhookSource{Scheme: "none", MessageID: "body.id"},
			Call{Header: headers("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"), Body: []byte("id=f1&a=b%20c")},
			`{"type":"track","messageId":"hook-src-f1","event":"webhook","anonymousId":"hook-src-f1","properties":{"a":"b c","id":"f1"},"context":{"webhook":{"scheme":"none"}}}`,
		},
		{
			"JSON inside a form",
			tidegate.WebhookSource{Scheme: "none", MessageID: "body.id"},
			Call{Header: headers("Content-Type", "application/x-www-form-urlencoded"), Body: []byte("payload=" + url.QueryEscape(`{"id":"p1","n":1}`))},
			`{"type":"track","messageId":"hook-src-p1","event":"webhook","anonymousId":"hook-src-p1","properties":{"id":"p1","n":1},"context":{"webhook":{"scheme":"none"}}}`,
		},
		{
			"a list",
			tidegate.WebhookSource{Scheme: "none", MessageID: "body[0].id"},
			Call{Body: []byte(`[{"id":"l1"}]`)},
			`{"type":"track","messageId":"hook-src-l1","event":"webhook","anonymousId":"hook-src-l1","properties":{"body":[{"id":"l1"}]},"context":{"webhook":{"scheme":"none"}}}`,
		},
		{
			"a list that curl calls a form",
			tidegate.WebhookSource{Scheme: "none", MessageID: "body[0].id"},
			Call{Header: headers("Content-Type", "application/x-www-form-urlencoded"), Body: []byte(` [{"id":"l1"}]`)},
			`{"type":"track","messageId":"hook-src-l1","event":"webhook","anonymousId":"hook-src-l1","properties":{"body":[{"id":"l1"}]},"context":{"webhook":{"scheme":"none"}}}`,
		},
		{
			"a call by GET",
			tidegate.WebhookSource{Scheme: "none", MessageID: "query.id", Event: "query.event"},
			Call{Query: url.Values{"id": {"g1"}, "event": {"ping"}, "writeKey": {"WK"}}},
			`{"type":"track","messageId":"hook-src-g1","event":"ping","anonymousId":"hook-src-g1","properties":{"event":"ping","id":"g1"},"context":{"webhook":{"scheme":"none"}}}`,
		},
	} {
		r, err := New("src", c.def, "")
		if err != nil {
			t.Fatal(err)
		}
		if c.call.Header == nil {
			c.call.Header = http.Header{}
		}
		c.call.At = now
		got, err := r.Receive(c.call)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if d := cmp.Diff(c.want, strings.TrimSpace(string(got.Event))); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestARepeatedDeliveryIsOneMessage(t *testing.T) {
	t.Parallel()
	r, err := New("src", tidegate.WebhookSource{Scheme: "none"}, "")
	if err != nil {
		t.Fatal(err)
	}
	id := func(body string, at time.Time) string {
		got, err := r.Receive(Call{Header: http.Header{}, Body: []byte(body), At: at})
		if err != nil {
			t.Fatal(err)
		}
		var e struct{ MessageID string }
		if err := json.Unmarshal(got.Event, &e); err != nil {
			t.Fatal(err)
		}
		return e.MessageID
	}
	if a, b := id(`{"a":1}`, now), id(`{"a":1}`, now.Add(time.Hour)); a != b {
		t.Errorf("%s and %s", a, b)
	}
	if a, b := id(`{"a":1}`, now), id(`{"a":2}`, now); a == b {
		t.Error("two bodies are one message")
	}
	if a, b := id("", now), id("", now.Add(time.Second)); a == b {
		t.Error("two calls without a body are one message")
	}
}

func TestSlackAsksWhetherWeListen(t *testing.T) {
	t.Parallel()
	const body = `{"type":"url_verification","challenge":"3eZbrw1aB"}`
	at := strconv.FormatInt(now.Unix(), 10)
	r, err := New("src", tidegate.WebhookSource{Scheme: "slack"}, "hush")
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Receive(Call{Header: headers("X-Slack-Request-Timestamp", at, "X-Slack-Signature", "v0="+signature("hush", "v0:"+at+":"+body)), Body: []byte(body), At: now})
	if err != nil || string(got.Answer) != "3eZbrw1aB" || got.Event != nil {
		t.Errorf("%v %q %q", err, got.Answer, got.Event)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for subject, def := range map[string]tidegate.WebhookSource{
		"webhook.scheme": {Scheme: "strip"}, "webhook.header": {Scheme: "hmac"}, "webhook.event": {Scheme: "none", Event: "bod.type"}, "webhook.user_id": {Scheme: "none", UserID: "("},
	} {
		if _, err := New("src", def, "hush"); err == nil || tidegate.FaultOf(err).Subject != subject || tidegate.FaultOf(err).Action != tidegate.Halt {
			t.Errorf("%s: %v", subject, err)
		}
	}
	if _, err := New("src", tidegate.WebhookSource{Scheme: "stripe"}, ""); err == nil {
		t.Error("stripe without a secret")
	}
	r, err := New("src", tidegate.WebhookSource{Scheme: "none", Event: "body.a + 1"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for body, code := range map[string]string{"{": "webhook.body", "{} {}": "webhook.body", `{"a":"x"}`: "webhook.expression"} {
		if _, err := r.Receive(Call{Header: http.Header{}, Body: []byte(body), At: now}); err == nil || tidegate.FaultOf(err).Code != code {
			t.Errorf("%s: %v, want %s", body, err, code)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add("application/json", []byte(`{"a":[1,{"b":null}]}`))
	f.Add("application/x-www-form-urlencoded", []byte("payload=%7B%7D"))
	r, err := New("src", tidegate.WebhookSource{Scheme: "none", Event: "body.event", UserID: "body.user.id", Properties: "body"}, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		got, err := r.Receive(Call{Header: http.Header{"Content-Type": {contentType}}, Body: body, At: now})
		if err == nil && !json.Valid(got.Event) {
			t.Errorf("%q is no JSON", got.Event)
		}
	})
}
