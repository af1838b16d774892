package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
)

func TestStatuses(t *testing.T) {
	t.Parallel()
	const fixed, each = "url: BASE/x", "url: BASE/x/{identifier}"
	const deleting = each + "\nremoved: {method: DELETE}"
	for _, c := range []struct {
		config string
		op     tidegate.Op
		status int
		want   string
	}{
		{fixed, tidegate.Added, 200, "delivered"},
		{fixed, tidegate.Added, 201, "delivered"},
		{fixed, tidegate.Added, 202, "delivered"},
		{fixed, tidegate.Added, 204, "delivered"},
		{fixed, tidegate.Added, 301, "error halt webhook.moved"},
		{fixed, tidegate.Added, 304, "error halt webhook.moved"},
		{fixed, tidegate.Added, 400, "error reject webhook.status_400"},
		{fixed, tidegate.Added, 401, "error halt auth.expired"},
		{fixed, tidegate.Added, 403, "error halt auth.forbidden"},
		{fixed, tidegate.Added, 404, "error halt webhook.not_found"},
		{fixed, tidegate.Removed, 404, "error halt webhook.not_found"},
		{fixed, tidegate.Added, 405, "error halt webhook.status_405"},
		{fixed, tidegate.Added, 407, "error halt webhook.status_407"},
		{fixed, tidegate.Added, 408, "error retry webhook.status_408"},
		{fixed, tidegate.Added, 409, "error reject webhook.status_409"},
		{fixed, tidegate.Added, 410, "error halt webhook.not_found"},
		{fixed, tidegate.Added, 413, "error reject record.too_large"},
		{fixed, tidegate.Added, 415, "error halt webhook.status_415"},
		{fixed, tidegate.Added, 422, "error reject webhook.status_422"},
		{fixed, tidegate.Added, 425, "error retry webhook.status_425"},
		{fixed, tidegate.Added, 429, "error throttle webhook.rate_limit"},
		{fixed, tidegate.Added, 500, "error retry webhook.status_500"},
		{fixed, tidegate.Added, 599, "error retry webhook.status_599"},
		{each, tidegate.Added, 404, "error reject webhook.status_404"},
		{each, tidegate.Added, 410, "error reject webhook.status_410"},
		{each, tidegate.Removed, 404, "error reject webhook.status_404"},
		{deleting, tidegate.Added, 404, "error reject webhook.status_404"},
		{deleting, tidegate.Removed, 404, "delivered"},
		{deleting, tidegate.Removed, 410, "delivered"},
		{deleting, tidegate.Removed, 204, "delivered"},
		{deleting, tidegate.Removed, 401, "error halt auth.expired"},
		{deleting + "\nstatuses: {rejected: ['404']}", tidegate.Removed, 404, "error reject webhook.status_404"},
		{fixed + "\nstatuses: {delivered: ['409'], rejected: [5xx], retried: ['404', '503'], halted: ['202', 4xx]}", tidegate.Added, 409, "delivered"},
		{fixed + "\nstatuses: {delivered: ['409'], rejected: [5xx], retried: ['404', '503'], halted: ['202', 4xx]}", tidegate.Added, 500, "error reject webhook.status_500"},
		{fixed + "\nstatuses: {delivered: ['409'], rejected: [5xx], retried: ['404', '503'], halted: ['202', 4xx]}", tidegate.Added, 503, "error retry webhook.status_503"},
		{fixed + "\nstatuses: {delivered: ['409'], rejected: [5xx], retried: ['404', '503'], halted: ['202', 4xx]}", tidegate.Added, 404, "error retry webhook.status_404"},
		{fixed + "\nstatuses: {delivered: ['409'], rejected: [5xx], retried: ['404', '503'], halted: ['202', 4xx]}", tidegate.Added, 418, "error halt webhook.status_418"},
		{fixed + "\nstatuses: {delivered: ['409'], rejected: [5xx], retried: ['404', '503'], halted: ['202', 4xx]}", tidegate.Added, 202, "error halt webhook.status_202"},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.op), func(t *testing.T) {
			t.Parallel()
			e := serve(t, says(c.status, "", ""))
			out, err := connect(t, e.URL, c.config).Write(t.Context(), batch(c.op, "a"))
			if got := short(out, err); got != c.want {
				t.Errorf("%s: %s, want %s", c.config, got, c.want)
			}
			if f := tidegate.FaultOf(err); f != nil && f.Action == tidegate.Halt && f.Hint == "" {
				t.Errorf("%v has no hint", f)
			}
			if n := len(e.got()); n != 1 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

func TestAnswersThatAreBelieved(t *testing.T) {
	t.Parallel()
	const page = "<!DOCTYPE html><html><title>Log in</title>"
	for _, c := range []struct{ config, contentType, body, want string }{
		{"", "", "", "delivered"},
		{"", "text/html", "ok", "delivered"}, // chats answer so
		{"", "text/html; charset=utf-8", page, "error retry webhook.html"},
		{"", "text/plain", page, "error retry webhook.html"},
		{"", "text/html", "  \n<p>hello", "error retry webhook.html"},
		{"", "application/json", `{"a":`, "error retry webhook.not_json"},
		{"", "application/json", "", "delivered"},
		{"", "application/xml", "<ok/>", "delivered"},
		{"answer: json", "text/plain", `{"a":1}`, "delivered"},
		{"answer: json", "text/plain", "ok", "error retry webhook.not_json"},
		{"answer: json", "application/json", "", "error retry webhook.not_json"},
		{"answer: any", "text/html", page, "delivered"},
		{"answer: any", "application/json", "{", "delivered"},
	} {
		t.Run(c.config+c.contentType+c.body, func(t *testing.T) {
			t.Parallel()
			e := serve(t, says(200, c.contentType, c.body))
			if got := short(connect(t, e.URL, "url: BASE/x\n"+c.config).Write(t.Context(), batch(tidegate.Added, "a"))); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	const token = "tok-3f9a1c"
	for body, want := range map[string]string{
		``:                             "the endpoint answered 422 Unprocessable Entity",
		`{"message":"no"}`:             "the endpoint answered 422 Unprocessable Entity: no",
		`{"error":{"message":"deep"}}`: "the endpoint answered 422 Unprocessable Entity: deep",
		`{"errors":[{"detail":"first"},"second"]}`:      "the endpoint answered 422 Unprocessable Entity: first",
		`{"error":"` + token + `\n\tis   bad"}`:         "the endpoint answered 422 Unprocessable Entity: *** is bad",
		`plain ` + token:                                "the endpoint answered 422 Unprocessable Entity: plain ***",
		`/hook/S3CR3T-PATH?k=1 refused`:                 "the endpoint answered 422 Unprocessable Entity: /*** refused",
		`<html><h1>secret page</h1>`:                    "the endpoint answered 422 Unprocessable Entity",
		`{"unknown":"shape"}`:                           "the endpoint answered 422 Unprocessable Entity",
		strings.Repeat("x", 1000):                       "the endpoint answered 422 Unprocessable Entity: " + strings.Repeat("x", maxMessage) + "…",
		strings.Repeat("x", maxMessage-4) + " " + token: "the endpoint answered 422 Unprocessable Entity: " + strings.Repeat("x", maxMessage-4) + " ***",
	} {
		e := serve(t, says(422, "", body))
		d := connect(t, e.URL, "secret_url: 'BASE/hook/S3CR3T-PATH?k=1'\nauth: {kind: bearer, token: "+token+"}")
		_, err := d.Write(t.Context(), batch(tidegate.Added, "a"))
		if f := tidegate.FaultOf(err); f == nil || f.Message != want {
			t.Errorf("%.60s: %v", body, err)
		}
	}
}

func TestAnEndpointThatQuotesBasicCredentials(t *testing.T) {
	t.Parallel()
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("no: " + r.Header.Get("Authorization")))
	})
	d := connect(t, e.URL, "url: BASE/x\nauth: {kind: basic, username: user, password: hunter22}")
	_, err := d.Write(t.Context(), batch(tidegate.Added, "a"))
	if f := tidegate.FaultOf(err); f == nil || !strings.HasSuffix(f.Message, ": no: Basic ***") {
		t.Error(err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": 10 * time.Second, "3": 3 * time.Second, testNow.Add(time.Minute).UTC().Format(http.TimeFormat): time.Minute, "soon": 10 * time.Second,
	} {
		e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		_, err := connect(t, e.URL, "url: BASE/x").Write(t.Context(), batch(tidegate.Added, "a"))
		if f := tidegate.FaultOf(err); f == nil || f.Action != tidegate.Throttle || f.After != want {
			t.Errorf("%q: %v", header, err)
		}
	}
}

// A refusal counts although its body breaks off: the status is known.
func TestARefusalWhoseBodyBreaksOff(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{429: "error throttle webhook.rate_limit", 401: "error halt auth.expired", 422: "error reject webhook.status_422", 200: "error retry network.truncated"} {
		e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(status)
			_, _ = w.Write([]byte("half"))
		})
		if got := short(connect(t, e.URL, "url: BASE/x").Write(t.Context(), batch(tidegate.Added, "a"))); got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
}

// The transport repeats calls by itself that carry an idempotency key, when a
// kept-alive connection breaks. One Write is one call.
func TestNothingIsRepeatedUnseen(t *testing.T) {
	t.Parallel()
	for _, config := range []string{"url: BASE/x", "url: BASE/x\nidempotency_header: X-Idempotency-Key", "url: BASE/{identifier}\nremoved: {method: DELETE}"} {
		breaks := make(chan bool, 2)
		breaks <- false
		breaks <- true
		e := serve(t, func(http.ResponseWriter, *http.Request) {
			if len(breaks) > 0 && <-breaks {
				panic(http.ErrAbortHandler)
			}
		})
		d := connect(t, e.URL, config)
		if _, err := d.Write(t.Context(), batch(tidegate.Removed, "a")); err != nil {
			t.Fatal(err)
		}
		_, err := d.Write(t.Context(), batch(tidegate.Removed, "b"))
		var f *tidegate.Fault
		if !errors.As(err, &f) || f.Action != tidegate.Retry || len(e.got()) != 2 {
			t.Errorf("%s: %v after %d calls, want a Retry after 2", config, err, len(e.got()))
		}
	}
}
