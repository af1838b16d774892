package runner

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/sync/ledger"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

// house is a real warehouse with a model and a sync over it.
type house struct {
	t    *testing.T
	wh   *duckdb.Warehouse
	runs *memoryRuns
	crm  *crm
}

func newHouse(t *testing.T) *house {
	t.Helper()
	wh, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := wh.Close(); err != nil {
			t.Error(err)
		}
	})
	return &house{t: t, wh: wh, runs: newMemoryRuns(), crm: &crm{records: map[any]tidegate.Record{}}}
}

func (h *house) exec(sql string) {
	h.t.Helper()
	if _, err := h.wh.Exec(h.t.Context(), sql); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
}

func (h *house) open(ctx context.Context, name string) (*Opened, error) {
	object := destinations.Object{
		Name: "contacts", Open: true, Safety: destinations.Idempotent, Modes: []tidegate.Mode{tidegate.Mirror},
		Limit: destinations.Limit{Records: 100, Concurrency: 2},
	}
	m, err := model.Compile(ctx, h.wh, tidegate.Model{Name: "people", SQL: "SELECT * FROM people", PrimaryKey: []string{"id"}})
	if err != nil {
		return nil, err
	}
	mp, err := mapping.Compile(tidegate.Mapping{Identifier: "email", Fields: []tidegate.FieldMapping{{Field: "email", Column: "email"}, {Field: "age", Column: "age"}}}, m, object)
	if err != nil {
		return nil, err
	}
	led, err := ledger.Open(ctx, h.wh, tidegate.DefaultWorkspace, name, ledger.Options{Now: time.Now})
	if err != nil {
		return nil, err
	}
	return &Opened{
		Sync: tidegate.Sync{Name: name, Mode: tidegate.Mirror}, Ledger: led, Request: ledger.PlanRequest{Model: m, Mapping: mp},
		Destination: h.crm, Object: object, IdentifierField: "email", Account: "crm", Close: func() error { return nil },
	}, nil
}

func (h *house) process() *Runner {
	h.t.Helper()
	r, err := New(Options{
		Node: "node1", Runs: h.runs, Open: h.open, Now: time.Now, Random: rand.Uint64,
		Tuning: Tuning{WindowRows: 500, FlushEvery: 5 * time.Millisecond},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// compare holds the destination to the table.
func (h *house) compare() {
	h.t.Helper()
	rows, err := h.wh.Query(h.t.Context(), "SELECT email, age FROM people")
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			h.t.Error(err)
		}
	}()
	n := 0
	for ; ; n++ {
		row, err := rows.Next(h.t.Context())
		if err != nil {
			break
		}
		if got := h.crm.records[row[0]]; got == nil || fmt.Sprint(got["age"]) != fmt.Sprint(row[1]) {
			h.t.Fatalf("%v has %v, the table says %v", row[0], got, row[1])
		}
	}
	if n != len(h.crm.records) {
		h.t.Errorf("%d records, %d rows", len(h.crm.records), n)
	}
}

// TestRealLedger runs against DuckDB: only changed rows leave, and a process
// that dies at any moment of a run leaves one that the next process completes.
func TestRealLedger(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.exec("CREATE TABLE people AS SELECT i AS id, 'p' || i || '@example.com' AS email, i % 90 AS age FROM range(3000) AS t(i)")
	r := h.process()
	run, err := r.Do(t.Context(), "crm", tidegate.TriggerManual)
	if err != nil || run.State != tidegate.RunSucceeded || run.Counts.Delivered != 3000 {
		t.Fatalf("the first run is %s: %+v %+v, %v", run.State, run.Fault, run.Counts, err)
	}
	h.compare()
	h.exec("UPDATE people SET age = age + 1000 WHERE id % 100 = 7")
	h.exec("DELETE FROM people WHERE id % 300 = 1")
	h.exec("UPDATE people SET id = id + 100000 WHERE id = 42") // the same record under another key
	run, err = r.Do(t.Context(), "crm", tidegate.TriggerManual)
	if err != nil || run.State != tidegate.RunSucceeded || run.Counts.Delivered != 30+10+2 {
		t.Fatalf("the second run is %s: %+v %+v, %v", run.State, run.Fault, run.Counts, err)
	}
	h.compare()

	for kill := range 8 {
		h.exec(fmt.Sprintf("UPDATE people SET age = %d + id", 2000+kill*10))
		calls := make(chan struct{}, 1000)
		h.crm.answer = func(context.Context, int, destinations.Batch) ([]destinations.Outcome, error, bool) {
			calls <- struct{}{}
			return nil, nil, false
		}
		run, err := r.Start(t.Context(), "crm", tidegate.TriggerManual)
		if err != nil {
			t.Fatal(err)
		}
		for range kill * 4 { // die after so many calls, before the first or near the end
			<-calls
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_ = r.Close(gone)
		r = h.process()
		if err := r.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		run, err = r.Wait(t.Context(), run.ID)
		if err != nil || run.State != tidegate.RunSucceeded || run.Counts.Check() != nil {
			t.Fatalf("killed after %d calls, the resumed run is %s: %+v %+v, %v", kill*4, run.State, run.Fault, run.Counts, err)
		}
		h.compare()
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCrashPointsArePassed holds the named crash points of a run to their order.
func TestCrashPointsArePassed(t *testing.T) { //nolint:paralleltest // the hook is the process's
	var mu sync.Mutex
	var passed []crashpoint.Point
	defer crashpoint.SetHook(func(p crashpoint.Point) {
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(passed, p) {
			passed = append(passed, p)
		}
	})()
	synctest.Test(t, func(t *testing.T) {
		w, a := ableBench(t, 5)
		a.async = true
		if run := w.do(t); run.State != tidegate.RunSucceeded {
			t.Errorf("the run is %s", run.State)
		}
	})
	want := []crashpoint.Point{
		crashpoint.SyncAfterLease, crashpoint.SyncAfterPlan, crashpoint.SyncAfterIntent,
		crashpoint.SyncAfterSend, crashpoint.SyncAfterOutcome, crashpoint.SyncAfterPoll, crashpoint.SyncAfterFinish,
	}
	if !slices.Equal(passed, want) {
		t.Errorf("passed %v, want %v", passed, want)
	}
}

// BenchmarkRealLedger plans and delivers 50,000 added rows through the real
// ledger to a destination that confirms at once: what the engine costs a row
// with everything durable.
func BenchmarkRealLedger(b *testing.B) {
	const rows = 50_000
	for b.Loop() {
		wh, err := duckdb.Open(b.Context(), duckdb.Options{Path: filepath.Join(b.TempDir(), "w.duckdb"), Now: time.Now})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := wh.Exec(b.Context(), fmt.Sprintf("CREATE TABLE people AS SELECT i AS id, 'p' || i || '@example.com' AS email, i %% 90 AS age FROM range(%d) AS t(i)", rows)); err != nil {
			b.Fatal(err)
		}
		h := &house{wh: wh, runs: newMemoryRuns()}
		r, err := New(Options{Node: "bench", Runs: h.runs, Now: time.Now, Random: rand.Uint64, Open: func(ctx context.Context, name string) (*Opened, error) {
			o, err := h.open(ctx, name)
			if err == nil {
				o.Destination = nowhere{}
			}
			return o, err
		}})
		if err != nil {
			b.Fatal(err)
		}
		run, err := r.Do(b.Context(), "crm", tidegate.TriggerManual)
		if err != nil || run.State != tidegate.RunSucceeded {
			b.Fatalf("the run is %s: %+v %v", run.State, run.Fault, err)
		}
		if err := wh.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e6/rows/float64(b.N), "µs/row")
}
