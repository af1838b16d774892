package sftest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// request is a statement as the driver sends it.
type request struct {
	SQL        string         `json:"sqlText"`
	Describe   bool           `json:"describeOnly"`
	Parameters map[string]any `json:"parameters"`
	Bindings   map[string]struct {
		Type  string `json:"type"`
		Value any    `json:"value"`
	} `json:"bindings"`
}

// query begins a statement, or finds the one that the same request has begun.
func (s *Server) query(w http.ResponseWriter, r *http.Request) {
	var told request
	if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	one, instead := s.found(r)
	if instead != nil {
		reply(w, instead)
		return
	}
	tag, _ := told.Parameters["query_tag"].(string)
	if tag == "" {
		tag, _ = told.Parameters["QUERY_TAG"].(string)
	}
	a := s.replaced(Call{Path: r.URL.Path, SQL: told.SQL, Tag: tag, Session: one.id, Role: one.role})
	if a != nil {
		if a.Wait != nil {
			<-a.Wait
		}
		if a.Status != 0 {
			w.WriteHeader(a.Status)
			return
		}
		if a.Code != "" && !a.Done {
			reply(w, refusal(a.Code, "57014", a.Message))
			return
		}
	}
	j := s.begin(r.URL.Query().Get("requestId"), one, told)
	if a != nil && (a.Done || a.Code == "" && a.Wait == nil) {
		<-j.done
		reply(w, refusal("000603", "XX000", "SQL execution internal error: the answer is lost"))
		return
	}
	s.wait(w, r, j)
}

// begin runs a statement, once for a request's id.
func (s *Server) begin(requestID string, one *session, told request) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[requestID]; j != nil {
		return j
	}
	s.births++
	ctx, cancel := context.WithCancel(s.alive())
	j := &job{id: fmt.Sprintf("01bcdef0-0000-0000-0000-%012d", s.births), cancel: cancel, done: make(chan struct{})}
	s.jobs[requestID], s.jobs[j.id] = j, j
	s.work.Go(func() {
		defer close(j.done)
		defer cancel()
		one.mu.Lock()
		defer one.mu.Unlock()
		j.answer = s.answer(ctx, one, told, j.id)
	})
	return j
}

func (s *Server) answer(ctx context.Context, one *session, told request, id string) map[string]any {
	if one.conn == nil {
		conn, err := s.db.Conn(ctx)
		if err == nil {
			_, err = conn.ExecContext(ctx, `SET search_path = 'PUBLIC,main'; SET TimeZone = 'UTC'`)
		}
		if err != nil {
			return refusal("000603", "XX000", err.Error())
		}
		one.conn = conn
	}
	e := engine{s: s, one: one, told: told}
	o, err := e.run(ctx)
	if err != nil {
		var own *apiError
		if !errors.As(translated(err), &own) {
			own = &apiError{"000603", "XX000", err.Error()}
		}
		return refusal(own.code, own.state, own.message)
	}
	return map[string]any{"success": true, "data": mergeData(o, id)}
}

func mergeData(o *outcome, id string) map[string]any {
	d := o.data(id)
	for k, v := range o.more() {
		d[k] = v
	}
	return d
}

// wait answers when the statement is done, or says where to ask again.
func (s *Server) wait(w http.ResponseWriter, r *http.Request, j *job) {
	late := time.NewTimer(s.Patience)
	defer late.Stop()
	select {
	case <-j.done:
		reply(w, j.answer)
	case <-late.C:
		reply(w, map[string]any{"success": false, "code": "333334", "message": "Query in progress", "data": map[string]any{"queryId": j.id, "getResultUrl": "/queries/" + j.id + "/result"}})
	case <-r.Context().Done():
	}
}

func (s *Server) result(w http.ResponseWriter, r *http.Request) {
	if _, instead := s.found(r); instead != nil {
		reply(w, instead)
		return
	}
	s.mu.Lock()
	j := s.jobs[r.PathValue("id")]
	s.mu.Unlock()
	if j == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.wait(w, r, j)
}

// abort cancels a statement by its request's id.
func (s *Server) abort(w http.ResponseWriter, r *http.Request) {
	var told struct {
		RequestID string `json:"requestId"`
	}
	_ = json.NewDecoder(r.Body).Decode(&told)
	s.mu.Lock()
	j := s.jobs[told.RequestID]
	s.mu.Unlock()
	if j != nil {
		j.cancel()
	}
	reply(w, map[string]any{"success": true})
}
