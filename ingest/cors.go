package ingest

import "net/http"

// preflightAge is how long a browser may remember that it may post here. Without
// it every path costs a preflight per request.
const preflightAge = "86400"

// askedHeaders answers a preflight that does not say which headers it wants.
const askedHeaders = "authorization,content-type,content-encoding,x-retry-count,x-write-key,anonymousid,sentat"

// cors lets pages of any origin send events, with credentials because SDKs can
// be set to: write keys are public and no cookie is read, so there is nothing
// that an origin could abuse. It answers every preflight itself.
func cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admitOrigin(w, r)
		h := w.Header()
		if r.Method != http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Methods", "GET,POST,OPTIONS")
		asked := r.Header.Get("Access-Control-Request-Headers")
		if asked == "" {
			asked = askedHeaders
		}
		h.Set("Access-Control-Allow-Headers", asked)
		h.Set("Access-Control-Max-Age", preflightAge)
		h.Add("Vary", "Access-Control-Request-Headers")
		w.WriteHeader(http.StatusNoContent)
	})
}

// admitOrigin lets the page that sent r read the answer.
func admitOrigin(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header["Origin"]; len(origin) == 1 {
		h := w.Header()
		h["Access-Control-Allow-Origin"] = origin
		h["Access-Control-Allow-Credentials"] = []string{"true"}
		h["Access-Control-Expose-Headers"] = []string{"Retry-After"}
		h["Vary"] = []string{"Origin"}
	}
}

// publicCORS lets any page read the answer, and caches keep one copy for all.
func publicCORS(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Del("Access-Control-Allow-Credentials")
	h.Del("Vary")
}
