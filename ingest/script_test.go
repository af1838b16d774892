package ingest

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestScript(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("window.analytics=1;", 100)
	h := newHub(t, func(o *Options) { o.Script = []byte(text) })
	get := func(path string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return h.do(r)
	}
	for _, path := range []string{"/analytics.js/v1/WK/analytics.min.js", "/analytics.js/v1/WK/platform/analytics.min.js", "/analytics.js/v1/OFF/analytics.min.js"} {
		w := get(path, "Origin", "https://shop.example.com")
		if w.Code != http.StatusOK || w.Body.String() != text {
			t.Errorf("%s: %d, %d bytes", path, w.Code, w.Body.Len())
		}
		for name, want := range map[string]string{
			"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": scriptAge, "Vary": "Accept-Encoding", "Access-Control-Allow-Origin": "*",
			"Cross-Origin-Resource-Policy": "cross-origin", "X-Content-Type-Options": "nosniff", "Content-Length": "1900", "Content-Encoding": "",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	const path = "/analytics.js/v1/WK/analytics.min.js"
	plain := get(path).Header().Get("ETag")
	w := get(path, "Accept-Encoding", "br, gzip;q=0.8")
	zipped := w.Header().Get("ETag")
	if w.Header().Get("Content-Encoding") != "gzip" || zipped == plain || zipped == "" {
		t.Errorf("compressed: %v", w.Header())
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || string(got) != text {
		t.Errorf("decompressed: %d bytes, %v", len(got), err)
	}
	for _, c := range []struct {
		accept, none string
		status       int
	}{
		{"", plain, 304},
		{"", `"other", W/` + plain, 304},
		{"", "*", 304},
		{"", zipped, 200},
		{"", "", 200},
		{"gzip", zipped, 304},
		{"gzip", plain, 200},
	} {
		w := get(path, "Accept-Encoding", c.accept, "If-None-Match", c.none)
		if w.Code != c.status || c.status == 304 && (w.Body.Len() > 0 || w.Header().Get("ETag") == "" || w.Header().Get("Content-Encoding") != "") {
			t.Errorf("Accept-Encoding %q, If-None-Match %q: %d %v", c.accept, c.none, w.Code, w.Header())
		}
	}
	for accept, want := range map[string]string{"gzip;q=0": "", "*": "gzip", "GZIP": "gzip", "identity": "", "gzip; q=0.0": "", "deflate,gzip ; q=1": "gzip"} {
		if got := get(path, "Accept-Encoding", accept).Header().Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: answered %q, want %q", accept, got, want)
		}
	}
	if w := h.do(httptest.NewRequest(http.MethodHead, path, nil)); w.Code != http.StatusOK || w.Header().Get("ETag") != plain {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	mustFind(t, get("/analytics.js/v1/NO/analytics.min.js"), http.StatusNotFound, codeUnknownKey)
	mustFind(t, h.send(path, "{}"), http.StatusMethodNotAllowed)
}

func TestScriptThatWasNotBuilt(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	w := h.do(httptest.NewRequest(http.MethodGet, "/analytics.js/v1/WK/analytics.min.js", nil))
	mustFind(t, w, http.StatusNotFound, "sdk.absent", "make build", "--sdk-dir")
	if w.Header().Get("Cache-Control") != "" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("headers: %v", w.Header())
	}
}
