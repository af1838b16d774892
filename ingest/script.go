package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/klauspost/compress/gzip"
)

// scriptAge is for how long browsers and caches may use the script without
// asking: a fault in it is mended everywhere soon after the hub was.
const scriptAge = "public, max-age=300"

// script is our own SDK as a page of Segment's snippet asks for it, ready to be sent.
type script struct {
	plain, zipped encoded
}

// encoded is one form of the script.
type encoded struct {
	body []byte
	etag string
}

// newScript prepares text; nil when there is none.
func newScript(text []byte) (*script, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var zipped bytes.Buffer
	z, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	tag := hex.EncodeToString(sum[:8])
	return &script{plain: encoded{text, `"` + tag + `"`}, zipped: encoded{zipped.Bytes(), `"` + tag + `-gzip"`}}, nil
}

// serveScript serves the SDK at the address that Segment's snippet has, its host
// apart. The script takes the write key and the hub's address out of its own.
func (s *surface) serveScript(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	publicCORS(h)
	if _, ok := s.sources.ByWriteKey(chi.URLParam(r, "writeKey")); !ok {
		s.writeProblem(w, refuse(http.StatusNotFound, codeUnknownKey, "no source has this write key", "check the write key in the snippet"))
		return
	}
	if s.script == nil {
		s.writeProblem(w, refuse(http.StatusNotFound, "sdk.absent", "this server was built without the browser SDK",
			"build it with Node 20 or newer at hand (make build), or start it with --sdk-dir and a folder that holds analytics.min.js"))
		return
	}
	form := s.script.plain
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		form = s.script.zipped
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", scriptAge)
	h.Set("ETag", form.etag)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin") // pages that isolate themselves load it too
	if matches(r.Header.Get("If-None-Match"), form.etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(form.body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(form.body) // the browser is gone if this fails
}

// acceptsGzip says whether an Accept-Encoding takes gzip.
func acceptsGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name = strings.TrimSpace(name); !strings.EqualFold(name, "gzip") && name != "*" {
			continue
		}
		q, found := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
		if value, err := strconv.ParseFloat(q, 64); !found || err != nil || value > 0 {
			return true
		}
	}
	return false
}

// matches says whether an If-None-Match names the tag.
func matches(list, etag string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "*" || strings.TrimPrefix(part, "W/") == etag {
			return true
		}
	}
	return false
}
