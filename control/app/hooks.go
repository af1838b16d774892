package app

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
)

// hookWindow is how old a signature may be: a recorded call cannot be repeated for ever.
const hookWindow = 5 * time.Minute

// Hook starts a sync for the caller of its hook.
func (h *Hub) Hook(_ context.Context, name string, req api.HookRequest) error {
	def := h.active.Load().syncs[name]
	secret, err := h.secrets.resolve(def.Schedule.WebhookSecret)
	if err != nil {
		return halted("sync.secret", "sync "+name+": schedule.webhook_secret", err)
	}
	// A sync that does not exist, or has no hook, answers like a wrong secret.
	if secret == "" || !hookProven(secret, req, h.o.Now()) {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "hook.unauthorized", Subject: "sync " + name, Message: "the call does not prove that it knows the sync's secret",
			Hint: "set schedule.webhook_secret on the sync, and send it as `Authorization: Bearer SECRET` or sign the body with it",
		}
	}
	if def.Paused {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "sync.conflict", Subject: "sync " + name, Message: "the sync is paused", Hint: "remove `paused` from its definition"}
	}
	h.scheduler.Fire(name, tidegate.TriggerWebhook)
	return nil
}

// hookProven compares in constant time.
func hookProven(secret string, req api.HookRequest, now time.Time) bool {
	if token, ok := strings.CutPrefix(req.Authorization, "Bearer "); ok {
		return subtle.ConstantTimeCompare([]byte(token), []byte(secret)) == 1
	}
	var at string
	var sent []byte
	for _, part := range strings.Split(req.Signature, ",") {
		switch key, value, _ := strings.Cut(part, "="); key {
		case "t":
			at = value
		case "v1":
			sent, _ = hex.DecodeString(value)
		}
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if age := now.Sub(time.Unix(seconds, 0)); err != nil || age > hookWindow || age < -hookWindow {
		return false
	}
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "%s.", at) // a hash never errs
	mac.Write(req.Body)
	return hmac.Equal(mac.Sum(nil), sent)
}
