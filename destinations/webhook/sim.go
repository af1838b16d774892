package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
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
	// Path is a file in which the simulator keeps what it was told, one JSON
	// object a line; empty: in memory only.
	Path string `json:"path,omitempty"`
	// Token, when set, is the bearer token that calls must carry.
	Token string `json:"token,omitempty"`
	// Secret, when set, is the secret by which calls must be signed.
	Secret string `json:"secret,omitempty"`
	// AnyTime takes signatures of any time, for callers whose clock is not the
	// real one; otherwise they may be five minutes old.
	AnyTime bool `json:"any_time,omitempty"`
	// Poison refuses records that hold this value in any field: one record a
	// call with a 422, among others in its result.
	Poison string `json:"poison,omitempty"`
	// LatencyMS delays every answer.
	LatencyMS int `json:"latency_ms,omitempty"`
	// FailEvery answers every n-th write with a 503 and applies nothing; 0: never.
	FailEvery int `json:"fail_every,omitempty"`
	// CallsPerSecond above which writes get a 429; 0: no limit.
	CallsPerSecond int `json:"calls_per_second,omitempty"`
	// JobPolls, when set, answers writes with a 202 and a job, which is done when it
	// was asked for so many times: GET /jobs/ID.
	JobPolls int `json:"job_polls,omitempty"`
	// MaxRecords and MaxBytes of a body; more is a 413. 0: 1000 and 1 MiB.
	MaxRecords int   `json:"max_records,omitempty"`
	MaxBytes   int64 `json:"max_bytes,omitempty"`
}

// Simulator is an endpoint that remembers the records it was sent on any path,
// in the default envelope, as lists, or as bare objects whose identifier is the
// path's last segment (/records/42) or their field id. It checks tokens and
// signatures and drops calls whose idempotency key it has seen.
//
// GET / shows the records to a person, GET /records gives them as JSON, and GET
// /check proves credentials.
type Simulator struct {
	o    SimulatorOptions
	sign signer
	mux  *http.ServeMux

	mu      sync.Mutex
	records map[string]tidegate.Record // by identifier
	seen    map[string]simAnswer       // by idempotency key
	order   []string                   // keys of seen, oldest first
	recent  []time.Time                // of the writes of the last second
	jobs    map[string]*simJob
	calls   int64
	carried int64
	file    *os.File
}

// simAnswer is what a call was answered.
type simAnswer struct {
	status int
	body   any
}

const maxSeen = 10_000

// NewSimulator makes a simulator of the options, which may be nil. Close it
// when it has a file.
func NewSimulator(options json.RawMessage) (*Simulator, error) {
	s := &Simulator{mux: http.NewServeMux(), records: map[string]tidegate.Record{}, seen: map[string]simAnswer{}, jobs: map[string]*simJob{}}
	if len(options) > 0 {
		dec := json.NewDecoder(bytes.NewReader(options))
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
	if err := s.restore(); err != nil {
		return nil, err
	}
	s.mux.HandleFunc("GET /{$}", s.page)
	s.mux.HandleFunc("GET /check", s.check)
	s.mux.HandleFunc("GET /records", s.list)
	s.mux.HandleFunc("GET /records/{id}", s.record)
	s.mux.HandleFunc("GET /jobs/{id}", s.job)
	s.mux.HandleFunc("/", s.take)
	return s, nil
}

// simulatorConfig is how the connector talks to a simulator at baseURL.
func simulatorConfig(baseURL string) json.RawMessage {
	raw, err := json.Marshal(map[string]any{
		"url": baseURL + "/records", "check_url": baseURL + "/check",
		"results": map[string]string{"status": "status", "error": "error", "id": "id"},
	})
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

// Close closes the simulator's file.
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

// now is the endpoint's own clock.
func (s *Simulator) now() time.Time {
	return time.Now() //nolint:forbidigo // an endpoint has its own clock
}

// admit checks the credentials of a call.
func (s *Simulator) admit(h http.Header, body []byte) error {
	if s.o.Token != "" && h.Get("Authorization") != "Bearer "+s.o.Token {
		return errors.New("the token is not known")
	}
	if len(s.sign.keys) == 0 {
		return nil
	}
	tolerance := 5 * time.Minute
	if s.o.AnyTime {
		tolerance = -1
	}
	return s.sign.verify(h, s.now(), tolerance, body)
}

func (s *Simulator) check(w http.ResponseWriter, r *http.Request) {
	if err := s.admit(r.Header, nil); err != nil {
		answer(w, http.StatusUnauthorized, simFailure{err.Error()})
		return
	}
	answer(w, http.StatusOK, simResult{Status: "ok"})
}

func (s *Simulator) list(w http.ResponseWriter, r *http.Request) {
	if err := s.admit(r.Header, nil); err != nil {
		answer(w, http.StatusUnauthorized, simFailure{err.Error()})
		return
	}
	answer(w, http.StatusOK, s.Records(objectName))
}

// simResult is what became of one record.
type simResult struct {
	Index  int    `json:"index"`
	ID     string `json:"id,omitempty"`
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

// simFailure is what became of a call that was refused as a whole.
type simFailure struct {
	Error string `json:"error"`
}

// take answers one write.
func (s *Simulator) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, s.o.MaxBytes+1))
	if err != nil {
		answer(w, http.StatusBadRequest, simFailure{"the body cannot be read"})
		return
	}
	if err := s.admit(r.Header, body); err != nil {
		answer(w, http.StatusUnauthorized, simFailure{err.Error()})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if status, refused := s.refuse(w.Header(), r.Method, int64(len(body))); refused != nil {
		answer(w, status, *refused)
		return
	}
	key := r.Header.Get("Idempotency-Key")
	before, again := s.seen[key]
	if !again || key == "" {
		before = s.later(s.apply(r, body))
		s.remember(key, before)
	}
	answer(w, before.status, before.body)
}

// refuse finds what is wrong with a call before its body is looked at.
func (s *Simulator) refuse(h http.Header, method string, size int64) (status int, _ *simFailure) {
	now := s.now()
	s.recent = slices.DeleteFunc(s.recent, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	switch {
	case !slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, method):
		h.Set("Allow", "POST, PUT, PATCH, DELETE")
		return http.StatusMethodNotAllowed, &simFailure{"records are written by POST, PUT, PATCH and DELETE"}
	case size > s.o.MaxBytes:
		return http.StatusRequestEntityTooLarge, &simFailure{"the body is too large"}
	case s.o.CallsPerSecond > 0 && len(s.recent) >= s.o.CallsPerSecond:
		h.Set("Retry-After", "1")
		return http.StatusTooManyRequests, &simFailure{"too many calls in a second"}
	case s.o.FailEvery > 0 && s.calls%int64(s.o.FailEvery) == 0:
		return http.StatusServiceUnavailable, &simFailure{"not now"}
	}
	s.recent = append(s.recent, now)
	return 0, nil
}

// apply writes the records of one call.
func (s *Simulator) apply(r *http.Request, body []byte) simAnswer {
	path := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	id := ""
	if len(path) > 1 {
		id, _ = url.PathUnescape(path[len(path)-1]) // the server has refused what cannot be unescaped
	}
	if r.Method == http.MethodDelete && len(body) == 0 {
		if id == "" {
			return simAnswer{http.StatusBadRequest, simFailure{"the call does not name a record"}}
		}
		s.carried++
		if s.records[id] == nil {
			return simAnswer{http.StatusNotFound, simFailure{"there is no such record"}}
		}
		return single200(s.one(simRecord{id: id, gone: true}))
	}
	list, many, err := parseSim(body, id, r.Method == http.MethodDelete)
	if err != nil {
		return simAnswer{http.StatusBadRequest, simFailure{err.Error()}}
	}
	if len(list) > s.o.MaxRecords {
		return simAnswer{http.StatusRequestEntityTooLarge, simFailure{"too many records"}}
	}
	s.carried += int64(len(list))
	results := make([]simResult, len(list))
	for i, rec := range list {
		results[i] = s.one(rec)
		results[i].Index = i
	}
	if many {
		return simAnswer{http.StatusOK, map[string]any{"results": results}}
	}
	return single200(results[0])
}

func single200(r simResult) simAnswer {
	switch r.Status {
	case "invalid":
		return simAnswer{http.StatusUnprocessableEntity, r}
	case "error":
		return simAnswer{http.StatusInternalServerError, r}
	}
	return simAnswer{http.StatusOK, r}
}

// one writes one record.
func (s *Simulator) one(rec simRecord) simResult {
	if rec.id == "" {
		return simResult{Status: "invalid", Error: "the record has no identifier"}
	}
	if rec.gone {
		rec.fields = nil
	}
	if rec.cleared && s.records[rec.id] == nil {
		return simResult{ID: rec.id, Status: "unchanged"}
	}
	for _, name := range slices.Sorted(maps.Keys(rec.fields)) {
		if s.o.Poison != "" && scalar(rec.fields[name]) == s.o.Poison {
			return simResult{ID: rec.id, Status: "invalid", Error: "the value of " + strconv.Quote(name) + " is not allowed"}
		}
	}
	if err := s.keep(rec); err != nil {
		return simResult{ID: rec.id, Status: "error", Error: "the record cannot be kept"}
	}
	if rec.gone {
		return simResult{ID: rec.id, Status: "deleted"}
	}
	return simResult{ID: rec.id, Status: "ok"}
}

// remember keeps a good answer under its key.
func (s *Simulator) remember(key string, a simAnswer) {
	if key == "" || a.status != http.StatusOK && a.status != http.StatusAccepted {
		return
	}
	s.seen[key] = a
	if s.order = append(s.order, key); len(s.order) > maxSeen {
		delete(s.seen, s.order[0])
		s.order = s.order[1:]
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}
