package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestSnippetScript asks the binary for the script of Segment's snippet as
// browsers and caches do. That the script works is TestOfficialSDKs' to show.
func TestSnippetScript(t *testing.T) {
	n := newNode(t, map[string]string{"tidegate.yaml": smallProject})
	n.start()
	get := func(path string, headers ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "http://"+n.ingest+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	const path = "/analytics.js/v1/WK/analytics.min.js"
	resp, body := get(path)
	if strings.Contains(body, "sdk.absent") {
		if required("node") {
			t.Fatal("the binary was built without the browser SDK: make build")
		}
		t.Skip("NOT TESTED: the binary was built without the browser SDK, which needs Node")
	}
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript") || !resp.Uncompressed || !strings.Contains(body, "analytics") {
		t.Errorf("%d %v, %d bytes", resp.StatusCode, resp.Header, len(body))
	}
	// The header set by hand keeps net/http from unpacking.
	zipped, packed := get(path, "Accept-Encoding", "gzip")
	if zipped.Header.Get("Content-Encoding") != "gzip" || len(packed) >= len(body)/2 {
		t.Errorf("compressed: %v, %d bytes of %d", zipped.Header, len(packed), len(body))
	}
	if again, body := get(path, "Accept-Encoding", "gzip", "If-None-Match", zipped.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("asked again: %d, %d bytes", again.StatusCode, len(body))
	}
	if unknown, _ := get("/analytics.js/v1/NO/analytics.min.js"); unknown.StatusCode != http.StatusNotFound {
		t.Errorf("of an unknown key: %d", unknown.StatusCode)
	}
}
