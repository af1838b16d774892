package bigquery_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bq "google.golang.org/api/bigquery/v2"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// answering is a server that has one row with one value for every query.
func answering(t *testing.T, field *bq.TableFieldSchema, value any) bigquery.Config {
	t.Helper()
	field.Name = "c"
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var answer any = map[string]any{
			"jobComplete": true, "totalRows": "1", "schema": bq.TableSchema{Fields: []*bq.TableFieldSchema{field}},
			"rows": []any{map[string]any{"f": []any{map[string]any{"v": value}}}},
		}
		if r.Method == http.MethodPost {
			var j bq.Job
			if err := json.NewDecoder(r.Body).Decode(&j); err != nil {
				t.Error(err)
			}
			j.Status = &bq.JobStatus{State: "DONE"}
			answer = &j
		}
		_ = json.NewEncoder(rw).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return bigquery.Config{Project: "p", Endpoint: s.URL}
}

type wrapped = map[string]any

// TestTypes: how columns of strangers are described, and what the API sends is read.
func TestTypes(t *testing.T) {
	t.Parallel()
	wide := strings.Repeat("9", 38) + "." + strings.Repeat("9", 38)
	unbounded := tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}
	for _, c := range []struct {
		field *bq.TableFieldSchema
		value any
		typ   tidegate.Type
		want  any
	}{
		{&bq.TableFieldSchema{Type: "NUMERIC"}, "12.50", unbounded, tidegate.DecimalText("12.5")},
		{&bq.TableFieldSchema{Type: "NUMERIC", Precision: 38, Scale: 9}, "-0.000000001", unbounded, tidegate.DecimalText("-0.000000001")},
		{&bq.TableFieldSchema{Type: "NUMERIC"}, "0", unbounded, tidegate.DecimalText("0")},
		{&bq.TableFieldSchema{Type: "BIGNUMERIC"}, wide, unbounded, tidegate.DecimalText(wide)},
		{&bq.TableFieldSchema{Type: "BIGNUMERIC"}, "-0." + strings.Repeat("0", 37) + "1", unbounded, tidegate.DecimalText("-0." + strings.Repeat("0", 37) + "1")},
		{&bq.TableFieldSchema{Type: "TIMESTAMP"}, "-62135596800000000", kind(tidegate.Timestamp), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)},
		{&bq.TableFieldSchema{Type: "TIMESTAMP"}, "1700000000123456", kind(tidegate.Timestamp), time.UnixMicro(1700000000123456).UTC()},
		{&bq.TableFieldSchema{Type: "DATETIME"}, "2026-11-21T10:00:00.000001", kind(tidegate.Timestamp), time.Date(2026, 11, 21, 10, 0, 0, 1000, time.UTC)},
		{&bq.TableFieldSchema{Type: "FLOAT"}, "5e-324", kind(tidegate.Float), 5e-324},
		{&bq.TableFieldSchema{Type: "STRING"}, nil, kind(tidegate.String), nil},
		{&bq.TableFieldSchema{Type: "BYTES"}, "", kind(tidegate.Bytes), []byte{}},
		{&bq.TableFieldSchema{Type: "TIME"}, "10:00:00", kind(tidegate.String), "10:00:00"},
		{&bq.TableFieldSchema{Type: "TIME"}, "10:00:00.000001", kind(tidegate.String), "10:00:00.000001"},
		{&bq.TableFieldSchema{Type: "GEOGRAPHY"}, "POINT(1 2)", kind(tidegate.String), "POINT(1 2)"},
		{&bq.TableFieldSchema{Type: "INTERVAL"}, "1-2 -3 4:5:6.7", kind(tidegate.String), "1-2 -3 4:5:6.7"},
		{&bq.TableFieldSchema{Type: "INTERVAL"}, "-1-2 3 -4:5:6", kind(tidegate.String), "-1-2 3 -4:5:6"},
		{&bq.TableFieldSchema{Type: "INTERVAL"}, "-0-3 0 -0:0:0.5", kind(tidegate.String), "-0-3 0 -0:0:0.5"},
		{&bq.TableFieldSchema{Type: "RANGE", RangeElementType: &bq.TableFieldSchemaRangeElementType{Type: "DATE"}}, "[2026-01-02, UNBOUNDED)", kind(tidegate.String), "[2026-01-02, UNBOUNDED)"},
		{&bq.TableFieldSchema{Type: "RANGE", RangeElementType: &bq.TableFieldSchemaRangeElementType{Type: "TIMESTAMP"}}, "[UNBOUNDED, 1700000000123456)", kind(tidegate.String), "[UNBOUNDED, 1700000000123456)"},
		{&bq.TableFieldSchema{Type: "SOMETHING_NEW"}, "x", kind(tidegate.String), "x"},
		{&bq.TableFieldSchema{Type: "INTEGER", Mode: "REPEATED"}, []any{wrapped{"v": "1"}, wrapped{"v": "2"}}, kind(tidegate.JSON), tidegate.JSONText("[1,2]")},
		{&bq.TableFieldSchema{Type: "INTEGER", Mode: "REPEATED"}, []any{}, kind(tidegate.JSON), tidegate.JSONText("[]")},
		{
			&bq.TableFieldSchema{Type: "RECORD", Fields: []*bq.TableFieldSchema{{Name: `a"b`, Type: "STRING"}, {Name: "n", Type: "NUMERIC", Mode: "REPEATED"}, {Name: "d", Type: "DATE"}, {Name: "i", Type: "INTERVAL"}}},
			wrapped{"f": []any{wrapped{"v": "x\n"}, wrapped{"v": []any{wrapped{"v": "1.50"}}}, wrapped{"v": nil}, wrapped{"v": "-0-3 0 0:0:0"}}},
			kind(tidegate.JSON), tidegate.JSONText(`{"a\"b":"x\n","n":[1.5],"d":null,"i":"-0-3 0 0:0:0"}`),
		},
	} {
		r, err := open(t, answering(t, c.field, c.value)).Query(t.Context(), "SELECT 1")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tidegate.Schema{{Name: "c", Type: c.typ}}, r.Schema()); d != "" {
			t.Errorf("%s: %s", c.field.Type, d)
		}
		row, err := r.Next(t.Context())
		if d := cmp.Diff(tidegate.Row{c.want}, row); err != nil || d != "" {
			t.Errorf("%s: %v %s", c.field.Type, err, d)
		}
		_ = r.Close()
	}
}

// TestValuesThatCannotBeRead: they are the query's to turn into text, and no matter of the network.
func TestValuesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		typ   string
		value any
	}{{"INTEGER", "x"}, {"BOOLEAN", "yes"}, {"TIMESTAMP", "2026-01-01"}, {"DATE", "1"}, {"BYTES", "!"}, {"JSON", "{"}, {"NUMERIC", "1e5"}, {"STRING", 1.5}, {"RECORD", "x"}} {
		_, err := bigquery.Open(t.Context(), answering(t, &bq.TableFieldSchema{Type: c.typ}, c.value), env())
		f := tidegate.FaultOf(err)
		if err == nil || f.Code != "warehouse.value" || f.Action != tidegate.Halt || !strings.Contains(f.Hint, "text in the query") {
			t.Errorf("%s %v: got %v", c.typ, c.value, err)
		}
	}
}

// TestPagesAreAskedForAgain: what is lost between the pages of a result is neither
// missing in it nor in it twice (Invariant 6).
func TestPagesAreAskedForAgain(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	var asked atomic.Int32
	s.Intercept(func(c bqtest.Call) *bqtest.Answer {
		if !strings.Contains(c.Path, "/queries/") {
			return nil
		}
		switch asked.Add(1) % 4 {
		case 0:
			return &bqtest.Answer{Lose: true}
		case 2:
			return &bqtest.Answer{Status: http.StatusServiceUnavailable, Reason: "backendError", Message: "Please retry."}
		}
		return nil
	})
	const rows = 45_000 // five pages
	got := warehousetest.Rows(t, w, engine(nil).Series(rows))
	if len(got) != rows {
		t.Fatalf("got %d rows", len(got))
	}
	for i, row := range got {
		if row[0] != int64(i) {
			t.Fatalf("row %d is %v", i, row)
		}
	}
	if n := asked.Load(); n < 10 {
		t.Errorf("asked for pages %d times", n)
	}
}

// broken is a network that does one thing always, and counts how often it is asked to.
type broken struct {
	calls atomic.Int32
	fail  func(http.ResponseWriter)
}

func (b *broken) ServeHTTP(rw http.ResponseWriter, _ *http.Request) {
	b.calls.Add(1)
	b.fail(rw)
}

// refusal is an error as the API tells it.
func refusal(status int, reason string) func(http.ResponseWriter) {
	return func(rw http.ResponseWriter) {
		rw.WriteHeader(status)
		_ = json.NewEncoder(rw).Encode(map[string]any{"error": map[string]any{"code": status, "message": "no", "errors": []map[string]string{{"reason": reason, "message": "no"}}}})
	}
}

// TestAttemptsAreLimited: Google's client would ask again for as long as it may.
// Nothing here bounds the time, so a call that never ends is a test that never does.
func TestAttemptsAreLimited(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fail func(http.ResponseWriter)
		code string
	}{
		"overloaded":  {refusal(http.StatusServiceUnavailable, "backendError"), "warehouse.engine"},
		"upset":       {refusal(http.StatusBadRequest, "internalError"), "warehouse.engine"},
		"a bad proxy": {refusal(http.StatusBadGateway, ""), "warehouse.engine"},
		"cut off":     {func(rw http.ResponseWriter) { panic(http.ErrAbortHandler) }, "warehouse.connection"},
		"cut in the middle": {func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", "100")
			_, _ = rw.Write([]byte(`{"jobReference":`))
		}, "warehouse.connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &broken{fail: c.fail}
			s := httptest.NewServer(b)
			defer s.Close()
			_, err := bigquery.Open(t.Context(), bigquery.Config{Project: "p", Endpoint: s.URL}, env())
			if f := tidegate.FaultOf(err); err == nil || f.Code != c.code || f.Action == tidegate.Halt {
				t.Errorf("got %v", err)
			}
			if n := b.calls.Load(); n != bigquery.Attempts {
				t.Errorf("asked %d times, want %d", n, bigquery.Attempts)
			}
		})
	}
}
