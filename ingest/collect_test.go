package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

// The answers, word for word: what clients were told is an interface. One line
// of the golden file per case: the request, then the status, what headers
// matter and the body.
func TestAnswers(t *testing.T) {
	t.Parallel()
	h := newHub(t, func(o *Options) {
		o.Limits = Limits{EventBytes: 400, BodyBytes: 2000, Events: 5, Depth: 5, MessageIDBytes: 20, Errors: 3}
	})
	long := strings.Repeat("x", 400)
	var out bytes.Buffer
	for _, c := range []struct{ name, path, body string }{
		{"one event", "/v1/track", `{"userId":"u","event":"E"}`},
		{"numbers identify too", "/v1/identify", `{"userId":17}`},
		{"alias", "/v1/alias", `{"userId":"u","previousId":"a"}`},
		{"a batch", "/v1/batch", `{"batch":[{"type":"page","anonymousId":"a"},{"type":"track","userId":"u","event":"E"}]}`},
		{"a partial batch", "/v1/batch", `{"batch":[{"type":"page","anonymousId":"a"},{"type":"track","userId":"u"},7,{"userId":"u"}]}`},
		{"a partial batch with more errors than are told", "/v1/batch", `{"batch":[1,2,3,{"type":"page","userId":"u"},4]}`},
		{"no valid event", "/v1/batch", `{"batch":[{"type":"track"},{"type":"page"}]}`},
		{"no identity", "/v1/track", `{"event":"E"}`},
		{"empty identity", "/v1/track", `{"event":"E","userId":"","anonymousId":null}`},
		{"an object for an identity", "/v1/track", `{"event":"E","userId":{"id":1}}`},
		{"no name", "/v1/track", `{"userId":"u"}`},
		{"a name that is no string", "/v1/track", `{"userId":"u","event":{}}`},
		{"an unknown type", "/v1/track", `{"userId":"u","event":"E","type":"pageview"}`},
		{"a type that is no string", "/v1/track", `{"userId":"u","event":"E","type":1}`},
		{"no type in a batch", "/v1/batch", `{"batch":[{"userId":"u"}]}`},
		{"a messageId that is no string", "/v1/track", `{"userId":"u","event":"E","messageId":7}`},
		{"a messageId that is too long", "/v1/track", `{"userId":"u","event":"E","messageId":"123456789012345678901"}`},
		{"a messageId with a NUL", "/v1/track", `{"userId":"u","event":"E","messageId":"a\u0000"}`},
		{"a messageId with half a character", "/v1/track", `{"userId":"u","event":"E","messageId":"a\ud800"}`},
		{"too deep", "/v1/track", `{"userId":"u","event":"E","properties":{"a":{"b":{"c":{"d":{}}}}}}`},
		{"too large an event", "/v1/track", `{"userId":"u","event":"` + long + `"}`},
		{"too large a body", "/v1/track", `{"userId":"u","event":"` + strings.Repeat(long, 5) + `"}`},
		{"too many events", "/v1/batch", `{"batch":[{},{},{},{},{},{}]}`},
		{"broken JSON", "/v1/track", `{"userId":"u",}`},
		{"not UTF-8", "/v1/track", "{\"userId\":\"\xff\"}"},
		{"an empty body", "/v1/track", ``},
		{"a list for a body", "/v1/batch", `[{"type":"page","userId":"u"}]`},
		{"no batch", "/v1/batch", `{"type":"page","userId":"u"}`},
		{"an empty batch", "/v1/batch", `{"batch":[]}`},
		{"a batch that is no list", "/v1/batch", `{"batch":{}}`},
		{"SDK metrics", "/v1/m", `{"series":[{"type":"Counter","metric":"x","value":1,"tags":{}}]}`},
		{"an unknown path", "/v1/unknown", `{}`},
		{"a path of another method", "/v1/projects/WK/settings", `{}`},
	} {
		w := h.send(c.path, c.body)
		fmt.Fprintf(&out, "# %s\n%d %s", c.name, w.Code, w.Header().Get("Content-Type"))
		for _, name := range []string{"Allow", "Retry-After"} {
			if v := w.Header().Values(name); len(v) > 0 {
				fmt.Fprintf(&out, " %s: %s", name, strings.Join(v, ", "))
			}
		}
		fmt.Fprintf(&out, "\n%s\n\n", w.Body)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: the answer is no JSON: %s", c.name, w.Body)
		}
	}
	golden(t, "testdata/answers.golden.txt", out.Bytes())
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const good = `{"type":"track","userId":"u","event":"E"}`
	ev, fault := Judge([]byte(" "+good+"\n"), testTime)
	if fault != nil || string(ev.Body) != good || !ev.ReceivedAt.Equal(testTime) {
		t.Errorf("%+v, %v", ev, fault)
	}
	for body, want := range map[string]string{
		`{"userId":"u"}`: RefusedNoType, `{"type":"track","userId":"u"}`: RefusedNoName, `{"type":"x","userId":"u"}`: RefusedUnknownType,
		`{`: codeBadJSON, `[]`: codeBadJSON, ``: codeBadJSON,
	} {
		if _, fault := Judge([]byte(body), testTime); fault == nil || fault.Code != want || fault.Action != tidegate.Reject || fault.Message == "" {
			t.Errorf("%s: %v, want %s", body, fault, want)
		}
	}
}

// Every item of an answered batch is in the journal; of a refused request none is.
func TestPartialBatchLosesNothing(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	items := []string{
		`{"type":"page","anonymousId":"a","messageId":"m1"}`, `{"type":"track","userId":"u"}`, `7`, `{"type":"nonsense","userId":"u"}`, `{"userId":"u"}`,
		`{"type":"page"}`, `{"type":"page","userId":"u","messageId":[]}`,
		`{"type":"screen","userId":"u","properties":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		`{"type":"screen","userId":"u","properties":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`,
	}
	mustFind(t, h.send("/v1/batch", `{"batch":[`+strings.Join(items, " ,\n")+`],"sentAt":"S","context":{"ip":"1.2.3.4"},"integrations":{"All":true}}`), 200, `"receivedEvents":9,"okEvents":1`)
	events, appends := h.journal.take()
	if appends != 1 {
		t.Errorf("%d appends, want one", appends)
	}
	want := []string{"", RefusedNoName, RefusedNotObject, RefusedUnknownType, RefusedNoType, RefusedNoIdentity, RefusedBadMessageID, RefusedTooDeep, RefusedTooLarge}
	var got []string
	for i, ev := range events {
		got = append(got, ev.Refusal)
		if string(ev.Body) != items[i] || ev.SentAt != "S" || string(ev.Context) != `{"ip":"1.2.3.4"}` || string(ev.Integrations) != `{"All":true}` || ev.RequestIP != "192.0.2.1" {
			t.Errorf("event %d: %+v", i, ev)
		}
		if (ev.MessageID == "") != strings.Contains(items[i], "messageId") {
			t.Errorf("event %d has the server's messageId %q", i, ev.MessageID)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
	mustFind(t, h.send("/v1/batch", `{"batch":[`+strings.Join(items[1:], ",")+`]}`), 400, `"code":"request.no_valid_event"`)
	if events, _ := h.journal.take(); len(events) != 0 {
		t.Errorf("%d events of a refused request were kept", len(events))
	}
}

// All spellings of all paths lead to the same thing.
func TestPaths(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	types := map[string]tidegate.EventType{
		"identify": "identify", "i": "identify", "track": "track", "t": "track", "page": "page", "p": "page",
		"screen": "screen", "s": "screen", "group": "group", "g": "group", "alias": "alias", "a": "alias",
	}
	for _, prefix := range []string{"/v1/", "/", "//v1/"} {
		for name, want := range types {
			mustFind(t, h.send(prefix+name, `{"userId":"u","event":"E"}`), 200)
			events, _ := h.journal.take()
			if len(events) != 1 || events[0].Type != want {
				t.Errorf("%s%s: %+v", prefix, name, events)
			}
			// A type in the body goes before the path's.
			mustFind(t, h.send(prefix+name+"/", `{"userId":"u","event":"E","type":"group"}`), 200)
			if events, _ = h.journal.take(); len(events) != 1 || events[0].Type != "" {
				t.Errorf("%s%s with a type: %+v", prefix, name, events)
			}
		}
		for _, name := range []string{"batch", "b", "import", "batch/"} {
			mustFind(t, h.send(prefix+name, `{"batch":[{"type":"page","userId":"u"}]}`), 200)
			if events, _ := h.journal.take(); len(events) != 1 {
				t.Errorf("%s%s: %d events", prefix, name, len(events))
			}
		}
		mustFind(t, h.send(prefix+"m", `{"series":[]}`), 200)
	}
	mustFind(t, h.send("/beacon/v1/batch?writeKey=WK", `{"batch":[{"type":"page","userId":"u"}]}`, header("Authorization", "")), 200)
	if events, _ := h.journal.take(); len(events) != 1 {
		t.Errorf("beacon: %d events", len(events))
	}
	for _, path := range []string{"/v1/projects/WK/settings", "/projects/WK/settings", "/v1/projects/projects/WK/settings", "/projects/OFF/settings"} {
		mustFind(t, h.do(httptest.NewRequest(http.MethodGet, path, nil)), 200, `"apiHost":"example.com/v1"`)
	}
	mustFind(t, h.do(httptest.NewRequest(http.MethodGet, "/v1/projects/NO/settings", nil)), 404, codeUnknownKey)
	if w := h.do(httptest.NewRequest(http.MethodGet, "/v1/batch", nil)); w.Code != 405 || !slices.Equal(w.Header().Values("Allow"), []string{"POST", "OPTIONS"}) {
		t.Errorf("GET of a path to post to: %d %v", w.Code, w.Header())
	}
}

func TestJournalRefusals(t *testing.T) {
	t.Parallel()
	const body = `{"userId":"u","event":"E"}`
	for _, c := range []struct {
		name   string
		err    error
		status int
		after  string
		code   string
	}{
		{"throttled", fmt.Errorf("appending: %w", &tidegate.Fault{Action: tidegate.Throttle, Code: "journal.full", Message: "/secret/path is full", After: 2500 * time.Millisecond}), 503, "3", "journal.full"},
		{"throttled for long", &tidegate.Fault{Action: tidegate.Throttle, Code: "journal.full", After: time.Hour}, 503, "300", "journal.full"},
		{"halted", &tidegate.Fault{Action: tidegate.Halt, Code: "journal.sync_failed"}, 503, "5", "journal.sync_failed"},
		{"unclassified", errors.New("/secret/path"), 503, "5", "unclassified"},
		{"rejected", &tidegate.Fault{Action: tidegate.Reject, Code: "journal.too_large"}, 413, "", "journal.too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, nil)
			h.journal.setFailure(c.err)
			for range 3 {
				w := h.send("/v1/track", body)
				mustFind(t, w, c.status, `"success":false`, `"code":"`+c.code+`"`, `"message":"`)
				if got := w.Header().Get("Retry-After"); got != c.after {
					t.Errorf("Retry-After %q, want %q", got, c.after)
				}
				if strings.Contains(w.Body.String(), "secret") {
					t.Errorf("the answer tells too much: %s", w.Body)
				}
			}
			h.journal.setFailure(nil)
			mustFind(t, h.send("/v1/track", body), 200)
			mustFind(t, h.send("/v1/track", body), 200)
			if log := h.log.String(); log != "" {
				t.Errorf("the journal says itself that it refuses, and here it is said again:\n%s", log)
			}
		})
	}
}

// What one request leaves behind never shows in the next one that reuses its buffers.
func TestReuseOfBuffers(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	mustFind(t, h.send("/v1/batch", `{"batch":[{"type":"page","userId":"u"},{"type":"page"}],"sentAt":"S","context":{"a":1},"integrations":{"b":2}}`), 200, `"okEvents":1`)
	h.send("/v1/batch", `{"batch":[{"type":"page","userId":"u"},`)
	h.journal.take()
	mustFind(t, h.send("/v1/batch", `{"batch":[{"type":"page","userId":"v","messageId":"m"}]}`), 200, `"receivedEvents":1,"okEvents":1,"errors":[]`)
	events, _ := h.journal.take()
	want := []tidegate.Event{{Source: "web", ReceivedAt: testTime, RequestIP: "192.0.2.1", Body: []byte(`{"type":"page","userId":"v","messageId":"m"}`)}}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestUsualRequestsAllocateLittle(t *testing.T) {
	if underRace {
		t.Skip("allocations mean nothing under the race detector")
	}
	h := newHub(t, func(o *Options) { o.Journal = discard{} })
	body := strings.NewReader("")
	text := benchBatch(100)
	r := httptest.NewRequest(http.MethodPost, "/v1/batch", nil)
	r.SetBasicAuth("WK", "")
	r.Body = http.NoBody
	w := &quietWriter{header: http.Header{}}
	allocs := testing.AllocsPerRun(50, func() {
		body.Reset(text)
		r.Body = readCloser{body}
		h.ServeHTTP(w, r)
	})
	if w.status != 200 || allocs > 12 {
		t.Errorf("status %d, %v allocations for a batch of 100, want at most 12", w.status, allocs)
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
