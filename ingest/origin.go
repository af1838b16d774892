package ingest

import (
	"net/http"
	"net/url"
	"strings"
)

// pageOf returns the origin of the page that sent r: what the browser says, or
// what can be told from the page's address. Programs can write both as they
// like: binding a key keeps it from being used on other websites, not by others.
func pageOf(r *http.Request) string {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "null" {
		return origin
	}
	u, err := url.Parse(r.Header.Get("Referer"))
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// originAllowed says whether origin is one of allowed. `https://*.example.com`
// stands for every subdomain, and not for example.com itself.
func originAllowed(allowed []string, origin string) bool {
	origin = strings.ToLower(origin)
	if origin == "" {
		return false
	}
	for _, a := range allowed {
		a = strings.ToLower(strings.TrimSuffix(a, "/"))
		if a == origin {
			return true
		}
		scheme, suffix, wild := strings.Cut(a, "://*.")
		if wild {
			host, ok := strings.CutPrefix(origin, scheme+"://")
			sub, ok2 := strings.CutSuffix(host, "."+suffix)
			if ok && ok2 && sub != "" && !strings.ContainsAny(sub, "/@:") {
				return true
			}
		}
	}
	return false
}
