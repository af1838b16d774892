package hubspot

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/mail"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
)

// SimulatorOptions shape a simulator; the zero value is an account without faults.
type SimulatorOptions struct {
	// Path is a file in which the simulator keeps what it was told, one JSON
	// object a line; empty: in memory only.
	Path string `json:"path,omitempty"`
	// CallsPerTenSeconds is the account's limit; 0: 190.
	CallsPerTenSeconds int `json:"calls_per_ten_seconds,omitempty"`
	// CallsPerDay is the account's limit of a day, all apps together; 0: 625,000, that of Professional.
	CallsPerDay int `json:"calls_per_day,omitempty"`
	// SearchLagMS is how long the search does not find what was written; 0: it always does.
	SearchLagMS int `json:"search_lag_ms,omitempty"`
	// PortalID is the account's id; 0: 1000001.
	PortalID int64 `json:"portal_id,omitempty"`
	// Token, when set, is the only one that is let in; otherwise any is.
	Token string `json:"token,omitempty"`
	// LatencyMS delays every answer.
	LatencyMS int `json:"latency_ms,omitempty"`
	// Poison refuses records that hold this value in any property.
	Poison string `json:"poison,omitempty"`
	// FailEvery answers every n-th call with a 500 before it does anything; 0: none.
	FailEvery int `json:"fail_every,omitempty"`
}

// Simulator is a HubSpot account that remembers. It has the API's own limits
// (100 inputs a call, calls in ten seconds and in a day, searches in a second), checks names and types of
// properties, and refuses as HubSpot does: single records in a 207 where every
// input carries a trace id, else the whole call with a 400.
type Simulator struct {
	o   SimulatorOptions
	mux *http.ServeMux

	mu      sync.Mutex
	objects map[string]*simObject
	lists   map[string]*simList // by id
	nextID  int64
	recent  []time.Time // of the calls of the last ten seconds
	looked  []time.Time // of the searches of the last second
	day     string      // on which the account's calls are counted
	ofDay   int         // how many there were
	arrived int64       // calls of any kind
	calls   int64
	carried int64
	file    *os.File
}

type simObject struct {
	properties map[string]property
	records    map[string]map[string]string // by record id
	index      map[string]map[string]string // property that identifies → its folded value → record id
	changed    map[string]time.Time         // by record id, where the search lags
}

// identifies says whether records are found by a property.
func (o *simObject) identifies(name string) bool {
	return name == "email" || o.properties[name].HasUniqueValue
}

// put sets one property of a record, "" removes it, and keeps the index.
func (o *simObject) put(id, name, value string) {
	if o.identifies(name) {
		byValue := o.index[name]
		if byValue == nil {
			byValue = map[string]string{}
			o.index[name] = byValue
		}
		if old := fold(name, o.records[id][name]); byValue[old] == id {
			delete(byValue, old)
		}
		if value != "" {
			byValue[fold(name, value)] = id
		}
	}
	if value == "" {
		delete(o.records[id], name)
		return
	}
	o.records[id][name] = value
}

// remove takes a record away.
func (o *simObject) remove(id string) {
	for name := range maps.Clone(o.records[id]) {
		o.put(id, name, "")
	}
	delete(o.records, id)
}

// change is one line of the simulator's file.
type change struct {
	Object   string            `json:"object"`
	ID       string            `json:"id,omitempty"`
	Set      map[string]string `json:"set,omitempty"`
	Archived bool              `json:"archived,omitempty"`
	Property *property         `json:"property,omitempty"`
	List     *simListChange    `json:"list,omitempty"`
}

// NewSimulator makes a simulator of the options, which may be nil. Close it
// when it has a file.
func NewSimulator(options json.RawMessage) (*Simulator, error) {
	s := &Simulator{objects: map[string]*simObject{}, lists: map[string]*simList{}, nextID: 1000, mux: http.NewServeMux()}
	if len(options) > 0 {
		dec := json.NewDecoder(strings.NewReader(string(options)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&s.o); err != nil {
			return nil, fmt.Errorf("reading the simulator's options: %w", err)
		}
	}
	if s.o.CallsPerTenSeconds <= 0 {
		s.o.CallsPerTenSeconds = 190
	}
	if s.o.CallsPerDay <= 0 {
		s.o.CallsPerDay = 625_000
	}
	if s.o.PortalID == 0 {
		s.o.PortalID = 1_000_001
	}
	for name, list := range standardProperties() {
		o := &simObject{properties: map[string]property{}, records: map[string]map[string]string{}, index: map[string]map[string]string{}, changed: map[string]time.Time{}}
		for _, p := range list {
			o.properties[p.Name] = p
		}
		s.objects[name] = o
	}
	if err := s.restore(); err != nil {
		return nil, err
	}
	s.mux.HandleFunc("GET /{$}", s.page)
	s.mux.HandleFunc("GET /account-info/v3/details", s.guarded(s.details))
	s.mux.HandleFunc("GET /crm/v3/properties/{object}", s.api(s.listProperties))
	s.mux.HandleFunc("POST /crm/v3/properties/{object}", s.api(s.createProperty))
	s.mux.HandleFunc("GET /crm/v3/objects/{object}", s.api(s.list))
	s.mux.HandleFunc("POST /crm/v3/objects/{object}/batch/{verb}", s.api(s.batch))
	s.mux.HandleFunc("POST /crm/v3/objects/{object}/search", s.searchAPI(s.search))
	s.mux.HandleFunc("GET /crm/v3/lists/object-type-id/{type}/name/{name}", s.guarded(s.findList))
	s.mux.HandleFunc("POST /crm/v3/lists", s.guarded(s.createList))
	s.mux.HandleFunc("PUT /crm/v3/lists/{list}/memberships/{verb}", s.guarded(s.changeMembers))
	return s, nil
}

func standardProperties() map[string][]property {
	text := func(names ...string) (list []property) {
		for _, n := range names {
			list = append(list, property{Name: n, Label: strings.ToUpper(n[:1]) + n[1:], Type: "string", FieldType: "text"})
		}
		return list
	}
	readOnly := func(name, typ string) property {
		p := property{Name: name, Label: name, Type: typ, FieldType: typ}
		p.Modification.ReadOnlyValue = true
		return p
	}
	id, created := readOnly(recordID, "number"), readOnly("createdate", "datetime")
	return map[string][]property{
		"contacts":  append(text("email", "firstname", "lastname", "phone", "company", "jobtitle", "city", "country", "website", "lifecyclestage"), id, created, readOnly("lastmodifieddate", "datetime")),
		"companies": append(text("name", "domain", "industry", "city", "country", "phone", "website"), id, created, property{Name: "annualrevenue", Label: "Annual revenue", Type: "number", FieldType: "number"}),
		"deals":     append(text("dealname", "dealstage", "pipeline"), id, created, property{Name: "amount", Label: "Amount", Type: "number", FieldType: "number"}, property{Name: "closedate", Label: "Close date", Type: "datetime", FieldType: "date"}),
	}
}

// restore replays the file; a last line that was cut off by a kill is dropped.
func (s *Simulator) restore() error {
	if s.o.Path == "" {
		return nil
	}
	raw, err := os.ReadFile(s.o.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the simulator's file: %w", err)
	}
	whole := strings.LastIndexByte(string(raw), '\n') + 1
	lines := bufio.NewScanner(strings.NewReader(string(raw[:whole])))
	lines.Buffer(nil, 32<<20)
	for lines.Scan() {
		var c change
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("reading the simulator's file: %w", err)
		}
		s.apply(c)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the simulator's file: %w", err)
	}
	if s.file, err = os.OpenFile(s.o.Path, os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return fmt.Errorf("opening the simulator's file: %w", err)
	}
	if err = s.file.Truncate(int64(whole)); err == nil {
		_, err = s.file.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return fmt.Errorf("opening the simulator's file: %w", err)
	}
	return nil
}

// apply makes one change in memory; the caller holds the lock or is alone.
func (s *Simulator) apply(c change) {
	if c.List != nil {
		s.applyList(*c.List)
		return
	}
	o := s.objects[c.Object]
	if o == nil {
		return
	}
	switch {
	case c.Property != nil:
		o.properties[c.Property.Name] = *c.Property
	case c.Archived:
		o.remove(c.ID)
	default:
		if o.records[c.ID] == nil {
			o.records[c.ID] = map[string]string{}
		}
		for name, v := range c.Set {
			o.put(c.ID, name, v)
		}
	}
	if n, err := strconv.ParseInt(c.ID, 10, 64); err == nil && n >= s.nextID {
		s.nextID = n + 1
	}
}

// keep applies changes and writes them down before the call is answered.
func (s *Simulator) keep(list []change) error {
	var b strings.Builder
	for _, c := range list {
		s.apply(c)
		if s.file != nil {
			raw, err := json.Marshal(c)
			if err != nil {
				return err
			}
			b.Write(raw)
			b.WriteByte('\n')
		}
	}
	if s.file == nil {
		return nil
	}
	_, err := s.file.WriteString(b.String())
	return err
}

// Close closes the file.
func (s *Simulator) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// ServeHTTP implements http.Handler.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Records returns the object's records by record id.
func (s *Simulator) Records(object string) map[string]tidegate.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]tidegate.Record{}
	if o := s.objects[object]; o != nil {
		for id, fields := range o.records {
			r := tidegate.Record{}
			for name, v := range fields {
				r[name] = v
			}
			out[id] = r
		}
	}
	return out
}

// Calls returns how many batch writes were made and how many records they carried.
func (s *Simulator) Calls() (calls, records int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.carried
}

// api wraps a handler with what every call of the API goes through.
func (s *Simulator) api(handle objectHandler) http.HandlerFunc { return s.guarded(s.of(handle)) }

type objectHandler func(w http.ResponseWriter, r *http.Request, o *simObject)

// of finds the object that a path names.
func (s *Simulator) of(handle objectHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o := s.objects[r.PathValue("object")]
		if o == nil {
			refuse(w, http.StatusNotFound, "OBJECT_NOT_FOUND", "Unable to infer object type from: "+r.PathValue("object"))
			return
		}
		handle(w, r, o)
	}
}

func refuse(w http.ResponseWriter, status int, category, message string) {
	answer(w, status, map[string]string{
		"status": "error", "message": message, "category": category, "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

func (s *Simulator) listProperties(w http.ResponseWriter, _ *http.Request, o *simObject) {
	list := []property{}
	for _, name := range slices.Sorted(maps.Keys(o.properties)) {
		list = append(list, o.properties[name])
	}
	answer(w, http.StatusOK, map[string]any{"results": list})
}

func (s *Simulator) createProperty(w http.ResponseWriter, r *http.Request, o *simObject) {
	var p property
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&p); err != nil || p.Name == "" || p.Type == "" || p.GroupName == "" {
		refuse(w, http.StatusBadRequest, "VALIDATION_ERROR", "Invalid input JSON: name, type, fieldType and groupName are required.")
		return
	}
	if _, there := o.properties[p.Name]; there {
		refuse(w, http.StatusConflict, "OBJECT_ALREADY_EXISTS", "A property named '"+p.Name+"' already exists.")
		return
	}
	if err := s.keep([]change{{Object: r.PathValue("object"), Property: &p}}); err != nil {
		refuse(w, http.StatusInternalServerError, "INTERNAL_ERROR", "internal error")
		return
	}
	answer(w, http.StatusCreated, p)
}

// list is the paged listing of an object's records.
func (s *Simulator) list(w http.ResponseWriter, r *http.Request, o *simObject) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 || limit > 100 {
		limit = 10
	}
	ids := o.ids()
	if after, err := strconv.ParseInt(q.Get("after"), 10, 64); err == nil {
		ids = slices.DeleteFunc(ids, func(id int64) bool { return id <= after })
	}
	body := map[string]any{}
	if len(ids) > limit {
		ids = ids[:limit]
		body["paging"] = map[string]any{"next": map[string]string{"after": strconv.FormatInt(ids[limit-1], 10)}}
	}
	wanted := strings.Split(q.Get("properties"), ",")
	results := make([]result, len(ids))
	for i, id := range ids {
		results[i] = o.result(strconv.FormatInt(id, 10), wanted, "")
	}
	body["results"] = results
	answer(w, http.StatusOK, body)
}

// ids returns the record ids in order.
func (o *simObject) ids() []int64 {
	ids := make([]int64, 0, len(o.records))
	for id := range o.records {
		if n, err := strconv.ParseInt(id, 10, 64); err == nil {
			ids = append(ids, n)
		}
	}
	slices.Sort(ids)
	return ids
}

// result shows a record with the wanted properties, and always its id.
func (o *simObject) result(id string, wanted []string, trace string) result {
	out := result{ID: id, ObjectWriteTraceID: trace, Properties: map[string]*string{recordID: &id}}
	for _, name := range wanted {
		if v, ok := o.records[id][name]; ok {
			out.Properties[name] = &v
		}
	}
	return out
}

var simPage = template.Must(template.New("page").Parse(`<!doctype html><meta charset="utf-8"><title>HubSpot, simulated</title>
<style>body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color:#222}table{border-collapse:collapse;margin:.5rem 0 2rem}td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}th{background:#f4f4f4}</style>
<h1>HubSpot, simulated</h1><p>{{.Calls}} batch calls carried {{.Carried}} records so far.</p>
{{range .Objects}}<h2>{{.Name}} ({{.Total}})</h2>{{if .Rows}}<table><tr>{{range .Columns}}<th>{{.}}</th>{{end}}</tr>{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>{{end}}</table>{{end}}{{end}}`))

type simTable struct {
	Name    string
	Total   int
	Columns []string
	Rows    [][]string
}

// maxShown bounds the rows of a table on the page.
const maxShown = 500

// page shows the records to a person.
func (s *Simulator) page(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var tables []simTable
	for _, name := range objectNames {
		t := simTable{Name: name}
		used := map[string]bool{}
		for _, fields := range s.objects[name].records {
			for f := range fields {
				used[f] = true
			}
		}
		columns := slices.Sorted(maps.Keys(used))
		t.Columns = append([]string{"id"}, columns...)
		ids := s.objects[name].ids()
		t.Total = len(ids)
		for _, n := range ids[max(0, len(ids)-maxShown):] { // the newest
			id := strconv.FormatInt(n, 10)
			row := []string{id}
			for _, c := range columns {
				row = append(row, s.objects[name].records[id][c])
			}
			t.Rows = append(t.Rows, row)
		}
		tables = append(tables, t)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = simPage.Execute(w, map[string]any{"Calls": s.calls, "Carried": s.carried, "Objects": tables}) // the reader may be gone
}

// validEmail is as strict as the API: a plain address.
func validEmail(v string) bool {
	a, err := mail.ParseAddress(v)
	return err == nil && a.Address == v && strings.Contains(v[strings.LastIndexByte(v, '@'):], ".")
}
