package app

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/alert"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/loader"
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
	return slices.Concat(list, h.standingForwards(), h.standingBooks(), []alert.Standing{h.standingLoader(), h.standingJournal()})
}

// How alerts call the parts of the hub: no name of a sync has a space.
const (
	loaderPart  = "the loader"
	journalPart = "the journal"
)

// standingLoader tells since when events wait, or since when it was seen that nothing can be loaded.
func (h *Hub) standingLoader() alert.Standing {
	st := alert.Standing{Sync: loaderPart, Part: alert.Loading}
	l := h.loader.Stats()
	since, failing := h.unwell.loading(l, h.o.Now())
	if !failing {
		return st
	}
	f := h.checkLoader()
	st.Since, st.Fault = since, &tidegate.RunFault{Message: f.Detail, Hint: cmp.Or(f.Hint, "`tidegate doctor` says more")}
	return st
}

// standingJournal tells of events that were turned away a moment ago.
func (h *Hub) standingJournal() alert.Standing {
	st := alert.Standing{Sync: journalPart, Part: alert.Journal}
	if f := h.checkSpace(); f.Level != "ok" {
		st.Fault = &tidegate.RunFault{Message: f.Detail, Hint: f.Hint}
	}
	return st
}

// unwell remembers of the loader and the journal what their numbers of a moment do not tell.
type unwell struct {
	mu      sync.Mutex
	failing time.Time // since when the loader was seen to fail; zero while it works
	frames  int64     // refused by the journal when that was last looked at
	refused time.Time // when they were last seen to have become more
}

// refusedFor is how long after the last event that was turned away the journal counts as
// well again: a disk that is almost full takes one and refuses the next.
const refusedFor = 5 * time.Minute

// loading says since when events wait or loading fails; ok is false while all is well.
func (u *unwell) loading(l loader.Stats, now time.Time) (since time.Time, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case l.Fault == nil:
		u.failing = time.Time{}
	case u.failing.IsZero():
		u.failing = now
	}
	since = u.failing
	if oldest := now.Add(-l.LagAge); l.LagEvents > 0 && l.LagAge > 0 && (since.IsZero() || oldest.Before(since)) {
		since = oldest
	}
	return since, !since.IsZero()
}

// refusing returns when events were last seen to be turned away; zero when that is long ago.
func (u *unwell) refusing(j journal.Stats, now time.Time) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if j.Refused > u.frames || j.Full {
		u.frames, u.refused = j.Refused, now
	}
	if now.Sub(u.refused) > refusedFor {
		return time.Time{}
	}
	return u.refused
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
	h.alerts.Set(p.Alerts, append(names, loaderPart, journalPart))
}

// Alerts lists what alerts are raised, or resolved and not yet told.
func (h *Hub) Alerts(context.Context) []alert.State { return h.alerts.List() }

// TestAlert sends a test message through the channel of an alert.
func (h *Hub) TestAlert(ctx context.Context, name string) error { return h.alerts.Test(ctx, name) }
