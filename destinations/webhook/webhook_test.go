package webhook

import (
	"net/http"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/secret"
)

// The vectors are those of the reference libraries and of Svix's manual on verifying by hand.
func TestSignaturesAreStandardWebhooks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, secret, id, body, want string
		at                           int64
	}{
		{
			"reference libraries", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", `{"test": 2432232314}`,
			"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", 1614265330,
		},
		{
			"manual", "whsec_plJ3nmyCDGBKInavdOK15jsl", "msg_loFOjxBNrRLzqYUf", `{"event_type":"ping","data":{"success":true}}`,
			"v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=", 1731705121,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := newSigner(Auth{Kind: "hmac", Secret: secret.New(c.secret)})
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			s.sign(h, c.id, time.Unix(c.at, 0), []byte(c.body))
			if got := h.Get("Webhook-Signature"); got != c.want {
				t.Errorf("signature %s, want %s", got, c.want)
			}
			if err := s.verify(h, time.Unix(c.at+299, 0), 5*time.Minute, []byte(c.body)); err != nil {
				t.Errorf("verifying: %v", err)
			}
			for i := range c.body {
				forged := []byte(c.body)
				forged[i] ^= 1
				if s.verify(h, time.Unix(c.at, 0), 5*time.Minute, forged) == nil {
					t.Fatalf("a body with byte %d changed is accepted", i)
				}
			}
			if s.verify(h, time.Unix(c.at+301, 0), 5*time.Minute, []byte(c.body)) == nil {
				t.Error("an old signature is accepted")
			}
			if s.verify(h, time.Unix(c.at-301, 0), 5*time.Minute, []byte(c.body)) == nil {
				t.Error("a signature of the future is accepted")
			}
		})
	}
}
