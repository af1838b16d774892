package bqtest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"
	bq "google.golang.org/api/bigquery/v2"
)

// Project is the only project of a Server.
const Project = "test-project"

// maxRequest is BigQuery's limit of a request that is no upload.
const maxRequest = 10 << 20

// Server is a BigQuery in memory. Make one with New.
type Server struct {
	URL      string
	WriteURL string // of the Storage Write API

	db     *sql.DB
	http   *httptest.Server
	life   func() context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	key    *rsa.PrivateKey
	writes *writeService

	mu        sync.Mutex
	jobs      map[string]*job
	order     []*job
	datasets  map[string]*bq.Dataset
	layouts   map[string]layout // of tables, by dataset.table
	sessions  map[string]*session
	uploads   map[string]*upload
	births    int64
	corpus    corpus
	intercept func(Call) *Answer
	denied    map[string]denial // what accounts lack, by their tokens
	locked    bool              // calls without a token are refused
}

// layout is what DuckDB does not keep of a table.
type layout struct {
	day     string
	cluster []string
	born    int64
	large   []string // columns that are BIGNUMERIC without digits, which are texts below
}

// Call is what an interceptor is shown.
type Call struct {
	Method, Path string  // of the Storage Write API: AppendRows and the like, and the stream or table
	Job          *bq.Job // of an insertion, else nil
}

// Answer is what becomes of a call.
type Answer struct {
	Cut     bool // the connection is cut before anything is done
	Lose    bool // the call is carried out, and the connection cut instead of an answer
	Status  int  // otherwise the call is refused with this status
	Reason  string
	Message string
}

// New starts a server that the test closes.
func New(tb testing.TB) *Server {
	tb.Helper()
	s, err := Start()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Start starts a server.
func Start() (*Server, error) {
	connector, err := duckdb.NewConnector("", nil)
	if err != nil {
		return nil, err
	}
	s := &Server{
		db: sql.OpenDB(connector), jobs: map[string]*job{}, datasets: map[string]*bq.Dataset{}, layouts: map[string]layout{},
		sessions: map[string]*session{}, uploads: map[string]*upload{}, denied: map[string]denial{}, births: 1_700_000_000_000,
		corpus: corpus{path: os.Getenv(CorpusEnv), seen: map[string]bool{}},
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.life, s.cancel = func() context.Context { return ctx }, cancel
	for _, statement := range macros {
		if _, err := s.db.ExecContext(s.life(), statement); err != nil {
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	if err := s.serveWrites(); err != nil {
		return nil, err
	}
	s.http = httptest.NewServer(s)
	s.URL = s.http.URL
	return s, nil
}

// Close cancels what runs and ends the server.
func (s *Server) Close() {
	s.cancel()
	s.http.CloseClientConnections()
	s.http.Close()
	s.writes.grpc.Stop()
	s.work.Wait()
	for _, session := range s.sessions {
		_ = session.conn.Close()
	}
	_ = s.db.Close()
}

// Intercept has f asked before every call is answered; nil: nobody. f is called by many goroutines.
func (s *Server) Intercept(f func(Call) *Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Jobs are all jobs that were made, in their order.
func (s *Server) Jobs() []*bq.Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*bq.Job, len(s.order))
	for i, j := range s.order {
		all[i] = j.told
	}
	return all
}

// Sessions is how many sessions are open.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Exec runs DuckDB's SQL in the engine below.
func (s *Server) Exec(tb testing.TB, sql string) {
	tb.Helper()
	if _, err := s.db.ExecContext(s.life(), sql); err != nil {
		tb.Fatal(err)
	}
}

// ServiceAccount returns the key of an account, and has every call want a token
// of one from now on. The account lacks permission, unless that is empty.
func (s *Server) ServiceAccount(tb testing.TB, name, permission string) string {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			tb.Fatal(err)
		}
		s.key = key
	}
	s.locked = true
	s.denied["token-"+name] = denial{permission: permission}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": Project, "client_email": name, "token_uri": s.URL + "/token", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(s.key)})),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// apiError is an error as the API tells it.
type apiError struct {
	status          int
	reason, message string
}

func (e *apiError) Error() string { return e.reason + ": " + e.message }

func failure(status int, reason, format string, args ...any) *apiError {
	return &apiError{status, reason, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) *apiError {
	return failure(http.StatusNotFound, "notFound", "Not found: "+format, args...)
}

var errLost = errors.New("the answer is lost")

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, job, err := s.read(r)
	var answer *Answer
	s.mu.Lock()
	intercept := s.intercept
	s.mu.Unlock()
	if err == nil && intercept != nil && !strings.HasPrefix(r.URL.Path, "/upload/") {
		answer = intercept(Call{Method: r.Method, Path: r.URL.Path, Job: job})
	}
	var reply any
	if err == nil {
		err = s.authorized(r)
	}
	switch {
	case err != nil:
	case answer != nil && answer.Cut:
		s.cut(rw)
		return
	case answer != nil && !answer.Lose:
		err = &apiError{answer.Status, answer.Reason, answer.Message}
	default:
		reply, err = s.route(rw, r, body, job)
	}
	if answer != nil && answer.Lose || errors.Is(err, errLost) {
		s.cut(rw)
		return
	}
	s.reply(rw, reply, err)
}

func (s *Server) read(r *http.Request) ([]byte, *bq.Job, error) {
	if strings.HasPrefix(r.URL.Path, "/upload/") || strings.HasPrefix(r.URL.Path, "/resumable/") || r.URL.Path == "/token" {
		return nil, nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err != nil {
		return nil, nil, failure(http.StatusBadRequest, "invalid", "%v", err)
	}
	if len(body) > maxRequest {
		return nil, nil, failure(http.StatusRequestEntityTooLarge, "uploadTooLarge", "Request payload size exceeds the limit: %d bytes.", maxRequest)
	}
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/jobs") {
		var j bq.Job
		if err := json.Unmarshal(body, &j); err != nil {
			return nil, nil, failure(http.StatusBadRequest, "parseError", "%v", err)
		}
		return body, &j, nil
	}
	return body, nil, nil
}

func (s *Server) cut(rw http.ResponseWriter) {
	if conn, _, err := rw.(http.Hijacker).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

func (s *Server) reply(rw http.ResponseWriter, reply any, err error) {
	rw.Header().Set("Content-Type", "application/json")
	if err != nil {
		e := asAPI(err)
		rw.WriteHeader(e.status)
		_ = json.NewEncoder(rw).Encode(map[string]any{"error": map[string]any{
			"code": e.status, "message": e.message, "status": "INVALID_ARGUMENT",
			"errors": []map[string]string{{"message": e.message, "domain": "global", "reason": e.reason}},
		}})
		return
	}
	if reply == nil {
		rw.WriteHeader(http.StatusNoContent)
		return
	}
	_ = json.NewEncoder(rw).Encode(reply)
}

func (s *Server) route(rw http.ResponseWriter, r *http.Request, body []byte, j *bq.Job) (any, error) {
	path := strings.Trim(r.URL.Path, "/")
	switch {
	case path == "token":
		return s.token(r)
	case strings.HasPrefix(path, "upload/"):
		return s.upload(rw, r)
	case strings.HasPrefix(path, "resumable/"):
		return s.resume(rw, r, strings.TrimPrefix(path, "resumable/"))
	}
	part := strings.Split(strings.TrimPrefix(path, "bigquery/v2/"), "/")
	if len(part) < 3 || part[0] != "projects" || part[1] != Project {
		return nil, notFound("%s %s", r.Method, r.URL.Path)
	}
	name := func(i int) string {
		if i < len(part) {
			return part[i]
		}
		return ""
	}
	switch r.Method + " " + part[2] {
	case "POST jobs":
		if name(4) == "cancel" {
			return s.cancelJob(name(3))
		}
		return s.insert(r, j, nil)
	case "GET jobs":
		return s.getJob(name(3), r.FormValue("fields"))
	case "GET queries":
		return s.results(r, name(3))
	}
	if part[2] == "datasets" {
		return s.catalogue(r.Method, body, name(3), name(4), name(5))
	}
	return nil, notFound("%s %s", r.Method, r.URL.Path)
}

// token answers the exchange of a service account's assertion, whose signature is not looked at.
func (s *Server) token(r *http.Request) (any, error) {
	if err := r.ParseForm(); err != nil {
		return nil, failure(http.StatusBadRequest, "invalid", "%v", err)
	}
	claims := issuer(r.Form.Get("assertion"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.denied["token-"+claims]; !known {
		return nil, failure(http.StatusBadRequest, "invalid_grant", "Invalid grant: account not found")
	}
	return map[string]any{"access_token": "token-" + claims, "token_type": "Bearer", "expires_in": int(time.Hour.Seconds())}, nil
}
