package webhook

import (
	"fmt"
	"net/http"
)

// simJob is a write that is answered later.
type simJob struct {
	left int // questions until it is done
	body any
}

// later makes a job of a good answer, where the simulator works that way. A call
// that is refused is refused at once.
func (s *Simulator) later(a simAnswer) simAnswer {
	if s.o.JobPolls <= 0 || a.status >= 500 {
		return a
	}
	if _, failure := a.body.(simFailure); failure {
		return a
	}
	id := fmt.Sprintf("job-%d", len(s.jobs)+1)
	s.jobs[id] = &simJob{left: s.o.JobPolls, body: a.body}
	return simAnswer{http.StatusAccepted, map[string]string{"job": id}}
}

// job answers for a job.
func (s *Simulator) job(w http.ResponseWriter, r *http.Request) {
	if err := s.admit(r.Header, nil); err != nil {
		answer(w, http.StatusUnauthorized, simFailure{err.Error()})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[r.PathValue("id")]
	switch {
	case j == nil:
		answer(w, http.StatusNotFound, simFailure{"there is no such job"})
	case j.left > 0:
		j.left--
		answer(w, http.StatusOK, map[string]any{"state": "running"})
	default:
		answer(w, http.StatusOK, map[string]any{"state": "done", "result": j.body})
	}
}

// record shows one record.
func (s *Simulator) record(w http.ResponseWriter, r *http.Request) {
	if err := s.admit(r.Header, nil); err != nil {
		answer(w, http.StatusUnauthorized, simFailure{err.Error()})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	record := s.records[r.PathValue("id")]
	if record == nil {
		answer(w, http.StatusNotFound, simFailure{"there is no such record"})
		return
	}
	answer(w, http.StatusOK, record)
}
