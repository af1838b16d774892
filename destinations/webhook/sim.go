package webhook

import (
	"encoding/json"
	"fmt"
	htmltemplate "html/template"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
)

// SimulatorOptions shape a simulator; the zero value takes every call.
type SimulatorOptions struct {
	// Token, when set, is the bearer token that calls must carry.
	Token string `json:"token,omitempty"`
	// Secret, when set, is the secret by which calls must be signed.
	Secret string `json:"secret,omitempty"`
	// Poison refuses records that hold this value in any field: one record a
	// call with a 422, among others in its result.
	Poison string `json:"poison,omitempty"`
	// LatencyMS delays every answer.
	LatencyMS int `json:"latency_ms,omitempty"`
	// MaxRecords and MaxBytes of a body; more is a 413. 0: 1000 and 1 MiB.
	MaxRecords int   `json:"max_records,omitempty"`
	MaxBytes   int64 `json:"max_bytes,omitempty"`
}

// Simulator is an endpoint that remembers the records it was sent in the
// default envelope, checks signatures, and drops calls whose idempotency key it
// has seen. GET / shows the records to a person, GET /check proves credentials.
type Simulator struct {
	o    SimulatorOptions
	sign signer
	mux  *http.ServeMux

	mu      sync.Mutex
	records map[string]tidegate.Record // by identifier
	seen    map[string][]byte          // answers by idempotency key
	order   []string                   // keys of seen, oldest first
	calls   int64
	carried int64
}

const maxSeen = 10_000

// NewSimulator makes a simulator of the options, which may be nil.
func NewSimulator(options json.RawMessage) (*Simulator, error) {
	s := &Simulator{mux: http.NewServeMux(), records: map[string]tidegate.Record{}, seen: map[string][]byte{}}
	if len(options) > 0 {
		dec := json.NewDecoder(strings.NewReader(string(options)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&s.o); err != nil {
			return nil, fmt.Errorf("reading the simulator's options: %w", err)
		}
	}
	if s.o.MaxRecords <= 0 {
		s.o.MaxRecords = 1000
	}
	if s.o.MaxBytes <= 0 {
		s.o.MaxBytes = 1 << 20
	}
	if s.o.Secret != "" {
		var err error
		if s.sign, err = newSigner(Auth{Kind: "hmac", Secret: secret.New(s.o.Secret)}); err != nil {
			return nil, fmt.Errorf("reading the simulator's secret: %w", err)
		}
	}
	s.mux.HandleFunc("GET /{$}", s.page)
	s.mux.HandleFunc("GET /check", s.check)
	s.mux.HandleFunc("/records", s.take)
	s.mux.HandleFunc("/records/{id}", s.take)
	return s, nil
}

// simulatorConfig is how the connector talks to a simulator at baseURL.
func simulatorConfig(baseURL string) json.RawMessage {
	raw, err := json.Marshal(map[string]any{"url": baseURL + "/records", "check_url": baseURL + "/check", "results": map[string]string{"status": "status", "error": "error", "id": "id"}})
	if err != nil {
		return nil // texts always encode
	}
	return raw
}

// ServeHTTP implements http.Handler.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.o.LatencyMS > 0 {
		wait := time.NewTimer(time.Duration(s.o.LatencyMS) * time.Millisecond)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
			return
		}
	}
	s.mux.ServeHTTP(w, r)
}

// Records returns the records by identifier; there is one object.
func (s *Simulator) Records(object string) map[string]tidegate.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]tidegate.Record{}
	if object == objectName {
		for id, r := range s.records {
			out[id] = maps.Clone(r)
		}
	}
	return out
}

// Calls returns how many writes were made and how many records they carried.
func (s *Simulator) Calls() (calls, records int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.carried
}

// admit checks the credentials of a call.
func (s *Simulator) admit(w http.ResponseWriter, r *http.Request, body []byte) bool {
	if s.o.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.o.Token {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "the token is not known"})
		return false
	}
	if len(s.sign.keys) > 0 {
		now := time.Now() //nolint:forbidigo // an endpoint has its own clock
		if err := s.sign.verify(r.Header, now, body); err != nil {
			answer(w, http.StatusUnauthorized, map[string]string{"error": err.Error()})
			return false
		}
	}
	return true
}

func (s *Simulator) check(w http.ResponseWriter, r *http.Request) {
	if s.admit(w, r, nil) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	}
}

// simResult is what became of one record.
type simResult struct {
	Index  int    `json:"index"`
	ID     string `json:"id,omitempty"`
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

func (s *Simulator) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, s.o.MaxBytes+1))
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "the body cannot be read"})
		return
	}
	if !s.admit(w, r, body) {
		return
	}
	if r.Method == http.MethodGet {
		answer(w, http.StatusOK, s.Records(objectName))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if int64(len(body)) > s.o.MaxBytes {
		answer(w, http.StatusRequestEntityTooLarge, map[string]string{"error": "the body is too large"})
		return
	}
	key := r.Header.Get("Idempotency-Key")
	if before, ok := s.seen[key]; ok && key != "" {
		answer(w, http.StatusOK, json.RawMessage(before))
		return
	}
	if id := r.PathValue("id"); id != "" && r.Method == http.MethodDelete {
		s.carried++
		delete(s.records, id)
		answer(w, http.StatusOK, simResult{ID: id, Status: "deleted"})
		return
	}
	s.body(w, key, body)
}

// body takes the records of one envelope or of many.
func (s *Simulator) body(w http.ResponseWriter, key string, body []byte) {
	var one envelope
	var list struct {
		Records []envelope `json:"records"`
	}
	if json.Unmarshal(body, &list) != nil || json.Unmarshal(body, &one) != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "the body is not the envelope"})
		return
	}
	single := list.Records == nil
	if single {
		list.Records = []envelope{one}
	}
	s.carried += int64(len(list.Records))
	if len(list.Records) > s.o.MaxRecords {
		answer(w, http.StatusRequestEntityTooLarge, map[string]string{"error": "too many records"})
		return
	}
	results := make([]simResult, len(list.Records))
	for i, e := range list.Records {
		results[i] = s.one(e)
		results[i].Index = i
	}
	if single {
		status := http.StatusOK
		if results[0].Status == "invalid" {
			status = http.StatusUnprocessableEntity
		}
		s.reply(w, key, status, results[0])
		return
	}
	s.reply(w, key, http.StatusOK, map[string]any{"results": results})
}

// one writes one record.
func (s *Simulator) one(e envelope) simResult {
	id := scalar(e.Identifier)
	if id == "" {
		return simResult{Status: "invalid", Error: "the record has no identifier"}
	}
	if e.Op == tidegate.Removed {
		delete(s.records, id)
		return simResult{ID: id, Status: "deleted"}
	}
	for name, v := range e.Record {
		if s.o.Poison != "" && scalar(v) == s.o.Poison {
			return simResult{ID: id, Status: "invalid", Error: "the value of " + name + " is not allowed"}
		}
	}
	if s.records[id] == nil {
		s.records[id] = tidegate.Record{}
	}
	maps.Copy(s.records[id], e.Record)
	return simResult{ID: id, Status: "ok"}
}

// reply answers, and remembers a good answer under its key.
func (s *Simulator) reply(w http.ResponseWriter, key string, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"error":"internal"}`)
	}
	if key != "" && status == http.StatusOK {
		s.seen[key] = raw
		if s.order = append(s.order, key); len(s.order) > maxSeen {
			delete(s.seen, s.order[0])
			s.order = s.order[1:]
		}
	}
	answer(w, status, json.RawMessage(raw))
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

var simPage = htmltemplate.Must(htmltemplate.New("page").Parse(`<!doctype html><meta charset="utf-8"><title>Webhook, simulated</title>
<style>body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color:#222}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}th{background:#f4f4f4}</style>
<h1>Webhook, simulated</h1><p>{{.Calls}} calls carried {{.Carried}} records so far.</p>
<table><tr><th>identifier</th><th>record</th></tr>{{range .Rows}}<tr><td>{{index . 0}}</td><td><code>{{index . 1}}</code></td></tr>{{end}}</table>`))

// page shows the records to a person.
func (s *Simulator) page(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][2]string
	for _, id := range slices.Sorted(maps.Keys(s.records)) {
		raw, err := json.Marshal(s.records[id])
		if err != nil {
			raw = []byte(strconv.Quote(err.Error()))
		}
		rows = append(rows, [2]string{id, string(raw)})
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = simPage.Execute(w, map[string]any{"Calls": s.calls, "Carried": s.carried, "Rows": rows}) // the reader may be gone
}
