package app

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/alert"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/internal/egress"
)

// openAlerts builds what tells people. Alerts go where the project's
// destinations may go; mail has ports of its own.
func (h *Hub) openAlerts() {
	host, err := os.Hostname()
	if err != nil {
		host = "tidegate" // only a name in messages
	}
	h.alerts = alert.New(alert.Options{
		States: h.runs.In(tidegate.DefaultWorkspace), Hub: host, Now: h.o.Now, Random: rand.Float64, Log: h.o.Log,
		History: func(ctx context.Context, sync string, n int) ([]tidegate.Run, error) {
			return h.runs.ListRuns(ctx, tidegate.DefaultWorkspace, sync, "", n)
		},
		Standing: h.standing,
		Tell: func(ctx context.Context, a tidegate.Alert, n alert.Notice) error {
			return h.channels(ctx).Tell(ctx, a, n)
		},
	})
}

// channels are made anew for each message: they are few, and the project that
// says which private addresses may be reached changes.
func (h *Hub) channels(ctx context.Context) *alert.Channels {
	policy := egress.Policy{AllowPrefixes: prefixes(h.active.Load().project.Settings.AllowPrivate)}
	web := egress.New(egress.Options{Policy: policy, UserAgent: "tidegate", Name: "alerts", Meter: h.o.Telemetry.Meter("alerts"), Now: h.o.Now})
	mail := policy
	mail.Ports = []uint16{25, 465, 587, 1025, 2525}
	return &alert.Channels{HTTP: web, Dial: egress.Options{Policy: mail}.Dial, Lookup: h.secrets.lookup(ctx), Now: h.o.Now}
}

// standing tells what no run tells of a sync.
func (h *Hub) standing() []alert.Standing {
	var list []alert.Standing
	for _, name := range slices.Sorted(maps.Keys(h.active.Load().syncs)) {
		why, ok := h.scheduler.Why(name)
		if !ok {
			continue
		}
		s := alert.Standing{Sync: name, LateSince: why.LateSince}
		if why.Fault != nil && !why.Running && why.Fault.Code != "run.conflict" { // a held run is a condition of its own
			s.Fault = why.Fault
		}
		list = append(list, s)
	}
	return slices.Concat(list, h.standingForwards(), h.standingBooks())
}

func (h *Hub) setAlerts(p *project.Project) {
	names := make([]string, len(p.Syncs), len(p.Syncs)+len(p.Forwards))
	for i, s := range p.Syncs {
		names[i] = s.Name
	}
	for _, f := range p.Forwards {
		names = append(names, forwardPrefix+f.Name)
	}
	for _, s := range p.Sources {
		names = append(names, sourcePrefix+s.Name)
	}
	h.alerts.Set(p.Alerts, names)
}

// Alerts lists what alerts are raised, or resolved and not yet told.
func (h *Hub) Alerts(context.Context) []alert.State { return h.alerts.List() }

// TestAlert sends a test message through the channel of an alert.
func (h *Hub) TestAlert(ctx context.Context, name string) error { return h.alerts.Test(ctx, name) }
