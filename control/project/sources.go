package project

import (
	"errors"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/hook"
)

// sourceWebhook compiles the webhook of a source as the server will.
func (c *checker) sourceWebhook(it item[tidegate.Source]) {
	if it.value.Webhook == nil || it.value.Webhook.Scheme == "" {
		return
	}
	def := *it.value.Webhook
	if it.doc != nil {
		cloned := def // secrets are resolved in place
		c.secrets(it.doc.At("webhook"), &cloned)
	}
	_, err := hook.New(it.value.Name, def, def.Secret)
	for _, err := range apart(err) {
		f := tidegate.FaultOf(err)
		if !strings.HasPrefix(f.Message, "there is no scheme") { // said by the schema
			c.add(it.problem(f.Subject, f.Message, f.Hint))
		}
	}
}

// apart takes joined errors apart.
func apart(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}
