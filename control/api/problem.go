package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// Problem is an error as the API answers it: RFC 9457 with the fault's own
// words. It is also the error that Client returns.
type Problem struct {
	Type    string           `json:"type" doc:"Where the code is explained." example:"https://tidegate.dev/errors/run.conflict"`
	Title   string           `json:"title" doc:"The status in words."`
	Status  int              `json:"status"`
	Detail  string           `json:"detail" doc:"What happened."`
	Code    string           `json:"code" doc:"Stable and dotted." example:"run.conflict"`
	Subject string           `json:"subject,omitempty" doc:"The definition, record or field concerned."`
	Hint    string           `json:"hint,omitempty" doc:"What to do about it."`
	List    []config.Problem `json:"problems,omitempty" doc:"Everything that is wrong with a document, each with its path."`

	retryAfter int // seconds, for the header
}

// Error returns "code: subject: detail".
func (p *Problem) Error() string { return p.Fault().Error() }

// Fault returns the problem as the fault that it was made from.
func (p *Problem) Fault() *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Halt, Code: p.Code, Subject: p.Subject, Message: p.Detail, Hint: p.Hint}
}

// Unwrap lets errors.As find the fault.
func (p *Problem) Unwrap() error { return p.Fault() }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="tidegate"`)
	}
	return h
}

const problemBase = "https://tidegate.dev/errors/"

// problemOf turns any error into a Problem. The text of an error without a
// fault is kept: the admin surface is its reader's own machine, and no error
// holds a secret (Invariant 9).
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var invalid *config.Error
	if errors.As(err, &invalid) {
		return &Problem{
			Type: problemBase + "project.invalid", Title: http.StatusText(http.StatusUnprocessableEntity), Status: http.StatusUnprocessableEntity,
			Detail: invalid.Error(), Code: "project.invalid", Hint: invalid.Problems[0].Hint, List: invalid.Problems,
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return newProblem(http.StatusServiceUnavailable, "request.canceled", err.Error(), "")
	}
	f := tidegate.FaultOf(err)
	status := statusOf(f)
	out := newProblem(status, f.Code, f.Message, f.Hint)
	out.Subject = f.Subject
	if out.Detail == "" {
		out.Detail = f.Error()
	}
	if f.Action == tidegate.Throttle {
		out.retryAfter = max(1, int(f.After.Seconds()))
	}
	return out
}

func newProblem(status int, code, detail, hint string) *Problem {
	return &Problem{Type: problemBase + code, Title: http.StatusText(status), Status: status, Detail: detail, Code: code, Hint: hint}
}

// statusOf reads the status from the code's last part; what it does not say
// follows from the action.
func statusOf(f *tidegate.Fault) int {
	switch f.Code {
	case "auth.required", "auth.invalid_token", "hook.unauthorized":
		return http.StatusUnauthorized
	case "auth.denied":
		return http.StatusForbidden
	}
	switch f.Code[strings.LastIndexByte(f.Code, '.')+1:] {
	case "not_found":
		return http.StatusNotFound
	case "conflict":
		return http.StatusConflict
	case "invalid":
		return http.StatusUnprocessableEntity
	case "precondition_failed":
		return http.StatusPreconditionFailed
	}
	switch f.Action {
	case tidegate.Throttle:
		return http.StatusTooManyRequests
	case tidegate.Halt, tidegate.Reject:
		return http.StatusUnprocessableEntity
	case tidegate.Retry:
		if f.Code != "unclassified" {
			return http.StatusServiceUnavailable
		}
	}
	return http.StatusInternalServerError
}

// transform gives the errors that the framework makes itself (bad parameters,
// broken JSON) the same shape as ours.
func transform(c huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := newProblem(m.Status, "request.invalid", m.Detail, "")
	for _, e := range m.Errors {
		p.List = append(p.List, badParameter(c.Operation(), e))
	}
	return p, nil
}

// badParameter says what is wrong with a part of a request, and the mend.
func badParameter(op *huma.Operation, e *huma.ErrorDetail) config.Problem {
	out := config.Problem{Path: e.Location, Message: e.Message}
	switch {
	case e.Message == "unknown query parameter":
		var known []string
		for _, p := range op.Parameters {
			if p.In == "query" {
				known = append(known, p.Name)
			}
		}
		out.Hint = config.DidYouMean(strings.TrimPrefix(e.Location, "query."), known)
	case strings.HasPrefix(e.Message, "unknown content type"):
		out.Hint = "send the header `Content-Type: application/json`"
	case strings.HasPrefix(e.Message, "invalid date/time"):
		out.Message, out.Hint = "is no time", "write RFC 3339, as 2026-01-02T15:04:05Z"
	}
	return out
}
