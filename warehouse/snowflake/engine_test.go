package snowflake_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/youmark/pkcs8"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/snowflake"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

func keys(t *testing.T) (public *rsa.PublicKey, plain, encrypted string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := pkcs8.MarshalPrivateKey(key, []byte("pass"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: sealed}))
}

func TestLogin(t *testing.T) {
	t.Parallel()
	public, plain, encrypted := keys(t)
	_, other, _ := keys(t)
	for _, c := range []struct {
		name string
		set  func(*snowflake.Config)
		code string // of the fault; empty: it works
	}{
		{"password", func(*snowflake.Config) {}, ""},
		{"wrong password", func(c *snowflake.Config) { c.Password = secret.New("canary-secret") }, "auth.refused"},
		{"key", func(c *snowflake.Config) { c.Password, c.PrivateKey = secret.Secret{}, secret.New(plain) }, ""},
		{"encrypted key", func(c *snowflake.Config) {
			c.Password, c.PrivateKey, c.PrivateKeyPassphrase = secret.Secret{}, secret.New(encrypted), secret.New("pass")
		}, ""},
		{"wrong passphrase", func(c *snowflake.Config) {
			c.Password, c.PrivateKey, c.PrivateKeyPassphrase = secret.Secret{}, secret.New(encrypted), secret.New("canary-secret")
		}, "auth.refused"},
		{"no passphrase", func(c *snowflake.Config) { c.Password, c.PrivateKey = secret.Secret{}, secret.New(encrypted) }, "auth.refused"},
		{"no key", func(c *snowflake.Config) { c.Password, c.PrivateKey = secret.Secret{}, secret.New("canary-secret") }, "auth.refused"},
		{"another's key", func(c *snowflake.Config) { c.Password, c.PrivateKey = secret.Secret{}, secret.New(other) }, "auth.refused"},
		{"token", func(c *snowflake.Config) { c.Password, c.Token = secret.Secret{}, secret.New(sftest.Token) }, ""},
		{"OAuth token", func(c *snowflake.Config) {
			c.Password, c.Token, c.TokenKind = secret.Secret{}, secret.New(sftest.Token), "oauth"
		}, ""},
		{"wrong token", func(c *snowflake.Config) { c.Password, c.Token = secret.Secret{}, secret.New("canary-secret") }, "auth.refused"},
		{"two ways", func(c *snowflake.Config) { c.Token = secret.New("canary-secret") }, "warehouse.config"},
		{"no way", func(c *snowflake.Config) { c.Password = secret.Secret{} }, "warehouse.config"},
		{"no account", func(c *snowflake.Config) { c.Account = "" }, "warehouse.config"},
		{"no database", func(c *snowflake.Config) { c.Database = "" }, "warehouse.config"},
		{"no address", func(c *snowflake.Config) { c.Account, c.Endpoint = "acme/../evil", "" }, "warehouse.config"},
		{"role that is not granted", func(c *snowflake.Config) { c.Role = "nobody" }, "warehouse.permission"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, s := config(t)
			s.PublicKey = public
			c.set(&cfg)
			w, err := snowflake.Open(t.Context(), cfg, env(t))
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if f := tidegate.FaultOf(err); err == nil || f.Code != c.code || f.Action != tidegate.Halt || f.Hint == "" {
				t.Errorf("got %+v, want %s", f, c.code)
			}
			if strings.Contains(fmt.Sprintf("%v %+v", err, tidegate.FaultOf(err)), "canary-secret") {
				t.Errorf("%v holds a secret", err)
			}
		})
	}
}

// TestRolesAndTags: queries run as the role that reads, everything else as the one that
// writes; every statement says what it is for; nothing else is called.
func TestRolesAndTags(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	cfg.ReadRole, cfg.Tag = "reader", "growth"
	w := open(t, cfg)
	table := warehouse.Table{Schema: "s", Name: "t"}
	schema := tidegate.Schema{{Name: "n", Type: tidegate.Type{Kind: tidegate.Int}}}
	if _, err := w.Ensure(t.Context(), table, schema); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, tidegate.Rows(schema, tidegate.Row{int64(1)})); err != nil {
		t.Fatal(err)
	}
	if got := warehousetest.Rows(t, w, "SELECT n FROM s.t"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	ops := map[string]bool{}
	for _, c := range s.Calls() {
		switch c.Path {
		case "/session/v1/login-request", "/session", "/queries/v1/query-request":
		default:
			t.Errorf("the driver called %s", c.Path)
		}
		if c.SQL == "" {
			continue
		}
		if !strings.Contains(c.Tag, `"app":"tidegate"`) || !strings.Contains(c.Tag, `"tag":"growth"`) {
			t.Errorf("%s is tagged %q", c.SQL, c.Tag)
		}
		for _, op := range []string{"greet", "schema", "begin", "load", "books", "commit", "query"} {
			if strings.Contains(c.Tag, `"op":"`+op+`"`) {
				ops[op] = true
			}
		}
		if reads := c.SQL == "SELECT n FROM s.t"; reads != (c.Role == "READER") && !strings.Contains(c.Tag, "greet") {
			t.Errorf("%s ran as %s", c.SQL, c.Role)
		}
	}
	if len(ops) != 7 {
		t.Errorf("there were %v", ops)
	}
}

// numbers gives rows of n and a text of a hundred bytes.
type numbers struct {
	schema  tidegate.Schema
	at, end int
}

func newNumbers(n int) *numbers {
	return &numbers{schema: tidegate.Schema{{Name: "n", Type: tidegate.Type{Kind: tidegate.Int}}, {Name: "v", Type: tidegate.Type{Kind: tidegate.String}}}, end: n}
}

func (r *numbers) Schema() tidegate.Schema { return r.schema }
func (r *numbers) Close() error            { return nil }

func (r *numbers) Next(context.Context) (tidegate.Row, error) {
	if r.at == r.end {
		return nil, io.EOF
	}
	r.at++
	return tidegate.Row{int64(r.at), strings.Repeat("x", 100)}, nil
}

func made(t *testing.T, w *snowflake.Warehouse) warehouse.Table {
	t.Helper()
	table := warehouse.Table{Schema: "s", Name: "t"}
	if _, err := w.Ensure(t.Context(), table, newNumbers(0).schema); err != nil {
		t.Fatal(err)
	}
	return table
}

// TestFilesGoThroughTheStage: many rows are put and copied under a name made of the
// load's ID, and nothing stays; what Snowflake remembers of copied files is a second guard.
func TestFilesGoThroughTheStage(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	table := made(t, w)
	const n = 20_000
	paths := map[string]int{}
	for i, l := range []warehouse.Load{{ID: "a", Table: table}, {ID: "a", Table: table}, {ID: "b", Table: table, Key: []string{"n"}}} {
		wrote, err := w.Load(t.Context(), l, newNumbers(n))
		if want := int64([]int{n, 0, n}[i]); err != nil || wrote != want {
			t.Fatalf("load %d: %d, %v", i, wrote, err)
		}
	}
	for _, c := range s.Calls() {
		if lead, rest, ok := strings.Cut(c.SQL, `@"_TIDEGATE"."LOADS"/`); ok {
			path, _, _ := strings.Cut(rest, "/")
			paths[strings.Fields(lead)[0]+" "+path]++
		}
	}
	if len(s.Staged()) != 0 {
		t.Errorf("the stage holds %v", s.Staged())
	}
	verbs := map[string]int{}
	for p := range paths {
		verbs[strings.Fields(p)[0]]++
	}
	if d := cmp.Diff(map[string]int{"REMOVE": 2, "PUT": 2, "COPY": 1, "MERGE": 1}, verbs); d != "" {
		t.Errorf("%s\n%v", d, paths)
	}
	// The books are lost, and Snowflake still knows the file of the first load.
	if _, err := w.Exec(t.Context(), `DELETE FROM "_TIDEGATE"."LOADS" WHERE load_id = :1`, "a"); err != nil {
		t.Fatal(err)
	}
	if wrote, err := w.Load(t.Context(), warehouse.Load{ID: "a", Table: table}, newNumbers(n)); wrote != 0 || err != nil {
		t.Errorf("a file that was copied wrote %d rows, %v", wrote, err)
	}
}

// TestLoadsOfTwoHubs: the same load by two warehouses at once is one load; the one that
// loses is told so without an error.
func TestLoadsOfTwoHubs(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	one, two := open(t, cfg), open(t, cfg)
	table := made(t, one)
	var group sync.WaitGroup
	var wrote atomic.Int64
	// Both have looked before either has written.
	looked := make(chan struct{})
	var looks atomic.Int64
	s.Intercept(func(c sftest.Call) *sftest.Answer {
		if strings.HasPrefix(c.SQL, "SELECT table_schema, table_name FROM") && looks.Add(1) == 2 {
			close(looked)
		}
		if strings.HasPrefix(c.SQL, `INSERT INTO "S"."T"`) {
			<-looked
		}
		return nil
	})
	for _, w := range []*snowflake.Warehouse{one, two} {
		group.Go(func() {
			n, err := w.Load(t.Context(), warehouse.Load{ID: "same", Table: table}, newNumbers(10))
			if err != nil {
				t.Error(err)
			}
			wrote.Add(n)
		})
	}
	group.Wait()
	if got := warehousetest.Rows(t, one, "SELECT COUNT(*) FROM s.t")[0][0]; got != int64(10) || wrote.Load() != 10 {
		t.Errorf("%v rows are there, and %d were written", got, wrote.Load())
	}
}

// TestLostCommit: when a commit gives no answer, Snowflake is asked what became of it.
func TestLostCommit(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{true, false} {
		t.Run(fmt.Sprint("done ", done), func(t *testing.T) {
			t.Parallel()
			cfg, s := config(t)
			w := open(t, cfg)
			table := made(t, w)
			var lost atomic.Bool
			s.Intercept(func(c sftest.Call) *sftest.Answer {
				if c.SQL == "COMMIT" && lost.CompareAndSwap(false, true) {
					return &sftest.Answer{Done: done, Code: "000603", Message: "internal error"}
				}
				return nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			n, err := w.Load(ctx, warehouse.Load{ID: "x", Table: table}, newNumbers(10))
			if done && (n != 10 || err != nil) {
				t.Errorf("a load that was committed: %d, %v", n, err)
			}
			if !done {
				if err == nil || tidegate.FaultOf(err).Action != tidegate.Retry {
					t.Errorf("a load that was not committed: %d, %v", n, err)
				}
				if n, err = w.Load(ctx, warehouse.Load{ID: "x", Table: table}, newNumbers(10)); n != 10 || err != nil {
					t.Errorf("and again: %d, %v", n, err)
				}
			}
			if got := warehousetest.Rows(t, w, "SELECT COUNT(*) FROM s.t")[0][0]; got != int64(10) {
				t.Errorf("%v rows", got)
			}
		})
	}
}

// TestSessionsEnd: a token that expires is renewed; a session that is gone is replaced,
// for a statement and for the beginning of a transaction.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	table := made(t, w)
	for i, end := range []func(){s.Expire, s.Forget} {
		end()
		if got := warehousetest.Rows(t, w, "SELECT 1"); len(got) != 1 {
			t.Errorf("got %v", got)
		}
		end()
		if n, err := w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint(i), Table: table}, newNumbers(1)); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
}

// TestBusyServer: calls that are refused for a moment are made again by the driver.
func TestBusyServer(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	table := made(t, w)
	var once atomic.Int64
	s.Intercept(func(c sftest.Call) *sftest.Answer {
		if strings.HasPrefix(c.SQL, "INSERT") && once.Add(1) == 1 {
			return &sftest.Answer{Status: http.StatusServiceUnavailable}
		}
		return nil
	})
	if n, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table}, newNumbers(3)); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if once.Load() < 2 {
		t.Error("nothing was refused")
	}
}

// TestLongStatements are asked for again and again; a result that breaks off is fetched
// again from where it was; both forms of a result are the same.
func TestLongStatements(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		t.Run(fmt.Sprint("json ", asJSON), func(t *testing.T) {
			t.Parallel()
			cfg, s := config(t)
			s.Patience, s.JSON = time.Millisecond, asJSON
			w := open(t, cfg)
			var cut atomic.Int64
			s.Intercept(func(c sftest.Call) *sftest.Answer {
				if c.Path == "/part" && cut.Add(1)%3 == 1 {
					return &sftest.Answer{}
				}
				return nil
			})
			rows := warehousetest.Rows(t, w, series(90_000))
			for i, row := range rows {
				if row[0] != int64(i) {
					t.Fatalf("row %d is %v", i, row)
				}
			}
			if len(rows) != 90_000 || cut.Load() == 0 {
				t.Errorf("%d rows came, through %d parts", len(rows), cut.Load())
			}
			s.Intercept(func(c sftest.Call) *sftest.Answer {
				if c.Path == "/part" {
					return &sftest.Answer{}
				}
				return nil
			})
			r, err := w.Query(t.Context(), series(90_000))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for n := 0; ; n++ {
				if _, err = r.Next(t.Context()); err != nil {
					break
				}
			}
			if errors.Is(err, io.EOF) {
				t.Error("a result that breaks off ended as if it were whole")
			}
		})
	}
}

// TestForeignValues are those of tables that others made.
func TestForeignValues(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		cfg, s := config(t)
		s.JSON = asJSON
		w := open(t, cfg)
		got := warehousetest.Rows(t, w, `SELECT CAST('7' AS INTEGER) AS whole, CAST('-0.050' AS NUMBER(10,3)) AS part, CAST('12:34:56.5' AS TIME) AS clock,
			CAST('2026-01-02 03:04:05.000006' AS TIMESTAMP_NTZ) AS local, TO_TIMESTAMP_TZ('1969-12-31 23:59:59.250000 +00:00', 'X') AS early, CAST(NULL AS VARCHAR) AS "mixedCase", PARSE_JSON('{"a":1.50}') AS doc`)
		want := []tidegate.Row{{
			tidegate.DecimalText("7"), tidegate.DecimalText("-0.05"), "12:34:56.5", time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 250_000_000, time.UTC),
			nil, tidegate.JSONText(`{"a":1.50}`),
		}}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("json %t: %s", asJSON, d)
		}
		r, err := w.Query(t.Context(), `SELECT 1 AS id, 2 AS "mixedCase"`)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"id", "mixedCase"}, r.Schema().Names()); d != "" {
			t.Error(d)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCancelReachesTheServer: the statement is aborted there, not only forgotten here.
func TestCancelReachesTheServer(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	s.Intercept(func(c sftest.Call) *sftest.Answer {
		if strings.Contains(c.SQL, "MOD(a.x") {
			cancel()
		}
		return nil
	})
	if _, err := w.Query(ctx, engine(nil).Endless); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	aborted := 0
	for _, c := range s.Calls() {
		if c.Path == "/queries/v1/abort-request" {
			aborted++
		}
	}
	if aborted == 0 {
		t.Error("nothing was aborted")
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number  int
		message string
		action  tidegate.Action
		code    string
		hint    string
	}{
		{390100, "Incorrect username or password was specified.", tidegate.Halt, "auth.refused", "private_key"},
		{390144, "JWT token is invalid.", tidegate.Halt, "auth.refused", "RSA_PUBLIC_KEY"},
		{390318, "OAuth access token expired.", tidegate.Halt, "auth.expired", "private_key"},
		{390114, "Authentication token has expired.", tidegate.Retry, "warehouse.session", ""},
		{394400, "Programmatic access token is invalid.", tidegate.Halt, "auth.refused", "PROGRAMMATIC ACCESS TOKEN"},
		{390422, "Incoming request with IP/Token 1.2.3.4 is not allowed to access Snowflake.", tidegate.Halt, "warehouse.permission", "network"},
		{606, "No active warehouse selected in the current session.", tidegate.Halt, "warehouse.no_compute", "GRANT USAGE ON WAREHOUSE … TO ROLE LOADER"},
		{630, "Statement reached its statement or warehouse timeout of 60 second(s) and was canceled.", tidegate.Halt, "warehouse.timeout", "statement_timeout"},
		{604, "SQL execution canceled", tidegate.Retry, "warehouse.interrupted", ""},
		{625, "Statement '01' has locked table 'T' in transaction 1 and this lock has not yet been released.", tidegate.Retry, "warehouse.lock", "SHOW LOCKS"},
		{90073, "Warehouse 'W' cannot be resumed because resource monitor 'M' has exceeded its quota.", tidegate.Throttle, "warehouse.quota", "resource monitor"},
		{3001, "SQL access control error:\nInsufficient privileges to operate on schema 'WEB'", tidegate.Halt, "warehouse.permission", "CREATE TABLE, CREATE STAGE, CREATE VIEW ON SCHEMA WEB TO ROLE LOADER"},
		{3001, "SQL access control error:\nInsufficient privileges to operate on database 'ANALYTICS'", tidegate.Halt, "warehouse.permission", "CREATE SCHEMA ON DATABASE ANALYTICS TO ROLE LOADER"},
		{2003, "SQL compilation error:\nObject 'ANALYTICS.CRM.PEOPLE' does not exist or not authorized.", tidegate.Halt, "sql.unknown", "GRANT SELECT ON TABLE ANALYTICS.CRM.PEOPLE TO ROLE LOADER"},
		{2043, "SQL compilation error:\nDatabase 'X' does not exist or not authorized.", tidegate.Halt, "sql.unknown", "GRANT USAGE ON DATABASE X TO ROLE LOADER"},
		{1003, "SQL compilation error:\nsyntax error line 1 at position 9 unexpected 'FORM'.", tidegate.Halt, "sql.syntax", "position"},
		{100078, "String 'abc' is too long and would be truncated", tidegate.Reject, "warehouse.value", "VARCHAR"},
		{100038, "Numeric value 'x' is not recognized", tidegate.Halt, "sql.value", "TRY_CAST"},
		{666, "Your account is suspended due to lack of payment method.", tidegate.Halt, "warehouse.billing", "Billing"},
		{260008, "failed to connect to db.", tidegate.Halt, "auth.refused", "account"},
		{264003, "failed to upload", tidegate.Retry, "warehouse.connection", "ALLOWLIST"},
		{603, "SQL execution internal error", tidegate.Retry, "warehouse.engine", ""},
		{12, "something new", tidegate.Retry, "warehouse.engine", ""},
	} {
		f := snowflake.FaultOf(c.number, c.message, "SELECT 1 FORM x", "loader")
		if f.Action != c.action || f.Code != c.code || !strings.Contains(f.Hint, c.hint) {
			t.Errorf("%d: got %v %s %q, want %v %s %q", c.number, f.Action, f.Code, f.Hint, c.action, c.code, c.hint)
		}
		if c.number == 1003 && !strings.Contains(f.Message, "LINE 1: SELECT 1 FORM x\n                 ^") {
			t.Errorf("%q", f.Message)
		}
	}
}
