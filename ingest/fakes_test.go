package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/envelope"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// golden compares got with the file, or writes it with -update.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run with -update to write it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

// memory is a journal that remembers: an Appender that decodes what it is given
// as a reader of the journal would. Like the real one it copies nothing after
// Append returned.
type memory struct {
	mu      sync.Mutex
	events  []tidegate.Event
	appends int
	fail    error
}

func (m *memory) Append(_ context.Context, payload []byte, events int) (tidegate.Offset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return tidegate.Offset{}, m.fail
	}
	first := tidegate.Offset{Position: int64(len(m.events))}
	decoded, err := envelope.Decode(nil, bytes.Clone(payload), first)
	if err != nil {
		return tidegate.Offset{}, fmt.Errorf("decoding an appended payload: %w", err)
	}
	if len(decoded) != events {
		return tidegate.Offset{}, fmt.Errorf("%d events in a payload of %d", len(decoded), events)
	}
	m.events = append(m.events, decoded...)
	m.appends++
	return first, nil
}

func (m *memory) setFailure(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// take returns the events kept since the last take, and in how many appends.
func (m *memory) take() ([]tidegate.Event, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	events, appends := m.events, m.appends
	m.events, m.appends = nil, 0
	return events, appends
}

// sourceMap is a Sources of fixed content.
type sourceMap map[string]tidegate.Source

func (s sourceMap) ByWriteKey(key string) (tidegate.Source, bool) {
	source, ok := s[key]
	return source, ok
}

var testSources = sourceMap{
	"WK":  {Name: "web", WriteKey: "WK"},
	"APP": {Name: "app", WriteKey: "APP"},
	"OFF": {Name: "off", WriteKey: "OFF", Disabled: true},
}

// testTime is when every request of the tests arrives.
var testTime = time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC)

func fixedNow() time.Time { return testTime }

// hub is an ingest surface over a journal that remembers.
type hub struct {
	http.Handler
	journal *memory
	log     *bytes.Buffer
}

func newHub(tb testing.TB, change func(*Options)) *hub {
	tb.Helper()
	h := &hub{journal: &memory{}, log: &bytes.Buffer{}}
	var ids atomic.Int64
	o := Options{
		Journal: h.journal, Sources: testSources,
		Now:   fixedNow,
		NewID: func() string { return fmt.Sprintf("generated-%d", ids.Add(1)) },
		Log:   slog.New(slog.NewTextHandler(h.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	handler, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	h.Handler = handler
	return h
}

// send posts a body with the write key WK.
func (h *hub) send(path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.SetBasicAuth("WK", "")
	for _, c := range change {
		c(r)
	}
	return h.do(r)
}

func (h *hub) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		if value == "" {
			r.Header.Del(name)
			return
		}
		r.Header.Set(name, value)
	}
}

func zip(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

// mustFind fails unless w has the status and, in its body, all of the texts.
func mustFind(t *testing.T, w *httptest.ResponseRecorder, status int, texts ...string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("no %s in %s", text, w.Body)
		}
	}
}
