package hubspot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// input is one record of a batch call.
type input struct {
	ID                 string             `json:"id,omitempty"`
	IDProperty         string             `json:"idProperty,omitempty"`
	Properties         map[string]*string `json:"properties,omitempty"`
	ObjectWriteTraceID string             `json:"objectWriteTraceId,omitempty"`
}

// Words of the API's answers.
const (
	complete = "COMPLETE"         // the status of a batch that was worked through
	notFound = "OBJECT_NOT_FOUND" // the category of an error about an absent record
)

// batchAnswer is the answer of every batch endpoint.
type batchAnswer struct {
	Status  string       `json:"status"`
	Results []result     `json:"results"`
	Errors  []batchError `json:"errors"`
}

type result struct {
	ID                 string             `json:"id"`
	New                bool               `json:"new,omitempty"`
	Properties         map[string]*string `json:"properties"`
	ObjectWriteTraceID string             `json:"objectWriteTraceId,omitempty"`
}

func (r result) record() tidegate.Record {
	out := tidegate.Record{recordID: r.ID}
	for name, v := range r.Properties {
		if v != nil {
			out[name] = *v
		} else {
			out[name] = nil
		}
	}
	return out
}

// batchError is the error of one or more records of a call.
type batchError struct {
	Status   string                     `json:"status,omitempty"`
	Category string                     `json:"category"`
	Message  string                     `json:"message"`
	Context  map[string]json.RawMessage `json:"context,omitempty"`
}

// named returns the strings under a key of the error's context, which the API
// writes as a list or as one string.
func (e batchError) named(key string) []string {
	raw, ok := e.Context[key]
	if !ok {
		return nil
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}
	}
	return nil
}

// Write makes one batch call, and a read before it where record ids must be
// found first: to archive, and to update by e-mail address.
func (d *Destination) Write(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	if d.closed.Load() {
		return nil, errClosed
	}
	if len(b.Items) == 0 {
		return nil, nil
	}
	if len(b.Items) > maxInputs {
		return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "hubspot.batch_size", Message: fmt.Sprintf("%d records in one call, the API takes %d", len(b.Items), maxInputs)}
	}
	if f := onlyUpdate(b); f != nil {
		return nil, f
	}
	switch {
	case searched(b.Object, b.IdentifierField):
		return d.updateSearched(ctx, b)
	case b.Mode == tidegate.Audience:
		return d.member(ctx, b)
	case b.Items[0].Op == tidegate.Removed && b.Removal == tidegate.Clear:
		return d.clear(ctx, b)
	case b.Items[0].Op == tidegate.Removed:
		return d.archive(ctx, b)
	}
	switch {
	case b.Mode == tidegate.Insert && b.IdentifierField == recordID:
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "hubspot.identifier", Subject: "identifier", Message: "HubSpot gives new records their ids, so that insert cannot match by " + recordID,
			Hint: "map a property with unique values as the identifier",
		}
	case b.Mode == tidegate.Insert:
		return d.write(ctx, b, "create", nil)
	case b.IdentifierField == recordID || b.Mode == tidegate.Update && b.IdentifierField != "email":
		return d.write(ctx, b, "update", nil)
	case b.Mode == tidegate.Update: // the API matches by e-mail address in upserts only
		ids, err := d.resolve(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("finding the records to update: %w", err)
		}
		return d.update(ctx, b, ids)
	}
	return d.write(ctx, b, "upsert", nil)
}

// update updates by record id; what has none is rejected without being sent.
func (d *Destination) update(ctx context.Context, b destinations.Batch, ids []string) ([]destinations.Outcome, error) {
	out := make([]destinations.Outcome, len(b.Items))
	known := b
	known.Items = nil
	var knownIDs []string
	for i, id := range ids {
		if id == "" {
			out[i] = failed(d.recordFault(batchError{Category: notFound, Message: "there is no record with this " + b.IdentifierField}))
			continue
		}
		known.Items, knownIDs = append(known.Items, b.Items[i]), append(knownIDs, id)
	}
	if len(known.Items) == 0 {
		return out, nil
	}
	written, err := d.write(ctx, known, "update", knownIDs)
	if err != nil {
		return nil, err
	}
	next := 0
	for i, id := range ids {
		if id != "" {
			out[i] = written[next]
			next++
		}
	}
	return out, nil
}

// write makes one call of a verb. ids, when given, are the record ids of the
// items; otherwise the identifier field matches them.
func (d *Destination) write(ctx context.Context, b destinations.Batch, verb string, ids []string) ([]destinations.Outcome, error) {
	inputs := make([]input, len(b.Items))
	for i, it := range b.Items {
		inputs[i] = input{Properties: properties(it.Record), ObjectWriteTraceID: strconv.Itoa(i)}
		delete(inputs[i].Properties, recordID) // it names the record and cannot be set
		switch {
		case ids != nil:
			inputs[i].ID = ids[i]
		case verb == "create":
		default:
			inputs[i].ID = text(it.Identifier)
			if b.IdentifierField != recordID {
				inputs[i].IDProperty = b.IdentifierField
			}
		}
	}
	var answer batchAnswer
	if err := d.call(ctx, http.MethodPost, batchPath(b.Object, verb), map[string]any{"inputs": inputs}, &answer); err != nil {
		return nil, fmt.Errorf("writing %d %s: %w", len(inputs), b.Object, err)
	}
	out := d.align(b, inputs, answer)
	if f := propertyMissing(out); f != nil {
		return nil, fmt.Errorf("writing %d %s: %w", len(inputs), b.Object, f)
	}
	return out, nil
}

// propertyMissing returns a Halt when no record passed because all name a
// property that does not exist: that is the mapping's fault and every further
// batch would end the same way. Nothing was applied then.
func propertyMissing(out []destinations.Outcome) *tidegate.Fault {
	for _, o := range out {
		if o.Disposition != destinations.Rejected || !strings.Contains(o.Fault.Message, noProperty) {
			return nil
		}
	}
	return missing(out[0].Fault.Message)
}

func batchPath(object, verb string) string {
	return "/crm/v3/objects/" + url.PathEscape(object) + "/batch/" + verb
}

// align gives every item the result or error that names it, by trace id first,
// then by identifier value. An item that nothing names stays in doubt.
func (d *Destination) align(b destinations.Batch, inputs []input, answer batchAnswer) []destinations.Outcome {
	out := make([]destinations.Outcome, len(b.Items))
	byTrace, byID := map[string]int{}, map[string]int{}
	for i, in := range inputs {
		out[i] = unnamed()
		byTrace[in.ObjectWriteTraceID] = i
		byID[fold(b.IdentifierField, text(b.Items[i].Identifier))] = i
	}
	find := func(trace, id string) (int, bool) {
		if i, ok := byTrace[trace]; ok && trace != "" {
			return i, true
		}
		i, ok := byID[fold(b.IdentifierField, id)]
		return i, ok && id != ""
	}
	var stray []string // errors that name no record
	for _, r := range answer.Results {
		id := r.ID
		if v := r.Properties[b.IdentifierField]; v != nil {
			id = *v
		}
		if i, ok := find(r.ObjectWriteTraceID, id); ok {
			out[i] = destinations.Outcome{Disposition: destinations.Delivered, DestinationID: r.ID}
		}
	}
	for _, e := range answer.Errors {
		fault, named := d.recordFault(e), false
		for _, trace := range e.named("objectWriteTraceId") {
			if i, ok := find(trace, ""); ok {
				out[i], named = failed(fault), true
			}
		}
		for _, key := range []string{"ids", "id"} {
			for _, id := range e.named(key) {
				if i, ok := find("", id); ok {
					out[i], named = failed(fault), true
				}
			}
		}
		if !named {
			stray = append(stray, fault.Message)
		}
	}
	if len(stray) > 0 {
		for i := range out {
			if out[i].Disposition == destinations.InDoubt {
				out[i].Fault.Message += "; an error without a name says: " + stray[0]
			}
		}
	}
	return out
}

func unnamed() destinations.Outcome {
	return destinations.Outcome{Disposition: destinations.InDoubt, Fault: &tidegate.Fault{
		Action: tidegate.Retry, Code: "hubspot.not_named", Message: "the answer does not name the record",
	}}
}

func failed(f *tidegate.Fault) destinations.Outcome {
	if f.Action == tidegate.Reject {
		return destinations.Outcome{Disposition: destinations.Rejected, Fault: f}
	}
	return destinations.Outcome{Disposition: destinations.Deferred, Fault: f}
}

// archive removes records. The endpoint takes record ids only and answers 204
// for ids that are gone already, so a record that is not found is delivered.
func (d *Destination) archive(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	ids, err := d.resolve(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("finding the records to archive: %w", err)
	}
	var inputs []input
	for _, id := range ids {
		if id != "" {
			inputs = append(inputs, input{ID: id})
		}
	}
	var raw json.RawMessage // stays empty with a 204
	if len(inputs) > 0 {
		if err := d.call(ctx, http.MethodPost, batchPath(b.Object, "archive"), map[string]any{"inputs": inputs}, &raw); err != nil {
			return nil, fmt.Errorf("archiving %d %s: %w", len(inputs), b.Object, err)
		}
	}
	return d.archived(ids, raw), nil
}

// archived says what became of the records with the ids, of which "" were not
// there to begin with. An answer with a body is one that has something to say:
// what it leaves open is in doubt.
func (d *Destination) archived(ids []string, raw json.RawMessage) []destinations.Outcome {
	out := make([]destinations.Outcome, len(ids))
	for i, id := range ids {
		out[i] = destinations.Outcome{Disposition: destinations.Delivered, DestinationID: id}
	}
	if len(raw) == 0 {
		return out
	}
	var answer batchAnswer
	sure := json.Unmarshal(raw, &answer) == nil && answer.Status == complete
	for _, e := range answer.Errors {
		if e.Category == notFound {
			continue // gone already
		}
		fault, named := d.recordFault(e), false
		for _, id := range append(e.named("ids"), e.named("id")...) {
			if i := slices.Index(ids, id); i >= 0 && id != "" {
				out[i], named = failed(fault), true
			}
		}
		sure = sure && named
	}
	for i := range out {
		if !sure && ids[i] != "" && out[i].Disposition == destinations.Delivered {
			out[i] = unnamed()
		}
	}
	return out
}

// resolve returns the record id of each item, "" where there is no record. It
// reads only when an earlier outcome did not name them all.
func (d *Destination) resolve(ctx context.Context, b destinations.Batch) ([]string, error) {
	ids := make([]string, len(b.Items))
	var look []string
	for i, it := range b.Items {
		switch {
		case it.DestinationID != "":
			ids[i] = it.DestinationID
		case b.IdentifierField == recordID:
			ids[i] = text(it.Identifier)
		default:
			look = append(look, text(it.Identifier))
		}
	}
	if len(look) == 0 {
		return ids, nil
	}
	found, err := d.read(ctx, b.Object, b.IdentifierField, look, []string{b.IdentifierField})
	if err != nil {
		return nil, err
	}
	for i, it := range b.Items {
		if ids[i] == "" {
			ids[i] = found[fold(b.IdentifierField, text(it.Identifier))].ID
		}
	}
	return ids, nil
}

// properties are a record's fields as the API wants them: text, "" to clear.
func properties(r tidegate.Record) map[string]*string {
	out := make(map[string]*string, len(r))
	for name, v := range r {
		s := text(v)
		out[name] = &s
	}
	return out
}

func texts(list []any) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = text(v)
	}
	return out
}

// text is a value as a property holds it. Null clears a property, which the API
// says with the empty string; lists are joined with ";", as multi-select ones are.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		return strings.Join(texts(v), ";")
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}
