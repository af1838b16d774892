package sftest

import (
	"compress/gzip"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the engine

	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// What may log in, and where.
const (
	Database = "ANALYTICS"
	Compute  = "COMPUTE" // the virtual warehouse
	User     = "tidegate"
	Password = "open sesame"
	Token    = "a token"
)

// roles are those of the user; the first is the default.
var roles = []string{"LOADER", "READER"}

// Call is a call of the API.
type Call struct {
	Path    string
	SQL     string
	Tag     string // the QUERY_TAG
	Session int
	Role    string
}

// Answer replaces what would be answered. The zero value says that the statement is
// done and its answer replaced by an internal error.
type Answer struct {
	Status        int           // of HTTP; then nothing is done
	Code, Message string        // of Snowflake; then nothing is done, unless Done
	Done          bool          // the statement is done before
	Wait          chan struct{} // the call waits for it
}

// Server is the double. Make one with New.
type Server struct {
	URL string
	// Patience is how long a statement is waited for before the driver is told to ask again.
	Patience time.Duration
	// PublicKey is that of the user's key; JSON says that queries are answered as JSON.
	PublicKey *rsa.PublicKey
	JSON      bool

	db     *sql.DB
	dir    string
	writer chan struct{} // one transaction writes at a time
	end    context.CancelFunc
	alive  func() context.Context // until end
	work   sync.WaitGroup

	mu        sync.Mutex
	births    int
	sessions  map[string]*session // by token
	jobs      map[string]*job     // by request id and by query id
	calls     []Call
	intercept func(Call) *Answer
	states    map[string]string // of transactions
	stages    map[string]bool
	copied    map[string]bool // files that a table has: its name and theirs
	lengths   map[string]int64
	epoch     int // tokens of older ones have expired
}

type session struct {
	id     int
	master string
	role   string
	where  map[string]string // its database, schema, warehouse and role; "" what is not there
	epoch  int
	gone   bool
	mu     sync.Mutex // one statement at a time
	conn   *sql.Conn
	open   bool // a transaction
	begun  bool // DuckDB has it, too; the session is the one that writes
	tx     string
	files  []string // that it has copied
}

// job is a statement that runs or has run.
type job struct {
	id     string
	cancel context.CancelFunc
	done   chan struct{}
	answer map[string]any
}

// New starts a double that ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	for _, m := range append([]string{"SET GLOBAL temp_directory = " + quoteText(filepath.Join(dir, "spilled"))}, macros...) {
		if _, err := db.ExecContext(tb.Context(), m); err != nil {
			tb.Fatalf("%s: %v", m, err)
		}
	}
	s := &Server{
		Patience: 30 * time.Second, db: db, dir: dir, writer: make(chan struct{}, 1), sessions: map[string]*session{}, jobs: map[string]*job{},
		states: map[string]string{}, stages: map[string]bool{}, copied: map[string]bool{}, lengths: map[string]int64{},
	}
	life, end := context.WithCancel(context.Background())
	s.alive, s.end = func() context.Context { return life }, end
	h := httptest.NewServer(s.handler())
	s.URL = h.URL
	tb.Cleanup(func() {
		s.end()
		s.work.Wait()
		h.Close()
		if err := db.Close(); err != nil {
			tb.Errorf("closing the double: %v", err)
		}
	})
	return s
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /session/v1/login-request", s.login)
	mux.HandleFunc("POST /session/token-request", s.renew)
	mux.HandleFunc("POST /session", s.logout)
	mux.HandleFunc("POST /queries/v1/query-request", s.query)
	mux.HandleFunc("GET /queries/{id}/result", s.result)
	mux.HandleFunc("POST /queries/v1/abort-request", s.abort)
	mux.HandleFunc("GET /chunks/{id}", s.chunk)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
			if z, err := gzip.NewReader(r.Body); err == nil {
				r.Body = io.NopCloser(z)
			}
		}
		if r.URL.Path != "/queries/v1/query-request" { // that one has its SQL
			c := Call{Path: r.URL.Path}
			if a := s.replaced(c); a != nil && a.Status != 0 {
				w.WriteHeader(a.Status)
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// Intercept sets what replaces answers; nil: nothing.
func (s *Server) Intercept(f func(Call) *Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

func (s *Server) replaced(c Call) *Answer {
	s.mu.Lock()
	s.calls = append(s.calls, c)
	f := s.intercept
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(c)
}

// Calls are all calls so far.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call{}, s.calls...)
}

// Expire makes every session's token too old; the driver can renew it.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
}

// Forget ends every session.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.sessions {
		one.gone = true
	}
}

func reply(w http.ResponseWriter, v map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refusal(code, state, message string) map[string]any {
	return map[string]any{"success": false, "code": code, "message": message, "data": map[string]any{"sqlState": state, "queryId": "01b", "errorCode": code}}
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var told struct {
		Data struct {
			User          string         `json:"LOGIN_NAME"`
			Password      string         `json:"PASSWORD"`
			Authenticator string         `json:"AUTHENTICATOR"`
			Token         string         `json:"TOKEN"`
			Params        map[string]any `json:"SESSION_PARAMETERS"`
		} `json:"data"`
	}
	if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	d := told.Data
	var ok bool
	switch strings.ToUpper(d.Authenticator) {
	case "SNOWFLAKE_JWT":
		if ok = s.verified(d.Token); !ok {
			reply(w, refusal("390144", "08004", "JWT token is invalid."))
			return
		}
	case "OAUTH", "PROGRAMMATIC_ACCESS_TOKEN":
		if ok = d.Token == Token; !ok {
			reply(w, refusal("394400", "08004", "Programmatic access token is invalid."))
			return
		}
	default:
		if ok = strings.EqualFold(d.User, User) && d.Password == Password; !ok {
			reply(w, refusal("390100", "08004", "Incorrect username or password was specified."))
			return
		}
	}
	where := s.place(r.URL.Query())
	role := where["role"]
	if !slices.Contains(roles, role) {
		reply(w, refusal("390189", "08004", "Role '"+role+"' specified in the connect string does not exist or not authorized. Contact your local system administrator, or attempt to login with another role, e.g. PUBLIC."))
		return
	}
	for name, want := range map[string]string{"TIMEZONE": "UTC", "CLIENT_SESSION_KEEP_ALIVE": "false", "MULTI_STATEMENT_COUNT": "1"} {
		if fmt.Sprint(d.Params[name]) != want {
			reply(w, refusal("390099", "08004", "the double wants "+name+" = "+want))
			return
		}
	}
	s.mu.Lock()
	s.births++
	one := &session{id: s.births, master: fmt.Sprint("master", s.births), role: role, where: where, epoch: s.epoch}
	token := fmt.Sprint("token", s.births)
	s.sessions[token] = one
	s.mu.Unlock()
	reply(w, map[string]any{"success": true, "data": map[string]any{
		"token": token, "masterToken": one.master, "sessionId": one.id, "validityInSeconds": 3600, "masterValidityInSeconds": 14400, "parameters": []any{},
		"sessionInfo": map[string]any{"databaseName": where["database"], "schemaName": where["schema"], "warehouseName": where["warehouse"], "roleName": role},
	}})
}

// place is where a session is. As with Snowflake a database, a schema and a virtual warehouse that
// do not exist are no mistake of the login: the session has none.
func (s *Server) place(told url.Values) map[string]string {
	name := func(parameter string) string {
		text := told.Get(parameter)
		if inner, ok := strings.CutPrefix(text, `"`); ok {
			return strings.TrimSuffix(inner, `"`)
		}
		return sqltext.Upper(text)
	}
	where := map[string]string{"role": name("roleName"), "warehouse": name("warehouse"), "database": name("databaseName"), "schema": name("schemaName")}
	if where["role"] == "" {
		where["role"] = roles[0]
	}
	if where["warehouse"] != Compute {
		where["warehouse"] = ""
	}
	if where["database"] != Database {
		where["database"], where["schema"] = "", ""
	}
	var there bool
	if err := s.db.QueryRowContext(s.alive(), "SELECT count(*) > 0 FROM information_schema.schemata WHERE schema_name = $1", where["schema"]).Scan(&there); err != nil || !there {
		where["schema"] = ""
	}
	return where
}

// verified checks a token that is signed with the user's key.
func (s *Server) verified(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || s.PublicKey == nil {
		return false
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return err == nil && rsa.VerifyPKCS1v15(s.PublicKey, crypto.SHA256, sum[:], signature) == nil
}

func tokenOf(r *http.Request) string {
	return strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Authorization"), `Snowflake Token="`), `"`)
}

func (s *Server) renew(w http.ResponseWriter, r *http.Request) {
	master := tokenOf(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, one := range s.sessions {
		if one.master == master && !one.gone {
			delete(s.sessions, token)
			s.births++
			one.epoch = s.epoch
			fresh := fmt.Sprint("token", s.births)
			s.sessions[fresh] = one
			reply(w, map[string]any{"success": true, "data": map[string]any{"sessionToken": fresh, "masterToken": master, "sessionId": one.id}})
			return
		}
	}
	reply(w, refusal("390114", "08001", "Authentication token has expired.  The user must authenticate again."))
}

// found is the session of a call, or what is answered instead.
func (s *Server) found(r *http.Request) (*session, map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.sessions[tokenOf(r)]
	switch {
	case one == nil || one.gone:
		return nil, refusal("390111", "08002", "Session no longer exists.  New login required to access the service.")
	case one.epoch != s.epoch:
		return nil, refusal("390112", "08002", "Your session has expired. Please login again.")
	}
	return one, nil
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	one := s.sessions[tokenOf(r)]
	delete(s.sessions, tokenOf(r))
	s.mu.Unlock()
	if one != nil {
		one.mu.Lock()
		defer one.mu.Unlock()
		s.undo(one)
		if one.conn != nil {
			_ = one.conn.Close()
		}
	}
	reply(w, map[string]any{"success": true})
}

func (s *Server) chunk(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("x-test") != "1" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	body, err := os.ReadFile(filepath.Join(s.dir, "chunk_"+r.PathValue("id")))
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if a := s.replaced(Call{Path: "/part"}); a != nil { // breaks off in the middle
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		body = body[:len(body)/2]
	}
	_, _ = w.Write(body)
}
