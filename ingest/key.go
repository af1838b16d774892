package ingest

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/scan"
)

// longestKey bounds what is taken for a write key.
const longestKey = 512

// headerKey returns the write key that came outside the body: the user of
// Basic authorization (with or without the colon after it), X-Write-Key, or
// ?writeKey=. Bearer tokens are tolerated and not looked at. ok is false when
// the body has to say.
func headerKey(r *http.Request) (key string, ok bool) {
	if scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Basic") {
		if key := basicUser(strings.TrimSpace(rest)); key != "" {
			return key, true
		}
	}
	if key := r.Header.Get("X-Write-Key"); key != "" {
		return key, true
	}
	if r.URL.RawQuery != "" {
		if key := r.URL.Query().Get("writeKey"); key != "" {
			return key, true
		}
	}
	return "", false
}

// basicUser returns the user of a Basic credential, "" when it cannot be read.
func basicUser(credential string) string {
	if len(credential) > longestKey*4/3+4 {
		return ""
	}
	credential = strings.TrimRight(credential, "=") // some clients leave the padding out
	var space [longestKey + 8]byte
	n, err := base64.RawStdEncoding.Decode(space[:], []byte(credential))
	if err != nil {
		return ""
	}
	user, _, _ := strings.Cut(string(space[:n]), ":")
	return user
}

// bodyKey returns the write key that the body names, "" for none.
func bodyKey(d *scan.Document) string {
	text, ok := d.WriteKey.Text()
	if !ok || len(text) > longestKey {
		return ""
	}
	return string(text)
}

// source finds the source of a key, or says why its events are not taken.
func (s *surface) source(r *http.Request, key string) (tidegate.Source, *problem) {
	source, ok := s.sources.ByWriteKey(key)
	switch {
	case !ok:
		return tidegate.Source{}, refuse(http.StatusUnauthorized, codeUnknownKey, "no source has this write key", "check the write key in the SDK's set-up; `tidegate plan` shows what is not applied yet")
	case source.Disabled:
		return tidegate.Source{}, refuse(http.StatusNotFound, "source.disabled", "the source of this write key is disabled", "enable the source, or stop the SDK")
	case len(source.AllowedOrigins) > 0 && !originAllowed(source.AllowedOrigins, pageOf(r)):
		return tidegate.Source{}, refuse(http.StatusForbidden, "source.origin_refused", "this write key is bound to other websites", "add the page's origin to the source's allowed_origins, or use a key that is not bound")
	}
	return source, nil
}

const codeUnknownKey = "auth.unknown_write_key"

func noKey() *problem {
	return refuse(http.StatusUnauthorized, "auth.no_write_key", "the request names no write key", "send it as the user of Basic authorization or as \"writeKey\" in the body")
}
