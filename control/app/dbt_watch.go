package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/sync/dbt"
)

type findingOf = api.Finding

// replaceDbt activates base with the dbt projects that it names; after an error
// the hub runs what it ran.
func (h *Hub) replaceDbt(ctx context.Context, base *project.Project) error {
	h.dbt.mu.Lock()
	defer h.dbt.mu.Unlock()
	before := h.dbt.list
	err := h.dbt.set(ctx, h, base)
	if err == nil {
		err = h.activate(ctx, base)
	}
	if err != nil {
		h.dbt.list = before
		return err
	}
	h.wakeDbt() // for those that need a network
	h.catchUp(ctx)
	return nil
}

// activate makes base, expanded by its dbt projects, what the hub runs. The
// caller holds h.dbt.mu.
func (h *Hub) activate(ctx context.Context, base *project.Project) error {
	e := h.dbt.expand(base, Kinds())
	next := index(e.project)
	next.base, next.dbt = base, e.refs
	rules, err := h.judge.compile(base)
	if err != nil {
		return err
	}
	keyed, err := h.withKeys(ctx, base.Sources)
	if err != nil {
		return err
	}
	if err := h.holdPaused(ctx, e.project.Syncs, next); err != nil {
		return err
	}
	if err := h.scheduler.Set(ctx, e.project.Syncs); err != nil {
		return fmt.Errorf("activating the schedules: %w", err)
	}
	for name, p := range h.dbt.list {
		p.problems = e.problems[name]
		if p.artifacts != nil && len(p.problems) == 0 {
			p.declared, _ = p.artifacts.Manifest.Declared()
		}
	}
	if err := h.placeForwards(ctx, base.Forwards); err != nil {
		return err
	}
	h.active.Store(next)
	h.forwards.wake()
	h.sources.set(keyed)
	h.judge.set(rules)
	h.setAlerts(e.project)
	h.writeExposures(next)
	return nil
}

// catchUp starts syncs that wait for dbt and whose model was built after their
// last run, whenever that was.
func (h *Hub) catchUp(ctx context.Context) {
	a := h.active.Load()
	for _, name := range sortedNames(a.syncs) {
		ref := a.dbt[a.syncs[name].Model]
		if !a.syncs[name].Schedule.AfterDbt || ref.model == nil || ref.blocked != nil {
			continue
		}
		built := h.dbt.list[ref.project].state.Models[ref.model.ID].At
		if last, err := h.lastRun(ctx, name); err == nil && built.After(last) {
			h.scheduler.Fire(name, tidegate.TriggerAfterDbt)
		}
	}
}

// refreshDbt looks at the artefacts that are due, or all, and starts what
// follows from them.
func (h *Hub) refreshDbt(ctx context.Context, all bool) error {
	h.dbt.reading.Lock()
	defer h.dbt.reading.Unlock()
	if h.lent.Load() != nil {
		return nil // no sync could start; the end of the lending wakes the watcher
	}
	due := h.dueDbt(all)
	for _, r := range due {
		r.fetched, r.err = dbt.Load(ctx, r.of.location, r.before, dbt.Options{})
	}
	if ctx.Err() != nil {
		return nil
	}
	h.dbt.mu.Lock()
	defer h.dbt.mu.Unlock()
	changed := false
	touched := map[string]bool{}
	for _, r := range due {
		if h.dbt.list[r.of.def.Name] != r.of {
			continue // replaced meanwhile
		}
		isNew, decided := r.of.take(h, r.fetched, r.err)
		changed = changed || isNew
		for _, id := range decided {
			touched[id] = true
		}
	}
	if !changed {
		return nil
	}
	before := h.active.Load()
	if before.base == nil {
		return nil // nothing is active yet
	}
	if err := h.activate(ctx, before.base); err != nil {
		return fmt.Errorf("activating what dbt has changed: %w", err)
	}
	h.fireDbt(touched)
	return nil
}

// dbtReading is one look at the artefacts of a project.
type dbtReading struct {
	of              *dbtProject
	before, fetched *dbt.Artifacts
	err             error
}

func (h *Hub) dueDbt(all bool) []*dbtReading {
	h.dbt.mu.Lock()
	defer h.dbt.mu.Unlock()
	var due []*dbtReading
	for _, name := range sortedNames(h.dbt.list) {
		if p := h.dbt.list[name]; all || !h.o.Now().Before(p.next) {
			due = append(due, &dbtReading{of: p, before: p.artifacts})
		}
	}
	return due
}

// fireDbt starts the syncs whose models a new invocation has built and tested:
// those that wait for dbt, and those that it had kept from running.
func (h *Hub) fireDbt(touched map[string]bool) {
	a := h.active.Load()
	for _, name := range sortedNames(a.syncs) {
		ref := a.dbt[a.syncs[name].Model]
		if ref.model == nil || ref.blocked != nil || !touched[ref.model.ID] {
			continue
		}
		why, _ := h.scheduler.Why(name)
		waited := why.Fault != nil && why.Fault.Code == "dbt.blocked"
		if a.syncs[name].Schedule.AfterDbt || waited {
			h.scheduler.Fire(name, tidegate.TriggerAfterDbt)
		}
	}
}

// watchDbt looks at artefacts until ctx ends; without dbt projects it only waits.
func (h *Hub) watchDbt(ctx context.Context) error {
	tick := time.NewTicker(dbtFolderEvery)
	defer tick.Stop()
	var lineageAt time.Time // when it was written last
	lineageOf := (*active)(nil)
	h.dbt.mu.Lock()
	h.catchUp(ctx)
	h.dbt.mu.Unlock()
	for {
		all := false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-h.dbt.wake:
			all = true
		}
		if err := h.refreshDbt(ctx, all); err != nil && ctx.Err() == nil {
			h.o.Log.Warn("following dbt failed", "error", err)
		}
		if now, a := h.o.Now(), h.active.Load(); a != lineageOf || now.Sub(lineageAt) >= lineageEvery {
			if h.keepLineage(ctx) {
				lineageAt, lineageOf = now, a
			}
		}
	}
}

// wakeDbt makes the watcher look now. It never blocks.
func (h *Hub) wakeDbt() {
	select {
	case h.dbt.wake <- struct{}{}:
	default:
	}
}

// RefreshDbt looks at the artefacts of every dbt project now.
func (h *Hub) RefreshDbt(ctx context.Context) error { return h.refreshDbt(ctx, true) }

// DbtWebhook takes an event of dbt Cloud. Its job tells whose secret it must be
// signed with; a job that nobody knows answers like a wrong secret.
func (h *Hub) DbtWebhook(ctx context.Context, signature string, body []byte) error {
	denied := &tidegate.Fault{
		Action: tidegate.Halt, Code: "hook.unauthorized", Subject: "dbt webhook", Message: "the call does not prove that it comes from a dbt Cloud job of this hub",
		Hint: "set cloud.webhook_secret of the dbt project to the secret that dbt Cloud showed when the webhook was made",
	}
	claimed, err := dbt.PeekWebhook(body)
	if err != nil {
		return denied
	}
	for _, def := range h.active.Load().project.Dbt {
		if def.Cloud == nil || def.Cloud.JobID != claimed.JobID || def.Cloud.AccountID != claimed.AccountID {
			continue
		}
		resolved := def.Clone()
		if err := h.secrets.fill(ctx, &resolved); err != nil {
			return halted("dbt.secret", "dbt "+def.Name, err)
		}
		event, err := dbt.ParseWebhook(resolved.Cloud.WebhookSecret, signature, body)
		if errors.Is(err, dbt.ErrSignature) {
			continue
		} else if err != nil {
			return err
		}
		if event.Finished() {
			h.wakeDbt()
		}
		return nil
	}
	return denied
}
