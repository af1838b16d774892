package api

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/tidegate/tidegate"
)

// Starting answers for a hub that cannot be opened yet, whose events are collected: it
// lives, it is not ready, and every other call is told why. From Open on it hands calls
// to the API. It is safe for concurrent use.
type Starting struct {
	// Stages says how far behind each stage is, and Why what the hub waits for. They are
	// set before the first call.
	Stages func() []Stage
	Why    func() error

	open atomic.Pointer[http.Handler]
}

// Open hands calls to the API from now on.
func (s *Starting) Open(handler http.Handler) { s.open.Store(&handler) }

// ServeHTTP answers one call.
func (s *Starting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if handler := s.open.Load(); handler != nil {
		(*handler).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	switch r.URL.Path {
	case "/healthz":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Health{Status: "ok"}) // the client may be gone
	case "/readyz":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(Readiness{Stages: s.Stages(), Sources: []SourceCounts{}})
	default:
		f := tidegate.FaultOf(s.Why())
		w.Header().Set("Retry-After", "5")
		writeProblem(w, newProblem(http.StatusServiceUnavailable, "hub.starting", "the hub waits for its warehouse and collects events meanwhile: "+f.Message, f.Hint))
	}
}
