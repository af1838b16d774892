package app

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/runner"
)

const (
	driftTick   = time.Minute // how often the hub looks which syncs are due
	driftSample = 1000        // records that one look reads back, about
)

// watchDrift looks for drift as often as each sync says, from the hub's start
// on. It ends with ctx.
func (h *Hub) watchDrift(ctx context.Context) error {
	looked := map[string]time.Time{}
	tick := time.NewTicker(driftTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		syncs := h.active.Load().syncs
		for _, name := range driftDue(syncs, looked, h.o.Now()) {
			if h.lookForDrift(ctx, syncs[name]) {
				looked[name] = h.o.Now()
			}
		}
	}
}

// driftDue returns the syncs whose last look is long enough ago, sorted.
func driftDue(syncs map[string]tidegate.Sync, looked map[string]time.Time, now time.Time) []string {
	var due []string
	for _, name := range slices.Sorted(maps.Keys(syncs)) {
		def := syncs[name]
		every, err := time.ParseDuration(def.Drift.Every)
		if err != nil || every <= 0 || def.Paused {
			continue
		}
		if last, known := looked[name]; !known || now.Sub(last) >= every {
			due = append(due, name)
		}
	}
	return due
}

// lookForDrift compares a sample, and restores everything when something drifted
// and the sync says so. It returns false when the sync was busy.
func (h *Hub) lookForDrift(ctx context.Context, def tidegate.Sync) bool {
	report, err := h.runner.Drift(ctx, def.Name, runner.DriftOptions{Sample: driftSample})
	found := report.Drifted+report.Missing > 0
	if err == nil && found && def.Drift.Policy == "restore" {
		_, err = h.runner.Drift(ctx, def.Name, runner.DriftOptions{Restore: true})
	}
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil && tidegate.FaultOf(err).Code == "run.conflict":
		return false
	case err != nil:
		h.o.Log.Warn("looking for drift failed", "sync", def.Name, "error", err)
	case found:
		h.o.Log.Warn("a destination holds something else than it confirmed", "sync", def.Name,
			"checked", report.Checked, "drifted", report.Drifted, "missing", report.Missing, "policy", def.Drift.Policy)
	}
	return true
}
