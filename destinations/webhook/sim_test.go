package webhook

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

func simulate(t *testing.T, options string) *Simulator {
	t.Helper()
	s, err := NewSimulator(json.RawMessage(options))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

func ask(s http.Handler, method, path, body string, header ...string) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestSimulatorTakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		answer                   string
		held                     map[string]tidegate.Record
	}{
		{"an envelope", "POST", "/records", `{"op":"added","identifier":7,"record":{"n":9007199254740993,"f":1.5}}`, 200, `{"index":0,"id":"7","status":"ok"}`, map[string]tidegate.Record{"old": {"a": int64(1)}, "7": {"n": int64(9007199254740993), "f": 1.5}}},
		{"a removal", "POST", "/any/path", `{"op":"removed","identifier":"old","record":{"a":1}}`, 200, `{"index":0,"id":"old","status":"deleted"}`, map[string]tidegate.Record{}},
		{"many", "POST", "/", `{"records":[{"op":"changed","identifier":"old","record":{"b":2}},{"op":"added","identifier":"","record":{}}]}`, 200, `{"results":[{"index":0,"id":"old","status":"ok"},{"index":1,"status":"invalid","error":"the record has no identifier"}]}`, map[string]tidegate.Record{"old": {"a": int64(1), "b": int64(2)}}},
		{"a list of bare records", "POST", "/x", `[{"id":"new","c":[1,{"d":2}]}]`, 200, `{"results":[{"index":0,"id":"new","status":"ok"}]}`, map[string]tidegate.Record{"old": {"a": int64(1)}, "new": {"id": "new", "c": []any{int64(1), map[string]any{"d": int64(2)}}}}},
		{"a bare record at its URL", "PUT", "/people/a%2Fb", `{"c":true}`, 200, `{"index":0,"id":"a/b","status":"ok"}`, map[string]tidegate.Record{"old": {"a": int64(1)}, "a/b": {"c": true}}},
		{"DELETE", "DELETE", "/people/old", ``, 200, `{"index":0,"id":"old","status":"deleted"}`, map[string]tidegate.Record{}},
		{"DELETE of nothing", "DELETE", "/people/new", ``, 404, `{"error":"there is no such record"}`, map[string]tidegate.Record{"old": {"a": int64(1)}}},
		{"DELETE of everything", "DELETE", "/people", ``, 400, `{"error":"the call does not name a record"}`, map[string]tidegate.Record{"old": {"a": int64(1)}}},
		{"poison", "POST", "/records", `{"op":"added","identifier":"p","record":{"x":"poison"}}`, 422, `{"index":0,"id":"p","status":"invalid","error":"the value of \"x\" is not allowed"}`, map[string]tidegate.Record{"old": {"a": int64(1)}}},
		{"no JSON", "POST", "/records", `x=1`, 400, `{"error":"the body is not JSON"}`, map[string]tidegate.Record{"old": {"a": int64(1)}}},
		{"GET elsewhere", "GET", "/x", ``, 405, `{"error":"records are written by POST, PUT, PATCH and DELETE"}`, map[string]tidegate.Record{"old": {"a": int64(1)}}},
		{"too many", "POST", "/x", `[{"id":1},{"id":2},{"id":3},{"id":4}]`, 413, `{"error":"too many records"}`, map[string]tidegate.Record{"old": {"a": int64(1)}}},
		{"too large", "POST", "/x", `{"id":"` + strings.Repeat("x", 300) + `"}`, 413, `{"error":"the body is too large"}`, map[string]tidegate.Record{"old": {"a": int64(1)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := simulate(t, `{"poison":"poison","max_records":3,"max_bytes":256}`)
			ask(s, "POST", "/x", `{"op":"added","identifier":"old","record":{"a":1}}`)
			status, answer := ask(s, c.method, c.path, c.body)
			if status != c.status || answer != c.answer {
				t.Errorf("%d %s, want %d %s", status, answer, c.status, c.answer)
			}
			if diff := cmp.Diff(c.held, s.Records("records")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSimulatorKeepsItsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "webhook.jsonl")
	options := `{"path":` + string(mustJSON(t, path)) + `}`
	s := simulate(t, options)
	for _, body := range []string{`{"id":"a","n":9007199254740993}`, `{"id":"b"}`, `{"id":"a","m":null,"l":[1]}`, `{"op":"removed","identifier":"b","record":{}}`} {
		if status, answer := ask(s, "POST", "/x", body); status != 200 {
			t.Fatal(answer)
		}
	}
	want := s.Records("records")
	if len(want) != 1 || want["a"]["n"] != int64(9007199254740993) {
		t.Fatalf("%v", want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := strings.LastIndexByte(strings.TrimSuffix(string(raw), "\n"), '\n') + 1
	for cut := last + 1; cut < len(raw); cut++ { // killed while it wrote the last line
		if err := os.WriteFile(path, raw[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again := simulate(t, options)
		if again.Records("records")["b"] == nil {
			t.Fatalf("cut at %d: b is gone", cut)
		}
		if status, _ := ask(again, "DELETE", "/x/b", ""); status != 200 {
			t.Fatal(status)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, simulate(t, options).Records("records")); diff != "" {
			t.Fatalf("cut at %d:\n%s", cut, diff)
		}
	}
	if err := os.WriteFile(path, []byte("{}x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSimulator(json.RawMessage(options)); err == nil {
		t.Error("a broken file is taken")
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestSimulatorLimitsAndFaults(t *testing.T) {
	t.Parallel()
	s := simulate(t, `{"calls_per_second":2,"token":"t"}`)
	if status, _ := ask(s, "POST", "/x", `{"id":1}`); status != 401 {
		t.Errorf("without a token: %d", status)
	}
	got := map[int]int{}
	for range 20 {
		status, _ := ask(s, "POST", "/x", `{"id":1}`, "Authorization", "Bearer t")
		got[status]++
	}
	if got[429] == 0 || got[200] < 2 || got[200]+got[429] != 20 {
		t.Errorf("%v", got)
	}

	s = simulate(t, `{"fail_every":3}`)
	var statuses []int
	for range 6 {
		status, _ := ask(s, "POST", "/x", `{"id":1}`)
		statuses = append(statuses, status)
	}
	if diff := cmp.Diff([]int{200, 200, 503, 200, 200, 503}, statuses); diff != "" {
		t.Error(diff)
	}
	if calls, records := s.Calls(); calls != 6 || records != 4 {
		t.Errorf("%d calls, %d records", calls, records)
	}
}

func TestSimulatorDropsRepeats(t *testing.T) {
	t.Parallel()
	s := simulate(t, "")
	const key = "Idempotency-Key"
	ask(s, "POST", "/x", `{"id":"a","v":1}`, key, "1")
	ask(s, "POST", "/x", `{"id":"a","v":2}`, key, "2")
	status, _ := ask(s, "POST", "/x", `{"id":"a","v":1}`, key, "1")
	if v := s.Records("records")["a"]["v"]; status != 200 || v != int64(2) {
		t.Errorf("%d, v is %v", status, v)
	}
	if _, records := s.Calls(); records != 2 {
		t.Errorf("%d records carried", records)
	}
}

func TestSimulatorPages(t *testing.T) {
	t.Parallel()
	s := simulate(t, "")
	ask(s, "POST", "/x", `{"id":"<b>","v":"<script>"}`)
	if status, page := ask(s, "GET", "/", ""); status != 200 || strings.Contains(page, "<b>") || strings.Contains(page, "<script>") || !strings.Contains(page, "&lt;b&gt;") {
		t.Errorf("%d %s", status, page)
	}
	if status, list := ask(s, "GET", "/records", ""); status != 200 || list != `{"\u003cb\u003e":{"id":"\u003cb\u003e","v":"\u003cscript\u003e"}}` {
		t.Errorf("%d %s", status, list)
	}
	if _, err := NewSimulator(json.RawMessage(`{"no_such":1}`)); err == nil {
		t.Error("an unknown option is taken")
	}
}
