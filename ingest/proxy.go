package ingest

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// longestChain bounds how many addresses of X-Forwarded-For are looked at.
const longestChain = 32

// loopback is what is trusted to speak for clients unless the options say
// otherwise: a proxy on the same machine.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// trusted says whether the peer of r may speak for clients.
func (s *surface) trusted(host string) bool {
	if len(s.proxies) == 0 {
		return false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	for _, p := range s.proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// peer returns the address of the other end of the connection.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// clientIP returns the address that sent r: the peer's, or, from the right of
// X-Forwarded-For, the first that is not one of our proxies. What lies further
// left anyone may have written.
func (s *surface) clientIP(r *http.Request) string {
	ip := peer(r)
	forwarded := r.Header["X-Forwarded-For"]
	if len(forwarded) == 0 || !s.trusted(ip) {
		return ip
	}
	chain := strings.Split(strings.Join(forwarded, ","), ",")
	for i, seen := len(chain)-1, 0; i >= 0 && seen < longestChain; i, seen = i-1, seen+1 {
		hop := strings.TrimSpace(chain[i])
		if host, _, err := net.SplitHostPort(hop); err == nil {
			hop = host
		}
		addr, err := netip.ParseAddr(strings.Trim(hop, "[]"))
		if err != nil {
			return ip
		}
		ip = addr.Unmap().WithZone("").String()
		if !s.trusted(ip) {
			return ip
		}
	}
	return ip
}

// address returns the scheme and host under which the sender of r reached us;
// ok is false when it is nothing that could stand in a URL.
func (s *surface) address(r *http.Request) (scheme, host string, ok bool) {
	if s.publicURL != nil {
		return s.publicURL.Scheme, s.publicURL.Host + strings.TrimRight(s.publicURL.Path, "/"), true
	}
	scheme, host = "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if s.trusted(peer(r)) {
		if forwarded := lastOf(r.Header.Get("X-Forwarded-Host")); forwarded != "" {
			host = forwarded
		}
		if forwarded := lastOf(r.Header.Get("X-Forwarded-Proto")); forwarded == "http" || forwarded == "https" {
			scheme = forwarded
		}
	}
	return scheme, host, validHost(host)
}

// lastOf returns the entry of a list that the nearest proxy wrote.
func lastOf(list string) string {
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}

func validHost(host string) bool {
	if host == "" || len(host) > 255 {
		return false
	}
	for i := range len(host) {
		switch c := host[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(".-_:[]", c) >= 0:
		default:
			return false
		}
	}
	return true
}
