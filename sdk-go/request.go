package analytics

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// OnAttempt is called before each request. The request runs under the context
// that it returns, so that a span in it is the parent of what the transport
// records; the function that it returns, unless nil, is called when the outcome
// is known. Both are called by the client's own goroutine.
type OnAttempt func(ctx context.Context, a Attempt) (context.Context, func(AttemptResult))

// Attempt is a request about to be made.
type Attempt struct {
	Number   int         // 0 for the first request with these messages
	Messages int         // how many it carries
	Bytes    int         // the length of its body, compressed if it is
	Header   http.Header // its headers, to which the hook may add
}

// AttemptResult is what came of a request.
type AttemptResult struct {
	Status   int   // 0 when there was no answer
	Err      error // nil when the messages were acknowledged
	Duration time.Duration
}

// verdict is what is to be done with a batch after an attempt.
type verdict int

const (
	accepted     verdict = iota // acknowledged, single refusals aside
	refused                     // never again
	failed                      // again later
	tooLarge                    // again in halves
	uncompressed                // again without compression
)

// answer is the outcome of an attempt.
type answer struct {
	verdict verdict
	err     error         // unless accepted
	refused map[int]error // by place in the batch: single messages that the server names
	after   time.Duration // not sooner, as the server asked
}

const (
	envelopeBytes = 96              // what a body holds beside events and context, at most
	answerBytes   = 64 << 10        // how much of an answer is read
	maxRetryAfter = 5 * time.Minute // how long a server may ask to wait
)

// attempt sends the batch once.
func (c *Client) attempt(ctx context.Context, b *batch, number int) answer {
	c.begin(number)
	begun := c.cfg.Now()
	body, err := c.sender.payload.build(b, begun, !c.sender.plain)
	if err != nil {
		return answer{verdict: failed, err: fmt.Errorf("compressing a batch: %w", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.AttemptTimeout)
	defer cancel()
	req, err := c.request(ctx, body, number)
	if err != nil {
		return answer{verdict: refused, err: fmt.Errorf("making a request: %w", err)}
	}
	var end func(AttemptResult)
	if c.cfg.OnAttempt != nil {
		ctx, end = c.cfg.OnAttempt(ctx, Attempt{Number: number, Messages: b.len(), Bytes: len(body.data), Header: req.Header})
		req = req.WithContext(ctx)
	}
	status, a := c.exchange(req)
	if end != nil {
		end(AttemptResult{Status: status, Err: a.err, Duration: c.cfg.Now().Sub(begun)})
	}
	return a
}

func (c *Client) begin(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Requests++
	if number > 0 {
		c.stats.Retries++
	}
}

func (c *Client) request(ctx context.Context, body *body, number int) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.batchURL(), body.open())
	if err != nil {
		return nil, err
	}
	req.ContentLength = int64(len(body.data))
	req.GetBody = func() (io.ReadCloser, error) { return body.open(), nil }
	req.SetBasicAuth(c.cfg.WriteKey, "")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", libraryName+"/"+Version)
	if !c.sender.plain {
		req.Header.Set("Content-Encoding", "gzip")
	}
	if number > 0 {
		req.Header.Set("X-Retry-Count", strconv.Itoa(number))
	}
	return req, nil
}

// exchange carries out the request and reads the answer.
func (c *Client) exchange(req *http.Request) (int, answer) {
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, answer{verdict: failed, err: fmt.Errorf("sending a batch: %w", err)}
	}
	defer func() { _ = resp.Body.Close() }()
	// An answer that breaks off has still told its status.
	text, _ := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	return resp.StatusCode, c.judge(resp, text)
}

// redirect follows a redirect only when it repeats the request with its body.
func redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	if req.Method != via[0].Method {
		return http.ErrUseLastResponse
	}
	return nil
}

// told is what a server may say in the body of an answer.
type told struct {
	Code           string `json:"code"`
	Message        string `json:"message"`
	ReceivedEvents int    `json:"receivedEvents"`
	OkEvents       int    `json:"okEvents"`
	Errors         []struct {
		Index   int    `json:"index"`
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"errors"`
}

// judge decides from status and body. What may succeed later is tried again:
// 408, 410, 425, 429, 460, every 5xx but 501 and 505, and a redirect that lost
// the body. Every other refusal is final.
func (c *Client) judge(resp *http.Response, text []byte) answer {
	var t told
	if json.Unmarshal(text, &t) != nil {
		t = told{Message: strings.TrimSpace(string(text[:min(len(text), 200)]))}
	}
	err := &ServerError{Status: resp.StatusCode, Code: t.Code, Message: t.Message}
	switch status := resp.StatusCode; {
	case status < 300:
		if unnamed := t.ReceivedEvents - t.OkEvents - len(t.Errors); unnamed > 0 && len(t.Errors) > 0 {
			c.cfg.Logger.Warn("the server refused more messages than it names", "unnamed", unnamed)
		}
		return answer{verdict: accepted, refused: t.refusals(200)}
	case status < 400:
		err.Message = "it redirects elsewhere"
		if to, locationErr := resp.Location(); locationErr == nil {
			err.Message = "it redirects to " + to.Scheme + "://" + to.Host + to.Path + ": set Endpoint to that host"
		}
	case status == http.StatusRequestEntityTooLarge:
		return answer{verdict: tooLarge, err: err}
	case status == http.StatusUnsupportedMediaType && !c.sender.plain:
		return answer{verdict: uncompressed, err: err}
	case status == http.StatusRequestTimeout, status == http.StatusGone, status == http.StatusTooEarly,
		status == http.StatusTooManyRequests, status == 460:
	case status < 500, status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
		return answer{verdict: refused, err: err, refused: t.refusals(status)}
	}
	return answer{verdict: failed, err: err, after: retryAfter(resp.Header.Get("Retry-After"), c.cfg.Now())}
}

// refusals are the messages that the server names, by their place in the batch.
func (t *told) refusals(status int) map[int]error {
	if len(t.Errors) == 0 {
		return nil
	}
	m := make(map[int]error, len(t.Errors))
	for _, e := range t.Errors {
		m[e.Index] = &ServerError{Status: status, Code: e.Code, Message: e.Message}
	}
	return m
}

// retryAfter reads a Retry-After header: seconds or a date, 0 to maxRetryAfter.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// payload builds bodies, in the buffer of the one before when nobody reads that
// any more.
type payload struct {
	last *body
	zip  *gzip.Writer
}

// build makes the body of a request. sentAt is new for each attempt: the server
// corrects the clock by it.
func (p *payload) build(b *batch, sentAt time.Time, zip bool) (*body, error) {
	if p.last == nil || p.last.readers.Load() > 0 {
		p.last = &body{}
	}
	out := p.last
	out.data = out.data[:0]
	var tail [envelopeBytes]byte
	end := append(tail[:0], `,"sentAt":`...)
	end = append(appendTime(end, sentAt), '}')
	parts := [...][]byte{[]byte(`{"batch":[`), b.events, []byte(`],"context":`), b.context, end}
	if !zip {
		for _, part := range parts {
			out.data = append(out.data, part...)
		}
		return out, nil
	}
	if p.zip == nil {
		var err error
		if p.zip, err = gzip.NewWriterLevel(out, gzip.BestSpeed); err != nil {
			return nil, err
		}
	}
	p.zip.Reset(out)
	for _, part := range parts {
		if _, err := p.zip.Write(part); err != nil {
			return nil, err
		}
	}
	return out, p.zip.Close()
}

// body is the body of a request. A transport may read it until it has closed it,
// also after it gave an answer; only then may data change.
type body struct {
	data    []byte
	readers atomic.Int32
}

// Write appends; it is where compression goes.
func (b *body) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	return len(p), nil
}

func (b *body) open() io.ReadCloser {
	b.readers.Add(1)
	return &bodyReader{Reader: bytes.NewReader(b.data), body: b}
}

type bodyReader struct {
	*bytes.Reader
	body *body
	once sync.Once
}

func (r *bodyReader) Close() error {
	r.once.Do(func() { r.body.readers.Add(-1) })
	return nil
}
