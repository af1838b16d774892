package hook

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Segment signs with it
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// window is how old a signed time may be, and how far ahead: a recorded call
// cannot be repeated for ever. Stripe and Slack name five minutes.
const window = 5 * time.Minute

// scheme is how one service proves and names its calls.
type scheme struct {
	// verify says whether the call was made by who knows the secret.
	verify func(secret []byte, h http.Header, body []byte, now time.Time) bool
	// delivery and event are headers that hold the id of the delivery and the
	// name of what happened; bodyID and bodyEvent are expressions for the same.
	delivery, event   string
	bodyID, bodyEvent string
}

// schemes follow the services' documentation, read 2026-11-21:
// docs.stripe.com/webhooks/signature, docs.github.com/webhooks (validating
// deliveries), shopify.dev/docs/apps/build/webhooks, api.slack.com/authentication/
// verifying-requests-from-slack, segment.com/docs (webhook destination).
var schemes = map[string]scheme{
	"stripe": {verify: verifyStripe, bodyID: "body.id", bodyEvent: "body.type"},
	"github": {
		verify: func(secret []byte, h http.Header, body []byte, _ time.Time) bool {
			sent, ok := strings.CutPrefix(h.Get("X-Hub-Signature-256"), "sha256=")
			return ok && equalHex(sent, sum(sha256.New, secret, body))
		},
		delivery: "X-GitHub-Delivery", event: "X-GitHub-Event",
	},
	"shopify": {
		verify: func(secret []byte, h http.Header, body []byte, _ time.Time) bool {
			return equalBase64(h.Get("X-Shopify-Hmac-Sha256"), sum(sha256.New, secret, body))
		},
		delivery: "X-Shopify-Webhook-Id", event: "X-Shopify-Topic",
	},
	"slack": {verify: verifySlack, bodyID: "body.event_id", bodyEvent: "has(body.event) ? body.event.type : body.type"},
	"segment": {
		verify: func(secret []byte, h http.Header, body []byte, _ time.Time) bool {
			return equalHex(h.Get("X-Signature"), sum(sha1.New, secret, body))
		},
		bodyID: "body.messageId", bodyEvent: "has(body.event) ? body.event : body.type",
	},
	"token": {verify: verifyToken},
	"none":  {verify: func([]byte, http.Header, []byte, time.Time) bool { return true }},
}

func sum(algorithm func() hash.Hash, secret []byte, parts ...[]byte) []byte {
	mac := hmac.New(algorithm, secret)
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)
}

func equalHex(sent string, want []byte) bool {
	got, err := hex.DecodeString(strings.TrimSpace(sent))
	return err == nil && hmac.Equal(got, want)
}

func equalBase64(sent string, want []byte) bool {
	got, err := base64.StdEncoding.DecodeString(strings.TrimSpace(sent))
	return err == nil && hmac.Equal(got, want)
}

// fresh says whether text is a time in seconds that lies in the window.
func fresh(text string, now time.Time) bool {
	seconds, err := strconv.ParseInt(text, 10, 64)
	age := now.Sub(time.Unix(seconds, 0))
	return err == nil && age <= window && age >= -window
}

// verifyStripe reads `t=SECONDS,v1=HEX,v1=HEX`: while a secret is being
// replaced there are two signatures.
func verifyStripe(secret []byte, h http.Header, body []byte, now time.Time) bool {
	var at string
	var sent []string
	for part := range strings.SplitSeq(h.Get("Stripe-Signature"), ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(part), "="); name {
		case "t":
			at = value
		case "v1":
			sent = append(sent, value)
		}
	}
	if !fresh(at, now) || len(sent) > 8 {
		return false
	}
	want := sum(sha256.New, secret, []byte(at+"."), body)
	for _, s := range sent {
		if equalHex(s, want) {
			return true
		}
	}
	return false
}

func verifySlack(secret []byte, h http.Header, body []byte, now time.Time) bool {
	at := h.Get("X-Slack-Request-Timestamp")
	sent, ok := strings.CutPrefix(h.Get("X-Slack-Signature"), "v0=")
	return ok && fresh(at, now) && equalHex(sent, sum(sha256.New, secret, []byte("v0:"+at+":"), body))
}

func verifyToken(secret []byte, h http.Header, _ []byte, _ time.Time) bool {
	token, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(token), secret) == 1
}

// generic is the scheme of services that sign the body and nothing else.
func generic(header, prefix, algorithm, encoding string) scheme {
	algorithms := map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}
	equal := equalHex
	if encoding == "base64" {
		equal = equalBase64
	}
	return scheme{verify: func(secret []byte, h http.Header, body []byte, _ time.Time) bool {
		sent, ok := strings.CutPrefix(h.Get(header), prefix)
		return ok && sent != "" && equal(sent, sum(algorithms[algorithm], secret, body))
	}}
}
