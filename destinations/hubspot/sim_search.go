package hubspot

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of the search beside those of connector and account.
const (
	maxFilterGroups  = 5
	maxFilters       = 6  // in a group
	maxFiltersOfAll  = 18 // in all groups
	maxSearchValues  = 100
	defaultSearchHit = 10
)

type searchRequest struct {
	FilterGroups []filterGroup `json:"filterGroups"`
	Sorts        []struct {
		PropertyName string `json:"propertyName"`
		Direction    string `json:"direction"`
	} `json:"sorts"`
	Properties []string `json:"properties"`
	Limit      *int     `json:"limit"`
	After      string   `json:"after"`
}

// filterGroup holds where all its filters do.
type filterGroup struct {
	Filters []searchFilter `json:"filters"`
}

type searchFilter struct {
	PropertyName string   `json:"propertyName"`
	Operator     string   `json:"operator"`
	Value        string   `json:"value"`
	HighValue    string   `json:"highValue"`
	Values       []string `json:"values"`
}

// search is the paged search: groups of filters, any of which must hold in all
// its filters. It finds what was written longer ago than the index lags behind.
func (s *Simulator) search(w http.ResponseWriter, r *http.Request, o *simObject) {
	var req searchRequest
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxSearchBytes+1))
	if err == nil && len(raw) > maxSearchBytes {
		refuse(w, http.StatusBadRequest, "VALIDATION_ERROR", fmt.Sprintf("The request body is too long, it may have %d characters", maxSearchBytes))
		return
	}
	if err != nil || json.Unmarshal(raw, &req) != nil {
		refuse(w, http.StatusBadRequest, "VALIDATION_ERROR", "Invalid input JSON on line 1, column 1")
		return
	}
	limit, after, wrong := o.wrongSearch(req)
	if wrong != "" {
		refuse(w, http.StatusBadRequest, "VALIDATION_ERROR", wrong)
		return
	}
	now := time.Now() //nolint:forbidigo // a vendor has its own clock
	var found []string
	for _, n := range o.ids() {
		id := strconv.FormatInt(n, 10)
		if written, ok := o.changed[id]; ok && now.Sub(written) < time.Duration(s.o.SearchLagMS)*time.Millisecond {
			continue
		}
		holds := func(g filterGroup) bool {
			return !slices.ContainsFunc(g.Filters, func(f searchFilter) bool { return !f.holds(o.value(id, f.PropertyName)) })
		}
		if len(req.FilterGroups) == 0 || slices.ContainsFunc(req.FilterGroups, holds) {
			found = append(found, id)
		}
	}
	for _, by := range req.Sorts {
		slices.SortStableFunc(found, func(a, b string) int {
			n := compareValues(o.value(a, by.PropertyName), o.value(b, by.PropertyName))
			if by.Direction == "DESCENDING" {
				return -n
			}
			return n
		})
	}
	body := map[string]any{"total": len(found)}
	end := min(after+limit, len(found))
	if end < len(found) {
		body["paging"] = map[string]any{"next": map[string]string{"after": strconv.Itoa(end)}}
	}
	results := []result{}
	for _, id := range found[min(after, end):end] {
		results = append(results, o.result(id, req.Properties, ""))
	}
	body["results"] = results
	answer(w, http.StatusOK, body)
}

// wrongSearch says what the API would refuse.
func (o *simObject) wrongSearch(req searchRequest) (limit, after int, wrong string) {
	limit = defaultSearchHit
	if req.Limit != nil {
		limit = *req.Limit
	}
	if req.After != "" {
		n, err := strconv.Atoi(req.After)
		if err != nil || n < 0 {
			return 0, 0, "after must be a number"
		}
		after = n
	}
	filters := 0
	for _, g := range req.FilterGroups {
		filters += len(g.Filters)
		if n := len(g.Filters); n == 0 || n > maxFilters {
			return 0, 0, fmt.Sprintf("a filter group has 1 to %d filters, got %d", maxFilters, n)
		}
		for _, f := range g.Filters {
			if _, ok := o.properties[f.PropertyName]; !ok {
				return 0, 0, fmt.Sprintf("There was a problem with the request: property %q does not exist", f.PropertyName)
			}
			if n := len(f.Values); (f.Operator == "IN" || f.Operator == "NOT_IN") && (n == 0 || n > maxSearchValues) {
				return 0, 0, fmt.Sprintf("operator %s takes 1 to %d values, got %d", f.Operator, maxSearchValues, n)
			}
			if !slices.Contains(searchOperators, f.Operator) {
				return 0, 0, fmt.Sprintf("Invalid operator %q", f.Operator)
			}
		}
	}
	switch {
	case len(req.FilterGroups) > maxFilterGroups || filters > maxFiltersOfAll:
		return 0, 0, fmt.Sprintf("at most %d filter groups and %d filters", maxFilterGroups, maxFiltersOfAll)
	case len(req.Sorts) > 1:
		return 0, 0, "at most one sort"
	case limit < 1 || limit > searchPage:
		return 0, 0, fmt.Sprintf("limit must be between 1 and %d, got %d", searchPage, limit)
	case after+limit > searchReach:
		return 0, 0, fmt.Sprintf("a search cannot be paged beyond %d results", searchReach)
	}
	return limit, after, ""
}

var searchOperators = []string{"EQ", "NEQ", "LT", "LTE", "GT", "GTE", "BETWEEN", "IN", "NOT_IN", "HAS_PROPERTY", "NOT_HAS_PROPERTY", "CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN"}

func (o *simObject) value(id, name string) string {
	if name == recordID {
		return id
	}
	return o.records[id][name]
}

// holds says whether a value passes; texts are compared without their case, and IN
// with values in lower case only, as the API wants them.
func (f searchFilter) holds(have string) bool {
	low := strings.ToLower(have)
	switch f.Operator {
	case "EQ":
		return have != "" && low == strings.ToLower(f.Value)
	case "NEQ":
		return low != strings.ToLower(f.Value)
	case "LT", "LTE", "GT", "GTE":
		n := compareValues(have, f.Value)
		return have != "" && (n < 0 && f.Operator[0] == 'L' || n > 0 && f.Operator[0] == 'G' || n == 0 && strings.HasSuffix(f.Operator, "E"))
	case "BETWEEN":
		return have != "" && compareValues(have, f.Value) >= 0 && compareValues(have, f.HighValue) <= 0
	case "IN":
		return have != "" && slices.Contains(f.Values, low)
	case "NOT_IN":
		return have != "" && !slices.Contains(f.Values, low)
	case "HAS_PROPERTY":
		return have != ""
	case "NOT_HAS_PROPERTY":
		return have == ""
	}
	token := slices.Contains(strings.FieldsFunc(low, func(r rune) bool { return strings.ContainsRune(" @.,;-", r) }), strings.ToLower(f.Value))
	return token == (f.Operator == "CONTAINS_TOKEN")
}

// compareValues compares as numbers where both are, otherwise as texts.
func compareValues(a, b string) int {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	return strings.Compare(strings.ToLower(a), strings.ToLower(b))
}
