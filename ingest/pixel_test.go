package ingest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"image/gif"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

func TestPixel(t *testing.T) {
	t.Parallel()
	data := func(text string) string {
		return "data=" + base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	const event = `{"writeKey":"WK","userId":"u","event":"Opened","properties":{"größe":1}}`
	for _, c := range []struct {
		name, path, query string
		body, refused     string
		typ               tidegate.EventType
		source            string
	}{
		{name: "segment, encoded", path: "/v1/pixel/track", query: data(event), body: event, typ: tidegate.Track, source: "web"},
		{name: "segment, standard base64 with padding", path: "/v1/pixel/track", query: "data=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(event))), body: event, typ: tidegate.Track, source: "web"},
		{name: "segment, standard base64 not escaped", path: "/v1/pixel/track", query: "data=" + base64.StdEncoding.EncodeToString([]byte(event)), body: event, typ: tidegate.Track, source: "web"},
		{
			name: "segment, paths", path: "/v1/pixel/identify", query: "writeKey=APP&userId=u&traits.email=a%40b.c&traits.address.city=Ulm",
			body: `{"traits":{"address":{"city":"Ulm"},"email":"a@b.c"},"userId":"u","writeKey":"APP"}`, typ: tidegate.Identify, source: "app",
		},
		{
			name: "rudderstack", path: "/pixel/v1/track", query: `writeKey=WK&anonymousId=a&event=Opened&properties={"mail":"spring","n":12345678901234567890}`,
			body: `{"anonymousId":"a","event":"Opened","properties":{"mail":"spring","n":12345678901234567890},"writeKey":"WK"}`, typ: tidegate.Track, source: "web",
		},
		{
			name: "rudderstack, a page without a name", path: "/pixel/v1/page", query: "writeKey=WK&anonymousId=a",
			body: `{"anonymousId":"a","name":"Unknown Page","writeKey":"WK"}`, typ: tidegate.Page, source: "web",
		},
		{
			name: "a value and what lies below it", path: "/v1/pixel/track", query: "writeKey=WK&userId=u&event=E&properties=x&properties.a=1",
			body: `{"event":"E","properties":{"a":"1"},"userId":"u","writeKey":"WK"}`, typ: tidegate.Track, source: "web",
		},
		{name: "no JSON that looks like it", path: "/v1/pixel/track", query: "writeKey=WK&userId=u&event={E", body: `{"event":"{E","userId":"u","writeKey":"WK"}`, typ: tidegate.Track, source: "web"},
		{name: "no key", path: "/v1/pixel/track", query: "userId=u&event=E", refused: "auth.no_write_key"},
		{name: "an unknown key", path: "/v1/pixel/track", query: "writeKey=NO&userId=u&event=E", refused: codeUnknownKey},
		{name: "no identity", path: "/v1/pixel/track", query: "writeKey=WK&event=E", refused: RefusedNoIdentity},
		{name: "no base64", path: "/v1/pixel/track", query: "data=!!", refused: "request.bad_data"},
		{name: "no JSON", path: "/v1/pixel/track", query: data("{"), refused: codeBadJSON},
		{name: "no query", path: "/v1/pixel/track", query: "a=%zz", refused: "request.bad_query"},
		{name: "a giant", path: "/v1/pixel/track", query: "writeKey=WK&userId=u&event=" + strings.Repeat("x", maxPixelQuery), refused: "request.too_large"},
		{name: "many names", path: "/v1/pixel/track", query: "writeKey=WK&userId=u&event=E" + strings.Repeat("&a", 1) + manyNames(), refused: "request.too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t, nil)
			w := h.do(httptest.NewRequest(http.MethodGet, c.path+"?"+c.query, nil))
			if _, err := gif.Decode(w.Body); w.Code != http.StatusOK || err != nil || w.Header().Get("Content-Type") != "image/gif" {
				t.Errorf("status %d, %v", w.Code, err)
			}
			if got := w.Header().Get("Tidegate-Refused"); got != c.refused {
				t.Errorf("refused %q, want %q", got, c.refused)
			}
			events, _ := h.journal.take()
			if c.refused != "" {
				if len(events) != 0 {
					t.Errorf("kept %+v", events)
				}
				return
			}
			if len(events) != 1 {
				t.Fatalf("%d events", len(events))
			}
			e := events[0]
			if e.Type != c.typ || e.Source != c.source || e.MessageID == "" {
				t.Errorf("%+v", e)
			}
			if d := cmp.Diff(c.body, string(e.Body)); d != "" {
				t.Error(d)
			}
		})
	}
}

func manyNames() string {
	var b strings.Builder
	for i := range maxPixelParams {
		b.WriteString("&n" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + "=1")
	}
	return b.String()
}

func TestAPixelSaysWhenTheJournalIsAway(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	h.journal.setFailure(errors.New("disk full"))
	w := h.do(httptest.NewRequest(http.MethodGet, "/v1/pixel/track?writeKey=WK&userId=u&event=E", nil))
	if w.Code != http.StatusServiceUnavailable || !bytes.HasPrefix(w.Body.Bytes(), []byte("GIF89a")) {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func FuzzPixel(f *testing.F) {
	f.Add("track", "writeKey=WK&userId=u&event=E&properties.a.b=[1,2]")
	f.Add("page", "data=e30")
	f.Fuzz(func(t *testing.T, path, query string) {
		h := newHub(t, nil)
		r := httptest.NewRequest(http.MethodGet, "/v1/pixel/track", nil)
		if path == "page" {
			r = httptest.NewRequest(http.MethodGet, "/pixel/v1/page", nil)
		}
		r.URL.RawQuery = query
		w := h.do(r)
		events, _ := h.journal.take()
		if kept := len(events) == 1; w.Code != http.StatusOK || kept == (w.Header().Get("Tidegate-Refused") != "") {
			t.Errorf("%d %v %q", w.Code, kept, w.Header().Get("Tidegate-Refused"))
		}
	})
}
