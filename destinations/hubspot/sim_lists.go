package hubspot

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// simList is a static list.
type simList struct {
	name, objectType string
	members          map[string]bool // record ids
}

// simListChange is what happened to one list.
type simListChange struct {
	ID     string   `json:"id"`
	Name   string   `json:"name,omitempty"`
	Type   string   `json:"type,omitempty"`
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

func (s *Simulator) applyList(c simListChange) {
	l := s.lists[c.ID]
	if l == nil {
		l = &simList{name: c.Name, objectType: c.Type, members: map[string]bool{}}
		s.lists[c.ID] = l
		if n, err := strconv.ParseInt(c.ID, 10, 64); err == nil && n >= s.nextID {
			s.nextID = n + 1
		}
	}
	for _, id := range c.Add {
		l.members[id] = true
	}
	for _, id := range c.Remove {
		delete(l.members, id)
	}
}

// Members returns the record ids in the list of that name, sorted.
func (s *Simulator) Members(list string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lists {
		if l.name == list {
			return slices.Sorted(maps.Keys(l.members))
		}
	}
	return nil
}

func listBody(id string, l *simList) map[string]any {
	return map[string]any{"list": map[string]any{"listId": id, "name": l.name, "objectTypeId": l.objectType, "processingType": manual}}
}

func (s *Simulator) details(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"portalId": s.o.PortalID, "accountType": "STANDARD", "timeZone": "UTC", "companyCurrency": "EUR", "uiDomain": "app.hubspot.com", "dataHostingLocation": "eu1"})
}

func (s *Simulator) findList(w http.ResponseWriter, r *http.Request) {
	for id, l := range s.lists {
		if l.name == r.PathValue("name") && l.objectType == r.PathValue("type") {
			answer(w, http.StatusOK, listBody(id, l))
			return
		}
	}
	refuse(w, http.StatusNotFound, "OBJECT_NOT_FOUND", "List does not exist with name "+r.PathValue("name"))
}

func (s *Simulator) createList(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Name           string `json:"name"`
		ObjectTypeID   string `json:"objectTypeId"`
		ProcessingType string `json:"processingType"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&req); err != nil || req.Name == "" || req.ProcessingType != manual {
		refuse(w, http.StatusBadRequest, "VALIDATION_ERROR", "Invalid input JSON: name, objectTypeId and processingType are required.")
		return
	}
	for _, l := range s.lists {
		if l.name == req.Name {
			refuse(w, http.StatusBadRequest, "VALIDATION_ERROR", "A list with this name exists already: "+req.Name)
			return
		}
	}
	id := s.newID()
	if err := s.keep([]change{{List: &simListChange{ID: id, Name: req.Name, Type: req.ObjectTypeID}}}); err != nil {
		refuse(w, http.StatusInternalServerError, "INTERNAL_ERROR", "internal error")
		return
	}
	answer(w, http.StatusOK, listBody(id, s.lists[id]))
}

func (s *Simulator) changeMembers(w http.ResponseWriter, r *http.Request) {
	id, verb := r.PathValue("list"), r.PathValue("verb")
	l := s.lists[id]
	if l == nil || verb != "add" && verb != "remove" {
		refuse(w, http.StatusNotFound, "OBJECT_NOT_FOUND", "List does not exist with ID "+id)
		return
	}
	var ids []string
	if err := json.NewDecoder(io.LimitReader(r.Body, 8<<20)).Decode(&ids); err != nil || len(ids) > 100_000 {
		refuse(w, http.StatusBadRequest, "VALIDATION_ERROR", "Invalid input JSON on line 1, column 1")
		return
	}
	s.calls++
	s.carried += int64(len(ids))
	done, missing := []string{}, []string{}
	for _, record := range ids {
		switch {
		case !s.exists(l.objectType, record):
			missing = append(missing, record)
		case l.members[record] == (verb == "remove"):
			done = append(done, record)
		}
	}
	c := simListChange{ID: id, Add: done}
	body := map[string]any{"recordsIdsAdded": done, "recordIdsRemoved": []string{}, "recordIdsMissing": missing}
	if verb == "remove" {
		c.Add, c.Remove = nil, done
		body["recordsIdsAdded"], body["recordIdsRemoved"] = []string{}, done
	}
	if err := s.keep([]change{{List: &c}}); err != nil {
		refuse(w, http.StatusInternalServerError, "INTERNAL_ERROR", "internal error")
		return
	}
	answer(w, http.StatusOK, body)
}

// exists says whether there is a record; archived ones are in no list.
func (s *Simulator) exists(objectType, id string) bool {
	for name, typ := range objectTypes {
		if typ == objectType {
			_, there := s.objects[name].records[id]
			return there
		}
	}
	return false
}
