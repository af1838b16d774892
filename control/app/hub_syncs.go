package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/sync/ledger"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/runner"
	"github.com/tidegate/tidegate/sync/scheduler"
	"github.com/tidegate/tidegate/warehouse"
)

// retryWaits are how long after a run that left records behind the next is
// started; the last one repeats.
var retryWaits = []time.Duration{30 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour}

// openSyncs builds the runner and the scheduler over the opened warehouse.
func (h *Hub) openSyncs(p *project.Project) error {
	node, err := h.nodeName()
	if err != nil {
		return err
	}
	quotas, err := h.openQuotas(p)
	if err != nil {
		return err
	}
	if quotas == nil {
		quotas = runner.NewQuotas(h.o.Now)
	}
	h.quotas = quotas
	h.runner, err = runner.New(runner.Options{
		Quotas: quotas, Node: node, Runs: h.runs, Open: h.openSync, Now: h.o.Now, Random: rand.Uint64, Log: h.o.Log, Meter: h.o.Telemetry.Meter("sync/runner"), OnRun: h.onRun,
	})
	if err != nil {
		return fmt.Errorf("building the runner: %w", err)
	}
	h.connections.learn(h.runner.Allow)
	h.scheduler = scheduler.New(scheduler.Options{Run: h.runDue, LastRun: h.lastRun, LastSuccess: h.lastSuccess, LastComplete: h.lastComplete, Tables: h.tablesOf, Hold: h.hold, Now: h.o.Now, Log: h.o.Log})
	return nil
}

// nodeName names this process's data folder as a holder of leases: a process
// that starts again on it takes its own leases over at once.
func (h *Hub) nodeName() (string, error) {
	path, err := filepath.Abs(h.o.Data)
	if err != nil {
		return "", fmt.Errorf("naming the node: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("naming the node: %w", err)
	}
	return host + ":" + path, nil
}

// openSync makes everything that one run needs.
func (h *Hub) openSync(ctx context.Context, name string) (_ *runner.Opened, err error) {
	a := h.active.Load()
	def, ok := a.syncs[name]
	if !ok {
		return nil, noSync(name)
	}
	found, err := h.fitSync(ctx, a, def, &fitting{})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, found.release())
		}
	}()
	led, err := h.ledgerForRun(ctx, def)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger of sync %s: %w", name, err)
	}
	fit, open := found.fitted, found.open
	req := ledger.PlanRequest{Model: found.model, Mapping: fit.mapping, IdempotencySalt: tidegate.DefaultWorkspace + "/" + def.Destination, Baseline: def.FirstRun == "baseline"}
	if err := h.readIncrementally(ctx, def, led, &req); err != nil {
		return nil, err
	}
	return &runner.Opened{
		Sync: def, Ledger: led, Destination: open.dest, Object: fit.object, Prepare: fit.prepare, IdentifierField: fit.mapping.IdentifierField(), Account: open.limits(), Close: found.release,
		Request: req,
	}, nil
}

func noSync(name string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "sync.not_found", Subject: "sync " + name, Message: fmt.Sprintf("there is no sync %q", name), Hint: "`tidegate sync status` lists them"}
}

// runDue is what the scheduler starts. A run that somebody started by hand is
// waited for: its plan was made before the change that is due now.
func (h *Hub) runDue(ctx context.Context, name, trigger string) (err error) {
	ctx, span := h.o.Telemetry.Tracer("sync").Start(ctx, "sync run", trace.WithAttributes(attribute.String("sync", name), attribute.String("trigger", trigger)))
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, tidegate.FaultOf(err).Code)
		}
		span.End()
	}()
	for {
		_, err := h.runner.Do(ctx, name, trigger)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err() // the process is going down; the run is resumed by the next
		}
		current, going := h.runner.Current(name)
		if tidegate.FaultOf(err).Code != "run.conflict" || !going {
			return err
		}
		if _, err := h.runner.Wait(ctx, current.ID); err != nil {
			return err
		}
	}
}

// hold lets runs wait for a warehouse that is lent: that somebody works in it is no failure of theirs.
func (h *Hub) hold(name string) string {
	a := h.active.Load()
	if a.models[a.syncs[name].Model].Warehouse != "" {
		return "" // it reads another
	}
	return h.held()
}

func (h *Hub) lastRun(ctx context.Context, name string) (time.Time, error) {
	runs, err := h.runs.ListRuns(ctx, tidegate.DefaultWorkspace, name, "", 1)
	if err != nil || len(runs) == 0 {
		return time.Time{}, err
	}
	return runs[0].CreatedAt, nil
}

func (h *Hub) lastSuccess(ctx context.Context, name string) (time.Time, error) {
	return h.runs.LastSuccess(ctx, tidegate.DefaultWorkspace, name)
}

func (h *Hub) lastComplete(ctx context.Context, name string) (time.Time, error) {
	return h.runs.LastComplete(ctx, tidegate.DefaultWorkspace, name)
}

func (h *Hub) tablesOf(ctx context.Context, name string) ([]warehouse.Table, error) {
	a := h.active.Load()
	if ref := a.dbt[a.syncs[name].Model]; ref.fault != nil {
		return nil, ref.fault
	}
	def := a.syncs[name]
	m, err := h.compileModel(ctx, a, def.Model, mapping.Joins(def.Mapping))
	if err != nil {
		return nil, err
	}
	return m.Tables, nil
}

// onRun looks after what a run left behind.
func (h *Hub) onRun(run tidegate.Run) {
	h.scheduler.Ended(run)
	h.alerts.Ended(run)
	h.retries.mu.Lock()
	defer h.retries.mu.Unlock()
	left := run.State == tidegate.RunPartial && run.Counts.Deferred+run.Counts.InDoubt > 0
	away := run.State == tidegate.RunFailed && run.Fault != nil && run.Fault.Action != tidegate.Halt.String()
	if !left && !away {
		delete(h.retries.tries, run.Sync)
		if st, ok := h.scheduler.Why(run.Sync); ok && st.Fault != nil && st.Fault.Code == "run.conflict" && run.State.Finished() {
			h.scheduler.After(run.Sync, tidegate.TriggerAfterLoad, 0) // what came while a run was held
		}
		return
	}
	n := h.retries.tries[run.Sync]
	h.retries.tries[run.Sync] = min(n+1, len(retryWaits)-1)
	h.scheduler.After(run.Sync, tidegate.TriggerRetry, retryWaits[n])
}

// retries counts the runs in a row that left records behind.
type retries struct {
	mu    sync.Mutex
	tries map[string]int
}

// Syncs returns every sync's status, sorted by name.
func (h *Hub) Syncs(ctx context.Context) ([]api.SyncStatus, error) {
	a := h.active.Load()
	return h.statuses(ctx, a, slices.Sorted(maps.Keys(a.syncs)))
}

// Sync returns one sync's status.
func (h *Hub) Sync(ctx context.Context, name string) (api.SyncStatus, error) {
	a := h.active.Load()
	if _, ok := a.syncs[name]; !ok {
		return api.SyncStatus{}, noSync(name)
	}
	list, err := h.statuses(ctx, a, []string{name})
	if err != nil {
		return api.SyncStatus{}, err
	}
	return list[0], nil
}

// statuses asks once for all syncs what can be asked so.
func (h *Hub) statuses(ctx context.Context, a *active, names []string) ([]api.SyncStatus, error) {
	unfinished, err := h.runs.UnfinishedRuns(ctx, tidegate.DefaultWorkspace)
	if err != nil {
		return nil, err
	}
	stored := make(map[string]tidegate.Run, len(unfinished))
	for _, run := range unfinished {
		stored[run.Sync] = run
	}
	sizes := h.ledgerSizes(ctx, a, names)
	list := make([]api.SyncStatus, len(names))
	for i, name := range names {
		if list[i], err = h.status(ctx, a, name, stored); err != nil {
			return nil, err
		}
		size := sizes[name]
		if size.err != nil && !errors.Is(size.err, warehouse.ErrYielded) { // lent: how many there are is not known now
			return nil, size.err
		}
		list[i].LedgerRows, list[i].Pending, list[i].Parked = size.Confirmed, size.Pending, size.Parked
	}
	return list, nil
}

// status is one sync's status without the size of its ledger; stored are the runs that have not finished.
func (h *Hub) status(ctx context.Context, a *active, name string, stored map[string]tidegate.Run) (api.SyncStatus, error) {
	def := a.syncs[name]
	out := api.SyncStatus{Name: name, Model: def.Model, Destination: def.Destination, Object: def.Object, Mode: string(def.Mode), State: "idle"}
	why, _ := h.scheduler.Why(name)
	out.NextRun, out.Reason, out.LateSince = why.Next, why.Reason, why.LateSince
	if out.Upcoming = why.Upcoming; len(out.Upcoming) > 0 {
		out.Timezone = cmp.Or(def.Schedule.Timezone, "UTC")
	}
	if out.Paused = def.Paused; def.Paused {
		out.State = "paused"
	}
	if at, ok := a.paused[name]; ok && out.Reason != "" {
		out.Reason = "it is paused since " + at.UTC().Format(time.RFC3339) + ": it runs by hand only; `tidegate sync resume " + name + "` lets it go on"
	}
	if gate := a.gate(name); gate != nil { // a run that goes on is shown instead, below
		f := tidegate.FaultOf(gate)
		out.State, out.Reason = "blocked", f.Error()
		if f.Hint != "" {
			out.Reason += "; " + f.Hint
		}
	} else if why.Fault != nil && why.Fault.Code != "dbt.blocked" && !why.Running {
		out.State, out.Reason = "broken", why.Fault.Code+": "+why.Fault.Message
		if why.Fault.Hint != "" {
			out.Reason += "; " + why.Fault.Hint
		}
	}
	if last, ok, err := h.runs.LastFinished(ctx, tidegate.DefaultWorkspace, name); err != nil {
		return out, err
	} else if ok {
		out.Last = &last
	}
	h.current(a, name, stored, &out)
	return out, nil
}

// current finds the run that is going on, here or held in the store.
func (h *Hub) current(a *active, name string, stored map[string]tidegate.Run, out *api.SyncStatus) {
	if live, ok := h.runner.Live(name); ok && !live.Run.State.Finished() {
		out.Current = &live.Run
		out.Progress = &api.Progress{Left: live.Left, PerSecond: live.PerSecond, EndsAt: live.EndsAt, CanaryUntil: live.CanaryUntil, CircuitOpen: live.CircuitOpen, Waiting: live.Waiting}
	} else if run, ok := stored[name]; ok {
		out.Current = &run
	}
	if out.Current != nil {
		out.State, out.Reason = string(out.Current.State), ""
		if f := out.Current.Fault; f != nil {
			out.Reason = f.Message
		}
		if out.Current.State == tidegate.RunHeld {
			out.Reason += "; look at it with `tidegate sync plan " + name + "`, then `tidegate sync approve " + out.Current.ID + "`"
		}
		if out.Progress != nil && out.Progress.Waiting != nil && out.Current.State == tidegate.RunRunning {
			w := out.Progress.Waiting
			out.State, out.Reason = "waiting", "since "+w.Since.Format(time.RFC3339)+": "+w.For.Message
			if w.For.Hint != "" {
				out.Reason += "; " + w.For.Hint
			}
		}
		if out.Progress != nil && !out.Progress.CanaryUntil.IsZero() {
			out.Reason = fmt.Sprintf("its canary of %d records was delivered; the rest follows at %s, unless `tidegate sync cancel %s` stops it",
				a.syncs[name].Delivery.CanaryRecords, out.Progress.CanaryUntil.UTC().Format(time.RFC3339), out.Current.ID)
		}
	}
}

// SyncPlan computes what a run would send.
func (h *Hub) SyncPlan(ctx context.Context, name string, sample int, fresh bool) (api.SyncPlan, error) {
	p, err := h.runner.Plan(ctx, name, sample, fresh)
	if err != nil {
		return api.SyncPlan{}, err
	}
	out := api.SyncPlan{Sync: name, RunID: p.RunID, Beside: p.Beside, Summary: p.Summary, Excluded: p.Excluded, Calls: p.Calls, Seconds: p.Seconds, Costs: p.Costs, Safety: p.Safety, Sample: []api.SampleChange{}}
	if p.Hold != nil {
		out.Held = tidegate.StoredFault(p.Hold)
	}
	mode := h.active.Load().syncs[name].Mode
	for _, c := range p.Sample {
		change := api.SampleChange{Op: c.Op, Excluded: !mode.Lets(c.Op) && p.Excluded > 0, Key: c.Key, Fault: c.Fault, Fields: []api.SampleField{}}
		for _, f := range c.Fields {
			change.Fields = append(change.Fields, api.SampleField{Field: f.Field, Before: f.Before, After: f.After})
		}
		out.Sample = append(out.Sample, change)
	}
	return out, nil
}

// StorePlan stores a plan as a held run.
func (h *Hub) StorePlan(ctx context.Context, name string) (tidegate.Run, error) {
	if _, ok := h.active.Load().syncs[name]; !ok {
		return tidegate.Run{}, noSync(name)
	}
	return h.runner.PlanRun(ctx, name)
}

// Revert begins a run that takes back what a finished one delivered.
func (h *Hub) Revert(ctx context.Context, runID string) (tidegate.Run, error) {
	if _, err := h.Run(ctx, runID); err != nil {
		return tidegate.Run{}, err
	}
	return h.runner.Revert(ctx, runID)
}

// Drift compares what was confirmed with what the destination holds.
func (h *Hub) Drift(ctx context.Context, name string, opts runner.DriftOptions) (runner.DriftReport, error) {
	if _, ok := h.active.Load().syncs[name]; !ok {
		return runner.DriftReport{}, noSync(name)
	}
	return h.runner.Drift(ctx, name, opts)
}

// SyncRun starts a run and returns at once.
func (h *Hub) SyncRun(ctx context.Context, name string) (tidegate.Run, error) {
	if _, ok := h.active.Load().syncs[name]; !ok {
		return tidegate.Run{}, noSync(name)
	}
	if err := h.active.Load().gate(name); err != nil {
		return tidegate.Run{}, err
	}
	return h.runner.Start(ctx, name, tidegate.TriggerManual)
}

// PauseSync keeps a sync from starting by itself, or lets it; what it missed is
// caught up once.
func (h *Hub) PauseSync(ctx context.Context, name string, pause bool) error {
	h.dbt.mu.Lock()
	defer h.dbt.mu.Unlock()
	a := h.active.Load()
	def, ok := a.syncs[name]
	if !ok {
		return noSync(name)
	}
	if _, byHand := a.paused[name]; !pause && def.Paused && !byHand {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "sync.conflict", Subject: "sync " + name, Message: "its definition says that it is paused", Hint: "take `paused` out of the definition and apply it"}
	}
	if err := h.runs.In(tidegate.DefaultWorkspace).PauseSync(ctx, name, pause); err != nil {
		return err
	}
	if err := h.activate(ctx, a.base); err != nil {
		return err
	}
	h.catchUp(ctx)
	return nil
}

// holdPaused marks the syncs that somebody paused by hand, those left out that
// their definitions pause.
func (h *Hub) holdPaused(ctx context.Context, syncs []tidegate.Sync, next *active) error {
	paused, err := h.runs.In(tidegate.DefaultWorkspace).PausedSyncs(ctx)
	if err != nil {
		return err
	}
	next.paused = map[string]time.Time{}
	for i := range syncs {
		if at, ok := paused[syncs[i].Name]; ok && !syncs[i].Paused {
			syncs[i].Paused = true
			next.paused[syncs[i].Name] = at
			next.syncs[syncs[i].Name] = syncs[i]
		}
	}
	return nil
}

// Approve lets a held run deliver exactly its stored plan.
func (h *Hub) Approve(ctx context.Context, runID string) (tidegate.Run, error) {
	if _, err := h.Run(ctx, runID); err != nil {
		return tidegate.Run{}, err
	}
	return h.runner.Approve(ctx, runID)
}

// Cancel stops a run.
func (h *Hub) Cancel(ctx context.Context, runID string) (tidegate.Run, error) {
	if _, err := h.Run(ctx, runID); err != nil {
		return tidegate.Run{}, err
	}
	return h.runner.Cancel(ctx, runID)
}

// Run returns one run, with live counts while it goes on here.
func (h *Hub) Run(ctx context.Context, runID string) (tidegate.Run, error) {
	run, err := h.runs.Run(ctx, tidegate.DefaultWorkspace, runID)
	if errors.Is(err, runner.ErrNoRun) {
		return run, &tidegate.Fault{Action: tidegate.Halt, Code: "run.not_found", Subject: "run " + runID, Message: "there is no such run", Hint: "`tidegate sync runs NAME` lists them", Err: err}
	} else if err != nil {
		return run, err
	}
	return h.counted(run), nil
}

// counted is a stored run with the counts as they are now.
func (h *Hub) counted(run tidegate.Run) tidegate.Run {
	if live, ok := h.runner.Current(run.Sync); ok && live.ID == run.ID && !run.State.Finished() {
		live.State = run.State // what is stored counts; the counts are newer here
		return live
	}
	return run
}

// Runs lists a sync's runs, newest first, also those of a sync that is no more.
func (h *Hub) Runs(ctx context.Context, name, before string, limit int) ([]tidegate.Run, error) {
	list, err := h.runs.ListRuns(ctx, tidegate.DefaultWorkspace, name, before, limit)
	if _, ok := h.active.Load().syncs[name]; !ok && err == nil && len(list) == 0 && before == "" {
		return nil, noSync(name)
	}
	for i, run := range list {
		list[i] = h.counted(run)
	}
	return list, err
}

// keyOf reads a key as people write it: a JSON array.
func keyOf(text string) (tidegate.Key, error) {
	if text == "" {
		return "", nil
	}
	var out bytes.Buffer
	if text[0] != '[' || json.Compact(&out, []byte(text)) != nil {
		return "", &tidegate.Fault{
			Action: tidegate.Halt, Code: "key.invalid", Subject: "key " + text, Message: "a key is a JSON array of the values of the primary key",
			Hint: `write [7], or ["7"] where the column is a text`,
		}
	}
	return tidegate.Key(out.String()), nil
}

// Rejections lists records that the destination does not hold as it should.
func (h *Hub) Rejections(ctx context.Context, name string, limit int) ([]ledger.Rejection, error) {
	if _, ok := h.active.Load().syncs[name]; !ok {
		return nil, noSync(name)
	}
	led, err := h.ledgerToRead(ctx, name)
	if err != nil || led == nil {
		return nil, err
	}
	return led.Rejections(ctx, limit)
}

// Causes groups the rejections by their cause.
func (h *Hub) Causes(ctx context.Context, name string, limit int) ([]ledger.Cluster, error) {
	if _, ok := h.active.Load().syncs[name]; !ok {
		return nil, noSync(name)
	}
	led, err := h.ledgerToRead(ctx, name)
	if err != nil || led == nil {
		return nil, err
	}
	return led.Clusters(ctx, limit)
}

// RetryRejections makes rejections due now and starts a run.
func (h *Hub) RetryRejections(ctx context.Context, name, cluster string, key tidegate.Key) (int64, error) {
	if _, ok := h.active.Load().syncs[name]; !ok {
		return 0, noSync(name)
	}
	led, err := h.ledger(ctx, name)
	if err != nil {
		return 0, err
	}
	if key, err = keyOf(string(key)); err != nil {
		return 0, err
	}
	var n int64
	if key == "" {
		n, err = led.RetryNow(ctx, cluster)
	} else if found, keyErr := led.RetryKey(ctx, key); keyErr != nil || found {
		n, err = 1, keyErr
	}
	if err != nil || n == 0 {
		return n, err
	}
	return n, h.scheduler.Trigger(name, tidegate.TriggerRetry)
}
