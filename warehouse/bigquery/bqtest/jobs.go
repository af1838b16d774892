package bqtest

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	bq "google.golang.org/api/bigquery/v2"
)

// job is one job. told is what the API says of it; mu of the server guards that.
type job struct {
	told   *bq.Job
	who    denial
	cancel context.CancelFunc
	done   chan struct{}
	out    *outcome
}

// outcome is the result of a query.
type outcome struct {
	fields   []*bq.TableFieldSchema
	rows     [][]any
	affected int64
	kind     string
}

// session is a connection that keeps its transaction from query to query.
type session struct {
	mu   sync.Mutex // one query at a time
	conn *sql.Conn
	open bool // a transaction is
}

func issuer(assertion string) string {
	part := strings.Split(assertion, ".")
	if len(part) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	_ = json.Unmarshal(text, &claims) // no issuer, no account
	return claims.Issuer
}

func asAPI(err error) *apiError {
	var e *apiError
	if errors.As(err, &e) {
		return e
	}
	return failure(http.StatusInternalServerError, "backendError", "%v", err)
}

var jobID = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// insert makes a job, of rows that an upload brought where there was one.
func (s *Server) insert(r *http.Request, j *bq.Job, media []byte) (any, error) {
	if j.Configuration == nil || j.Configuration.Query == nil && j.Configuration.Load == nil {
		return nil, failure(http.StatusBadRequest, "invalid", "Required parameter is missing: configuration")
	}
	for key, value := range j.Configuration.Labels {
		if key != strings.ToLower(key) || value != strings.ToLower(value) || len(key) > 63 {
			return nil, failure(http.StatusBadRequest, "invalid", "Label %s:%s has invalid characters", key, value)
		}
	}
	if j.Configuration.DryRun {
		return s.dryRun(j)
	}
	if j.JobReference == nil || !jobID.MatchString(j.JobReference.JobId) {
		return nil, failure(http.StatusBadRequest, "invalid", "Invalid job ID")
	}
	who, _ := s.who(r.Header.Get("Authorization")) // authorized has let it in
	ctx, cancel := context.WithCancel(s.life())
	made := &job{told: j, who: who, cancel: cancel, done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.jobs[j.JobReference.JobId]; there {
		cancel()
		return nil, failure(http.StatusConflict, "duplicate", "Already Exists: Job %s:%s.%s", Project, j.JobReference.Location, j.JobReference.JobId)
	}
	s.jobs[j.JobReference.JobId] = made
	s.order = append(s.order, made)
	s.births++
	j.Status = &bq.JobStatus{State: "RUNNING"}
	j.Statistics = &bq.JobStatistics{CreationTime: s.births}
	if q := j.Configuration.Query; q != nil && q.CreateSession {
		conn, err := s.db.Conn(s.life())
		if err != nil {
			cancel()
			return nil, err
		}
		id := fmt.Sprintf("session-%d", s.births)
		s.sessions[id] = &session{conn: conn}
		j.Statistics.SessionInfo = &bq.SessionInfo{SessionId: id}
	}
	s.work.Go(func() { s.carryOut(ctx, made, media) })
	return copyOf(j), nil
}

func copyOf(j *bq.Job) *bq.Job {
	c := *j
	status := *j.Status
	c.Status = &status
	return &c
}

// carryOut carries a job out.
func (s *Server) carryOut(ctx context.Context, j *job, media []byte) {
	defer close(j.done)
	defer j.cancel()
	var err error
	var out *outcome
	var loaded int64
	if q := j.told.Configuration.Query; q != nil {
		out, err = s.query(ctx, j, q)
	} else {
		loaded, err = s.loadRows(ctx, j.who, j.told.Configuration.Load, media)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status := &bq.JobStatus{State: "DONE"}
	stats := *j.told.Statistics
	switch {
	case err != nil && ctx.Err() != nil:
		status.ErrorResult = &bq.ErrorProto{Reason: "stopped", Message: "Job execution was cancelled: User requested cancellation"}
	case err != nil:
		e := asAPI(err)
		status.ErrorResult = &bq.ErrorProto{Reason: e.reason, Message: e.message}
		status.Errors = []*bq.ErrorProto{status.ErrorResult}
	case out != nil:
		j.out = out
		stats.Query = &bq.JobStatistics2{NumDmlAffectedRows: out.affected, StatementType: out.kind}
		if out.kind == "MERGE" {
			stats.Query.NumDmlAffectedRows, stats.Query.DmlStats = 0, &bq.DmlStatistics{InsertedRowCount: out.affected}
		}
	default:
		stats.Load = &bq.JobStatistics3{OutputRows: loaded}
	}
	told := *j.told
	told.Status, told.Statistics = status, &stats
	j.told = &told
}

// getJob tells of a job; with its configuration, which may be large, where that is asked for.
func (s *Server) getJob(id, fields string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.jobs[id]
	if !ok {
		return nil, notFound("Job %s:%s", Project, id)
	}
	told := copyOf(j.told)
	if fields != "" && !strings.Contains(fields, "configuration") {
		told.Configuration = nil
	}
	return told, nil
}

func (s *Server) cancelJob(id string) (any, error) {
	s.mu.Lock()
	j, ok := s.jobs[id]
	s.mu.Unlock()
	if !ok {
		return nil, notFound("Job %s:%s", Project, id)
	}
	j.cancel()
	<-j.done
	return &bq.JobCancelResponse{}, nil
}

// maxPage is about how many bytes of rows a page has.
const maxPage = 10 << 20

// results answers with a page, once the job is done.
func (s *Server) results(r *http.Request, id string) (any, error) {
	answer := &bq.GetQueryResultsResponse{}
	s.mu.Lock()
	j, ok := s.jobs[id]
	if ok {
		answer.JobReference = j.told.JobReference
	}
	s.mu.Unlock()
	if !ok {
		return nil, notFound("Job %s:%s", Project, id)
	}
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(r.FormValue(name)); err == nil {
			return n
		}
		return otherwise
	}
	timer := time.NewTimer(time.Duration(number("timeoutMs", 10_000)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-j.done:
	case <-timer.C:
		return answer, nil
	case <-r.Context().Done():
		return answer, nil
	}
	s.mu.Lock()
	status, out := j.told.Status, j.out
	s.mu.Unlock()
	if e := status.ErrorResult; e != nil {
		code := http.StatusBadRequest
		switch e.Reason {
		case "notFound":
			code = http.StatusNotFound
		case "accessDenied":
			code = http.StatusForbidden
		case "backendError":
			code = http.StatusInternalServerError
		}
		return nil, failure(code, e.Reason, "%s", e.Message)
	}
	if out == nil {
		return nil, failure(http.StatusBadRequest, "invalid", "Cannot get results of a job that is no query")
	}
	from := number("startIndex", 0)
	if token := r.FormValue("pageToken"); token != "" {
		from, _ = strconv.Atoi(token)
	}
	to, size := from, 0
	for most := number("maxResults", 100_000); to < len(out.rows) && to-from < most && size < maxPage; to++ {
		row := &bq.TableRow{F: make([]*bq.TableCell, len(out.rows[to]))}
		for i, v := range out.rows[to] {
			row.F[i] = &bq.TableCell{V: v}
			if text, ok := v.(string); ok {
				size += len(text)
			}
			if v == nil {
				row.F[i].NullFields = []string{"V"}
			}
		}
		answer.Rows = append(answer.Rows, row)
	}
	answer.JobComplete, answer.TotalRows = true, uint64(len(out.rows))
	if out.kind != "MERGE" { // which is promised in the statistics only
		answer.NumDmlAffectedRows = out.affected
	}
	answer.Schema = &bq.TableSchema{Fields: out.fields}
	if to < len(out.rows) && to > from {
		answer.PageToken = strconv.Itoa(to)
	}
	return answer, nil
}
