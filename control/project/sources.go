package project

import (
	"errors"
	"fmt"
	"slices"
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

// sourceTables looks for details that the source's profile does not have.
func (c *checker) sourceTables(it item[tidegate.Source]) {
	t, profile := it.value.Tables, it.value.SchemaProfile
	if profile == "" {
		profile = "rudderstack"
	}
	if len(t.HotColumns) > 0 && profile != "native" {
		c.add(it.problem("tables.hot_columns", "profile "+profile+" has a column for every property anyway", "drop it, or choose schema_profile: native"))
	}
	for i, path := range t.HotColumns {
		if head, rest, _ := strings.Cut(path, "."); rest == "" || head != "properties" && head != "traits" && head != "context" {
			c.add(it.problem(fmt.Sprintf("tables.hot_columns[%d]", i), fmt.Sprintf("%q is no path to a property", path), "write properties.total, traits.plan or context.app.build"))
		}
	}
	for _, o := range []struct {
		name string
		set  bool
		in   []string
	}{
		{"underscore_divide_numbers", t.UnderscoreDivideNumbers, []string{"rudderstack", "native"}},
		{"context_traits", t.ContextTraits, []string{"rudderstack", "segment"}},
		{"skip_tracks_table", t.SkipTracksTable, []string{"rudderstack", "segment"}},
		{"json_paths", len(t.JSONPaths) > 0, []string{"rudderstack", "segment"}},
	} {
		if o.set && !slices.Contains(o.in, profile) {
			c.add(it.problem("tables."+o.name, "profile "+profile+" does not have it", "it belongs to "+strings.Join(o.in, " and ")))
		}
	}
}
