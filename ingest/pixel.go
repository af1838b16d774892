package ingest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
)

const (
	// maxPixelQuery bounds the query of a pixel; servers and mail programs cut far earlier.
	maxPixelQuery = 32 << 10
	// maxPixelParams bounds how many values a query sets, maxPixelDepth how deep their names lead.
	maxPixelParams = 512
	maxPixelDepth  = 16
)

// transparent is a GIF of one transparent pixel.
var transparent = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

// pixel serves events that come as an image's address: `?data=` holds the event
// as base64 of JSON (Segment), or the query's names are paths into it,
// `?writeKey=…&event=opened&properties.mail=spring` (Segment and RudderStack).
// Who loads an image reads no answer, so it is the image whatever became of the
// event; the status and the header Tidegate-Refused tell who looks. A 200
// without that header means that the event is on disk (Invariant 1).
func (s *surface) pixel(typ tidegate.EventType) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		received := s.now()
		req := s.requests.Get().(*request)
		defer s.release(req)
		p := func() *problem {
			body, p := pixelBody(r, typ)
			if p != nil {
				return p
			}
			var source tidegate.Source
			if key, ok := headerKey(r); ok {
				if source, p = s.source(r, key); p != nil {
					return p
				}
			}
			return s.takeBody(req, r, body, source, typ, received)
		}()
		h, status := w.Header(), http.StatusOK
		h.Set("Content-Type", "image/gif")
		h.Set("Cache-Control", "no-store, private")
		h.Set("X-Content-Type-Options", "nosniff")
		if p != nil {
			h.Set("Tidegate-Refused", p.fault.Code)
			if p.status >= http.StatusInternalServerError {
				status = p.status // nothing is wrong with the event: a mail program may come again
			}
		}
		w.WriteHeader(status)
		_, _ = w.Write(transparent) // nobody is left to tell
		s.counts.answered(r.Context(), status, s.now().Sub(received))
	}
}

// pixelBody makes the JSON body out of a pixel's query.
func pixelBody(r *http.Request, typ tidegate.EventType) ([]byte, *problem) {
	if len(r.URL.RawQuery) > maxPixelQuery {
		return nil, refuse(http.StatusRequestEntityTooLarge, "request.too_large", "the query is larger than this server accepts", "")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "request.bad_query", "the query cannot be read", "escape % & + in values")
	}
	if data := query.Get("data"); data != "" {
		body, err := base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_", " ", "-", "=", "").Replace(data))
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "request.bad_data", "data is not base64", "encode the event's JSON as URL-safe base64")
		}
		return body, nil
	}
	if len(query) > maxPixelParams {
		return nil, refuse(http.StatusRequestEntityTooLarge, "request.too_large", "the query sets more values than this server accepts", "")
	}
	event := map[string]any{}
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names) // a value before what lies below its name: the deeper one wins, always the same
	for _, name := range names {
		if name != "" {
			place(event, strings.SplitN(name, ".", maxPixelDepth), query.Get(name))
		}
	}
	if typ == tidegate.Page && event["name"] == nil && event["properties"] == nil {
		event["name"] = "Unknown Page" // as RudderStack names it
	}
	body, err := json.Marshal(event)
	if err != nil {
		panic("ingest: a pixel's event that is no JSON: " + err.Error()) // maps and strings only: a broken invariant
	}
	return body, nil
}

// place sets the value at a path. What a query says is text, save for objects
// and lists that are written as JSON.
func place(into map[string]any, path []string, text string) {
	for _, part := range path[:len(path)-1] {
		inner, ok := into[part].(map[string]any)
		if !ok {
			inner = map[string]any{}
			into[part] = inner
		}
		into = inner
	}
	last := path[len(path)-1]
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		if json.Valid([]byte(text)) {
			into[last] = json.RawMessage(text)
			return
		}
	}
	if _, deeper := into[last].(map[string]any); !deeper {
		into[last] = text
	}
}
