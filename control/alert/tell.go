package alert

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/egress"
)

// pagerDutyURL is the Events API v2 of the US region (developer.pagerduty.com, verified 2026-11-21).
const pagerDutyURL = "https://events.pagerduty.com/v2/enqueue"

// SignatureHeader carries `t=SECONDS,v1=HEX`: the HMAC-SHA256, by the alert's
// secret, of the seconds, a dot and the body.
const SignatureHeader = "Tidegate-Signature"

// Channels sends notices. The zero value of each field but HTTP, Dial and Now
// is what serves outside of tests.
type Channels struct {
	// HTTP is the guarded client; Dial opens guarded connections to mail servers.
	HTTP *http.Client
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Lookup resolves secret references at the moment a message leaves.
	Lookup config.Lookup
	Now    func() time.Time
	// RootCAs are whose certificates of mail servers are believed; the machine's when nil.
	RootCAs *x509.CertPool

	tlsFirst bool // every mail server is taken for one of smtpsPort, for tests
}

// Tell sends n through the channel of a. It blocks until the channel has taken
// it; an error of PagerDuty may come after a part of n was taken.
func (c *Channels) Tell(ctx context.Context, a tidegate.Alert, n Notice) error {
	resolved, err := c.secrets(a)
	if err != nil {
		return err
	}
	switch a = resolved; {
	case a.Webhook != nil:
		return c.webhook(ctx, *a.Webhook, n)
	case a.Slack != nil:
		return c.post(ctx, a.Slack.URL, map[string]any{"text": n.text(slackBold)}, nil)
	case a.Email != nil:
		return c.email(ctx, *a.Email, n)
	case a.PagerDuty != nil:
		return c.pagerDuty(ctx, *a.PagerDuty, n)
	}
	return &tidegate.Fault{Action: tidegate.Halt, Code: "alert.channel", Subject: "alert " + a.Name, Message: "the alert goes nowhere", Hint: "add webhook, slack, email or pagerduty to it"}
}

// secrets returns a deep copy of a with its references resolved.
func (c *Channels) secrets(a tidegate.Alert) (tidegate.Alert, error) {
	var out tidegate.Alert
	text, err := json.Marshal(a)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err == nil {
		err = config.Resolve(&out, c.Lookup, nil)
	}
	if err != nil {
		return out, fmt.Errorf("resolving the secrets of alert %s: %w", a.Name, err)
	}
	return out, nil
}

func (c *Channels) webhook(ctx context.Context, w tidegate.AlertWebhook, n Notice) error {
	return c.post(ctx, w.URL, n, func(h http.Header, body []byte) {
		if w.Secret == "" {
			return
		}
		at := fmt.Sprint(c.Now().Unix())
		mac := hmac.New(sha256.New, []byte(w.Secret))
		mac.Write([]byte(at + "."))
		mac.Write(body)
		h.Set(SignatureHeader, "t="+at+",v1="+hex.EncodeToString(mac.Sum(nil)))
	})
}

// pagerDuty sends one event per condition, because each is an incident of its own.
func (c *Channels) pagerDuty(ctx context.Context, p tidegate.AlertPagerDuty, n Notice) error {
	url := cmp.Or(p.URL, pagerDutyURL)
	send := func(s State, action string) error {
		return c.post(ctx, url, map[string]any{
			"routing_key": p.RoutingKey, "event_action": action,
			"dedup_key": strings.Join([]string{"tidegate", n.Hub, s.Alert, s.Sync, string(s.Condition)}, "/"),
			"payload": map[string]any{
				"summary": clip(s.line(), 1024), "source": n.Hub, "severity": s.severity(), "timestamp": s.Since.UTC().Format(time.RFC3339),
				"component": s.Sync, "class": string(s.Condition), "custom_details": s,
			},
		}, nil)
	}
	var errs []error
	for _, s := range n.Raised {
		errs = append(errs, send(s, "trigger"))
		if n.Test { // an incident of a test ends at once
			errs = append(errs, send(s, "resolve"))
		}
	}
	for _, s := range n.Resolved {
		errs = append(errs, send(s, "resolve"))
	}
	return errors.Join(errs...)
}

func (s State) severity() string {
	switch s.Condition {
	case Journal:
		return "critical" // events are turned away
	case Failed, Held, Loading:
		return "error"
	case Partial, Late, Deviation, Gap:
	}
	return "warning"
}

const maxAnswer = 4 << 10 // of an answer that is only read to keep the connection

// post sends v as JSON and wants a 2xx answer.
func (c *Channels) post(ctx context.Context, url string, v any, sign func(h http.Header, body []byte)) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		// The address may be a secret: it is not said (Invariant 9).
		return &tidegate.Fault{Action: tidegate.Halt, Code: "alert.address", Message: "the alert's address is no URL", Hint: "write https://…"}
	}
	req.Header.Set("Content-Type", "application/json")
	if sign != nil {
		sign(req.Header, body)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return egress.Fault(ctx, err)
	}
	_, readErr := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if err := errors.Join(readErr, resp.Body.Close()); err != nil {
		return egress.Fault(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		return &tidegate.Fault{Action: tidegate.Retry, Code: "alert.refused", Message: fmt.Sprintf("the alert's channel answered %s", resp.Status), Hint: "look at the channel's address and credentials, then `tidegate alerts test NAME`"}
	}
	return nil
}

func slackBold(s string) string { return "*" + s + "*" }
func plain(s string) string     { return s }

// text is the notice for people.
func (n Notice) text(bold func(string) string) string {
	var b strings.Builder
	if n.Test {
		b.WriteString("This is a test of the alert " + n.Alert + " of " + n.Hub + ".\n")
	}
	list := func(title string, states []State) {
		if len(states) == 0 {
			return
		}
		b.WriteString(bold(title) + "\n")
		for _, s := range states {
			b.WriteString("• " + s.line() + "\n")
			if s.Raised && s.Hint != "" {
				b.WriteString("   " + s.Hint + "\n")
			}
		}
	}
	list("Needs attention on "+n.Hub, n.Raised)
	list("Resolved on "+n.Hub, n.Resolved)
	return b.String()
}

// line is one condition in one line.
func (s State) line() string {
	if !s.Raised {
		return fmt.Sprintf("%s is no longer %s", s.subject(), s.Condition.word())
	}
	return fmt.Sprintf("%s %s: %s", s.subject(), map[Condition]string{
		Failed: "failed", Partial: "left records behind", Held: "is held for approval", Late: "is late", Deviation: "read an unusual number of rows",
		Gap: "does not account for all of its events", Loading: "is behind", Journal: "refuses events",
	}[s.Condition], clip(s.Message, 500))
}

// subject is what the condition is of: "sync people", "forward clicks", "source web", "the loader".
func (s State) subject() string {
	if strings.Contains(s.Sync, " ") { // no sync's name has a space
		return s.Sync
	}
	return "sync " + s.Sync
}

func (c Condition) word() string {
	switch c {
	case Failed:
		return "failing"
	case Partial:
		return "leaving records behind"
	case Deviation:
		return "reading an unusual number of rows"
	case Gap:
		return "short of events"
	case Loading:
		return "behind"
	case Journal:
		return "refusing events"
	case Held, Late:
	}
	return string(c)
}

// clip keeps a text short, whole characters only.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
