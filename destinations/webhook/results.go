package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// results reads what became of each record out of a good answer. A record that
// no result names is in doubt, unless the configuration says that only failures
// are listed; of two results for one record the worse counts.
func (d *Destination) results(b *destinations.Batch, raw []byte) ([]destinations.Outcome, error) {
	r := d.cfg.Results
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc any
	if !json.Valid(raw) || dec.Decode(&doc) != nil {
		return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "webhook.not_json", Message: "the answer, which should hold results, is not JSON", Hint: "look whether the URL is right"}
	}
	if r.Path == "" {
		o := d.outcome(doc)
		if len(b.Items) > 1 && o.Disposition != destinations.Delivered && o.Disposition != destinations.InDoubt {
			// One verdict for all and no word on who is at fault: the call as a
			// whole is refused, and the bad record is found by smaller calls.
			return nil, fmt.Errorf("sending %d records: %w", len(b.Items), o.Fault)
		}
		return all(b, o), nil
	}
	unlisted := destinations.Outcome{Disposition: destinations.Delivered}
	if r.Unlisted != "delivered" {
		unlisted = destinations.Outcome{Disposition: destinations.InDoubt, Fault: notNamed("the answer does not name the record")}
	}
	out := all(b, unlisted)
	found, ok := lookup(doc, r.Path)
	if !ok || found == nil {
		return out, nil
	}
	list, ok := found.([]any)
	if !ok {
		return all(b, destinations.Outcome{Disposition: destinations.InDoubt, Fault: notNamed("the results are not a list")}), nil
	}
	byOrder := r.Index == "" && r.Identifier == ""
	if byOrder && len(list) != len(out) {
		return all(b, destinations.Outcome{Disposition: destinations.InDoubt, Fault: notNamed(fmt.Sprintf("the answer has %d results for %d records", len(list), len(out)))}), nil
	}
	named := make([]bool, len(out))
	for i, entry := range list {
		at := i
		if !byOrder {
			if at = r.position(entry, b); at < 0 {
				continue
			}
		}
		if o := d.outcome(entry); !named[at] || o.Disposition != destinations.Delivered {
			out[at], named[at] = o, true
		}
	}
	return out, nil
}

func notNamed(message string) *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Retry, Code: "webhook.not_named", Message: message}
}

// position is the place of the record that a result speaks of, or -1.
func (r *Results) position(entry any, b *destinations.Batch) int {
	if r.Index != "" {
		v, _ := lookup(entry, r.Index)
		i, err := strconv.Atoi(scalar(v))
		if err != nil || i < 0 || i >= len(b.Items) {
			return -1
		}
		return i
	}
	v, _ := lookup(entry, r.Identifier)
	id := scalar(v)
	if id == "" {
		return -1
	}
	return slices.IndexFunc(b.Items, func(it destinations.Item) bool { return scalar(it.Identifier) == id })
}

// outcome reads one result.
func (d *Destination) outcome(entry any) destinations.Outcome {
	r := d.cfg.Results
	var out destinations.Outcome
	if r.ID != "" {
		v, _ := lookup(entry, r.ID)
		out.DestinationID = scalar(v)
	}
	message := ""
	var failure any
	if r.Error != "" {
		failure, _ = lookup(entry, r.Error)
		message = d.clean(messageOf(failure))
		if message == "" && truthy(failure) {
			message = "the endpoint reported an error"
		}
	}
	m, status := delivered, ""
	if r.Status != "" {
		v, _ := lookup(entry, r.Status)
		status = scalar(v)
		var known bool
		if m, known = r.mean(status); !known {
			out.Disposition, out.Fault = destinations.InDoubt, notNamed(fmt.Sprintf("the result's status %q is not known", d.clean(status)))
			return out
		}
	} else if truthy(failure) {
		m = rejected
	}
	if m == delivered {
		out.Disposition = destinations.Delivered
		return out
	}
	if message == "" {
		message = fmt.Sprintf("the result's status is %q", d.clean(status))
	}
	out.Disposition, out.Fault = destinations.Rejected, reject("webhook.record", message, "mend the record in the model or its mapping; it is tried again when it changes")
	switch m {
	case retried:
		out.Disposition, out.Fault = destinations.Deferred, &tidegate.Fault{Action: tidegate.Retry, Code: "webhook.record_later", Message: message}
	case throttled:
		out.Disposition, out.Fault = destinations.Deferred, &tidegate.Fault{Action: tidegate.Throttle, Code: "webhook.rate_limit", Message: message, After: 10 * time.Second}
	case delivered, rejected, halted:
	}
	return out
}

// What statuses usually mean; Results adds to them.
var (
	goodWords  = []string{"true", "ok", "success", "succeeded", "created", "updated", "deleted", "delivered", "accepted", "unchanged"}
	badWords   = []string{"false", "error", "failed", "failure", "invalid", "rejected", "skipped"}
	laterWords = []string{"retry", "throttled", "rate_limited"}
)

// mean reads the status of one result; the configuration's words win.
func (r *Results) mean(status string) (m meaning, known bool) {
	word := strings.ToLower(strings.TrimSpace(status))
	has := func(list []string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), word) })
	}
	switch {
	case word == "":
		return 0, false
	case has(r.Delivered):
		return delivered, true
	case has(r.Rejected):
		return rejected, true
	case has(r.Retried):
		return retried, true
	case slices.Contains(goodWords, word):
		return delivered, true
	case slices.Contains(badWords, word):
		return rejected, true
	case slices.Contains(laterWords, word):
		return retried, true
	}
	code, err := strconv.Atoi(word)
	if err != nil || code < 200 || code > 599 {
		return 0, false
	}
	m = Statuses{}.mean(code, true, false)
	if m == halted && code >= 400 {
		m = rejected // of one record among others, a refusal of that record
	}
	return m, m != halted
}

// lookup follows a dotted path through objects and lists; `\.` is a dot in a name.
func lookup(v any, path string) (any, bool) {
	for _, name := range splitPath(path) {
		switch at := v.(type) {
		case map[string]any:
			inner, ok := at[name]
			if !ok {
				return nil, false
			}
			v = inner
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(at) {
				return nil, false
			}
			v = at[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func splitPath(path string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			part.WriteByte(path[i])
		case path[i] == '.':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(path[i])
		}
	}
	return append(parts, part.String())
}

// scalar is a value as text, "" for none, lists and objects.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	case int64:
		return strconv.FormatInt(v, 10)
	case int:
		return strconv.Itoa(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatInt(int64(v), 10)
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return ""
}

// truthy says whether an error field holds an error.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case json.Number:
		return v != "0"
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}
