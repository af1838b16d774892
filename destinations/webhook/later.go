package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// parseJobURL reads the URL of jobs, whose one placeholder is {job}.
func parseJobURL(text string) (target, error) {
	if strings.Count(text, "{job}") != 1 {
		return target{}, fmt.Errorf("the URL of a job holds the placeholder {job} once")
	}
	// A job's id is put where the destination's own id of a record would be.
	return parseTarget(strings.Replace(text, "{job}", "{destination_id}", 1))
}

func checkRead(text string) (target, bool) {
	t, err := parseTarget(text)
	return t, err == nil && len(t.names) == 1 && t.names[0] == "identifier"
}

// pending makes the outcomes of a write that the endpoint finishes later; ok is
// false when the answer is none of that kind.
func (d *Destination) pending(b *destinations.Batch, a reply) ([]destinations.Outcome, bool) {
	if d.cfg.Jobs == nil || a.status != http.StatusAccepted {
		return nil, false
	}
	id := scalar(d.at(a.body, d.cfg.Jobs.ID))
	if id == "" {
		return all(b, destinations.Outcome{Disposition: destinations.InDoubt, Fault: notNamed("the answer 202 does not name a job")}), true
	}
	return all(b, destinations.Outcome{Disposition: destinations.Pending, Ticket: destinations.Ticket(id)}), true
}

// at follows a path into a JSON body; nil when there is nothing.
func (d *Destination) at(body []byte, path string) any {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var doc any
	if dec.Decode(&doc) != nil {
		return nil
	}
	v, _ := lookup(doc, path)
	return v
}

var runningWords = []string{"accepted", "queued", "pending", "waiting", "started", "running", "processing", "in_progress", "202"}

// Poll asks for the job of an earlier write.
func (d *Destination) Poll(ctx context.Context, ticket destinations.Ticket, b destinations.Batch) ([]destinations.Outcome, bool, error) {
	if d.closed.Load() {
		return nil, false, errClosed
	}
	if d.cfg.Jobs == nil || ticket == "" {
		return nil, false, unknownTicket("the connection follows no jobs")
	}
	url, err := d.jobs.expand(&destinations.Item{DestinationID: string(ticket)})
	if err != nil {
		return nil, false, unknownTicket("the job's id cannot stand in a URL")
	}
	answer, err := d.get(ctx, url)
	if err != nil {
		return nil, false, fmt.Errorf("asking for the job: %w", err)
	}
	switch {
	case answer.status == http.StatusNotFound || answer.status == http.StatusGone:
		return nil, false, unknownTicket("the endpoint does not know the job")
	case answer.status < 200 || answer.status > 299:
		f := d.refusal(request{}, answer)
		if f.Action == tidegate.Reject { // of the question, not of the job
			f.Action = tidegate.Retry
		}
		return nil, false, fmt.Errorf("asking for the job: %w", f)
	}
	if f := d.believe(answer); f != nil {
		return nil, false, fmt.Errorf("asking for the job: %w", f)
	}
	if d.running(answer) {
		return nil, false, nil
	}
	if d.cfg.Results == nil {
		return all(&b, d.finished(answer)), true, nil
	}
	outcomes, err := d.results(&b, answer.body)
	if err != nil { // one verdict for all: who is at fault shows when they are sent again
		fault := *tidegate.FaultOf(err)
		fault.Action = tidegate.Retry
		return all(&b, destinations.Outcome{Disposition: destinations.Deferred, Fault: &fault}), true, nil
	}
	return outcomes, true, nil
}

// running says whether a job is not done.
func (d *Destination) running(a reply) bool {
	if d.cfg.Jobs.State == "" {
		return a.status == http.StatusAccepted
	}
	state := strings.ToLower(strings.TrimSpace(scalar(d.at(a.body, d.cfg.Jobs.State))))
	same := func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), state) }
	return slices.Contains(runningWords, state) || slices.ContainsFunc(d.cfg.Jobs.Running, same)
}

// finished is what a job's state says about all of its records, where the
// answer tells nothing of single ones.
func (d *Destination) finished(a reply) destinations.Outcome {
	if d.cfg.Jobs.State == "" {
		return destinations.Outcome{Disposition: destinations.Delivered}
	}
	state := scalar(d.at(a.body, d.cfg.Jobs.State))
	word := strings.ToLower(strings.TrimSpace(state))
	m, known := (&Results{}).mean(state)
	switch {
	case slices.Contains([]string{"done", "complete", "completed", "finished"}, word) || known && m == delivered:
		return destinations.Outcome{Disposition: destinations.Delivered}
	case known && m == rejected:
		return destinations.Outcome{Disposition: destinations.Deferred, Fault: &tidegate.Fault{
			Action: tidegate.Retry, Code: "webhook.job_failed", Message: fmt.Sprintf("the endpoint's job ended as %q", d.clean(state)),
		}}
	}
	return destinations.Outcome{Disposition: destinations.InDoubt, Fault: notNamed(fmt.Sprintf("the job's state %q is not known", d.clean(state)))}
}

func unknownTicket(message string) *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Reject, Code: "ticket.unknown", Message: message}
}

// reader reads records back, one call a record.
type reader struct{ d *Destination }

// Read implements destinations.Reader.
func (r reader) Read(ctx context.Context, object, _ string, identifiers []any, fields []string) ([]tidegate.Record, error) {
	d := r.d
	if d.closed.Load() {
		return nil, errClosed
	}
	if object != objectName {
		return nil, halt("webhook.object", "object "+object, "there is no such object", "the only object is "+objectName)
	}
	out := make([]tidegate.Record, len(identifiers))
	for i, id := range identifiers {
		record, err := d.readOne(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("reading a record: %w", err)
		}
		if record == nil {
			continue
		}
		out[i] = tidegate.Record{}
		for _, field := range fields {
			if v, there := record[field]; there {
				out[i][field] = v
			}
		}
	}
	return out, nil
}

func (d *Destination) readOne(ctx context.Context, identifier any) (tidegate.Record, error) {
	url, err := d.read.expand(&destinations.Item{Identifier: identifier})
	if err != nil {
		return nil, err
	}
	answer, err := d.get(ctx, url)
	if err != nil {
		return nil, err
	}
	if answer.status == http.StatusNotFound || answer.status == http.StatusGone {
		return nil, nil
	}
	if answer.status < 200 || answer.status > 299 {
		return nil, d.refusal(request{}, answer)
	}
	if f := d.believe(answer); f != nil {
		return nil, f
	}
	var found any
	if d.cfg.Read.Path != "" {
		found = d.at(answer.body, d.cfg.Read.Path)
	} else {
		dec := json.NewDecoder(bytes.NewReader(answer.body))
		dec.UseNumber()
		if err := dec.Decode(&found); err != nil {
			return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "webhook.not_json", Message: "the answer, which should be a record, is not JSON", Hint: "look whether read.url is right"}
		}
	}
	if found == nil {
		return nil, nil
	}
	record, ok := plain(found).(map[string]any)
	if !ok {
		return nil, halt("webhook.config", "read.path", "the answer holds no record there", "give the path to the object with the record's fields")
	}
	return record, nil
}

// get makes a call that changes nothing.
func (d *Destination) get(ctx context.Context, url string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return reply{}, halt("webhook.config", "url", "it cannot be called", "")
	}
	d.authenticate(req)
	d.sign.sign(req.Header, "read", d.env.Now(), nil)
	return d.do(req)
}

// EnsureAudience implements destinations.Audiencer: an endpoint is told the
// audience's name with every call, and keeps audiences itself.
func (d *Destination) EnsureAudience(_ context.Context, _, name string) (string, error) {
	return name, nil
}
