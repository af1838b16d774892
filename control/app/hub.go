package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/alert"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/control/vault"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/grumble"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/sync/model/file"
	"github.com/tidegate/tidegate/sync/runner"
	"github.com/tidegate/tidegate/sync/scheduler"
	"github.com/tidegate/tidegate/warehouse"
)

// Hub is the running machine behind the API. It implements api.Hub.
type Hub struct {
	o       Options
	runs    *store.Store
	vault   *vault.Vault
	secrets secrets
	sources sources
	judge   judges
	retries retries
	dbt     dbtProjects

	begins tidegate.Offset       // of what the loader has to load
	away   atomic.Pointer[error] // why the warehouse cannot be opened

	lineageKept []api.LineageEdge // as the table has it; the watcher's alone
	active      atomic.Pointer[active]

	journal     *journal.Journal
	books       *books
	warehouse   loader.Warehouse
	further     warehouses
	loader      *loader.Loader
	runner      *runner.Runner
	scheduler   *scheduler.Scheduler
	connections *connections
	files       *file.Loader
	ledgers     localLedgers
	alerts      *alert.Engine
	unwell      unwell
	asking      asking
	looking     sync.WaitGroup // at what definitions ask for
	forwards    forwards
	quotas      runner.Quotas // shared by syncs and forwards
	redis       *redis.Client // nil without shared quotas

	events eventWork

	lent atomic.Pointer[lending] // nil while the hub has the warehouse

	stopWork  context.CancelFunc // runs and schedules
	workDone  chan struct{}
	stopLoad  context.CancelFunc
	loadDone  chan struct{}
	closeOnce sync.Once
	closeErr  error
}

var _ api.Hub = (*Hub)(nil)

// active is one activated project with what is looked up in it. It is never
// changed once stored.
type active struct {
	project      *project.Project
	syncs        map[string]tidegate.Sync
	models       map[string]tidegate.Model
	destinations map[string]tidegate.Connection
	base         *project.Project     // as it was applied, without what dbt adds
	dbt          map[string]dbtRef    // by model
	paused       map[string]time.Time // syncs that somebody paused, not their definitions
}

func index(p *project.Project) *active {
	a := &active{project: p, syncs: map[string]tidegate.Sync{}, models: map[string]tidegate.Model{}, destinations: map[string]tidegate.Connection{}}
	for _, s := range p.Syncs {
		a.syncs[s.Name] = s
	}
	for _, m := range p.Models {
		a.models[m.Name] = m
	}
	for _, d := range p.Destinations {
		a.destinations[d.Name] = d
	}
	return a
}

func newHub(o Options, runs *store.Store) *Hub {
	v := newVault(runs.In(tidegate.DefaultWorkspace), o.Data)
	known := hubSecrets(v)
	h := &Hub{o: o, runs: runs, vault: v, secrets: known, judge: judges{workers: transformWorkers(o.Log), dir: o.Project, secrets: known}, retries: retries{tries: map[string]int{}}, forwards: newForwards(), dbt: dbtProjects{wake: make(chan struct{}, 1)}}
	h.o.rules = h.sources.rulesOf
	return h
}

// open opens the warehouse and builds what works on it. Nothing runs yet. It waits for a
// warehouse that is away, after one call of away; why and waiting tell of it then.
func (h *Hub) open(ctx context.Context, p *project.Project, j *journal.Journal, away func() error) error {
	h.journal = j
	reader, err := j.Reader("loader")
	if err != nil {
		return fmt.Errorf("opening the loader's cursor: %w", err)
	}
	h.begins = reader.Committed()
	wh, err := h.await(ctx, p.Warehouse, away)
	if err != nil {
		return err
	}
	h.warehouse = wh
	if err := h.books.open(ctx, wh, reader.Committed()); err != nil {
		return errors.Join(err, wh.Close())
	}
	if err := h.openEvents(ctx, j, reader.Committed()); err != nil {
		return errors.Join(err, wh.Close())
	}
	h.connections = newConnections(h.secrets, h.o.Log, h.o.Now, h.o.Telemetry.Meter("destinations"))
	h.files = file.New(wh, projectFiles{h.o.Project}, h.o.Now, h.o.Log)
	h.openAlerts()
	if err := h.openSyncs(p); err != nil {
		return errors.Join(err, wh.Close())
	}
	options := loader.Options{
		Reader: reader, Warehouse: wh, Log: h.o.Log, Now: h.o.Now, Head: j.Durable, AppendedAt: j.AppendedAt, Begin: j.Begin(), OnLoad: h.scheduler.Notify, Shape: shape.Options{RulesOf: h.sources.rulesOf}, Judge: &h.judge, OnFates: h.events.ring.Put,
	}
	if every, err := time.ParseDuration(p.Settings.CheckpointEvery); err == nil {
		options.CheckpointEvery, options.CheckpointAfterDDL = every, min(every, 15*time.Second)
	}
	if h.loader, err = loader.New(options); err != nil {
		return errors.Join(fmt.Errorf("building the loader: %w", err), wh.Close())
	}
	h.active.Store(index(&project.Project{Warehouse: p.Warehouse}))
	return nil
}

// await opens the warehouse, and tries again for as long as it is away: what was started
// to collect events collects them.
func (h *Hub) await(ctx context.Context, w project.Warehouse, away func() error) (loader.Warehouse, error) {
	trouble := grumble.Log{Every: 10 * time.Minute}
	for attempt := 1; ; attempt++ {
		wh, err := openWarehouse(ctx, h.secrets, h.o.Data, w, h.o.Log, h.o.Now)
		var f *tidegate.Fault
		switch {
		case err == nil:
			trouble.Over(ctx, h.o.Log, h.o.Now(), "the warehouse is there")
			return wh, nil
		case ctx.Err() != nil, !errors.As(err, &f), f.Action != tidegate.Retry && f.Action != tidegate.Throttle:
			return nil, err
		}
		if first := h.away.Swap(&err) == nil; first {
			if err := away(); err != nil {
				return nil, err
			}
		}
		trouble.About(ctx, h.o.Log, h.o.Now(), "the warehouse cannot be opened; events are collected meanwhile, and it is tried again and again", err)
		if err := retry.Wait(ctx, retry.Backoff{Cap: 5 * time.Second}.Delay(attempt, rand.Float64)); err != nil {
			return nil, fmt.Errorf("waiting for the warehouse: %w", err)
		}
	}
}

// why is what keeps the warehouse from being opened.
func (h *Hub) why() error { return *h.away.Load() }

// waiting is the stages of a hub whose warehouse is away.
func (h *Hub) waiting() []api.Stage {
	behind := api.Stage{Name: "loader", LagEvents: h.journal.Durable().Position - h.begins.Position, Detail: "it waits for the warehouse"}
	if at := h.journal.AppendedAt(h.begins); !at.IsZero() {
		behind.LagSeconds = h.o.Now().Sub(at).Seconds()
	}
	return []api.Stage{h.journalStage(h.journal.Stats()), behind, {Name: "warehouse", Detail: h.why().Error()}}
}

// run starts the loader, the schedules and the runs that an earlier process left.
func (h *Hub) run(ctx context.Context, group *errgroup.Group, fail context.CancelCauseFunc) {
	base := context.WithoutCancel(ctx) // each part ends when shutdown says so, in its order
	work, stopWork := context.WithCancel(base)
	load, stopLoad := context.WithCancel(base)
	h.stopWork, h.stopLoad = stopWork, stopLoad
	h.workDone, h.loadDone = make(chan struct{}), make(chan struct{})
	var parts errgroup.Group
	group.Go(func() error {
		defer close(h.loadDone)
		err := h.loader.Run(load)
		if err != nil {
			fail(err)
		}
		return err
	})
	parts.Go(func() error { return h.scheduler.Run(work) })
	parts.Go(func() error { return h.runner.Run(work) })
	parts.Go(func() error { return h.prune(work) })
	parts.Go(func() error { return h.watchDbt(work) })
	parts.Go(func() error { return h.watchDrift(work) })
	parts.Go(func() error { return h.alerts.Run(work) })
	h.runEvents(work, &parts)
	parts.Go(func() error { return h.runForwards(work) })
	group.Go(func() error {
		defer close(h.workDone)
		err := parts.Wait()
		if err != nil {
			fail(err)
		}
		return err
	})
}

// prune forgets finished runs that are older than the project's retention says,
// at the start and once an hour.
func (h *Hub) prune(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if keep, err := time.ParseDuration(h.active.Load().project.Settings.Retention.Runs); err == nil && keep > 0 {
			if _, err := h.runs.PruneRuns(ctx, tidegate.DefaultWorkspace, h.o.Now().Add(-keep)); err != nil && ctx.Err() == nil {
				h.o.Log.Warn("forgetting old runs failed", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// stop ends runs first, because they read what the loader writes, then the loader.
func (h *Hub) stop() {
	h.stopWork()
	<-h.workDone
	h.stopLoad()
	<-h.loadDone
}

// close closes what open opened; calling it twice is fine.
func (h *Hub) close() error {
	h.closeOnce.Do(func() {
		h.asking.running.Wait()
		h.looking.Wait()
		if h.warehouse != nil {
			h.closeErr = errors.Join(h.connections.closeAll(), h.closeQuotas(), h.ledgers.close(), h.further.close(), h.judge.close(), h.warehouse.Close())
		}
	})
	return h.closeErr
}

// Activate makes p what the hub runs.
func (h *Hub) Activate(ctx context.Context, p *project.Project) error {
	now := h.active.Load()
	if !reflect.DeepEqual(plain(now.project.Warehouse), plain(p.Warehouse)) {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "warehouse.conflict", Subject: "tidegate.yaml: warehouse",
			Message: "the warehouse of a running hub cannot be replaced", Hint: "stop tidegate, then start it with the new project",
		}
	}
	if err := h.further.replaceable(p); err != nil {
		return err
	}
	h.journal.Retain(retention(p))
	return h.replaceDbt(ctx, p)
}

// plain gives equal documents equal Go values, whichever decoder made them.
func plain(v any) (out any) {
	if raw, err := json.Marshal(v); err == nil {
		_ = json.Unmarshal(raw, &out)
	}
	return out
}

// Query runs one read-only statement in the warehouse called name.
func (h *Hub) Query(ctx context.Context, name, sql string) (tidegate.RowReader, error) {
	wh, err := h.warehouseOf(ctx, h.active.Load(), name)
	if err != nil {
		return nil, err
	}
	return wh.Query(ctx, sql)
}

// Tables lists the warehouse's tables with their columns.
func (h *Hub) Tables(ctx context.Context) ([]api.TableInfo, error) {
	lister, ok := h.warehouse.(warehouse.Lister)
	if !ok {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.not_listable", Message: "this warehouse cannot list its tables"}
	}
	tables, err := lister.Tables(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	out := make([]api.TableInfo, 0, len(tables))
	for _, t := range tables {
		schema, err := h.warehouse.Describe(ctx, t)
		if errors.Is(err, warehouse.ErrNoTable) {
			continue // dropped since
		} else if err != nil {
			return nil, fmt.Errorf("describing %s: %w", t, err)
		}
		info := api.TableInfo{Schema: t.Schema, Name: t.Name}
		for _, c := range schema {
			info.Columns = append(info.Columns, api.ColumnInfo{Name: c.Name, Type: c.Type.String()})
		}
		out = append(out, info)
	}
	return out, nil
}

// Lend gives the warehouse's file up while use runs. The loader meets
// warehouse.ErrYielded and waits; ingest goes on.
func (h *Hub) Lend(ctx context.Context, by string, use func(ctx context.Context, path string) error) error {
	y, ok := h.warehouse.(warehouse.Yielder)
	if !ok {
		return notLendable()
	}
	mine := &lending{by: cmp.Or(by, "another program"), since: h.o.Now()}
	if !h.lent.CompareAndSwap(nil, mine) {
		return h.lentFault()
	}
	defer func() {
		h.lent.Store(nil)
		h.scheduler.Look()
		h.wakeDbt() // the other program may have been dbt
	}()
	return y.Yield(ctx, fromAnywhere(use))
}

// lending is who has the warehouse's file while it is lent.
type lending struct {
	by    string
	since time.Time
}

// held says that the warehouse is lent, to whom and since when; empty while it is not.
func (h *Hub) held() string {
	l := h.lent.Load()
	if l == nil {
		return ""
	}
	return fmt.Sprintf("the warehouse is lent to %s since %s", l.by, l.since.UTC().Format(time.RFC3339))
}

// lentFault tells a second borrower who has the file.
func (h *Hub) lentFault() error {
	return &tidegate.Fault{
		Action: tidegate.Retry, Code: "warehouse.yielded", Message: cmp.Or(h.held(), warehouse.ErrYielded.Error()),
		Hint: "it comes back when that program ends", Err: warehouse.ErrYielded,
	}
}
