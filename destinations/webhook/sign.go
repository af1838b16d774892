package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// signer signs calls by the rules of Standard Webhooks 1.0: HMAC-SHA256 over
// "id.timestamp.body", base64, one `v1,…` per secret. Without secrets it does nothing.
type signer struct{ keys [][]byte }

const secretPrefix = "whsec_"

func newSigner(a Auth) (signer, error) {
	var s signer
	if a.Kind != "hmac" {
		return s, nil
	}
	for _, text := range []string{a.Secret.Reveal(), a.PreviousSecret.Reveal()} {
		if text == "" {
			continue
		}
		key := []byte(text)
		if encoded, ok := strings.CutPrefix(text, secretPrefix); ok {
			var err error
			if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
				return s, errors.New("what follows 'whsec_' is not base64")
			}
		}
		if len(key) < 16 {
			return s, errors.New("the secret has fewer than 16 bytes")
		}
		s.keys = append(s.keys, key)
	}
	if len(s.keys) == 0 {
		return s, errors.New("the secret is empty")
	}
	return s, nil
}

// sign adds the three headers.
func (s signer) sign(h http.Header, id string, now time.Time, body []byte) {
	if len(s.keys) == 0 {
		return
	}
	at := strconv.FormatInt(now.Unix(), 10)
	signatures := make([]string, len(s.keys))
	for i, key := range s.keys {
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(digest(key, id, at, body))
	}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", at)
	h.Set("Webhook-Signature", strings.Join(signatures, " "))
}

func digest(key []byte, id, at string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// verify says whether a call bears a signature by one of the signer's secrets
// and a time that is no further from now than tolerance; a negative one means
// that any time is good.
func (s signer) verify(h http.Header, now time.Time, tolerance time.Duration, body []byte) error {
	id, at := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if id == "" || err != nil {
		return errors.New("the call is not signed")
	}
	if age := now.Sub(time.Unix(seconds, 0)); tolerance >= 0 && age.Abs() > tolerance {
		return errors.New("the signature is too old or of the future")
	}
	for signature := range strings.SplitSeq(h.Get("Webhook-Signature"), " ") {
		encoded, ok := strings.CutPrefix(signature, "v1,")
		got, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil {
			continue
		}
		for _, key := range s.keys {
			if hmac.Equal(got, digest(key, id, at, body)) {
				return nil
			}
		}
	}
	return errors.New("the signature does not match")
}
