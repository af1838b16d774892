package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
)

func TestWebhook(t *testing.T) {
	t.Parallel()
	const body = `{"action":"opened","sender":{"login":"octo"}}`
	mac := hmac.New(sha256.New, []byte("hush"))
	mac.Write([]byte(body))
	signed := header("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	h := newHub(t, func(o *Options) {
		o.Sources = sourceMap{
			"GH":  {Name: "gh", WriteKey: "GH", Webhook: &tidegate.WebhookSource{Scheme: "github", Secret: "${env:GH}", UserID: "body.sender.login"}},
			"BAD": {Name: "bad", WriteKey: "BAD", Webhook: &tidegate.WebhookSource{Scheme: "github", Secret: "${env:GONE}"}},
			"WK":  {Name: "web", WriteKey: "WK"},
		}
		o.Secret = func(ref string) (string, error) {
			if ref == "${env:GH}" {
				return "hush", nil
			}
			return "", errors.New("no such variable")
		}
	})
	call := func(path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("X-GitHub-Event", "issues")
		r.Header.Set("X-GitHub-Delivery", "d-1")
		for _, c := range change {
			c(r)
		}
		return h.do(r)
	}
	for _, path := range []string{"/v1/webhook?writeKey=GH", "/v1/webhook/GH", "/webhook/GH"} {
		mustFind(t, call(path, signed), 200, `"success":true`)
		events, _ := h.journal.take()
		if len(events) != 1 || events[0].Source != "gh" || !strings.Contains(string(events[0].Body), `"messageId":"hook-gh-d-1"`) ||
			!strings.Contains(string(events[0].Body), `"event":"issues"`) || !strings.Contains(string(events[0].Body), `"userId":"octo"`) {
			t.Errorf("%s: %+v", path, events)
		}
	}
	mustFind(t, call("/v1/webhook/GH"), 401, "webhook.signature")
	mustFind(t, call("/v1/webhook/NO", signed), 401, codeUnknownKey)
	mustFind(t, call("/v1/webhook", signed), 401, "auth.no_write_key")
	mustFind(t, call("/v1/webhook/WK", signed), 404, "source.no_webhook")
	for range 3 {
		mustFind(t, call("/v1/webhook/BAD", signed), 503, "source.webhook")
	}
	if n := strings.Count(h.log.String(), "cannot be used"); n != 1 {
		t.Errorf("said %d times: %s", n, h.log)
	}
	h.journal.setFailure(errors.New("disk full"))
	mustFind(t, call("/v1/webhook/GH", signed), 503)
	if events, _ := h.journal.take(); len(events) != 0 {
		t.Errorf("kept %+v", events)
	}
}
