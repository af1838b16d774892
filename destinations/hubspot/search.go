package hubspot

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

const (
	searchPage       = 200    // records a page
	searchReach      = 10_000 // records of one search that can be paged through
	searchRate       = 4      // calls a second; the account is let 5, and others search too
	maxSearchBytes   = 3000   // characters of a search
	searchValueBytes = 2400   // those of its values
)

// searched says whether records are matched by a property that the account does
// not keep unique. The batch endpoints refuse it; the search finds it.
func searched(object, identifierField string) bool {
	return object == "companies" && identifierField == "domain"
}

// onlyUpdate refuses to create or remove by a property that is not unique: the
// search lags behind the records by seconds, so that a record could be made twice.
func onlyUpdate(b destinations.Batch) *tidegate.Fault {
	if b.Mode == tidegate.Update || !searched(b.Object, b.IdentifierField) {
		return nil
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "hubspot.identifier", Subject: "identifier", Message: fmt.Sprintf("HubSpot does not keep %s unique, so that %s can only be updated by it", b.IdentifierField, b.Object),
		Hint: "use the mode update, or map a property with unique values as the identifier",
	}
}

// search returns the ids of records by folded value of the property, the oldest
// first where a value stands in more than one.
func (d *Destination) search(ctx context.Context, object, property string, values []string) (map[string][]string, error) {
	found := map[string][]string{}
	for len(values) > 0 {
		var some []string
		for size := 0; len(values) > 0 && len(some) < maxInputs; values = values[1:] {
			v := fold(property, values[0])
			if size += len(strconv.Quote(v)) + 1; size > searchValueBytes && len(some) > 0 {
				break
			}
			some = append(some, v)
		}
		if err := d.searchSome(ctx, object, property, some, found); err != nil {
			return nil, fmt.Errorf("searching %s by %s: %w", object, property, err)
		}
	}
	return found, nil
}

// searchSome pages through one search.
func (d *Destination) searchSome(ctx context.Context, object, property string, values []string, found map[string][]string) error {
	body := map[string]any{
		"filterGroups": []any{map[string]any{"filters": []any{map[string]any{"propertyName": property, "operator": "IN", "values": values}}}},
		"sorts":        []any{map[string]string{"propertyName": recordID, "direction": "ASCENDING"}},
		"properties":   []string{property}, "limit": searchPage,
	}
	for read := 0; ; {
		var page searchAnswer
		if err := d.pace.Wait(ctx); err != nil {
			return err
		}
		if err := d.call(ctx, http.MethodPost, "/crm/v3/objects/"+url.PathEscape(object)+"/search", body, &page); err != nil {
			return err
		}
		for _, r := range page.Results {
			if v := r.Properties[property]; v != nil {
				found[fold(property, *v)] = append(found[fold(property, *v)], r.ID)
			}
		}
		read += len(page.Results)
		switch {
		case page.Total == nil:
			return &tidegate.Fault{Action: tidegate.Retry, Code: "hubspot.incomplete", Message: "the answer does not say how many records the search found"}
		case *page.Total > searchReach:
			return &tidegate.Fault{Action: tidegate.Reject, Code: "hubspot.ambiguous", Message: fmt.Sprintf("%d %s match, more than a search shows", *page.Total, object), Hint: "remove the duplicates in HubSpot, or match by a property with unique values"}
		case read >= *page.Total:
			return nil
		case page.Paging.Next.After == "" || len(page.Results) == 0:
			return &tidegate.Fault{Action: tidegate.Retry, Code: "hubspot.incomplete", Message: fmt.Sprintf("the search found %d records and showed %d", *page.Total, read)}
		}
		body["after"] = page.Paging.Next.After
	}
}

type searchAnswer struct {
	Total   *int     `json:"total"`
	Results []result `json:"results"`
	Paging  struct {
		Next struct {
			After string `json:"after"`
		} `json:"next"`
	} `json:"paging"`
}

// readSearched is read by a property that is not unique: the search tells which
// records there are, and their values come from where no index lags behind. Of
// several records with one value it returns the oldest.
func (d *Destination) readSearched(ctx context.Context, object, property string, values, properties []string) (map[string]result, error) {
	ids, err := d.search(ctx, object, property, values)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	var oldest []string
	for _, list := range ids {
		oldest = append(oldest, list[0])
	}
	slices.Sort(oldest)
	byID, err := d.read(ctx, object, recordID, oldest, properties)
	if err != nil {
		return nil, err
	}
	found := map[string]result{}
	for _, r := range byID {
		if v := r.Properties[property]; v != nil {
			found[fold(property, *v)] = r
		}
	}
	return found, nil
}

// updateSearched updates records that a property finds which is not unique. What
// it finds more than once is rejected: nobody knows which is meant.
func (d *Destination) updateSearched(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
	ids := make([]string, len(b.Items))
	var look []string
	for i, it := range b.Items {
		if ids[i] = it.DestinationID; ids[i] == "" {
			look = append(look, text(it.Identifier))
		}
	}
	found := map[string][]string{}
	if len(look) > 0 {
		var err error
		if found, err = d.search(ctx, b.Object, b.IdentifierField, look); err != nil {
			return nil, fmt.Errorf("finding the records to update: %w", err)
		}
	}
	at := func(i int) []string { return found[fold(b.IdentifierField, text(b.Items[i].Identifier))] }
	for i := range ids {
		if list := at(i); ids[i] == "" && len(list) == 1 {
			ids[i] = list[0]
		}
	}
	out, err := d.update(ctx, b, ids)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if list := at(i); ids[i] == "" && len(list) > 1 {
			out[i] = failed(ambiguous(b, list))
		}
	}
	return out, nil
}

func ambiguous(b destinations.Batch, ids []string) *tidegate.Fault {
	const named = 5
	return &tidegate.Fault{
		Action: tidegate.Reject, Code: "hubspot.ambiguous", Message: fmt.Sprintf("%d %s have this %s: %s", len(ids), b.Object, b.IdentifierField, strings.Join(ids[:min(named, len(ids))], ", ")),
		Hint: "merge them in HubSpot, or match by a property with unique values",
	}
}
