package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/postgres"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

var shared pgtest.Shared

func TestMain(m *testing.M) {
	chdbtest.Main()
	code := m.Run()
	shared.Stop()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// engineUnderTest is a warehouse that can hold a ledger.
type engineUnderTest interface {
	warehouse.Warehouse
	warehouse.Execer
}

// The placements of a ledger.
const (
	inDuckDB   = "beside the model in DuckDB"
	inLocal    = "in a database of the hub"
	inPostgres = "beside the model in PostgreSQL"
)

func placements() []string { return []string{inDuckDB, inLocal, inPostgres} }

// newWorldAt is newWorld with the ledger somewhere else.
func newWorldAt(tb testing.TB, place string) *world {
	tb.Helper()
	if slices.Contains(homes(), place) {
		w := emptyWorld(tb)
		w.wh = openHome(w, place)
		w.beside()
		return w
	}
	switch place {
	case inPostgres:
	default:
		w := newWorld(tb)
		if place == inLocal {
			w.beside()
		}
		return w
	}
	w := emptyWorld(tb)
	s := shared.Get(tb, warehousetest.Missing)
	cfg := postgres.Config{Host: s.Host, Port: s.Port, Database: s.Database(tb), User: pgtest.Superuser, MaxConnections: 16}
	wh, err := postgres.Open(w.ctx, cfg, warehouse.Env{Log: slog.New(slog.DiscardHandler), Now: w.clock})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := wh.Close(); err != nil {
			tb.Error(err)
		}
	})
	w.wh = wh.(engineUnderTest)
	w.store = w.wh
	w.open()
	return w
}

// world is a warehouse, one sync's ledger and a destination that remembers.
type world struct {
	t   testing.TB
	ctx context.Context
	wh  engineUnderTest
	// store holds the ledger; opts are its options but for the clock.
	store warehouse.Execer
	name  string
	opts  Options
	l     *Ledger
	now   time.Time
	// def and fields are what the next plan is compiled from.
	def    tidegate.Model
	fields []tidegate.FieldMapping
	mode   tidegate.Mode
	runs   int
	loads  int
	// held is the destination: key → payload.
	held map[tidegate.Key]string
}

func emptyWorld(tb testing.TB) *world {
	tb.Helper()
	return &world{
		t: tb, ctx: tb.Context(), name: "crm", now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), held: map[tidegate.Key]string{},
		def:    tidegate.Model{Name: "people", SQL: "SELECT * FROM people", PrimaryKey: []string{"id"}},
		fields: []tidegate.FieldMapping{{Field: "email", Column: "email"}, {Field: "age", Column: "age"}},
	}
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := emptyWorld(tb)
	wh, err := duckdb.Open(w.ctx, duckdb.Options{Path: filepath.Join(tb.TempDir(), "w.duckdb"), Now: w.clock})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := wh.Close(); err != nil {
			tb.Error(err)
		}
	})
	w.wh, w.store = wh, wh
	w.open()
	return w
}

// beside puts the ledger into a database of its own.
func (w *world) beside() {
	w.t.Helper()
	w.store, w.opts.Model = deskOf(w), w.wh
	if Keeps(w.wh.Dialect()) {
		w.opts.Home = w.wh
	}
	w.open()
}

// deskOf is an empty database of the hub.
func deskOf(w *world) warehouse.Execer {
	w.t.Helper()
	store, err := duckdb.Open(w.ctx, duckdb.Options{Path: filepath.Join(w.t.TempDir(), "local.duckdb"), Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return store
}

func (w *world) clock() time.Time { return w.now }

func (w *world) open() {
	w.t.Helper()
	opts := w.opts
	opts.Now = w.clock
	l, err := Open(w.ctx, w.store, tidegate.DefaultWorkspace, w.name, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.l = l
	w.l.bringFrom = 1 // few rows stand for many
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.wh.Exec(w.ctx, sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) request(runID string) PlanRequest {
	w.t.Helper()
	m, err := model.Compile(w.ctx, w.wh, w.def)
	if err != nil {
		w.t.Fatal(err)
	}
	mp, err := mapping.Compile(tidegate.Mapping{Identifier: w.fields[0].Field, Fields: w.fields}, m, destinations.Object{Name: "contacts", Open: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return PlanRequest{RunID: runID, Epoch: 1, Model: m, Mapping: mp, Mode: w.mode}
}

func (w *world) newRun() string {
	w.runs++
	w.now = w.now.Add(time.Minute)
	return fmt.Sprintf("run_%04d", w.runs)
}

func (w *world) plan() (string, Summary) {
	w.t.Helper()
	id := w.newRun()
	s, err := w.l.Plan(w.ctx, w.request(id))
	if err != nil {
		w.t.Fatal(err)
	}
	w.check(id, s)
	return id, s
}

// lookAndPlan plans what it has looked at before, and holds the two to each other.
func (w *world) lookAndPlan() (string, Summary) {
	w.t.Helper()
	id := w.newRun()
	tables := w.tablesOfRuns()
	look, err := w.l.Look(w.ctx, w.request(id), 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	if n := w.tablesOfRuns(); n != tables {
		w.t.Fatalf("%d tables of runs before a look, %d after it", tables, n)
	}
	s, err := w.l.Plan(w.ctx, w.request(id))
	if err != nil {
		w.t.Fatal(err)
	}
	w.check(id, s)
	if d := cmp.Diff(s, look.Summary); d != "" {
		w.t.Fatalf("the look saw another plan (-plan +look):\n%s", d)
	}
	all := w.changes(id)
	if d := cmp.Diff(all, look.First, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Planned{}, "Ordinal"), cmpopts.SortSlices(func(a, b Planned) bool { return a.Key < b.Key })); d != "" {
		w.t.Fatalf("the look saw other changes (-plan +look):\n%s", d)
	}
	if len(look.Sample) != len(all) {
		w.t.Fatalf("the look showed %d of %d changes", len(look.Sample), len(all))
	}
	return id, s
}

// check holds a plan to its counts.
func (w *world) check(id string, s Summary) {
	w.t.Helper()
	if s.Read != s.Unchanged+s.Added+s.Changed+s.BadKeys {
		w.t.Fatalf("counts do not add up: %+v", s)
	}
	ops := map[tidegate.Op]int64{}
	for i, p := range w.changes(id) {
		if p.Ordinal != int64(i) {
			w.t.Fatalf("ordinal %d at place %d", p.Ordinal, i)
		}
		ops[p.Op]++
	}
	if ops[tidegate.Added] != s.Added || ops[tidegate.Changed] != s.Changed || ops[tidegate.Removed] != s.Removed {
		w.t.Fatalf("the plan holds %v, the summary says %+v", ops, s)
	}
}

// changes are those of a plan; its identities must be a part of the same.
func (w *world) changes(id string) []Planned {
	w.t.Helper()
	all := w.readAll(w.l.Changes(w.ctx, id, 0))
	bare := slices.Clone(all)
	for i := range bare {
		bare[i] = Planned{Ordinal: bare[i].Ordinal, Change: tidegate.Change{Op: bare[i].Op, Key: bare[i].Key}, Identifier: bare[i].Identifier, Fault: bare[i].Fault}
		if f := bare[i].Fault; f != nil {
			bare[i].Fault = &tidegate.Fault{Action: f.Action, Code: f.Code}
		}
	}
	identities := w.readAll(w.l.Identities(w.ctx, id))
	if diff := cmp.Diff(bare, identities); diff != "" {
		w.t.Fatalf("the identities of the plan differ from its changes (-want +got):\n%s", diff)
	}
	return all
}

func (w *world) readAll(r PlannedReader, err error) (all []Planned) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	if err := EachPlanned(w.ctx, r, func(p *Planned) error { all = append(all, *p); return nil }); err != nil {
		w.t.Fatal(err)
	}
	return all
}

// deliver settles every change of a plan as outcome says; nil leaves it unsettled.
func (w *world) deliver(id string, outcome func(Planned) *Result) {
	w.t.Helper()
	all := w.changes(id)
	if len(all) == 0 {
		return
	}
	if err := w.l.Intend(w.ctx, id, 1, 0, int64(len(all)-1)); err != nil {
		w.t.Fatal(err)
	}
	var results []Result
	for _, p := range all {
		r := outcome(p)
		if r == nil {
			continue
		}
		r.Ordinal = p.Ordinal
		if r.Disposition == destinations.Delivered && !r.Excluded {
			w.hold(p)
		}
		results = append(results, *r)
	}
	if err := w.l.Record(w.ctx, id, 1, results); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) hold(p Planned) {
	if p.Op == tidegate.Removed {
		delete(w.held, p.Key)
		return
	}
	w.held[p.Key] = string(model.AppendJSON(nil, p.After))
}

func (w *world) finish(id string) {
	w.t.Helper()
	if err := w.l.Finish(w.ctx, id); err != nil {
		w.t.Fatal(err)
	}
}

// run plans, delivers everything that mapped and finishes.
func (w *world) run() Summary {
	w.t.Helper()
	id, s := w.plan()
	w.deliver(id, delivered)
	w.finish(id)
	return s
}

func delivered(p Planned) *Result {
	if p.Fault != nil {
		return &Result{Outcome: destinations.Outcome{Disposition: destinations.Rejected, Fault: p.Fault}}
	}
	return &Result{Outcome: destinations.Outcome{Disposition: destinations.Delivered, DestinationID: "d" + string(p.Key)}}
}

func outcome(d destinations.Disposition, next time.Time) func(Planned) *Result {
	return func(Planned) *Result {
		return &Result{NextAttempt: next, Outcome: destinations.Outcome{Disposition: d, Fault: &tidegate.Fault{Action: tidegate.Reject, Code: "dest.no", Message: `value "x" is wrong`}}}
	}
}

// tablesOfRuns counts the tables that runs keep only while they last.
func (w *world) tablesOfRuns() (n int64) {
	w.t.Helper()
	err := w.l.read(w.ctx, func(ctx context.Context, tx warehouse.Tx) error {
		return one(ctx, tx, "SELECT count(*) FROM information_schema.tables WHERE table_schema = '_tidegate' AND table_name LIKE 'crm__run_0%'", nil, &n)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}
