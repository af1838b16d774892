package project

import (
	"encoding/json"
	"fmt"
	"net"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// followers checks the syncs that run after others: they exist, and no chain of
// them comes back to its start.
func (c *checker) followers() {
	before := map[string]string{}
	for _, it := range c.syncs {
		before[it.value.Name] = it.value.Schedule.AfterSync
	}
	known := names(c.syncs, func(v tidegate.Sync) string { return v.Name })
	for _, it := range c.syncs {
		name, first := it.value.Name, it.value.Schedule.AfterSync
		if first == "" {
			continue
		}
		if !slices.Contains(known, first) {
			c.add(it.problem("schedule.after_sync", fmt.Sprintf("there is no sync %q", first), config.DidYouMean(first, known)))
			continue
		}
		chain := []string{name}
		for next := first; next != "" && len(chain) <= len(known); next = before[next] {
			chain = append(chain, next)
			if next == name {
				c.add(it.problem("schedule.after_sync", "the sync follows itself: "+strings.Join(chain, " after "), "let one of them run by a schedule or a load"))
				break
			}
		}
	}
}

func (c *checker) alert(it item[tidegate.Alert]) {
	a := it.value
	c.alertSecrets(it)
	known := names(c.syncs, func(v tidegate.Sync) string { return v.Name })
	for _, f := range c.forwards {
		known = append(known, "forward "+f.value.Name)
	}
	for i, s := range a.Syncs {
		if !slices.Contains(known, s) {
			c.add(it.problem(fmt.Sprintf("syncs[%d]", i), fmt.Sprintf("there is no sync %q", s), config.DidYouMean(s, known)))
		}
	}
	for i, on := range a.On {
		if len(a.Syncs) > 0 && slices.Contains([]string{"gap", "loading", "journal"}, on) {
			c.add(it.problem(fmt.Sprintf("on[%d]", i), fmt.Sprintf("%q is of no sync, and the alert watches only syncs", on), "give it to an alert without `syncs`"))
		}
	}
	if d, err := time.ParseDuration(a.LoadingAfter); err == nil && d < time.Minute {
		c.add(it.problem("loading_after", "the shortest time is one minute", "what waits is looked at every few seconds"))
	}
	for field, percent := range map[string]float64{"partial_percent": a.PartialPercent, "deviation_percent": a.DeviationPercent} {
		if percent < 0 {
			c.add(it.problem(field, fmt.Sprintf("%v is no percentage", percent), ""))
		}
	}
	channels := 0
	for _, set := range []bool{a.Webhook != nil, a.Slack != nil, a.Email != nil, a.PagerDuty != nil} {
		if set {
			channels++
		}
	}
	if channels != 1 {
		c.add(it.problem("", fmt.Sprintf("the alert %q has %d channels", a.Name, channels), "give it exactly one of webhook, slack, email and pagerduty; two alerts can watch the same"))
	}
	if a.Email != nil {
		c.alertEmail(it, *a.Email)
	}
}

// alertSecrets looks for secrets in a copy, because they are resolved in place.
func (c *checker) alertSecrets(it item[tidegate.Alert]) {
	if it.doc == nil {
		return
	}
	var cloned tidegate.Alert
	if text, err := json.Marshal(it.value); err == nil && json.Unmarshal(text, &cloned) == nil {
		c.secrets(it.doc, &cloned)
	}
}

func (c *checker) alertEmail(it item[tidegate.Alert], e tidegate.AlertEmail) {
	if _, _, err := net.SplitHostPort(e.Server); e.Server != "" && err != nil {
		c.add(it.problem("email.server", fmt.Sprintf("%q is no HOST:PORT", e.Server), "write smtp.example.com:587"))
	}
	for i, to := range e.To {
		if _, err := mail.ParseAddress(to); err != nil {
			c.add(it.problem(fmt.Sprintf("email.to[%d]", i), fmt.Sprintf("%q is no mail address", to), "write ops@example.com"))
		}
	}
	if _, err := mail.ParseAddress(e.From); e.From != "" && err != nil {
		c.add(it.problem("email.from", fmt.Sprintf("%q is no mail address", e.From), "write tidegate@example.com"))
	}
	if e.To != nil && len(e.To) == 0 {
		c.add(it.problem("email.to", "nobody is named", "name at least one mail address"))
	}
}
