package clickhouse

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
)

func TestParseColumn(t *testing.T) {
	t.Parallel()
	for engine, want := range map[string]string{
		"String": "string", "Nullable(String)": "string", "LowCardinality(Nullable(String))": "string", "Bool": "bool", "UInt64": "int", "Nullable(Int8)": "int",
		"Float32": "float", "Decimal(38, 9)": "decimal(38,9)", "Nullable(Decimal(9, 2))": "decimal(9,2)", "Decimal(76, 2)": "string", "Date": "date", "Date32": "date",
		"DateTime": "timestamp", "DateTime('Asia/Tokyo')": "timestamp", "DateTime64(3)": "timestamp", "Nullable(DateTime64(6, 'UTC'))": "timestamp",
		"Array(Nullable(Int64))": "json", "Map(String, Array(String))": "json", "Tuple(a String, b Int8)": "json", "JSON": "json", "Nested(a String)": "json",
		"UUID": "string", "Enum8('a' = 1, ')' = 2)": "string", "FixedString(3)": "string", "Int256": "string", "Nullable(Nothing)": "string", "IPv6": "string",
		"SimpleAggregateFunction(anyLast, Nullable(Int64))":                            "int",
		"SimpleAggregateFunction(anyLast, Nullable(String))":                           "string",
		"SimpleAggregateFunction(anyLast_respect_nulls, Nullable(String))":             "json",
		"SimpleAggregateFunction(any_respect_nulls, Nullable(String))":                 "bytes",
		"SimpleAggregateFunction(any_respect_nulls, LowCardinality(Nullable(String)))": "bytes",
	} {
		if got := parseColumn("c", engine).typ.String(); got != want {
			t.Errorf("%s is read as %s, want %s", engine, got, want)
		}
	}
}

// TestDecimals: every decimal that fits comes back as it was, whatever its width.
func TestDecimals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		precision := rapid.IntRange(1, 38).Draw(rt, "precision")
		scale := rapid.IntRange(0, precision).Draw(rt, "scale")
		whole := strings.TrimLeft(rapid.StringMatching(fmt.Sprintf("[0-9]{0,%d}", precision-scale)).Draw(rt, "whole"), "0")
		fraction := strings.TrimRight(rapid.StringMatching(fmt.Sprintf("[0-9]{0,%d}", scale)).Draw(rt, "fraction"), "0")
		text := whole
		if whole == "" {
			text = "0"
		}
		if fraction != "" {
			text += "." + fraction
		}
		if rapid.Bool().Draw(rt, "negative") && whole+fraction != "" {
			text = "-" + text
		}
		n, err := parseDecimal(text, precision, scale)
		if err != nil {
			rt.Fatalf("%s in decimal(%d,%d): %v", text, precision, scale, err)
		}
		raw := appendUnits(nil, n, decimalWidth(precision))
		if got := string(appendDecimal(nil, units(raw), scale)); got != text {
			rt.Fatalf("%s in decimal(%d,%d) became %s", text, precision, scale, got)
		}
	})
}

func TestCompile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sql  string
		args []any
		want string
	}{
		{"SELECT $1", []any{int64(1)}, "SELECT {p1:Int64}"},
		{"SELECT $2, $1, $2 -- $3\n", []any{"a", 0.5}, "SELECT {p2:Float64}, {p1:String}, {p2:Float64} -- $3\n"},
		{"SELECT '$1', \"$1\", `$1`, $x$ $1 $x$, $1", []any{true}, "SELECT '$1', \"$1\", `$1`, $x$ $1 $x$, {p1:Bool}"},
		{"SELECT 'it''s \\' $1'; ", nil, "SELECT 'it''s \\' $1'"},
		{"VALUES (1), (2);", nil, "SELECT * FROM values( (1), (2)\n)"},
		{"SELECT 1 /* ; $1 */ ;\n-- the end", nil, "SELECT 1 /* ; $1 */ "},
		{"SELECT $1", []any{nil}, "SELECT {p1:Nullable(String)}"},
		{"SELECT $1, $2", []any{tidegate.DecimalText("-12.50"), time.UnixMicro(0)}, "SELECT {p1:Decimal(38, 1)}, {p2:DateTime64(6, 'UTC')}"},
	} {
		q, err := compile(c.sql, c.args)
		if err != nil {
			t.Errorf("%q: %v", c.sql, err)
			continue
		}
		if d := cmp.Diff(c.want, q.sql); d != "" {
			t.Errorf("%q: %s", c.sql, d)
		}
	}
	for _, sql := range []string{"SELECT $1", "SELECT $2", "SELECT $0", "SELECT 1 FORMAT JSON", "SELECT 1 format  JSON settings max_threads = 1", "SELECT 1;;DROP TABLE x", "SELECT FILE('x')", "SELECT 1 INTO OUTFILE 'x'"} {
		if q, err := compile(sql, nil); err == nil {
			t.Errorf("%q was taken as %q", sql, q.sql)
		}
	}
	p, err := bindArg(1, "tab\there, it's \\ and\nmore")
	if err != nil || p.value != `tab\there, it\'s \\ and\nmore` {
		t.Errorf("%q, %v", p.value, err)
	}
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"DROP SCHEMA \"a\"": "DROP DATABASE \"a\"", "create schema if not exists x": "create DATABASE if not exists x", "DELETE FROM a.b ; ": "DELETE FROM a.b WHERE true",
		"DELETE FROM a WHERE n = 1": "DELETE FROM a WHERE n = 1", "DELETE FROM a.\"where\"": "DELETE FROM a.\"where\" WHERE true", "DROP TABLE schema": "DROP TABLE schema",
	} {
		if got := translate(sql); got != want {
			t.Errorf("%q became %q, want %q", sql, got, want)
		}
	}
}

// answers is a server that gives one answer to everything but the first statement.
func answers(t *testing.T, status int, header http.Header, body string) *Warehouse {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sql, _ := io.ReadAll(r.Body)
		if strings.Contains(string(sql), "displayName()") {
			_, _ = w.Write(chdbtest.Hello("26.3.1.1"))
			return
		}
		if strings.Contains(string(sql), "version()") {
			_, _ = w.Write((&chunk{columns: []*cells{{column: parseColumn("v", "String"), data: appendString(nil, "26.3.1.1")}}, rows: 1}).encode(nil))
			return
		}
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	w, err := open(t.Context(), Config{Host: "127.0.0.1", Port: port, User: "tidegate", Password: secret.New("hush"), Compression: "none"}, warehouse.Env{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.wait = time.Microsecond
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func TestServerFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		status int
		body   string
		action tidegate.Action
		code   string
		hint   string
	}{
		{
			"permission", 403, "Code: 497. DB::Exception: tidegate: Not enough privileges. To execute this query, it's necessary to have the grant SELECT(id, email) ON crm.people. (ACCESS_DENIED) (version 26.3.1.1 (official build))",
			tidegate.Halt, "warehouse.permission", "GRANT SELECT(id, email) ON crm.people TO tidegate",
		},
		{
			"a source's name", 403, "Code: 497. DB::Exception: tidegate_reader: Not enough privileges. To execute this query, it's necessary to have the grant CREATE DATABASE ON web.*. (ACCESS_DENIED) (version 26.3.1.1 (official build))",
			tidegate.Halt, "warehouse.permission", "GRANT CREATE DATABASE ON web.* TO tidegate",
		},
		{"password", 403, "Code: 516. DB::Exception: tidegate: Authentication failed. (AUTHENTICATION_FAILED)", tidegate.Halt, "auth.refused", "password"},
		{"memory", 500, "Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)", tidegate.Retry, "warehouse.memory", "max_memory_usage"},
		{"busy", 500, "Code: 202. DB::Exception: Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)", tidegate.Retry, "warehouse.busy", "max_connections"},
		{"table", 404, "Code: 60. DB::Exception: Unknown table expression identifier 'crm.peeple' in scope SELECT 1 FROM crm.peeple. (UNKNOWN_TABLE)", tidegate.Halt, "sql.unknown", "correct the table's name"},
		{"readonly profile", 500, "Code: 164. DB::Exception: Cannot modify 'final' setting in readonly mode. (READONLY)", tidegate.Halt, "sql.refused", "make it 2"},
		{"a proxy", 502, "<html>Bad Gateway</html>", tidegate.Retry, "warehouse.connection", "HTTP interface"},
		{"another server", 404, "not found", tidegate.Halt, "warehouse.connection", "HTTP interface"},
		{"something new", 500, "Code: 9999. DB::Exception: Something new. (NEW)", tidegate.Retry, "warehouse.engine", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := answers(t, c.status, nil, c.body)
			_, err := w.Query(t.Context(), "SELECT 1 FROM crm.peeple")
			var f *tidegate.Fault
			if !errors.As(err, &f) {
				t.Fatal(err)
			}
			if f.Action != c.action || f.Code != c.code || !strings.Contains(f.Hint, c.hint) {
				t.Errorf("%v %s %q (%s)", f.Action, f.Code, f.Hint, f.Message)
			}
			if strings.Contains(err.Error(), "hush") || strings.Contains(f.Message, "(version") {
				t.Errorf("%v holds too much", err)
			}
		})
	}
}

// TestAnswerCutShort: whatever part of an answer comes, only the whole of it ends as such (Invariant 6).
func TestAnswerCutShort(t *testing.T) {
	t.Parallel()
	c := newChunk([]column{parseColumn("n", "Nullable(Int64)"), parseColumn("s", "String")})
	for i := range 3 {
		if err := c.add(&loadPlan{columns: make([]column, 2)}, tidegate.Row{int64(i), "some text"}, 1); err != nil {
			t.Fatal(err)
		}
	}
	one := c.encode(nil)
	whole := append(bytes.Clone(one), one...)
	read := func(body []byte) (n int, err error) {
		w := answers(t, http.StatusOK, nil, string(body))
		r, err := w.Query(t.Context(), "SHOW x")
		if err != nil {
			return 0, err
		}
		defer r.Close()
		for {
			if _, err := r.Next(t.Context()); err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return n, err
			}
			n++
		}
	}
	for cut := range whole {
		n, err := read(whole[:cut])
		if atBorder := cut == 0 || cut == len(one); atBorder != (err == nil) {
			t.Errorf("cut at %d of %d: %d rows, %v", cut, len(whole), n, err)
		}
	}
	for _, told := range []string{
		"Code: 395. DB::Exception: Value passed to throwIf. (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO) (version 24.8)",
		"\r\n__exception__\r\nabcdefgh\r\nCode: 395. DB::Exception: Value passed to throwIf. (X)\n\r\n80 abcdefgh\r\n__exception__\r\n",
	} {
		n, err := read(append(bytes.Clone(whole), told...))
		if f := tidegate.FaultOf(err); err == nil || f.Code != "sql.value" || n != 6 {
			t.Errorf("%d rows, %v", n, err)
		}
	}
}

func TestAnswersThatBreak(t *testing.T) {
	t.Parallel()
	w := answers(t, http.StatusOK, http.Header{"Content-Length": {"1000"}}, "\x01\x01\x01n\x05Int64") // the connection ends before its length
	if _, err := w.Query(t.Context(), "SELECT 1"); !lost(err) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Query(ctx, "SELECT 1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestMark(t *testing.T) {
	t.Parallel()
	f := serverFault(62, "Syntax error: failed at position 19 (end of query) (line 2, col 8): . Expected one of: x, y. (SYNTAX_ERROR)", "SELECT 1,\n  2 FROM", "u")
	if want := "Syntax error: failed at position 19 (end of query) (line 2, col 8): \nLINE 2:   2 FROM\n                ^"; !strings.HasSuffix(f.Message, "LINE 2:   2 FROM\n                ^") {
		t.Errorf("got %q, want %q", f.Message, want)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sql, _ := io.ReadAll(r.Body); strings.Contains(string(sql), "displayName()") {
			_, _ = w.Write(chdbtest.Hello("26.3.1.1"))
			return
		}
		_, _ = w.Write((&chunk{columns: []*cells{{column: parseColumn("v", "String"), data: appendString(nil, "26.3.1.1")}}, rows: 1}).encode(nil))
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	at, _ := url.Parse(s.URL)
	port, _ := strconv.Atoi(at.Port())
	cert := string(pemOf(s.Certificate().Raw))
	for _, c := range []struct {
		name string
		cfg  Config
		code string
	}{
		{"unknown certificate", Config{TLS: "verify-full"}, "warehouse.tls"},
		{"known certificate", Config{TLS: "verify-full", RootCert: cert}, ""},
		{"known certificate of another name", Config{TLS: "verify-ca", RootCert: cert}, ""},
		{"no certificate", Config{TLS: "verify-full", RootCert: "/nowhere"}, "warehouse.config"},
		{"no such mode", Config{TLS: "perhaps"}, "warehouse.config"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Host, c.cfg.Port, c.cfg.Compression = "127.0.0.1", port, "none"
			w, err := open(t.Context(), c.cfg, warehouse.Env{Now: time.Now})
			if err == nil {
				_ = w.Close()
			}
			if f := tidegate.FaultOf(err); c.code == "" && err != nil || c.code != "" && (err == nil || f.Code != c.code || f.Action != tidegate.Halt) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// FuzzReadBlock: no answer makes the reader fail otherwise than by an error, or take much memory.
func FuzzReadBlock(f *testing.F) {
	c := newChunk([]column{parseColumn("n", "Nullable(Int64)"), parseColumn("s", "String"), parseColumn("d", "Decimal(38, 9)"), parseColumn("t", "DateTime64(9)")})
	for _, row := range []tidegate.Row{{nil, "x", tidegate.DecimalText("-1.5"), time.UnixMicro(5)}, {int64(math.MaxInt64), "é", tidegate.DecimalText("0"), time.UnixMicro(-5)}} {
		if err := c.add(&loadPlan{columns: make([]column, 4)}, row, 1); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(c.encode(nil))
	f.Add([]byte("\x01\x01\x01k\x16LowCardinality(String)\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x01a\x01\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte("\x01\x01\x01l LowCardinality(Nullable(String))\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01b\x01\x00\x00\x00\x00\x00\x00\x00\x02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReader(bytes.NewReader(data))
		var b block
		for readBlock(r, &b) == nil {
			for i := range min(b.rows, 1000) {
				for _, v := range b.columns {
					if _, err := v.cell(i); err != nil {
						break
					}
				}
			}
		}
	})
}
