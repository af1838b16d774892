package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

// Whatever a stranger sends is answered with one of the known statuses and a
// JSON body, and what is kept is exactly what encoding/json would take apart.
func FuzzHandler(f *testing.F) {
	for _, c := range allCaptures(f) {
		f.Add(c.path, c.body, c.header.Get("Content-Encoding") == "gzip")
	}
	f.Add("/v1/batch", []byte(`{"batch":[{"type":"track"},1,{"type":"page","userId":"u"}],"batch":[{"type":"page","userId":"u"}],"writeKey":"WK"}`), true)
	f.Add("/v1/merge", []byte(`{"mergeProperties":[{"type":"a","value":1},{"type":"b","value":"c"}],"x":{"ip":1}}`), false)
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
	if _, isBatch := top["batch"]; isBatch && (len(events) != 1 || string(events[0].Body) != string(want[0]) && !bytes.HasPrefix(events[0].Body, mergePrefix)) {
		if err := json.Unmarshal(top["batch"], &want); err != nil {
			t.Fatal(err)
		}
	}
	if len(want) != len(events) {
		t.Fatalf("%d events kept of %d", len(events), len(want))
	}
	accepted := 0
	for i, ev := range events {
		if ev.Refusal == "" && bytes.HasPrefix(ev.Body, mergePrefix) && string(ev.Body) != string(want[i]) {
			checkMerge(t, ev.Body, want[i])
			accepted++
			continue
		}
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

var mergePrefix = []byte(`{"type":"track","event":"merge","properties":{"merge_property_1_type":`)

// checkMerge holds what is kept of a merge to what was sent.
func checkMerge(t *testing.T, kept, sent []byte) {
	t.Helper()
	var got, want map[string]json.RawMessage
	var columns map[string]any
	var list []map[string]any
	err := errors.Join(json.Unmarshal(kept, &got), json.Unmarshal(sent, &want))
	err = errors.Join(err, json.Unmarshal(got["properties"], &columns), json.Unmarshal(want["mergeProperties"], &list))
	if err != nil || len(list) != 2 {
		t.Fatalf("%q is kept as %q: %v", sent, kept, err)
	}
	for i, property := range list {
		for _, name := range []string{"type", "value"} {
			if column := fmt.Sprintf("merge_property_%d_%s", i+1, name); !cmp.Equal(columns[column], property[name]) {
				t.Fatalf("%q is kept as %q: %s differs", sent, kept, column)
			}
		}
	}
}

// FuzzTreat holds that an event that a source's settings rewrite is still the
// event, with the bot in its context and without the address.
func FuzzTreat(f *testing.F) {
	f.Add([]byte(`{"event":"E","userId":"u","context":{"ip":"1.2.3.4","x":[1]},"properties":{"a":1}}`))
	f.Add([]byte(`{"event":"E","userId":"u","context":{"ip":"1.2.3.4"},"cont\u0065xt":{"\u0069p":{}},"context":{ }}`))
	f.Add([]byte(`{"event":"E","userId":"u","context":null}`))
	f.Add([]byte(`{"event":"E","userId":"u","context":"x" }`))
	h := newHub(f, func(o *Options) {
		o.Sources = sourceMap{"WK": {Name: "web", WriteKey: "WK", IP: ipDrop, Bots: botsMark}}
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		if h.send("/v1/track", string(body), header("User-Agent", crawler)).Code != http.StatusOK {
			return
		}
		events, _ := h.journal.take()
		if bytes.HasPrefix(body, gzipMagic) || bytes.HasPrefix(events[0].Body, mergePrefix) {
			return
		}
		var want, got map[string]any
		if err := errors.Join(json.Unmarshal(bytes.TrimPrefix(body, utf8BOM), &want), json.Unmarshal(events[0].Body, &got)); err != nil {
			t.Fatalf("%q is kept as %q: %v", body, events[0].Body, err)
		}
		context, _ := got["context"].(map[string]any)
		if context["ip"] != nil || events[0].RequestIP != "" {
			t.Fatalf("%q keeps an address: %q", body, events[0].Body)
		}
		marked := context["isBot"] == true
		before, _ := want["context"].(map[string]any)
		if agent, ok := before["userAgent"].(string); !ok && !marked || ok && marked != (botName([]byte(agent)) != "") && before["isBot"] == nil {
			t.Fatalf("%q is kept as %q", body, events[0].Body)
		}
		for _, m := range []map[string]any{before, context} {
			for _, name := range []string{"ip", "isBot", "bot"} {
				delete(m, name)
			}
		}
		if len(before) > 0 && !cmp.Equal(before, context) {
			t.Fatalf("the context of %q is kept as %q", body, events[0].Body)
		}
		delete(want, "context")
		delete(got, "context")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q is kept as %q:\n%s", body, events[0].Body, diff)
		}
	})
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
