package bigquery

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"google.golang.org/api/googleapi"
)

// onceKey is where a context carries what ends it.
type onceKey struct{}

// once makes a context in which Google's client asks once. By itself the client
// repeats what failed for as long as its context lives; this one ends with the
// first answer that is a failure, and that answer is its cause. How often is
// asked again is then for try to say, and the limit of it is attempts.
//
//	try ──once──▶ client ──▶ onceTransport ──▶ the API
//	 ▲                            │ 5xx, 403, 429, no answer, half an answer
//	 └──why───── the context ends ┘
func once(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, end := context.WithCancelCause(ctx)
	return context.WithValue(ctx, onceKey{}, end), end
}

// why is the failure that ended a context of once, or else what the client said:
// of an ended context it says little more than that it has ended.
func why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// onceTransport ends contexts of once at their first failure. Those of uploads are
// none: the client repeats the pieces of an upload by itself, each for half a minute.
type onceTransport struct{ next http.RoundTripper }

// maxRefusal bounds what is read of a failure.
const maxRefusal = 1 << 20

// RoundTrip implements http.RoundTripper.
func (t onceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	end, ok := req.Context().Value(onceKey{}).(context.CancelCauseFunc)
	if !ok {
		return t.next.RoundTrip(req)
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		end(err)
		return nil, err
	}
	switch {
	case resp.StatusCode < http.StatusBadRequest:
		resp.Body = &watchedBody{ReadCloser: resp.Body, end: end}
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusConflict:
		// An answer to the question whether something is there. The client repeats none of these.
	default:
		refusal, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			end(err)
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(refusal))
		read := *resp
		read.Body = io.NopCloser(bytes.NewReader(refusal))
		end(googleapi.CheckResponse(&read))
	}
	return resp, nil
}

// watchedBody ends the context when the answer breaks off.
type watchedBody struct {
	io.ReadCloser
	end context.CancelCauseFunc
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.end(err)
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}
