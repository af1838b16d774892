package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/egress"
)

const maxMessage = 300

func halt(code, subject, message, hint string) *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Halt, Code: code, Subject: subject, Message: message, Hint: hint}
}

func reject(code, message, hint string) *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Reject, Code: code, Message: message, Hint: hint}
}

// tooLarge rejects a body that cannot be sent: a batch is split, a single
// record is really too large.
func tooLarge(limit int) *tidegate.Fault {
	return reject("record.too_large", fmt.Sprintf("the body is larger than %d bytes", limit), "send fewer or shorter fields, or raise limits.bytes")
}

// meaning is what a status code says about the call.
type meaning uint8

const (
	delivered meaning = iota
	rejected
	retried
	throttled
	halted
)

// mean reads a status code: the configuration's codes, then its classes, then
// what is usual. byRecord says that the URL names the record, so that a 404
// speaks of the record and not of the endpoint.
func (s Statuses) mean(status int, byRecord, deleting bool) meaning {
	code := strconv.Itoa(status)
	for _, wanted := range []string{code, code[:1] + "xx"} {
		for _, list := range []struct {
			codes []string
			m     meaning
		}{{s.Delivered, delivered}, {s.Rejected, rejected}, {s.Retried, retried}, {s.Halted, halted}} {
			if slices.Contains(list.codes, wanted) {
				return list.m
			}
		}
	}
	switch {
	case status >= 200 && status <= 299:
		return delivered
	case status == http.StatusTooManyRequests:
		return throttled
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		return retried
	case (status == http.StatusNotFound || status == http.StatusGone) && byRecord && deleting:
		return delivered // it is gone, as it was to be
	case (status == http.StatusNotFound || status == http.StatusGone) && !byRecord,
		status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusMethodNotAllowed,
		status == http.StatusProxyAuthRequired, status == http.StatusUnsupportedMediaType, status < 400:
		return halted
	}
	return rejected
}

// outcomes turns an answer into one outcome per record, or into the error that
// refuses the whole call.
func (d *Destination) outcomes(b *destinations.Batch, r request, a reply) ([]destinations.Outcome, error) {
	byRecord, deleting := r.target.namesRecord(), r.method == http.MethodDelete && b.Items[0].Op == tidegate.Removed
	if d.cfg.Statuses.mean(a.status, byRecord, deleting) != delivered {
		return nil, fmt.Errorf("sending %d records: %w", len(b.Items), d.refusal(r, a))
	}
	if deleting && (a.status == http.StatusNotFound || a.status == http.StatusGone) {
		return all(b, destinations.Outcome{Disposition: destinations.Delivered}), nil
	}
	if f := d.believe(a); f != nil {
		return nil, fmt.Errorf("reading the answer: %w", f)
	}
	if d.cfg.Results == nil || a.status == http.StatusNoContent {
		return all(b, destinations.Outcome{Disposition: destinations.Delivered}), nil
	}
	return d.results(b, a.body)
}

func all(b *destinations.Batch, o destinations.Outcome) []destinations.Outcome {
	return slices.Repeat([]destinations.Outcome{o}, len(b.Items))
}

// believe refuses a good answer that something else than the endpoint gave: the
// page of a login, a proxy or a parked domain. Nothing is known then.
func (d *Destination) believe(a reply) *tidegate.Fault {
	body := bytes.TrimSpace(a.body)
	switch {
	case d.cfg.Answer == "any" || len(body) == 0 && d.cfg.Answer == "auto":
		return nil
	case d.cfg.Answer == "json" && !json.Valid(body):
		return &tidegate.Fault{Action: tidegate.Retry, Code: "webhook.not_json", Message: "the answer is not JSON", Hint: "look whether the URL is right, or set answer: auto"}
	case isHTML(a.header.Get("Content-Type"), body):
		return &tidegate.Fault{Action: tidegate.Retry, Code: "webhook.html", Message: "the answer is a web page", Hint: "look whether the URL is right and no login page answers; if pages are what it gives, set answer: any"}
	case isJSON(a.header.Get("Content-Type")) && !json.Valid(body):
		return &tidegate.Fault{Action: tidegate.Retry, Code: "webhook.not_json", Message: "the answer says that it is JSON and is not", Hint: "if that is what the endpoint gives, set answer: any"}
	}
	return nil
}

func isHTML(contentType string, body []byte) bool {
	kind, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	start := strings.ToLower(string(body[:min(len(body), 15)]))
	// Many endpoints send "ok" and call it HTML because nobody told them otherwise.
	return strings.TrimSpace(kind) == "text/html" && strings.HasPrefix(start, "<") ||
		strings.HasPrefix(start, "<!doctype html") || strings.HasPrefix(start, "<html")
}

// refusal is the fault of an answer that is no delivery.
func (d *Destination) refusal(r request, a reply) *tidegate.Fault {
	status := a.status
	f := &tidegate.Fault{Code: "webhook.status_" + strconv.Itoa(status), Message: fmt.Sprintf("the endpoint answered %d %s", status, http.StatusText(status))}
	if said := d.said(a); said != "" {
		f.Message += ": " + said
	}
	switch d.cfg.Statuses.mean(status, r.target.namesRecord(), false) {
	case throttled:
		f.Action, f.Code, f.After = tidegate.Throttle, "webhook.rate_limit", wait(a, d.env.Now())
	case retried, delivered: // delivered: of a check, whose answer may only be 2xx
		f.Action = tidegate.Retry
	case rejected:
		f.Action, f.Hint = tidegate.Reject, "mend the record in the model or its mapping; it is tried again when it changes"
		if status == http.StatusRequestEntityTooLarge {
			f.Code, f.Hint = "record.too_large", "set limits.bytes or limits.records lower"
		}
	case halted:
		f.Action = tidegate.Halt
		f.Code, f.Subject, f.Hint = haltOf(status)
	}
	return f
}

// wait is how long a 429 asks to stay away; ten seconds when it does not say.
func wait(a reply, now time.Time) time.Duration {
	if after, ok := egress.RetryAfter(a.header, now); ok {
		return after
	}
	return 10 * time.Second
}

func haltOf(status int) (code, subject, hint string) {
	switch status {
	case http.StatusUnauthorized:
		return "auth.expired", "auth", "look whether the credentials are right and still good"
	case http.StatusForbidden:
		return "auth.forbidden", "auth", "give the credentials the right to write here"
	case http.StatusNotFound, http.StatusGone:
		return "webhook.not_found", "url", "look whether the URL is right"
	}
	if status >= 300 && status <= 399 {
		return "webhook.moved", "url", "the endpoint sends calls elsewhere; set url to where it says"
	}
	return "webhook.status_" + strconv.Itoa(status), "url", "look whether url, method and content_type are what the endpoint takes"
}

// said is the endpoint's own explanation: the message of a JSON error, or a
// short plain text. Pages are left out.
func (d *Destination) said(a reply) string {
	body := bytes.TrimSpace(a.body)
	if len(body) == 0 || isHTML(a.header.Get("Content-Type"), body) {
		return ""
	}
	var doc any
	if json.Unmarshal(body, &doc) != nil {
		return d.clean(string(body[:min(len(body), 64<<10)]))
	}
	return d.clean(messageOf(doc))
}

// messageOf finds a message where APIs usually put it.
func messageOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		if len(v) > 0 {
			return messageOf(v[0])
		}
	case map[string]any:
		for _, name := range []string{"message", "error_description", "detail", "error", "title", "reason", "errors"} {
			if inner, ok := v[name]; ok {
				if s := messageOf(inner); s != "" {
					return s
				}
			}
		}
	}
	return ""
}
