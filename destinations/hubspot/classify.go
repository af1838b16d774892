package hubspot

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
)

// apiError is the body of an answer that is not 2xx.
type apiError struct {
	Category   string `json:"category"`
	Message    string `json:"message"`
	ErrorType  string `json:"errorType"`
	PolicyName string `json:"policyName"`
}

const maxMessage = 300

// classify says what is to be done about an answer that refuses a whole call.
func (d *Destination) classify(resp *http.Response, raw []byte) *tidegate.Fault {
	var e apiError
	isJSON := json.Unmarshal(raw, &e) == nil && e.Message != ""
	f := &tidegate.Fault{Message: d.clean(e.Message)}
	if !isJSON {
		f.Message = "the answer is " + resp.Status + " without the API's error"
	}
	switch status := resp.StatusCode; {
	case status == http.StatusUnauthorized:
		f.Action, f.Code, f.Subject, f.Hint = tidegate.Halt, "auth.expired", "token", "make a new access token in the private app's settings and put it where the secret reference points"
	case status == http.StatusForbidden:
		f.Action, f.Code, f.Subject, f.Hint = tidegate.Halt, "auth.forbidden", "token", "give the private app the scopes that the reference page of hubspot lists"
	case status == http.StatusTooManyRequests, e.ErrorType == "RATE_LIMIT":
		f.Action, f.Code, f.After = tidegate.Throttle, "hubspot.rate_limit", waitFor(resp, e, d.env.Now())
	case status == http.StatusLocked: // too many writes to the same records; a lock lasts two seconds
		f.Action, f.Code, f.After = tidegate.Throttle, "hubspot.locked", waitOr(resp, d.env.Now(), 2*time.Second)
	case status == statusMigrating:
		f.Action, f.Code, f.After = tidegate.Throttle, "hubspot.migrating", waitOr(resp, d.env.Now(), 10*time.Minute)
	case status == http.StatusRequestEntityTooLarge:
		f.Action, f.Code, f.Hint = tidegate.Reject, "hubspot.too_large", "map fewer or shorter fields"
	case status < 400:
		f.Action, f.Code, f.Subject, f.Hint = tidegate.Halt, "hubspot.moved", "base_url", "the address answers with a redirect; leave base_url out, or set it to where the API is"
	case strings.Contains(e.Message, noProperty):
		return missing(f.Message)
	case !isJSON, status >= 500, status == http.StatusRequestTimeout:
		f.Action, f.Code = tidegate.Retry, "hubspot.unavailable"
	case status == http.StatusNotFound:
		f.Action, f.Code, f.Hint = tidegate.Halt, "hubspot.not_found", "look whether base_url is right and the account has this object"
	case status == http.StatusBadRequest, status == http.StatusConflict, status == http.StatusUnprocessableEntity,
		status == http.StatusRequestURITooLong: // something about the records; 414: a record with too many identities
		f.Action, f.Code = tidegate.Reject, "hubspot."+category(e.Category)
	default: // nothing that a record could bring about
		f.Action, f.Code, f.Subject, f.Hint = tidegate.Halt, "hubspot.unexpected", "base_url", "the address answers with "+strconv.Itoa(status)+", as the API never does for a record; look whether base_url is right and the account is in order"
	}
	return f
}

// statusMigrating is the API's status while the account moves to another data
// center, for up to a day.
const statusMigrating = 477

// noProperty is how the API calls a property that does not exist.
const noProperty = "PROPERTY_DOESNT_EXIST"

func missing(message string) *tidegate.Fault {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "hubspot.property_missing", Subject: "mapping", Message: message,
		Hint: "create the property in HubSpot, or take it out of the sync's mapping",
	}
}

// waitFor is how long a 429 asks to stay away.
func waitFor(resp *http.Response, e apiError, now time.Time) time.Duration {
	wait := 10 * time.Second // TEN_SECONDLY_ROLLING
	switch e.PolicyName {
	case "DAILY":
		wait = time.Hour // it resets at midnight of a zone that the API does not name
	case "SECONDLY":
		wait = time.Second
	}
	return waitOr(resp, now, wait)
}

// waitOr is how long an answer asks to stay away, otherwise when it does not say.
func waitOr(resp *http.Response, now time.Time, otherwise time.Duration) time.Duration {
	if wait, ok := egress.RetryAfter(resp.Header, now); ok {
		return wait
	}
	return otherwise
}

// recordFault says what is to be done about one record of a 207.
func (d *Destination) recordFault(e batchError) *tidegate.Fault {
	f := &tidegate.Fault{Action: tidegate.Reject, Code: "hubspot." + category(e.Category), Message: d.clean(e.Message)}
	switch e.Category {
	case "RATE_LIMITS":
		f.Action, f.After = tidegate.Throttle, 10*time.Second
	case "INTERNAL_ERROR", "SERVICE_UNAVAILABLE", "TIMEOUT":
		f.Action = tidegate.Retry
	case "VALIDATION_ERROR":
		f.Hint = "mend the value in the model or its mapping; the record is tried again when it changes"
	case notFound:
		f.Hint = "there is no such record; use the mode upsert to create it"
	case "CONFLICT":
		f.Hint = "the record is there already; use the mode upsert to update it"
	}
	if f.Message == "" {
		f.Message = "HubSpot refused the record and gave no reason"
	}
	return f
}

// category is the API's name of an error as part of a code; what does not look
// like a name is none.
func category(c string) string {
	if c == "" || len(c) > 60 || strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		return "refused"
	}
	return strings.ToLower(c)
}

// clean makes a text of the API fit to be shown: without the token, which some
// answers repeat, and not long. Invariant 9.
func (d *Destination) clean(s string) string {
	if token := d.cfg.Token.Reveal(); token != "" {
		s = strings.ReplaceAll(s, token, "***")
	}
	if len(s) > maxMessage {
		return strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}
