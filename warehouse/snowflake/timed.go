package snowflake

import (
	"context"
	"io"
	"net/http"
	"time"
)

// timed bounds every call, and gives a body up when reading it fails: the driver
// does not close one that breaks off, and a client's own timeout would wait for that.
type timed struct {
	next   http.RoundTripper
	limit  time.Duration
	failed func(error) // is told of calls without an answer
}

// RoundTrip implements http.RoundTripper.
func (t timed) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, end := context.WithTimeout(req.Context(), t.limit)
	resp, err := t.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		end()
		t.failed(err)
		return nil, err
	}
	resp.Body = &timedBody{resp.Body, end}
	return resp, nil
}

type timedBody struct {
	io.ReadCloser
	end context.CancelFunc
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.Close() // what was read is read
	}
	return n, err
}

// Close may be called more than once.
func (b *timedBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}
