package ingest

import (
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/tidegate/tidegate"
)

// eventPaths are the paths that take one event: the name for people and other
// SDKs, the letter for analytics.js, which takes the first of the type.
var eventPaths = []struct {
	name, letter string
	typ          tidegate.EventType
}{
	{"identify", "i", tidegate.Identify},
	{"track", "t", tidegate.Track},
	{"page", "p", tidegate.Page},
	{"screen", "s", tidegate.Screen},
	{"group", "g", tidegate.Group},
	{"alias", "a", tidegate.Alias},
}

// snippetPaths are where Segment's snippets look for their script, old and new.
var snippetPaths = []string{"/analytics.js/v1/{writeKey}/analytics.min.js", "/analytics.js/v1/{writeKey}/platform/analytics.min.js"}

// routes builds the surface. Every path is there with /v1 and without, because
// SDKs differ in whether they add it to the address that their users set.
func (s *surface) routes() http.Handler {
	mux := chi.NewRouter()
	s.paths = mux
	mux.Use(cors, tidyPath)
	direct := map[string]http.HandlerFunc{}
	collect := func(path string, typ tidegate.EventType) {
		direct[path] = s.collect(typ)
		mux.Post(path, direct[path])
	}
	for _, version := range []string{"/v1", ""} {
		for _, p := range eventPaths {
			collect(version+"/"+p.name, p.typ)
			collect(version+"/"+p.letter, p.typ)
		}
		for _, name := range []string{"batch", "import", "b"} {
			collect(version+"/"+name, "")
		}
		mux.Post(version+"/merge", s.collect(merge))
		for _, path := range []string{"/webhook", "/webhook/{writeKey}"} {
			mux.Post(version+path, s.webhook)
			mux.Get(version+path, s.webhook)
		}
		mux.Post(version+"/m", s.swallow)
		mux.Get(version+"/projects/{writeKey}/settings", s.settings)
	}
	mux.Get("/v1/projects/projects/{writeKey}/settings", s.settings) // a frequent slip in cdnHost
	mux.Post("/beacon/v1/batch", s.collect(""))
	for _, p := range eventPaths {
		for _, prefix := range []string{"/v1/pixel/", "/pixel/", "/pixel/v1/"} {
			mux.Get(prefix+p.name, s.pixel(p.typ))
		}
	}
	for _, path := range snippetPaths {
		mux.Get(path, s.serveScript)
		mux.Head(path, s.serveScript)
	}
	mux.Get("/sourceConfig", s.sourceConfig)
	mux.NotFound(func(w http.ResponseWriter, _ *http.Request) {
		s.writeProblem(w, refuse(http.StatusNotFound, "request.unknown_path", "there is nothing at this path", "events go to /v1/batch, /v1/track and their like"))
	})
	mux.MethodNotAllowed(s.wrongMethod)
	return front(direct, mux)
}

// front serves what SDKs send, nearly all of the traffic, without the copy of
// the request that a router makes; whatever is spelled otherwise goes to rest,
// which knows the same paths.
func front(direct map[string]http.HandlerFunc, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if serve := direct[r.URL.Path]; serve != nil {
				admitOrigin(w, r)
				serve(w, r)
				return
			}
		}
		rest.ServeHTTP(w, r)
	})
}

func (s *surface) wrongMethod(w http.ResponseWriter, r *http.Request) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if path := chi.RouteContext(r.Context()).RoutePath; s.paths.Match(chi.NewRouteContext(), method, path) {
			w.Header().Add("Allow", method)
		}
	}
	w.Header().Add("Allow", http.MethodOptions)
	s.writeProblem(w, refuse(http.StatusMethodNotAllowed, "request.wrong_method", "this path does not take the method "+r.Method, ""))
}

// tidyPath forgives a slash at the end and doubled ones, which come from
// addresses that were put together by hand.
func tidyPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		for strings.Contains(path, "//") {
			path = strings.ReplaceAll(path, "//", "/")
		}
		if len(path) > 1 {
			path = strings.TrimSuffix(path, "/")
		}
		chi.RouteContext(r.Context()).RoutePath = path
		next.ServeHTTP(w, r)
	})
}
