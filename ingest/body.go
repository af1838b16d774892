package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
)

const (
	firstRead  = 4 << 10 // the buffer of a body of unknown length
	readStep   = 64 << 10
	keptBuffer = 1 << 20 // larger buffers are not kept for the next request
	busyRetry  = time.Second
	maxDrain   = 64 << 20
)

var (
	utf8BOM   = []byte("\xef\xbb\xbf")
	gzipMagic = []byte{0x1f, 0x8b}
)

// budget bounds what all requests together hold in memory.
type budget struct {
	left atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.left.Add(-n) < 0 {
		b.left.Add(n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.left.Add(n) }

// errOverBudget and errTooLarge are how reading a body can end early.
var (
	errOverBudget = errors.New("the server holds as many requests as it may")
	errTooLarge   = errors.New("the body is too large")
)

// body reads the whole body of r, decompressed, into buffers of req.
//
// Compression is told by the first bytes and not by the header: proxies
// decompress and leave the header, some SDKs compress and forget it. No JSON
// begins like gzip.
func (s *surface) body(req *request, r *http.Request) ([]byte, *problem) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "gzip") && !strings.EqualFold(encoding, "x-gzip") && !strings.EqualFold(encoding, "identity") {
		return nil, refuse(http.StatusUnsupportedMediaType, "request.encoding", "the Content-Encoding is not gzip", "send the body as it is or compress it with gzip")
	}
	if r.ContentLength > int64(s.limits.BodyBytes) {
		if r.Header.Get("Expect") == "" { // else it waits, and has sent nothing
			drain(r)
		}
		return nil, s.bodyProblem(errTooLarge, false)
	}
	var err error
	if req.wire, err = s.readAll(req, req.wire[:0], r.Body, r.ContentLength); err != nil {
		req.wire = nil // what was read of it holds no memory meanwhile
		s.inFlight.give(req.reserved)
		req.reserved = 0
		drain(r)
		return nil, s.bodyProblem(err, false)
	}
	text := req.wire
	if bytes.HasPrefix(text, gzipMagic) {
		if req.plain, err = s.unzip(req, text); err != nil {
			return nil, s.bodyProblem(err, true)
		}
		text = req.plain
	}
	return bytes.TrimPrefix(text, utf8BOM), nil
}

// drain reads on, to no end, in a body that is refused before its end, within the time
// that a request has. Most clients write all of a body before they read the answer; one
// that is cut off takes a refusal for a broken line, and sends the same again for ever.
func drain(r *http.Request) {
	if r.ContentLength <= maxDrain {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrain)
	}
}

func (s *surface) unzip(req *request, text []byte) ([]byte, error) {
	req.source.Reset(text)
	if req.gzip == nil {
		req.gzip = new(gzip.Reader)
	}
	if err := req.gzip.Reset(&req.source); err != nil {
		return req.plain[:0], err
	}
	return s.readAll(req, req.plain[:0], req.gzip, -1)
}

// readAll reads from to its end into dst, which grows as the bytes come and
// never by what a header claims. size is the expected length, -1 when unknown.
func (s *surface) readAll(req *request, dst []byte, from io.Reader, size int64) ([]byte, error) {
	want := firstRead
	if size >= 0 {
		want = int(min(size+1, readStep)) // one more, so that the end is seen without growing
	}
	if cap(dst) < want {
		dst = make([]byte, 0, want)
	}
	reserved := 0
	for step := want; ; step = readStep {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		free := dst[len(dst):min(cap(dst), len(dst)+step, s.limits.BodyBytes+1)]
		if need := len(dst) + len(free) - reserved; need > 0 {
			if !s.inFlight.take(int64(need)) {
				return dst, errOverBudget
			}
			reserved += need
			req.reserved += int64(need)
		}
		n, err := from.Read(free)
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > s.limits.BodyBytes:
			return dst, errTooLarge
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}

func (s *surface) bodyProblem(err error, zipped bool) *problem {
	switch {
	case errors.Is(err, errOverBudget):
		return later(http.StatusServiceUnavailable, "server.busy", "the server holds as many requests as it may", busyRetry)
	case errors.Is(err, errTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "request.too_large", fmt.Sprintf("the body is larger than the %d bytes that this server accepts", s.limits.BodyBytes), "send smaller batches")
	case zipped:
		return refuse(http.StatusBadRequest, "request.bad_gzip", "the gzip body is damaged", "")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "request.timeout", "the body did not arrive in time", "")
	}
	return refuse(http.StatusBadRequest, "request.cut_short", "the body ended before its announced length", "")
}
