package ingest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
)

// capture is one recorded request of an official SDK. Body is decompressed and
// indented; the Content-Encoding that it came with is in the header.
type capture struct {
	name   string
	method string
	path   string
	host   string
	header http.Header
	body   []byte
}

// readCaptures parses a file of recordings: "### n", a request line, headers, a
// comment, an empty line, the body up to the next "###".
func readCaptures(tb testing.TB, file string) []capture {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var all []capture
	for _, part := range strings.Split("\n"+string(text), "\n### ")[1:] {
		head, body, _ := strings.Cut(part, "\n\n")
		lines := bufio.NewScanner(strings.NewReader(head))
		lines.Scan()
		c := capture{name: filepath.Base(file) + "/" + lines.Text(), header: http.Header{}}
		lines.Scan()
		if _, err := fmt.Sscanf(lines.Text(), "%s %s HTTP/1.1", &c.method, &c.path); err != nil {
			tb.Fatalf("%s: request line %q: %v", c.name, lines.Text(), err)
		}
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "#") {
				continue
			}
			name, value, ok := strings.Cut(lines.Text(), ": ")
			if !ok {
				tb.Fatalf("%s: header %q", c.name, lines.Text())
			}
			c.header.Add(name, value)
		}
		c.host = c.header.Get("Host")
		c.header.Del("Host")
		c.header.Del("Content-Length")
		c.body = []byte(strings.TrimSpace(body))
		all = append(all, c)
	}
	return all
}

func (c *capture) request() *http.Request {
	body := c.body
	if c.header.Get("Content-Encoding") == "gzip" {
		body = []byte(zip(string(body)))
	}
	r := httptest.NewRequest(c.method, c.path, bytes.NewReader(body))
	r.Header, r.Host = c.header.Clone(), c.host
	return r
}

func allCaptures(tb testing.TB) []capture {
	tb.Helper()
	files, err := filepath.Glob("testdata/captures/*.http")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no recordings: %v", err)
	}
	var all []capture
	for _, file := range files {
		all = append(all, readCaptures(tb, file)...)
	}
	return all
}

// Every request that an official SDK was seen to make is accepted whole, and
// the journal holds its events byte for byte under the right type.
func TestEveryCaptureIsAccepted(t *testing.T) {
	t.Parallel()
	captures := allCaptures(t)
	if len(captures) < 19 {
		t.Fatalf("%d recordings, want all 19 at least", len(captures))
	}
	for _, c := range captures {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, nil)
			w := h.do(c.request())
			if w.Code != http.StatusOK {
				t.Fatalf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
			}
			events, appends := h.journal.take()
			if c.method == http.MethodGet {
				if appends != 0 || !json.Valid(w.Body.Bytes()) {
					t.Errorf("%d appends, body %s", appends, w.Body)
				}
				return
			}
			want := bodiesOf(t, c.body)
			if appends != 1 || len(events) != len(want) {
				t.Fatalf("%d events in %d appends, want %d in one", len(events), appends, len(want))
			}
			for i, ev := range events {
				if string(ev.Body) != string(want[i]) || ev.Refusal != "" || ev.Source != "web" || !ev.ReceivedAt.Equal(testTime) || !typed(ev) {
					t.Errorf("event %d: %+v", i, ev)
				}
			}
		})
	}
}

// bodiesOf takes a recorded body apart with encoding/json.
func bodiesOf(t *testing.T, body []byte) []json.RawMessage {
	t.Helper()
	var top struct {
		Batch []json.RawMessage `json:"batch"`
	}
	if err := json.Unmarshal(body, &top); err != nil {
		t.Fatal(err)
	}
	if top.Batch == nil {
		return []json.RawMessage{body}
	}
	return top.Batch
}

// typed says whether a reader of the journal can tell the type of ev.
func typed(ev tidegate.Event) bool {
	var body struct {
		Type tidegate.EventType `json:"type"`
	}
	if err := json.Unmarshal(ev.Body, &body); err != nil {
		return false
	}
	return ev.Type.Valid() || body.Type.Valid()
}

func TestSettingsAndSourceConfigMatchTheirGoldenFiles(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	for file, path := range map[string]string{
		"testdata/settings.golden.json":     "/v1/projects/WK/settings",
		"testdata/sourceconfig.golden.json": "/sourceConfig/?writeKey=WK",
	} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "events.example.com"
		w := h.do(r)
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, w.Body.Bytes(), "", "  "); err != nil {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		pretty.WriteByte('\n')
		golden(t, file, pretty.Bytes())
	}
}
