package ingest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
)

// Whatever a stranger sends is answered with one of the known statuses and a
// JSON body, and what is kept is exactly what encoding/json would take apart.
func FuzzHandler(f *testing.F) {
	for _, c := range allCaptures(f) {
		f.Add(c.path, c.body, c.header.Get("Content-Encoding") == "gzip")
	}
	f.Add("/v1/batch", []byte(`{"batch":[{"type":"track"},1,{"type":"page","userId":"u"}],"batch":[{"type":"page","userId":"u"}],"writeKey":"WK"}`), true)
	f.Add("/v1/t", []byte("\x1f\x8b\x08"), false)
	known := map[int]bool{200: true, 400: true, 401: true, 404: true, 405: true, 413: true}
	h := newHub(f, func(o *Options) { o.Limits = Limits{BodyBytes: 64 << 10, EventBytes: 4 << 10, Events: 50} })
	f.Fuzz(func(t *testing.T, path string, body []byte, zipped bool) {
		if strings.ContainsAny(path, " \x7f%") || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r > 0x7e }) {
			return // no request line
		}
		sent := body
		if zipped {
			sent = []byte(zip(string(body)))
		}
		r := httptest.NewRequest(http.MethodPost, "http://x/"+strings.TrimLeft(path, "/"), bytes.NewReader(sent))
		r.SetBasicAuth("WK", "")
		w := h.do(r)
		if !known[w.Code] || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %q: %d %s", path, body, w.Code, w.Body)
		}
		events, appends := h.journal.take()
		if w.Code != http.StatusOK && appends != 0 || appends > 1 {
			t.Fatalf("%s %q: %d, and %d appends", path, body, w.Code, appends)
		}
		if appends == 1 && !bytes.HasPrefix(body, gzipMagic) {
			checkKept(t, bytes.TrimPrefix(body, utf8BOM), events)
		}
	})
}

func checkKept(t *testing.T, body []byte, events []tidegate.Event) {
	t.Helper()
	if !json.Valid(body) || !utf8.Valid(body) {
		t.Fatalf("%q was accepted", body)
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(body, &top); err != nil {
		t.Fatal(err)
	}
	want := []json.RawMessage{bytes.TrimSpace(body)}
	if len(events) != 1 || string(events[0].Body) != string(want[0]) { // a batch
		if err := json.Unmarshal(top["batch"], &want); err != nil {
			t.Fatal(err)
		}
	}
	if len(want) != len(events) {
		t.Fatalf("%d events kept of %d", len(events), len(want))
	}
	accepted := 0
	for i, ev := range events {
		if string(ev.Body) != string(want[i]) {
			t.Fatalf("event %d is %q, want %q", i, ev.Body, want[i])
		}
		if ev.Refusal == "" {
			accepted++
			if !acceptable(ev) {
				t.Fatalf("event %q was accepted", ev.Body)
			}
		} else if refusalMessages[ev.Refusal] == "" {
			t.Fatalf("code %q has no message", ev.Refusal)
		}
	}
	if accepted == 0 {
		t.Fatal("200 without a valid event")
	}
}

// acceptable judges an event over again, by decoding it.
func acceptable(ev tidegate.Event) bool {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(ev.Body))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return false
	}
	typ := ev.Type
	if typ == "" {
		text, _ := fields["type"].(string)
		typ = tidegate.EventType(text)
	}
	identity := false
	for _, name := range []string{"userId", "anonymousId"} {
		switch v := fields[name].(type) {
		case string:
			identity = identity || v != ""
		case json.Number:
			identity = true
		}
	}
	name, _ := fields["event"].(string)
	id, _ := fields["messageId"].(string)
	return typ.Valid() && identity && (typ != tidegate.Track || name != "") && (ev.MessageID == "") == (id != "")
}
