package app

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/api"
)

func TestWhoMayCallAHook(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	signed := func(at int64, secret, body string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		_, _ = fmt.Fprintf(mac, "%d.%s", at, body)
		return fmt.Sprintf("t=%d,v1=%s", at, hex.EncodeToString(mac.Sum(nil)))
	}
	for name, c := range map[string]struct {
		req  api.HookRequest
		want bool
	}{
		"nothing":         {api.HookRequest{}, false},
		"token":           {api.HookRequest{Authorization: "Bearer hush"}, true},
		"wrong token":     {api.HookRequest{Authorization: "Bearer hus"}, false},
		"basic":           {api.HookRequest{Authorization: "Basic aHVzaDo="}, false},
		"signature":       {api.HookRequest{Signature: signed(now.Unix(), "hush", "{}"), Body: []byte("{}")}, true},
		"empty body":      {api.HookRequest{Signature: signed(now.Unix(), "hush", "")}, true},
		"other body":      {api.HookRequest{Signature: signed(now.Unix(), "hush", "{}"), Body: []byte("{} ")}, false},
		"other secret":    {api.HookRequest{Signature: signed(now.Unix(), "hash", "{}"), Body: []byte("{}")}, false},
		"old":             {api.HookRequest{Signature: signed(now.Unix()-301, "hush", "")}, false},
		"from the future": {api.HookRequest{Signature: signed(now.Unix()+301, "hush", "")}, false},
		"no time":         {api.HookRequest{Signature: "v1=00"}, false},
		"no hex":          {api.HookRequest{Signature: fmt.Sprintf("t=%d,v1=zz", now.Unix())}, false},
	} {
		if got := hookProven("hush", c.req, now); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
