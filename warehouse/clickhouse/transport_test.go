package clickhouse

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	columns "github.com/ClickHouse/clickhouse-go/v2/lib/column"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
)

// TestAnswersThatSayTheOpposite: an answer that begins well and holds an error, or is cut, or leads
// elsewhere, is no success, whether of a statement or of rows.
func TestAnswersThatSayTheOpposite(t *testing.T) {
	t.Parallel()
	const told = "Code: 395. DB::Exception: Value passed to throwIf. (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO) (version 24.8)"
	const framed = "\r\n__exception__\r\nabcdefghabcdefgh\r\n" + told + "\n\r\n80 abcdefghabcdefgh\r\n__exception__\r\n"
	for _, c := range []struct {
		name   string
		status int
		header http.Header
		body   string
		action tidegate.Action
		code   string
	}{
		{"told", 200, nil, told, tidegate.Halt, "sql.value"},
		{"told in a frame", 200, nil, framed, tidegate.Halt, "sql.value"},
		{"told in a frame with a tag", 200, http.Header{"X-ClickHouse-Exception-Tag": {"abcdefghabcdefgh"}}, framed, tidegate.Halt, "sql.value"},
		{"told in the header", 200, http.Header{"X-ClickHouse-Exception-Code": {"395"}}, told, tidegate.Halt, "sql.value"},
		{"cut", 200, http.Header{"Content-Length": {"1000"}}, "x", tidegate.Retry, "warehouse.connection"},
		{"elsewhere", 302, http.Header{"Location": {"/other"}}, "", tidegate.Halt, "warehouse.connection"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := answers(t, c.status, c.header, c.body)
			_, statement := w.Exec(t.Context(), "DELETE FROM a.b")
			for what, err := range map[string]error{"statement": statement, "insert": w.send(t.Context(), "INSERT INTO a.b (n) FORMAT Native", "name", []byte("rows"))} {
				if f := tidegate.FaultOf(err); err == nil || f.Code != c.code || f.Action != c.action {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// TestRequests: the driver's own question carries nothing of the statement that waits for it; the statement of an
// INSERT is sent as it is, and parameters that are too long for an address go in the body.
func TestRequests(t *testing.T) {
	t.Parallel()
	type request struct{ query, sql, long, id, settings string }
	var mu sync.Mutex
	var seen []request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one := request{query: r.URL.Query().Get("query"), id: r.URL.Query().Get("query_id"), settings: r.URL.Query().Get("insert_deduplication_token") + r.URL.Query().Get("readonly")}
		if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
			one.sql, one.long = r.FormValue("query"), r.FormValue("param_p1")
			if r.URL.Query().Has("param_p1") || len(r.URL.RawQuery) > maxURL {
				t.Errorf("the address is %s", r.URL.RawQuery)
			}
		} else {
			b, _ := io.ReadAll(r.Body)
			one.sql = string(b)
		}
		mu.Lock()
		seen = append(seen, one)
		mu.Unlock()
		switch {
		case strings.Contains(one.sql, "displayName()"):
			_, _ = w.Write(chdbtest.Hello("26.3.1.1"))
		case strings.Contains(one.sql, "version()"):
			_, _ = w.Write((&chunk{columns: []*cells{{column: parseColumn("v", "String"), data: appendString(nil, "26.3.1.1")}}, rows: 1}).encode(nil))
		}
	}))
	t.Cleanup(s.Close)
	at, _ := url.Parse(s.URL)
	port, _ := strconv.Atoi(at.Port())
	w, err := open(t.Context(), Config{Host: "127.0.0.1", Port: port, Compression: "none"}, warehouse.Env{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const insert = "INSERT INTO \"a (b\".\"c\" (\"d) e\", \"SETTINGS x = 1\") FORMAT Native"
	if err := w.send(t.Context(), insert, "name", []byte("rows")); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", maxURL)
	if _, err := w.Exec(t.Context(), "DELETE FROM a.b WHERE s = $1", long); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Exec(t.Context(), "DELETE FROM a.b WHERE s = 1 -- FORMAT it"); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 5 {
		t.Fatalf("%d requests: %v", len(seen), seen)
	}
	if hello := seen[0]; !strings.Contains(hello.sql, "displayName()") || hello.id != "" || hello.settings != "" {
		t.Errorf("the driver asked %v", hello)
	}
	if in := seen[2]; in.query != insert || in.sql != "rows" || in.settings != "name" || in.id == "" {
		t.Errorf("rows were sent by %v", in)
	}
	if q := seen[3]; q.long != long || q.sql != "DELETE FROM a.b WHERE s = {p1:String}" {
		t.Errorf("a statement was sent as %.200v", q)
	}
}

// TestDriverColumns is why blocks are encoded and decoded here: the driver's columns lose times. When it fails, use them.
func TestDriverColumns(t *testing.T) {
	t.Parallel()
	late := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	c, err := columns.Type("DateTime64(6, 'UTC')").Column("t", &columns.ServerContext{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AppendRow(late); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.Row(0, false).(time.Time); !ok || got.Equal(late) {
		t.Errorf("the driver keeps %v now", got)
	}
}
