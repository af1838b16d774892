package hubspot

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// batchRequest is the body of every batch endpoint.
type batchRequest struct {
	Inputs     []input  `json:"inputs"`
	IDProperty string   `json:"idProperty"` // batch/read only
	Properties []string `json:"properties"` // batch/read only
}

func (s *Simulator) batch(w http.ResponseWriter, r *http.Request, o *simObject) {
	var req batchRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 8<<20)).Decode(&req); err != nil {
		refuse(w, http.StatusBadRequest, "VALIDATION_ERROR", "Invalid input JSON on line 1, column 1")
		return
	}
	if n := len(req.Inputs); n == 0 || n > maxInputs {
		refuse(w, http.StatusBadRequest, "VALIDATION_ERROR", fmt.Sprintf("The number of inputs must be between 1 and %d, got %d", maxInputs, n))
		return
	}
	object, verb := r.PathValue("object"), r.PathValue("verb")
	if verb != "read" {
		s.calls++
		s.carried += int64(len(req.Inputs))
	}
	switch verb {
	case "read":
		s.batchRead(w, o, req)
	case "archive":
		s.batchArchive(w, object, o, req)
	case "upsert", "update", "create":
		s.batchWrite(w, object, verb, o, req)
	default:
		refuse(w, http.StatusNotFound, "OBJECT_NOT_FOUND", "no such endpoint")
	}
}

func (s *Simulator) batchRead(w http.ResponseWriter, o *simObject, req batchRequest) {
	results, missing := []result{}, []string{}
	for _, in := range req.Inputs {
		if id := o.find(req.IDProperty, in.ID); id != "" {
			results = append(results, o.result(id, req.Properties, ""))
		} else {
			missing = append(missing, in.ID)
		}
	}
	status, body := http.StatusOK, map[string]any{"status": "COMPLETE", "results": results}
	if len(missing) > 0 {
		status = http.StatusMultiStatus
		body["numErrors"], body["errors"] = 1, []any{simError("OBJECT_NOT_FOUND", "Could not get some objects, they may be deleted or not exist.", map[string]any{"ids": missing})}
	}
	answer(w, status, body)
}

func (s *Simulator) batchArchive(w http.ResponseWriter, object string, o *simObject, req batchRequest) {
	var list []change
	for _, in := range req.Inputs {
		if _, ok := o.records[in.ID]; ok {
			list = append(list, change{Object: object, ID: in.ID, Archived: true})
		}
	}
	if err := s.keep(list); err != nil {
		refuse(w, http.StatusInternalServerError, "INTERNAL_ERROR", "internal error")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// batchWrite validates every input first; one that is wrong fails alone when
// all carry trace ids, and otherwise with all the others.
func (s *Simulator) batchWrite(w http.ResponseWriter, object, verb string, o *simObject, req batchRequest) {
	traced, seen := true, map[string]bool{}
	for _, in := range req.Inputs {
		traced = traced && in.ObjectWriteTraceID != ""
		key := in.IDProperty + "\x00" + fold(in.IDProperty, in.ID)
		if in.ID != "" && seen[key] {
			refuse(w, http.StatusBadRequest, "VALIDATION_ERROR", "Duplicate IDs found in batch input: ["+in.ID+"]. IDs must be unique")
			return
		}
		seen[key] = true
	}
	results, failures, list := []result{}, []any{}, []change{}
	for _, in := range req.Inputs {
		id, isNew, category, message := s.place(verb, o, in)
		if category == "" {
			category, message = s.validate(o, in, id)
		}
		if category != "" && !traced {
			status := http.StatusBadRequest
			if category == "CONFLICT" {
				status = http.StatusConflict
			}
			refuse(w, status, category, message)
			return
		}
		if category != "" {
			failures = append(failures, simError(category, message, map[string]any{"objectWriteTraceId": []string{in.ObjectWriteTraceID}}))
			continue
		}
		c := s.changeOf(object, id, o, in, isNew)
		list = append(list, c)
		s.apply(c) // a later input of the call sees it
		if s.o.SearchLagMS > 0 {
			o.changed[id] = time.Now() //nolint:forbidigo // a vendor has its own clock
		}
		r := o.result(id, append(slices.Collect(maps.Keys(in.Properties)), in.IDProperty), in.ObjectWriteTraceID)
		r.New = isNew
		results = append(results, r)
	}
	if err := s.keep(list); err != nil {
		refuse(w, http.StatusInternalServerError, "INTERNAL_ERROR", "internal error")
		return
	}
	body := map[string]any{"status": "COMPLETE", "results": results}
	status := http.StatusOK
	if verb == "create" {
		status = http.StatusCreated
	}
	if len(failures) > 0 {
		status, body["numErrors"], body["errors"] = http.StatusMultiStatus, len(failures), failures
	}
	answer(w, status, body)
}

func simError(category, message string, context map[string]any) map[string]any {
	return map[string]any{"status": "error", "category": category, "message": message, "context": context}
}

// place finds or makes the record that an input writes.
func (s *Simulator) place(verb string, o *simObject, in input) (id string, isNew bool, category, message string) {
	if verb == "create" {
		return s.newID(), true, "", ""
	}
	// An e-mail address matches records in upserts and reads, not in updates.
	if p := in.IDProperty; p != "" && !(p == "email" && verb == "upsert") && !o.properties[p].HasUniqueValue {
		return "", false, "VALIDATION_ERROR", "Unable to perform update/upsert by non-unique property " + p
	}
	if in.ID == "" {
		return "", false, "VALIDATION_ERROR", "The id of an input is empty"
	}
	if id = o.find(in.IDProperty, in.ID); id != "" {
		return id, false, "", ""
	}
	if verb == "update" || in.IDProperty == "" {
		return "", false, "OBJECT_NOT_FOUND", "Object not found. objectId: " + in.ID
	}
	return s.newID(), true, "", ""
}

func (s *Simulator) newID() string {
	s.nextID++
	return strconv.FormatInt(s.nextID-1, 10)
}

// find returns the id of the record whose property holds value.
func (o *simObject) find(name, value string) string {
	if name == "" || name == recordID {
		if _, ok := o.records[value]; ok {
			return value
		}
		return ""
	}
	return o.index[name][fold(name, value)]
}

// validate checks the values of an input against the types of its properties.
func (s *Simulator) validate(o *simObject, in input, id string) (category, message string) {
	for name, v := range in.Properties {
		if _, ok := o.properties[name]; !ok {
			return "VALIDATION_ERROR", fmt.Sprintf(`Property values were not valid: [{"isValid":false,"message":"Property \"%s\" does not exist","error":"PROPERTY_DOESNT_EXIST","name":"%s"}]`, name, name)
		}
		if v == nil || *v == "" {
			continue
		}
		if other := o.find(name, *v); o.identifies(name) && other != "" && other != id {
			return "CONFLICT", "Record already exists. Existing ID: " + other
		}
		p := o.properties[name]
		bad := ""
		switch {
		case p.Modification.ReadOnlyValue:
			bad = "READ_ONLY_VALUE"
		case s.o.Poison != "" && *v == s.o.Poison:
			bad = "INVALID_VALUE"
		case name == "email" && !validEmail(*v):
			bad = "INVALID_EMAIL"
		case p.Type == "number" && !isNumber(*v):
			bad = "INVALID_LONG"
		case (p.Type == "datetime" || p.Type == "date") && !isTime(*v):
			bad = "INVALID_DATE"
		case p.Type == "bool" && *v != "true" && *v != "false":
			bad = "INVALID_OPTION"
		case len(*v) > 65_536:
			bad = "PROPERTY_TOO_LONG"
		}
		if bad != "" {
			return "VALIDATION_ERROR", fmt.Sprintf("Property values were not valid: [{\"isValid\":false,\"error\":\"%s\",\"name\":\"%s\"}]", bad, name)
		}
	}
	return "", ""
}

func isNumber(v string) bool { _, err := strconv.ParseFloat(v, 64); return err == nil }

func isTime(v string) bool {
	if _, err := strconv.ParseInt(v, 10, 64); err == nil {
		return true // epoch milliseconds
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if _, err := time.Parse(layout, v); err == nil {
			return true
		}
	}
	return false
}

// changeOf is what an input does to its record.
func (s *Simulator) changeOf(object, id string, o *simObject, in input, isNew bool) change {
	set := map[string]string{}
	if isNew && in.IDProperty != "" {
		set[in.IDProperty] = fold(in.IDProperty, in.ID)
	}
	for name, v := range in.Properties {
		if v != nil {
			set[name] = fold(name, *v)
		} else {
			set[name] = ""
		}
	}
	if isNew {
		set["createdate"] = time.Now().UTC().Format(time.RFC3339) //nolint:forbidigo // a vendor has its own clock
	}
	_, hasModified := o.properties["lastmodifieddate"]
	if hasModified {
		set["lastmodifieddate"] = time.Now().UTC().Format(time.RFC3339) //nolint:forbidigo // a vendor has its own clock
	}
	for name, v := range set {
		set[name] = strings.TrimSpace(v)
	}
	return change{Object: object, ID: id, Set: set}
}
