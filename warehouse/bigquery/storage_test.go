package bigquery_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestConformanceOfStreams holds loads by the Storage Write API to the suite.
func TestConformanceOfStreams(t *testing.T) {
	t.Parallel()
	warehousetest.Run(t, engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		w, _ := streaming(tb)
		return w
	}))
}

// streaming is a warehouse in which all loads go by the Storage Write API.
func streaming(tb testing.TB) (*bigquery.Warehouse, *bqtest.Server) {
	tb.Helper()
	cfg, s := config(tb)
	cfg.Staging = "storage_write"
	return open(tb, cfg), s
}

// loadJobs is how many load jobs there were.
func loadJobs(s *bqtest.Server) (n int) {
	for _, j := range s.Jobs() {
		if j.Configuration.Load != nil {
			n++
		}
	}
	return n
}

// someRows are rows of numbers, each of about so many bytes.
func someRows(n, size int) []tidegate.Row {
	rows := make([]tidegate.Row, n)
	for i := range rows {
		rows[i] = tidegate.Row{int64(i), fmt.Sprint(i) + strings.Repeat("x", size)}
	}
	return rows
}

// TestStagingChooses: which way rows go.
func TestStagingChooses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		staging       string
		rows, size    int
		streams, jobs int
	}{
		{"", 100, 10, 2, 0},
		{"auto", 100, 10, 2, 0},
		{"auto", 3000, 4000, 0, 2},
		{"storage_write", 3000, 4000, 2, 0},
		{"load_jobs", 100, 10, 0, 2},
		{"auto", 0, 0, 0, 0},
		{"storage_write", 0, 0, 0, 0},
	} {
		t.Run(fmt.Sprintf("%s, %d rows", c.staging, c.rows), func(t *testing.T) {
			t.Parallel()
			cfg, s := config(t)
			cfg.Staging = c.staging
			w := open(t, cfg)
			ensure(t, w)
			rows := someRows(c.rows, c.size)
			for _, key := range [][]string{nil, {"id"}} {
				if n, err := w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint("x", key), Table: events, Key: key}, tidegate.Rows(numbers, rows...)); n != int64(c.rows) || err != nil {
					t.Fatal(n, err)
				}
				if n, err := w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint("x", key), Table: events, Key: key}, tidegate.Rows(numbers, rows...)); n != 0 || err != nil {
					t.Errorf("again: %d, %v", n, err)
				}
			}
			if got := [2]int{len(s.Committed()), loadJobs(s)}; got != [2]int{c.streams, c.jobs} {
				t.Errorf("%v streams and load jobs, want %d and %d", got, c.streams, c.jobs)
			}
			want := []tidegate.Row{{int64(c.rows), int64(c.rows)}}
			if d := cmp.Diff(want, warehousetest.Rows(t, w, "SELECT COUNT(*), COUNT(DISTINCT v) FROM web.t")); d != "" {
				t.Error(d)
			}
			if left := warehousetest.Rows(t, w, "SELECT 1 AS n"); len(left) != 1 {
				t.Error(left)
			}
			if stages := s.Tables(t, "_tidegate_staging"); len(stages) != 0 {
				t.Errorf("staged rows were left: %v", stages)
			}
		})
	}
}

// TestStreamsSurviveCuts: whichever call of a load is lost, cut off or refused, at its first
// time or its second, the rows are there once.
func TestStreamsSurviveCuts(t *testing.T) {
	t.Parallel()
	rows := someRows(500, 10_000) // five requests
	faults := map[string]bqtest.Answer{
		"cut before": {Cut: true}, "answer lost": {Lose: true}, "refused": {Status: http.StatusServiceUnavailable, Reason: "backendError", Message: "Please retry."},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := streaming(t)
			ensure(t, w)
			for at := 1; ; at++ {
				table := warehouse.Table{Schema: "web", Name: fmt.Sprint("t", at)}
				if _, err := w.Ensure(t.Context(), table, numbers); err != nil {
					t.Fatal(err)
				}
				var calls atomic.Int32
				s.Intercept(func(bqtest.Call) *bqtest.Answer {
					if calls.Add(1) == int32(at) { //nolint:gosec // a few
						return &fault
					}
					return nil
				})
				n, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: table, Key: []string{"id"}}, tidegate.Rows(numbers, rows...))
				s.Intercept(nil)
				if err != nil || n != int64(len(rows)) && n != 0 { // 0: the answer that told of the rows was lost
					t.Fatalf("call %d: %d, %v", at, n, err)
				}
				got := warehousetest.Rows(t, w, "SELECT COUNT(*), COUNT(DISTINCT id), SUM(id), SUM(LENGTH(v)) FROM web."+table.Name)
				want := warehousetest.Rows(t, w, "SELECT COUNT(*), COUNT(DISTINCT id), SUM(id), SUM(LENGTH(v)) FROM web.t1")
				if d := cmp.Diff(want, got); d != "" || got[0][0] != int64(len(rows)) {
					t.Fatalf("call %d: %v %s", at, got, d)
				}
				if int(calls.Load()) < at { // every call had its turn
					if at < 15 {
						t.Errorf("a load made %d calls", at)
					}
					return
				}
			}
		})
	}
}

// TestStreamsSurviveWeather: many loads at once on a connection that is cut again and again.
func TestStreamsSurviveWeather(t *testing.T) {
	t.Parallel()
	w, s := streaming(t)
	ensure(t, w)
	var calls atomic.Int64
	s.Intercept(func(c bqtest.Call) *bqtest.Answer {
		if c.Method != "AppendRows" {
			return nil
		}
		switch n := calls.Add(1); {
		case n%11 == 0:
			return &bqtest.Answer{Lose: true}
		case n%17 == 0:
			return &bqtest.Answer{Cut: true}
		case n%19 == 0:
			return &bqtest.Answer{Status: http.StatusInternalServerError, Message: "upset"}
		}
		return nil
	})
	const loads, each = 4, 300
	var loading sync.WaitGroup
	for i := range loads {
		loading.Go(func() {
			rows := someRows(each, 20_000) // six requests
			for j := range rows {
				rows[j][0] = int64(i*each + j)
			}
			// A load in bad luck gives up and is done again, as its caller would.
			for try := 0; ; try++ {
				_, err := w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint(i), Table: events}, tidegate.Rows(numbers, rows...))
				if err == nil {
					return
				}
				if tidegate.FaultOf(err).Action != tidegate.Retry || try == 20 {
					t.Errorf("load %d: %v", i, err)
					return
				}
			}
		})
	}
	loading.Wait()
	s.Intercept(nil)
	want := []tidegate.Row{{int64(loads * each), int64(loads * each)}}
	if d := cmp.Diff(want, warehousetest.Rows(t, w, "SELECT COUNT(*), COUNT(DISTINCT id) FROM web.t")); d != "" {
		t.Error(d)
	}
}

// TestStreamsThatFail: what is to be done, and that nothing is left behind.
func TestStreamsThatFail(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10<<20)
	for _, c := range []struct {
		name   string
		call   string
		answer bqtest.Answer
		key    []string
		row    tidegate.Row
		code   string
		action tidegate.Action
		hint   string
	}{
		{"no permission", "CreateWriteStream", bqtest.Answer{Status: http.StatusForbidden, Message: "Permission 'TABLES_UPDATE_DATA' denied"}, nil, nil, "warehouse.permission", tidegate.Halt, "roles/bigquery.dataEditor on the dataset _tidegate_staging (bigquery.tables.updateData is missing)"},
		{"no quota", "CreateWriteStream", bqtest.Answer{Status: http.StatusTooManyRequests, Message: "Exceeds 'CreateWriteStream requests' quota"}, nil, nil, "warehouse.rate_limited", tidegate.Throttle, "staging to load_jobs"},
		{"no quota of bytes", "AppendRows", bqtest.Answer{Status: http.StatusTooManyRequests, Message: "Exceeds 'AppendRows throughput' quota"}, nil, nil, "warehouse.rate_limited", tidegate.Throttle, "Quotas"},
		{"no such API", "CreateWriteStream", bqtest.Answer{Status: http.StatusNotImplemented, Message: "unknown service"}, nil, nil, "warehouse.config", tidegate.Halt, "storage_endpoint"},
		{"API off", "CreateWriteStream", bqtest.Answer{Status: http.StatusForbidden, Message: "BigQuery Storage API has not been used in project 1 before or it is disabled"}, nil, nil, "warehouse.api_off", tidegate.Halt, "gcloud services enable bigquerystorage.googleapis.com"},
		{"refused rows", "AppendRows", bqtest.Answer{Status: http.StatusBadRequest, Message: "no"}, nil, nil, "warehouse.invalid", tidegate.Halt, ""},
		{"a long row", "", bqtest.Answer{}, nil, tidegate.Row{int64(3), long}, "warehouse.value", tidegate.Reject, "load_jobs"},
		{"no text", "", bqtest.Answer{}, nil, tidegate.Row{int64(3), "\xff"}, "warehouse.value", tidegate.Reject, "Ensure"},
		{"no key", "", bqtest.Answer{}, []string{"id"}, tidegate.Row{nil, "x"}, "warehouse.value", tidegate.Reject, "Ensure"},
		{"another type", "", bqtest.Answer{}, nil, tidegate.Row{"x", "x"}, "warehouse.value", tidegate.Reject, "Ensure"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, s := streaming(t)
			ensure(t, w)
			s.Intercept(func(call bqtest.Call) *bqtest.Answer {
				if call.Method == c.call {
					return &c.answer
				}
				return nil
			})
			rows := someRows(300, 10_000)
			if c.row != nil {
				rows[250] = c.row
			}
			load := warehouse.Load{ID: "x", Table: events, Key: c.key}
			_, err := w.Load(t.Context(), load, tidegate.Rows(numbers, rows...))
			f := tidegate.FaultOf(err)
			if err == nil || f.Code != c.code || f.Action != c.action || !strings.Contains(f.Hint, c.hint) {
				t.Errorf("got %v", err)
			}
			if c.row != nil && !strings.Contains(err.Error(), "row 251") {
				t.Errorf("the row is not named: %v", err)
			}
			s.Intercept(nil)
			if d := cmp.Diff([]tidegate.Row{{int64(0)}}, warehousetest.Rows(t, w, "SELECT COUNT(*) FROM web.t")); d != "" {
				t.Error(d)
			}
			if stages := s.Tables(t, "_tidegate_staging"); len(stages) != 0 {
				t.Errorf("staged rows were left: %v", stages)
			}
			if n, err := w.Load(t.Context(), load, tidegate.Rows(numbers, someRows(300, 10)...)); n != 300 || err != nil {
				t.Errorf("afterwards: %d, %v", n, err)
			}
		})
	}
}

// TestQuotaIsNotTheEnd: auto has another way.
func TestQuotaIsNotTheEnd(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	w := open(t, cfg)
	ensure(t, w)
	s.Intercept(func(c bqtest.Call) *bqtest.Answer {
		if c.Method == "CreateWriteStream" {
			return &bqtest.Answer{Status: http.StatusTooManyRequests, Message: "Exceeds 'CreateWriteStream requests' quota"}
		}
		return nil
	})
	if n, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: events}, tidegate.Rows(numbers, someRows(100, 10)...)); n != 100 || err != nil {
		t.Fatal(n, err)
	}
	if n := loadJobs(s); n != 1 {
		t.Errorf("%d load jobs", n)
	}
	if d := cmp.Diff([]tidegate.Row{{int64(100)}}, warehousetest.Rows(t, w, "SELECT COUNT(DISTINCT v) FROM web.t")); d != "" {
		t.Error(d)
	}
}

// TestTablesAreKnownLate: a table that was made a moment ago is not there for everybody.
func TestTablesAreKnownLate(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]bqtest.Answer{
		"unknown": {Status: http.StatusNotFound, Message: "Requested entity was not found."},
		"hidden":  {Status: http.StatusForbidden, Message: "Permission 'TABLES_UPDATE_DATA' denied on resource 'x' (or it may not exist)."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := streaming(t)
			ensure(t, w)
			var asked atomic.Int32
			s.Intercept(func(c bqtest.Call) *bqtest.Answer {
				if c.Method == "CreateWriteStream" && asked.Add(1) <= 2 {
					return &answer
				}
				return nil
			})
			if n, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: events}, tidegate.Rows(numbers, someRows(1, 1)...)); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		})
	}
}

// TestPartlySeenStages: a statement that does not see all staged rows changes nothing
// (Invariant 3). Here one is taken away, or all of them are, before it runs.
func TestPartlySeenStages(t *testing.T) {
	t.Parallel()
	for _, key := range [][]string{nil, {"id"}} {
		for _, gone := range []string{"n = 1", "TRUE"} {
			t.Run(fmt.Sprint(key, gone), func(t *testing.T) {
				t.Parallel()
				w, s := streaming(t)
				ensure(t, w)
				var once sync.Once
				s.Intercept(func(c bqtest.Call) *bqtest.Answer {
					if c.Job != nil && c.Job.Configuration.Labels["tidegate_op"] == "load" {
						once.Do(func() {
							for table := range s.Committed() {
								s.Exec(t, "DELETE FROM "+table+" WHERE "+gone)
							}
						})
					}
					return nil
				})
				load := warehouse.Load{ID: "x", Table: events, Key: key}
				_, err := w.Load(t.Context(), load, tidegate.Rows(numbers, someRows(10, 1)...))
				if f := tidegate.FaultOf(err); err == nil || f.Code != "warehouse.staging" || f.Action != tidegate.Retry {
					t.Errorf("got %v", err)
				}
				if d := cmp.Diff([]tidegate.Row{{int64(0)}}, warehousetest.Rows(t, w, "SELECT COUNT(*) FROM web.t")); d != "" {
					t.Error(d)
				}
				if n, err := w.Load(t.Context(), load, tidegate.Rows(numbers, someRows(10, 1)...)); n != 10 || err != nil {
					t.Errorf("again: %d, %v", n, err)
				}
			})
		}
	}
}

// TestCancelledStreams: a load that is given up leaves nothing, and can be done again.
func TestCancelledStreams(t *testing.T) {
	t.Parallel()
	w, s := streaming(t)
	ensure(t, w)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("given up")
	s.Intercept(func(c bqtest.Call) *bqtest.Answer {
		if c.Method == "AppendRows" {
			cancel(gone)
		}
		return nil
	})
	load := warehouse.Load{ID: "x", Table: events}
	if _, err := w.Load(ctx, load, tidegate.Rows(numbers, someRows(500, 10_000)...)); !errors.Is(err, gone) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if stages := s.Tables(t, "_tidegate_staging"); len(stages) != 0 {
		t.Errorf("staged rows were left: %v", stages)
	}
	if n, err := w.Load(t.Context(), load, tidegate.Rows(numbers, someRows(500, 10)...)); n != 500 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}

// TestForeignColumns: values get into columns of types that Tidegate does not make as they do by load jobs.
func TestForeignColumns(t *testing.T) {
	t.Parallel()
	columns := tidegate.Schema{
		{Name: "id", Type: kind(tidegate.Int)},
		{Name: "at", Type: kind(tidegate.Timestamp)},
		{Name: "clock", Type: kind(tidegate.String)},
		{Name: "wide", Type: tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}},
		{Name: "doc", Type: kind(tidegate.JSON)},
	}
	rows := []tidegate.Row{
		{int64(1), time.Date(2026, 11, 21, 10, 0, 0, 1000, time.UTC), "10:00:00.000001", tidegate.DecimalText("0.000000001"), tidegate.JSONText(`{"a":[1,"x"]}`)},
		{int64(2), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), "00:00:00", tidegate.DecimalText("-99999999999999999999999999999.999999999"), tidegate.JSONText(`null`)},
		{int64(3), nil, nil, nil, nil},
	}
	var got [2][]tidegate.Row
	for i, staging := range []string{"load_jobs", "storage_write"} {
		cfg, s := config(t)
		cfg.Staging = staging
		w := open(t, cfg)
		ensure(t, w)
		s.Exec(t, "CREATE TABLE web.f (id BIGINT, \"at\" TIMESTAMP, clock TIME, wide DECIMAL(38,9), doc JSON)")
		if n, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: warehouse.Table{Schema: "web", Name: "f"}}, tidegate.Rows(columns, rows...)); n != 3 || err != nil {
			t.Fatal(staging, n, err)
		}
		got[i] = warehousetest.Rows(t, w, "SELECT id, `at`, CAST(clock AS STRING), wide, doc FROM web.f ORDER BY id")
	}
	if d := cmp.Diff(got[0], got[1]); d != "" {
		t.Errorf("-load_jobs +storage_write: %s", d)
	}
	if d := cmp.Diff(rows, got[1]); d != "" {
		t.Error(d)
	}
}

// TestStorageAccounts: the account that loads is the one that streams.
func TestStorageAccounts(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	cfg.Staging = "storage_write"
	cfg.Credentials = secret.New(s.ServiceAccount(t, "writer@test", ""))
	w := open(t, cfg)
	ensure(t, w)
	if n, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: events}, tidegate.Rows(numbers, someRows(1, 1)...)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	cfg.Credentials = secret.New(s.ServiceAccount(t, "reader@test", "bigquery.tables.updateData"))
	w = open(t, cfg)
	_, err := w.Load(t.Context(), warehouse.Load{ID: "y", Table: events}, tidegate.Rows(numbers, someRows(1, 1)...))
	if f := tidegate.FaultOf(err); err == nil || f.Code != "warehouse.permission" || f.Action != tidegate.Halt || !strings.Contains(f.Hint, "bigquery.tables.updateData") {
		t.Errorf("got %v", err)
	}
}

func TestStagingIsChecked(t *testing.T) {
	t.Parallel()
	cfg, _ := config(t)
	for name, change := range map[string]func(*bigquery.Config){
		"a word":         func(c *bigquery.Config) { c.Staging = "streaming" },
		"no address":     func(c *bigquery.Config) { c.StorageEndpoint = "localhost" },
		"which emulator": func(c *bigquery.Config) { c.Staging, c.StorageEndpoint = "storage_write", "" },
	} {
		bad := cfg
		change(&bad)
		_, err := bigquery.Open(t.Context(), bad, env())
		if f := tidegate.FaultOf(err); err == nil || f.Code != "warehouse.config" || f.Hint == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	cfg.StorageEndpoint = "" // an emulator of the REST API alone
	w := open(t, cfg)
	ensure(t, w)
	if n, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: events}, tidegate.Rows(numbers, someRows(1, 1)...)); n != 1 || err != nil {
		t.Error(n, err)
	}
}
