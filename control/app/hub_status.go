package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/alert"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/warehouse"
)

// Ready says how far behind each stage is.
func (h *Hub) Ready(ctx context.Context) api.Readiness {
	ctx, cancel := context.WithTimeout(ctx, askedFor)
	defer cancel()
	j, l := h.journal.Stats(), h.loader.Stats()
	asked, ok := h.asking.ask(ctx, h.askWarehouse)
	if !ok {
		asked.stage = api.Stage{Name: "warehouse", Detail: notInTime}
	}
	stages := []api.Stage{h.journalStage(j), h.loaderStage(j, l), asked.stage}
	for _, name := range slices.Sorted(maps.Keys(h.active.Load().syncs)) {
		if st, ok := h.scheduler.Why(name); ok {
			stage := api.Stage{Name: "sync " + name, Ready: st.Fault == nil, Detail: st.Reason}
			if st.Running {
				stage.Detail = "running"
			}
			stages = append(stages, stage)
		}
	}
	stages = append(stages, h.forwardStages()...)
	r := api.Readiness{Ready: true, Stages: stages, Sources: []api.SourceCounts{}}
	for _, s := range stages[:3] { // a sync that cannot run does not make the hub unready
		r.Ready = r.Ready && s.Ready
	}
	if asked.counts != nil {
		r.Sources = asked.counts
	}
	return r
}

// askWarehouse asks the warehouse what /readyz wants to know of it.
func (h *Hub) askWarehouse(ctx context.Context) answer {
	stage, err := h.warehouseStage(ctx)
	if err != nil {
		return answer{stage: stage}
	}
	counts, err := h.accounts(ctx)
	if err != nil {
		return answer{stage: stage} // the loader tells of it
	}
	return answer{stage, counts}
}

const notInTime = "it does not answer in time"

func (h *Hub) journalStage(j journal.Stats) api.Stage {
	s := api.Stage{Name: "journal", Ready: !j.Full}
	switch {
	case j.Full:
		s.Detail = "events are answered 503: " + tidegate.FaultOf(j.Refusal).Message
	case len(j.Damage) > 0:
		s.Detail = fmt.Sprintf("%d damaged ranges were set aside; see tidegate doctor", len(j.Damage))
	}
	return s
}

func (h *Hub) loaderStage(j journal.Stats, l loader.Stats) api.Stage {
	s := api.Stage{Name: "loader", Ready: l.Fault == nil, LagEvents: max(l.LagEvents, 0), LagSeconds: l.LagAge.Seconds()}
	for _, r := range j.Readers {
		if r.Name == "loader" && s.LagEvents > 0 {
			s.LagBytes = r.LagBytes
		}
	}
	switch held := h.held(); {
	case l.Fault != nil:
		s.Detail = l.Fault.Code + ": " + l.Fault.Message
	case held != "" && s.LagEvents > 0:
		s.Detail = "it waits: " + held
	}
	return s
}

// warehouseStage asks the warehouse; the error is what it answered.
func (h *Hub) warehouseStage(ctx context.Context) (api.Stage, error) {
	s := api.Stage{Name: "warehouse", Ready: true}
	err := answers(ctx, h.warehouse)
	switch {
	case errors.Is(err, warehouse.ErrYielded):
		s.Detail = cmp.Or(h.held(), warehouse.ErrYielded.Error()) + "; events wait in the journal"
	case err != nil && ctx.Err() != nil:
		s.Ready, s.Detail = false, notInTime
	case err != nil:
		s.Ready, s.Detail = false, err.Error()
	}
	return s, err
}

// accounts balances each source's books (Invariant 2): what the loader has
// counted in the rows' own transactions, and what waits before it.
func (h *Hub) accounts(ctx context.Context) ([]api.SourceCounts, error) {
	counts, err := loader.ReadCounts(ctx, h.warehouse)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, c := range counts {
		known[c.Source] = true
	}
	for _, src := range h.active.Load().project.Sources {
		if !known[src.Name] {
			counts = append(counts, loader.Counts{Source: src.Name})
		}
	}
	out := make([]api.SourceCounts, 0, len(counts))
	for _, c := range counts {
		waiting := h.books.waiting(c)
		out = append(out, api.SourceCounts{
			Source: c.Source, Accepted: c.Accepted + waiting, Loaded: c.Loaded, Duplicates: c.Duplicate, Waiting: waiting, Dead: c.Dead,
			Suppressed: c.Suppressed, Dropped: c.Dropped,
		})
	}
	return out, nil
}

// WaitLoaded returns when every event that is durable now is queryable.
func (h *Hub) WaitLoaded(ctx context.Context) error { return h.loader.Wait(ctx, h.journal.Durable()) }

// Doctor examines the hub.
func (h *Hub) Doctor(ctx context.Context) []api.Finding {
	findings := []api.Finding{fsyncFinding(h.o.Data, h.o.Now), h.checkSpace(), h.checkDamage()}
	open := h.checkWarehouse(ctx)
	findings = append(findings, open, h.checkLoader())
	away := ""
	switch open.Level {
	case "error":
		away = "the warehouse does not answer" // nor would it for what asks it next, and each waits for its time-out
	case "warning":
		away = "the warehouse is lent"
	}
	if away == "" {
		findings = append(findings, h.checkBooks(ctx), h.checkHours(ctx))
	} else {
		findings = append(findings, api.Finding{Check: "books", Level: "warning", Detail: "not looked at: " + away})
	}
	findings = append(findings, h.events.throttled.findings()...)
	a := h.active.Load()
	for _, w := range a.project.Warehouses {
		findings = append(findings, h.checkFurther(ctx, a, w.Name))
	}
	findings = append(findings, h.checkQuotas(ctx)...)
	for _, name := range slices.Sorted(maps.Keys(a.destinations)) {
		findings = append(findings, h.checkDestination(ctx, name, a.destinations[name], a))
	}
	findings = append(findings, h.checkSyncs(ctx, a, away)...)
	findings = append(findings, h.checkForwards(ctx)...)
	findings = append(findings, h.checkSecrets(ctx)...)
	return append(findings, h.dbtFindings(ctx)...)
}

func (h *Hub) checkSpace() api.Finding {
	j := h.journal.Stats()
	at := h.unwell.refusing(j, h.o.Now())
	switch {
	case j.Full:
		f := tidegate.FaultOf(j.Refusal)
		return api.Finding{Check: "journal.space", Level: "error", Detail: "events are answered 503: " + f.Message, Hint: f.Hint + "; it goes on by itself"}
	case !at.IsZero():
		return api.Finding{
			Check: "journal.space", Level: "warning", Detail: "events were answered 503, last about " + at.UTC().Format(time.TimeOnly) + " UTC",
			Hint: "it takes events again; look at the space of the disk, and what else writes to it",
		}
	}
	return api.Finding{Check: "journal.space", Level: "ok", Detail: fmt.Sprintf("%.1f MiB in segments: %d", float64(j.Bytes)/(1<<20), j.Segments)}
}

func (h *Hub) checkDamage() api.Finding {
	damage := h.journal.Stats().Damage
	if len(damage) == 0 {
		return api.Finding{Check: "journal.damage", Level: "ok", Detail: "every frame verifies"}
	}
	d := damage[0]
	return api.Finding{
		Check: "journal.damage", Level: "error",
		Detail: fmt.Sprintf("%d ranges do not verify, the first at offsets %s to %s, kept in %s", len(damage), d.First, d.Next, d.Quarantined),
		Hint:   "the events in them are lost to us: look at the disk, keep the files",
	}
}

// answerWithin is how long doctor waits for the warehouse to say something.
const answerWithin = 5 * time.Second

func (h *Hub) checkWarehouse(ctx context.Context) api.Finding {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	s, err := h.warehouseStage(ctx)
	f := api.Finding{Check: "warehouse.open", Level: "ok", Detail: "it answers"}
	if s.Detail != "" {
		f.Level, f.Detail = "warning", s.Detail
	}
	if !s.Ready {
		f.Level, f.Hint = "error", waits(tidegate.FaultOf(err).Hint)
	}
	return f
}

// waits is a hint beside what is not lost for want of following it at once.
func waits(hint string) string {
	const safe = "events wait in the journal; nothing is lost, and it goes on by itself"
	if hint == "" {
		return safe
	}
	return hint + "; " + safe
}

// checkLoader says what /readyz says of the loader.
func (h *Hub) checkLoader() api.Finding {
	l := h.loader.Stats()
	s := h.loaderStage(h.journal.Stats(), l)
	f := api.Finding{Check: "loader", Level: "ok", Detail: "it has loaded everything"}
	if s.LagEvents > 0 {
		f.Detail = fmt.Sprintf("%d events wait", s.LagEvents)
		if l.LagAge > 0 { // known from the first that it has read
			f.Detail += fmt.Sprintf(", the oldest for %v", l.LagAge.Round(time.Second))
		}
	}
	if l.LagAge >= alert.DefaultLoadingAfter && s.LagEvents > 0 {
		f.Level, f.Hint = "warning", "while this grows, events come faster than the warehouse takes them; while it shrinks, a backlog is being loaded"
	}
	if s.Ready && s.Detail != "" {
		f.Detail, f.Hint = f.Detail+"; "+s.Detail, waits("it goes on when that program ends")
	}
	if !s.Ready {
		f.Level, f.Detail = "error", f.Detail+"; the last load failed: "+s.Detail
		if f.Hint = waits(l.Fault.Hint); strings.HasPrefix(l.Fault.Code, "journal.") {
			f.Hint = l.Fault.Hint // nothing goes on before somebody acts
		}
	}
	return f
}

// checkFurther asks a further warehouse for an answer, opening it when nothing has yet.
func (h *Hub) checkFurther(ctx context.Context, a *active, name string) api.Finding {
	wh, err := h.warehouseOf(ctx, a, name)
	if err == nil {
		err = answers(ctx, wh)
	}
	if err != nil {
		f := tidegate.FaultOf(err)
		return api.Finding{Check: "warehouse " + name, Level: "error", Detail: f.Error(), Hint: f.Hint}
	}
	return api.Finding{Check: "warehouse " + name, Level: "ok", Detail: "it answers"}
}

// answers runs the smallest query there is.
func answers(ctx context.Context, wh warehouse.Warehouse) error {
	rows, err := wh.Query(ctx, "select 1")
	if err != nil {
		return err
	}
	_, err = rows.Next(ctx)
	return errors.Join(err, rows.Close())
}

func (h *Hub) checkBooks(ctx context.Context) api.Finding {
	counts, err := h.accounts(ctx)
	if err != nil {
		return api.Finding{Check: "books", Level: "warning", Detail: err.Error()}
	}
	var accepted, loaded, waiting, dead, left int64
	for _, c := range counts {
		accepted, loaded, waiting, dead = accepted+c.Accepted, loaded+c.Loaded+c.Duplicates, waiting+c.Waiting, dead+c.Dead
		left += c.Suppressed + c.Dropped
		if c.Accepted != c.Loaded+c.Duplicates+c.Waiting+c.Dead+c.Suppressed+c.Dropped {
			return api.Finding{Check: "books", Level: "error", Detail: fmt.Sprintf("the books of source %s do not balance: %+v", c.Source, c), Hint: "this is a bug of ours: please report it"}
		}
	}
	if behind := h.loader.Stats().LagEvents; behind == 0 && waiting > 0 && h.loader.Stats().Position == h.journal.Durable() {
		return api.Finding{Check: "books", Level: "error", Detail: fmt.Sprintf("%d events should wait, but the loader has read the whole journal", waiting), Hint: "this is a bug of ours: please report it"}
	}
	f := api.Finding{Check: "books", Level: "ok", Detail: fmt.Sprintf("%d accepted = %d loaded or duplicate + %d waiting + %d dead + %d suppressed or dropped", accepted, loaded, waiting, dead, left)}
	if dead > 0 {
		f.Level, f.Hint = "warning", "`tidegate events dead` lists their causes"
	}
	return f
}

func (h *Hub) checkDestination(ctx context.Context, name string, conn tidegate.Connection, a *active) api.Finding {
	f := api.Finding{Check: "destination " + name, Level: "ok", Detail: "its credentials are good"}
	dest, release, err := h.connections.use(ctx, conn, prefixes(a.project.Settings.AllowPrivate))
	if err == nil {
		if checker, ok := dest.(destinations.Checker); ok {
			err = checker.Check(ctx)
		} else {
			f.Detail = "this kind cannot prove its credentials without a write"
		}
		err = errors.Join(err, release())
	}
	if err != nil {
		fault := tidegate.FaultOf(err)
		f.Level, f.Detail, f.Hint = "error", fault.Error(), fault.Hint
	}
	return f
}

// checkSyncs looks at every sync, and at what several have in common once. It neither
// makes a ledger nor moves one, as a run does.
func (h *Hub) checkSyncs(ctx context.Context, a *active, away string) []api.Finding {
	var findings []api.Finding
	var looked []string
	for _, name := range slices.Sorted(maps.Keys(a.syncs)) {
		if away != "" && a.models[a.syncs[name].Model].Warehouse == "" {
			findings = append(findings, api.Finding{Check: "sync " + name, Level: "warning", Detail: "not looked at: " + away})
			continue
		}
		looked = append(looked, name)
	}
	sizes := h.ledgerSizes(ctx, a, looked)
	var f fitting
	for _, name := range looked {
		findings = append(findings, h.checkSync(ctx, a, name, &f, sizes[name].err))
	}
	slices.SortStableFunc(findings, func(x, y api.Finding) int { return cmp.Compare(x.Check, y.Check) })
	return findings
}

// checkSync looks at one sync; ofLedger is what reading its ledger said.
func (h *Hub) checkSync(ctx context.Context, a *active, name string, fit *fitting, ofLedger error) api.Finding {
	f := api.Finding{Check: "sync " + name, Level: "ok", Detail: "model, mapping and destination fit"}
	found, err := h.fitSync(ctx, a, a.syncs[name], fit)
	if err == nil && ofLedger != nil {
		err = errors.Join(fmt.Errorf("reading the ledger of sync %s: %w", name, ofLedger), found.release())
	}
	if err != nil {
		fault := tidegate.FaultOf(err)
		f.Level, f.Detail, f.Hint = "error", fault.Error(), fault.Hint
		return f
	}
	if err := found.release(); err != nil {
		f.Level, f.Detail = "warning", err.Error()
		return f
	}
	if why, _ := h.scheduler.Why(name); why.Fault != nil && !why.Running { // as /readyz says
		f.Level, f.Detail, f.Hint = "warning", f.Detail+", but the last start failed: "+why.Fault.Code+": "+why.Fault.Message, why.Fault.Hint
	}
	return f
}
