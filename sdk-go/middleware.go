package analytics

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// MiddlewareConfig says what Middleware learns from a request. Every field may be
// left zero.
type MiddlewareConfig struct {
	// UserId returns who is signed in, "" for nobody. Nil: nobody.
	UserId func(*http.Request) string
	// ClientIP returns the address of the visitor. Nil: the address that the
	// connection comes from, which behind a proxy is the proxy's.
	ClientIP func(*http.Request) net.IP
	// NewVisitor gives a visitor without an anonymous id a new one, in the cookie
	// that the browser SDK reads. Whether that needs consent is for the caller to
	// know.
	NewVisitor bool
	// CookieDomain is the domain of that cookie; "" is the request's host alone.
	CookieDomain string
}

// The cookies in which browser SDKs keep the anonymous id: this project's,
// Segment's, RudderStack's.
var anonymousCookies = [...]string{"tg_aid", "ajs_anonymous_id", "rl_anonymous_id"}

const cookieLife = 365 * 24 * time.Hour

// Middleware puts into each request's context what EnqueueContext fills messages
// with: the anonymous id of the browser SDK's cookie, the user, and of the
// request its address, browser, language, page, referrer and campaign. The query
// of the page is left out, because it may hold what should not be stored.
func Middleware(config MiddlewareConfig) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := Identity{AnonymousId: anonymousID(r), Context: config.surroundings(r)}
			if config.UserId != nil {
				id.UserId = config.UserId(r)
			}
			if id.AnonymousId == "" && config.NewVisitor {
				id.AnonymousId = config.visitor(w, r)
			}
			next.ServeHTTP(w, r.WithContext(WithIdentity(r.Context(), id)))
		})
	}
}

// visitor makes an anonymous id and sets its cookie; "" when there is no randomness.
func (c *MiddlewareConfig) visitor(w http.ResponseWriter, r *http.Request) string {
	random, err := newEntropy()
	if err != nil {
		return ""
	}
	id, err := random.appendUUID(nil)
	if err != nil {
		return ""
	}
	http.SetCookie(w, &http.Cookie{
		Name: anonymousCookies[0], Value: string(id), Path: "/", Domain: c.CookieDomain,
		MaxAge: int(cookieLife / time.Second), SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	})
	return string(id)
}

// anonymousID returns what a browser SDK's cookie says, "" when there is none.
func anonymousID(r *http.Request) string {
	for _, name := range anonymousCookies {
		cookie, err := r.Cookie(name)
		if err != nil {
			continue
		}
		if id := decodeCookie(cookie.Value); id != "" {
			return id
		}
	}
	return ""
}

// decodeCookie reads an id as it is, as a JSON text, or in RudderStack's wrapping;
// "" when it is none of these.
func decodeCookie(value string) string {
	text, err := url.PathUnescape(value)
	if err != nil {
		return ""
	}
	if wrapped, ok := strings.CutPrefix(text, "RS_ENC_v3_"); ok {
		decoded, err := base64.StdEncoding.DecodeString(wrapped)
		if err != nil {
			return ""
		}
		text = string(decoded)
	}
	if strings.HasPrefix(text, `"`) {
		var inner string
		if json.Unmarshal([]byte(text), &inner) != nil {
			return ""
		}
		text = inner
	}
	for _, c := range []byte(text) {
		if c < ' ' || c == 0x7f || c == '{' || c == '[' {
			return ""
		}
	}
	if len(text) > 200 || strings.HasPrefix(text, "RudderEncrypt:") {
		return ""
	}
	return text
}

func (c *MiddlewareConfig) surroundings(r *http.Request) *Context {
	query := r.URL.Query()
	found := &Context{
		UserAgent: r.UserAgent(),
		Locale:    firstLanguage(r.Header.Get("Accept-Language")),
		Page:      PageInfo{Path: r.URL.Path, Referrer: withoutQuery(r.Referer())},
		Campaign: CampaignInfo{
			Name: query.Get("utm_campaign"), Source: query.Get("utm_source"), Medium: query.Get("utm_medium"),
			Term: query.Get("utm_term"), Content: query.Get("utm_content"),
		},
	}
	if c.ClientIP != nil {
		found.IP = c.ClientIP(r)
	} else if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		found.IP = net.ParseIP(host)
	}
	return found
}

func firstLanguage(header string) string {
	language, _, _ := strings.Cut(header, ",")
	language, _, _ = strings.Cut(language, ";")
	if language = strings.TrimSpace(language); language == "*" || len(language) > 35 {
		return ""
	}
	return language
}

func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	return u.String()
}
