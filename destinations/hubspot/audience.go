package hubspot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// objectTypes are the ids by which the API of lists calls objects.
var objectTypes = map[string]string{"contacts": "0-1", "companies": "0-2", "deals": "0-3"}

// manual is the kind of list whose members are added and removed by hand or by calls.
const manual = "MANUAL"

type listAnswer struct {
	List struct {
		ListID         string `json:"listId"`
		ProcessingType string `json:"processingType"`
	} `json:"list"`
}

// EnsureAudience finds the list of that name, or creates a static one.
func (d *Destination) EnsureAudience(ctx context.Context, object, name string) (string, error) {
	if objectTypes[object] == "" {
		return "", &tidegate.Fault{Action: tidegate.Halt, Code: "hubspot.not_found", Subject: "object " + object, Message: "there are no lists of it", Hint: "use contacts, companies or deals"}
	}
	var answer listAnswer
	find := "/crm/v3/lists/object-type-id/" + objectTypes[object] + "/name/" + url.PathEscape(name)
	err := d.call(ctx, http.MethodGet, find, nil, &answer)
	var fault *tidegate.Fault
	if errors.As(err, &fault) && fault.Code == "hubspot.not_found" {
		err = d.call(ctx, http.MethodPost, "/crm/v3/lists", map[string]string{"name": name, "objectTypeId": objectTypes[object], "processingType": manual}, &answer)
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("finding or creating the list: %w", err)
	case answer.List.ListID == "":
		return "", &tidegate.Fault{Action: tidegate.Retry, Code: "hubspot.incomplete", Message: "the answer does not name the list"}
	case answer.List.ProcessingType != manual && answer.List.ProcessingType != "SNAPSHOT":
		return "", &tidegate.Fault{
			Action: tidegate.Halt, Code: "hubspot.list", Subject: "audience", Message: "the list of this name is filled by a filter",
			Hint: "give the sync the name of a static list, or of one that does not exist yet",
		}
	}
	return answer.List.ListID, nil
}

// member lets records join or leave the list b.Audience. Who joins is written
// first, because a list takes records that exist; what was refused does not join.
func (d *Destination) member(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	if b.Audience == "" {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "hubspot.list", Subject: "audience", Message: "the batch names no list", Hint: "give the sync an audience"}
	}
	if b.Items[0].Op == tidegate.Removed {
		ids, err := d.resolve(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("finding the records that leave: %w", err)
		}
		out := make([]destinations.Outcome, len(ids))
		for i, id := range ids { // a record that is gone is in no list
			out[i] = destinations.Outcome{Disposition: destinations.Delivered, DestinationID: id}
		}
		return out, d.memberships(ctx, b, "remove", out)
	}
	var out []destinations.Outcome
	var err error
	if b.IdentifierField == recordID {
		out = make([]destinations.Outcome, len(b.Items))
		for i := range b.Items {
			out[i] = destinations.Outcome{Disposition: destinations.Delivered, DestinationID: text(b.Items[i].Identifier)}
		}
	} else if out, err = d.write(ctx, b, "upsert", nil); err != nil {
		return nil, fmt.Errorf("writing who joins: %w", err)
	}
	if err := d.memberships(ctx, b, "add", out); err != nil {
		return nil, err
	}
	return out, nil
}

// memberships makes one call and marks in out what it did not find.
func (d *Destination) memberships(ctx context.Context, b destinations.Batch, verb string, out []destinations.Outcome) error {
	var ids []string
	for _, o := range out {
		if o.Disposition == destinations.Delivered && o.DestinationID != "" {
			ids = append(ids, o.DestinationID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var answer struct {
		Missing []string `json:"recordIdsMissing"`
	}
	if err := d.call(ctx, http.MethodPut, "/crm/v3/lists/"+url.PathEscape(b.Audience)+"/memberships/"+verb, ids, &answer); err != nil {
		return fmt.Errorf("changing the members of the list: %w", err)
	}
	for i := range out {
		if verb == "add" && slices.Contains(answer.Missing, out[i].DestinationID) && out[i].Disposition == destinations.Delivered {
			out[i] = failed(d.recordFault(batchError{Category: notFound, Message: "the list does not find the record"}))
		}
	}
	return nil
}

// clear empties the mapped fields of records; one that is not there has none.
func (d *Destination) clear(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	ids, err := d.resolve(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("finding the records to clear: %w", err)
	}
	out := make([]destinations.Outcome, len(ids))
	known, knownIDs, at := b, []string{}, []int{}
	known.Items = nil
	for i, id := range ids {
		out[i] = destinations.Outcome{Disposition: destinations.Delivered, DestinationID: id}
		if id == "" {
			continue
		}
		item := b.Items[i]
		item.Record = tidegate.Record{}
		for field := range b.Items[i].Record {
			if field != b.IdentifierField && field != recordID {
				item.Record[field] = nil
			}
		}
		known.Items, knownIDs, at = append(known.Items, item), append(knownIDs, id), append(at, i)
	}
	if len(known.Items) == 0 {
		return out, nil
	}
	written, err := d.write(ctx, known, "update", knownIDs)
	if err != nil {
		return nil, err
	}
	for i, o := range written {
		if o.Disposition == destinations.Rejected && o.Fault.Code == "hubspot.object_not_found" {
			o = destinations.Outcome{Disposition: destinations.Delivered} // it went meanwhile
		}
		out[at[i]] = o
	}
	return out, nil
}
