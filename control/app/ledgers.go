package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/sync/ledger"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// placedLocal is LedgerSettings.Placement of a ledger in the hub's own database.
const placedLocal = "local"

// ledgersFile is the hub's own database of ledgers, in the data folder.
const ledgersFile = "ledgers.duckdb"

// localLedgers is that database, opened when the first sync asks for it.
type localLedgers struct {
	mu sync.Mutex
	db *duckdb.Warehouse
}

func (h *Hub) localLedgers(ctx context.Context) (*duckdb.Warehouse, error) {
	return h.ledgers.open(ctx, h.o.Data, h.o.Log, h.o.Now)
}

func (l *localLedgers) open(ctx context.Context, data string, log *slog.Logger, now func() time.Time) (*duckdb.Warehouse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.db != nil {
		return l.db, nil
	}
	db, err := duckdb.Open(ctx, duckdb.Options{Path: filepath.Join(data, ledgersFile), Log: log, Now: now})
	if err != nil {
		return nil, fmt.Errorf("opening the hub's ledgers: %w", err)
	}
	l.db = db
	return db, nil
}

// hasLocalLedgers says whether some sync ever had its ledger here.
func (h *Hub) hasLocalLedgers() bool {
	_, err := os.Stat(filepath.Join(h.o.Data, ledgersFile))
	return err == nil
}

func (l *localLedgers) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.db == nil {
		return nil
	}
	return l.db.Close()
}

// ledger opens the ledger of a sync where its definition says.
func (h *Hub) ledger(ctx context.Context, name string) (*ledger.Ledger, error) {
	return h.placedLedger(ctx, name, h.active.Load().syncs[name].Ledger, h.active.Load().syncs[name].Ledger.Placement)
}

// placedWarehouse is LedgerSettings.Placement of a ledger in the model's warehouse.
const placedWarehouse = "warehouse"

// holdsLedgers says that ledgers lie in the warehouse itself, which is where they are
// unless a sync says otherwise: it has transactions, and its SQL is spoken. Of the others
// some keep a ledger that is published to them, which a sync must ask for: it costs statements.
func holdsLedgers(wh loader.Warehouse) bool {
	d, ok := sqltext.Find(wh.Dialect())
	return !ok || !d.Units() && ledger.Speaks(d.Name())
}

// database is where ledgers of the hub are worked on.
type database interface {
	warehouse.Execer
	Describe(ctx context.Context, t warehouse.Table) (tidegate.Schema, error)
}

// placeLedger says in which database a ledger is opened, and completes opts.
func placeLedger(wh loader.Warehouse, placement string, opts *ledger.Options, local func() (database, error)) (database, error) {
	if placement != placedLocal && holdsLedgers(wh) {
		return wh, nil
	}
	opts.Model = wh
	if placement == placedWarehouse {
		opts.Home = wh
	}
	return local()
}

func (h *Hub) placedLedger(ctx context.Context, name string, settings tidegate.LedgerSettings, placement string) (*ledger.Ledger, error) {
	db, opts, err := h.placeOf(ctx, name, settings, placement)
	if err != nil {
		return nil, err
	}
	return ledger.Open(ctx, db, tidegate.DefaultWorkspace, name, opts)
}

// ledgerToRead is ledger for those who only look: nil where no run has made one yet.
// Making it takes a transaction of many statements, and looking is not to write.
func (h *Hub) ledgerToRead(ctx context.Context, name string) (*ledger.Ledger, error) {
	settings := h.active.Load().syncs[name].Ledger
	db, opts, err := h.placeOf(ctx, name, settings, settings.Placement)
	if err != nil {
		return nil, err
	}
	if opts.Home == nil { // a ledger that was published may come from there
		if there, err := ledger.Exists(ctx, db, tidegate.DefaultWorkspace, name); err != nil || !there {
			return nil, err
		}
	}
	return ledger.Open(ctx, db, tidegate.DefaultWorkspace, name, opts)
}

// sized is the size of a sync's ledger, or why it cannot be counted.
type sized struct {
	ledger.Size
	err error
}

// ledgerSizes counts the ledgers of syncs. Those that lie in one database are counted together, and none is
// opened or created for it: people look at hundreds at once.
func (h *Hub) ledgerSizes(ctx context.Context, a *active, names []string) map[string]sized {
	out, together := map[string]sized{}, map[database][]string{}
	away := map[string]error{} // by warehouse: one that does not open is waited for once
	for _, name := range names {
		wh := a.models[a.syncs[name].Model].Warehouse
		if err := away[wh]; err != nil {
			out[name] = sized{err: err}
			continue
		}
		settings := a.syncs[name].Ledger
		db, opts, err := h.placeOf(ctx, name, settings, settings.Placement)
		switch {
		case err != nil:
			out[name] = sized{err: err}
			if tidegate.FaultOf(err).Action != tidegate.Halt {
				away[wh] = err
			}
		case opts.Home != nil: // it may have to be brought here from there
			out[name] = h.publishedSize(ctx, name)
		default:
			together[db] = append(together[db], name)
		}
	}
	for db, some := range together {
		countTogether(ctx, db, some, out)
	}
	return out
}

// countTogether counts ledgers of one database, and one by one where one of them cannot be read.
func countTogether(ctx context.Context, db database, names []string, out map[string]sized) {
	sizes, err := ledger.Sizes(ctx, db, tidegate.DefaultWorkspace, names)
	if err != nil && len(names) > 1 && tidegate.FaultOf(err).Action == tidegate.Halt && !errors.Is(err, warehouse.ErrYielded) {
		for _, name := range names {
			countTogether(ctx, db, []string{name}, out)
		}
		return
	}
	for _, name := range names {
		out[name] = sized{sizes[name], err}
	}
}

func (h *Hub) publishedSize(ctx context.Context, name string) sized {
	led, err := h.ledgerToRead(ctx, name)
	if err != nil || led == nil {
		return sized{err: err}
	}
	size, err := led.Size(ctx)
	return sized{size, err}
}

// placeOf returns the database that holds a sync's ledger, and how it is opened there.
func (h *Hub) placeOf(ctx context.Context, name string, settings tidegate.LedgerSettings, placement string) (database, ledger.Options, error) {
	opts := ledger.Options{Now: h.o.Now, Log: h.o.Log, HashOnly: settings.Payloads == "hash"}
	if settings.KeepLog != "" {
		keep, err := time.ParseDuration(settings.KeepLog)
		if err != nil {
			return nil, opts, &tidegate.Fault{Action: tidegate.Halt, Code: "sync.ledger", Subject: "sync " + name + ": ledger.keep_log", Message: err.Error(), Hint: "write a duration such as 720h"}
		}
		opts.KeepLog = keep
	}
	a := h.active.Load()
	opts.Target, opts.Account = targetOf(a.syncs[name]), h.connections.account(a.syncs[name].Destination)
	wh, err := h.modelWarehouse(ctx, a, a.syncs[name].Model)
	if err != nil {
		return nil, opts, err
	}
	db, err := placeLedger(wh, placement, &opts, func() (database, error) { return h.localLedgers(ctx) })
	return db, opts, err
}

// targetOf names what a sync writes to.
func targetOf(def tidegate.Sync) string {
	target := def.Object + " of " + def.Destination
	if def.Mode == tidegate.Audience {
		target = "audience " + cmp.Or(def.Audience, def.Name) + " of " + target
	}
	return target
}

// ledgerForRun opens the ledger of a sync that is about to run, and moves it first
// when its definition has another place for it than before.
func (h *Hub) ledgerForRun(ctx context.Context, def tidegate.Sync) (*ledger.Ledger, error) {
	led, err := h.ledger(ctx, def.Name)
	if err != nil {
		return nil, err
	}
	wh, err := h.modelWarehouse(ctx, h.active.Load(), def.Model)
	if err != nil {
		return nil, err
	}
	other, was := placedLocal, false
	switch {
	case !holdsLedgers(wh) && def.Ledger.Placement == placedWarehouse: // on the same desk as before
	case def.Ledger.Placement == placedLocal || !holdsLedgers(wh):
		other = placedWarehouse
		was, err = ledger.Exists(ctx, wh, tidegate.DefaultWorkspace, def.Name)
	case h.hasLocalLedgers():
		var db *duckdb.Warehouse
		if db, err = h.localLedgers(ctx); err == nil {
			was, err = ledger.Exists(ctx, db, tidegate.DefaultWorkspace, def.Name)
		}
	}
	if err != nil || !was {
		return led, err
	}
	from, err := h.placedLedger(ctx, def.Name, def.Ledger, other)
	if err != nil {
		return nil, err
	}
	return led, ledger.Move(ctx, from, led)
}

// Resync forgets what a sync's destination confirmed: the next run sends every row and removes none.
func (h *Hub) Resync(ctx context.Context, name string) error {
	if _, ok := h.active.Load().syncs[name]; !ok {
		return noSync(name)
	}
	if run, going := h.runner.Current(name); going && !run.State.Finished() {
		return &tidegate.Fault{Action: tidegate.Retry, Code: "run.conflict", Subject: "sync " + name, Message: "a run is going on: " + run.ID, Hint: "wait for its end, or cancel it"}
	}
	led, err := h.ledger(ctx, name)
	if err != nil {
		return err
	}
	return led.Resync(ctx)
}

// SyncLog lists results of a sync's change log, newest first.
func (h *Hub) SyncLog(ctx context.Context, name string, f ledger.LogFilter) ([]ledger.LogEntry, error) {
	if _, ok := h.active.Load().syncs[name]; !ok {
		return nil, noSync(name)
	}
	led, err := h.ledgerToRead(ctx, name)
	if err != nil {
		return nil, err
	}
	if f.Key, err = keyOf(string(f.Key)); err != nil || led == nil {
		return nil, err
	}
	return led.Log(ctx, f)
}
