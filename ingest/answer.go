package ingest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
)

// problem is why a request is refused as a whole: what is to be done and the
// HTTP status that makes SDKs do it.
type problem struct {
	status int
	fault  tidegate.Fault
	// errors name the refused events when that is the reason.
	errors []eventError
	events int
}

// eventError is one refused event in an answer.
type eventError struct {
	Index   int    `json:"index"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func refuse(status int, code, message, hint string) *problem {
	return &problem{status: status, fault: tidegate.Fault{Action: tidegate.Reject, Code: code, Message: message, Hint: hint}}
}

// later refuses a request that may come again after the given time.
func later(status int, code, message string, after time.Duration) *problem {
	return &problem{status: status, fault: tidegate.Fault{Action: tidegate.Throttle, Code: code, Message: message, After: after}}
}

// refusedBody is the body of an error. The first three fields are what SDKs read.
type refusedBody struct {
	Success        bool         `json:"success"`
	Code           string       `json:"code"`
	Message        string       `json:"message"`
	Hint           string       `json:"hint,omitempty"`
	ReceivedEvents int          `json:"receivedEvents,omitempty"`
	Errors         []eventError `json:"errors,omitempty"`
}

func (s *surface) writeProblem(w http.ResponseWriter, p *problem) {
	h := w.Header()
	if p.fault.Action == tidegate.Throttle {
		seconds := retrySeconds(p.fault.After)
		h.Set("Retry-After", strconv.FormatInt(seconds, 10))
		if p.status == http.StatusTooManyRequests {
			h.Set("X-RateLimit-Reset", strconv.FormatInt(s.now().Unix()+seconds, 10))
		}
	}
	writeJSON(w, p.status, refusedBody{
		Code: p.fault.Code, Message: p.fault.Message, Hint: p.fault.Hint, ReceivedEvents: p.events, Errors: p.errors,
	})
}

// retrySeconds rounds up to whole seconds, 1 to 300: browsers cap it there.
func retrySeconds(after time.Duration) int64 {
	return min(max(int64((after+time.Second-1)/time.Second), 1), 300)
}

// writeJSON writes v, one of this package's own types, as the whole answer.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("ingest: an answer that is no JSON: " + err.Error()) // our own types only: a broken invariant
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone if this fails; nobody is left to tell
}

// appendAccepted appends the body of a 200 to dst.
func appendAccepted(dst []byte, received, ok int, errors []eventError) []byte {
	dst = append(dst, `{"success":true,"ok":true,"receivedEvents":`...)
	dst = strconv.AppendInt(dst, int64(received), 10)
	dst = append(dst, `,"okEvents":`...)
	dst = strconv.AppendInt(dst, int64(ok), 10)
	dst = append(dst, `,"errors":[`...)
	for i, e := range errors {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"index":`...)
		dst = strconv.AppendInt(dst, int64(e.Index), 10)
		dst = append(dst, `,"code":`...)
		dst = strconv.AppendQuote(dst, e.Code)
		dst = append(dst, `,"message":`...)
		dst = strconv.AppendQuote(dst, e.Message)
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

// jsonType is shared by all answers; net/http copies it.
var jsonType = []string{"application/json"}

// ownLength is up to where net/http tells an answer's length by itself, without
// the memory that a header takes.
const ownLength = 2048

func writeAccepted(w http.ResponseWriter, body []byte) {
	h := w.Header()
	h["Content-Type"] = jsonType
	if len(body) >= ownLength {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the events are safe whether or not the client hears it
}
