package hubspot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
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

// Write makes one batch call (two when records are archived by a property).
func (d *Destination) Write(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	if len(b.Items) == 0 {
		return nil, nil
	}
	if len(b.Items) > maxInputs {
		return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "hubspot.batch_size", Message: fmt.Sprintf("%d records in one call, the API takes %d", len(b.Items), maxInputs)}
	}
	if b.Items[0].Op == tidegate.Removed {
		return d.archive(ctx, b)
	}
	verb := "upsert"
	switch {
	case b.Mode == tidegate.Insert:
		verb = "create"
	case b.Mode == tidegate.Update || b.IdentifierField == recordID:
		verb = "update"
	}
	inputs := make([]input, len(b.Items))
	for i, it := range b.Items {
		inputs[i] = input{Properties: properties(it.Record), ObjectWriteTraceID: strconv.Itoa(i)}
		if verb != "create" {
			inputs[i].ID = text(it.Identifier)
			if b.IdentifierField != recordID {
				inputs[i].IDProperty = b.IdentifierField
			}
		}
		delete(inputs[i].Properties, recordID) // it names the record and cannot be set
	}
	var answer batchAnswer
	if _, err := d.call(ctx, "POST", "/crm/v3/objects/"+url.PathEscape(b.Object)+"/batch/"+verb, map[string]any{"inputs": inputs}, &answer); err != nil {
		return nil, fmt.Errorf("writing %d %s: %w", len(inputs), b.Object, err)
	}
	return d.align(b, inputs, answer), nil
}

// align gives every item the result or error that names it, by trace id first,
// then by identifier value. An item that nothing names stays in doubt.
func (d *Destination) align(b destinations.Batch, inputs []input, answer batchAnswer) []destinations.Outcome {
	out := make([]destinations.Outcome, len(b.Items))
	byTrace, byID := map[string]int{}, map[string]int{}
	for i, in := range inputs {
		out[i] = destinations.Outcome{Disposition: destinations.InDoubt, Fault: &tidegate.Fault{
			Action: tidegate.Retry, Code: "hubspot.not_named", Message: "the answer does not name the record",
		}}
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
		fault := d.recordFault(e)
		for _, trace := range e.named("objectWriteTraceId") {
			if i, ok := find(trace, ""); ok {
				out[i] = failed(fault)
			}
		}
		for _, key := range []string{"ids", "id"} {
			for _, id := range e.named(key) {
				if i, ok := find("", id); ok {
					out[i] = failed(fault)
				}
			}
		}
	}
	return out
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
	if len(look) > 0 {
		found, err := d.read(ctx, b.Object, b.IdentifierField, look, []string{b.IdentifierField})
		if err != nil {
			return nil, fmt.Errorf("finding the records to archive: %w", err)
		}
		for i, it := range b.Items {
			if ids[i] == "" {
				ids[i] = found[fold(b.IdentifierField, text(it.Identifier))].ID
			}
		}
	}
	var inputs []input
	for _, id := range ids {
		if id != "" {
			inputs = append(inputs, input{ID: id})
		}
	}
	if len(inputs) > 0 {
		var answer batchAnswer
		if _, err := d.call(ctx, "POST", "/crm/v3/objects/"+url.PathEscape(b.Object)+"/batch/archive", map[string]any{"inputs": inputs}, &answer); err != nil {
			return nil, fmt.Errorf("archiving %d %s: %w", len(inputs), b.Object, err)
		}
	}
	out := make([]destinations.Outcome, len(b.Items))
	for i := range out {
		out[i] = destinations.Outcome{Disposition: destinations.Delivered, DestinationID: ids[i]}
	}
	return out, nil
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
