package alert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/grumble"
	"github.com/tidegate/tidegate/internal/retry"
)

// State is one condition of one sync under one alert. Stored while it is raised,
// and until its end was told.
type State struct {
	Alert     string    `json:"alert"`
	Sync      string    `json:"sync"`
	Condition Condition `json:"condition"`
	Raised    bool      `json:"raised"`
	Since     time.Time `json:"since" doc:"When it was raised or, when it is resolved, when that was."`
	Run       string    `json:"run,omitempty"`
	Message   string    `json:"message"`
	Hint      string    `json:"hint,omitempty"`
	// Told says that the channel took the last of raised and resolved.
	Told bool `json:"told"`
	// Untold says why Told is not so yet; empty when it is sent now.
	Untold string `json:"untold,omitempty" doc:"Why the channel was not told yet, and when it is tried."`
	// RaiseTold says that the channel was told of the raise.
	RaiseTold bool `json:"-"`
}

type key struct {
	alert, sync string
	condition   Condition
}

func (s State) key() key { return key{s.Alert, s.Sync, s.Condition} }

// States keeps states. control/store is one.
type States interface {
	AlertStates(ctx context.Context) ([]State, error)
	PutAlertState(ctx context.Context, s State) error
	DeleteAlertState(ctx context.Context, alert, sync string, c Condition) error
}

// Standing is how a sync stands beyond its runs.
type Standing struct {
	Sync string
	// LateSince is when it became late, zero while it is not.
	LateSince time.Time
	// Fault is why no run of it can start, why a forward does not deliver or what is wrong with a
	// part of the hub; nil when all is well.
	Fault *tidegate.RunFault
	// Forward says that it is a forward ("forward NAME"), which has no runs; Dead counts its dead letters.
	Forward bool
	Dead    int64
	// Source says that it is the books of a source ("source NAME"); Gap says what is not
	// accounted for, empty when all is.
	Source bool
	Gap    string
	// Part says that it is a part of the hub ("the loader"), and is the condition that it can be
	// in; Fault is then what is wrong since Since.
	Part  Condition
	Since time.Time
}

// Notice is one message: everything that an alert has to tell now.
type Notice struct {
	Alert    string    `json:"alert"`
	Hub      string    `json:"hub"`
	At       time.Time `json:"at"`
	Test     bool      `json:"test,omitempty"`
	Raised   []State   `json:"raised"`
	Resolved []State   `json:"resolved"`
}

// Options are the outside world of an Engine; all but Log are required.
type Options struct {
	States States
	// History returns finished runs of a sync, newest first.
	History func(ctx context.Context, sync string, n int) ([]tidegate.Run, error)
	// Standing tells how every sync stands; it must not block.
	Standing func() []Standing
	// Tell sends a notice through the alert's channel.
	Tell func(ctx context.Context, a tidegate.Alert, n Notice) error
	// Hub names this hub in messages.
	Hub string
	Now func() time.Time
	// Random returns a number in [0, 1); it spreads retries.
	Random func() float64
	Log    *slog.Logger
}

const (
	// lookEvery is how often lateness is looked at.
	lookEvery = 15 * time.Second
	// quietTime lies between two messages of one alert.
	quietTime = time.Minute
	// tellTimeout bounds one message.
	tellTimeout = 30 * time.Second
	// maxItems is how many conditions one message lists.
	maxItems = 50
)

var tellAgain = retry.Backoff{Base: 10 * time.Second, Cap: 15 * time.Minute}

// Engine watches syncs. Make one with New and call Run.
type Engine struct {
	o    Options
	wake chan struct{}

	mu     sync.Mutex
	alerts []tidegate.Alert
	syncs  map[string]bool
	ended  map[string]tidegate.Run // by sync, not yet judged; a newer run replaces an older
	states map[key]State
	loaded bool
	behind map[key]bool         // what the store says of these states is not what is so
	next   map[string]time.Time // by alert: no message before
	failed map[string]refusals  // by alert
}

// refusals are messages that a channel refused in a row, and what the last of them met.
type refusals struct {
	times int
	last  error
}

// New returns an Engine that watches nothing until Set.
func New(o Options) *Engine {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{
		o: o, wake: make(chan struct{}, 1), ended: map[string]tidegate.Run{}, states: map[key]State{}, behind: map[key]bool{},
		next: map[string]time.Time{}, failed: map[string]refusals{},
	}
}

// Set replaces what is watched: the alerts, and the syncs that there are. What
// is raised for an alert or a sync that is gone is forgotten.
func (e *Engine) Set(alerts []tidegate.Alert, syncs []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.alerts = slices.Clone(alerts)
	e.syncs = map[string]bool{}
	for _, s := range syncs {
		e.syncs[s] = true
	}
	e.nudge()
}

// Ended tells of a run that was held or has ended. It does not block.
func (e *Engine) Ended(run tidegate.Run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if before, ok := e.ended[run.Sync]; !ok || before.State != tidegate.RunPartial || !idle(run) {
		e.ended[run.Sync] = run
	}
	e.nudge()
}

// Look makes the engine look at what stands without waiting for its next turn. It
// does not block.
func (e *Engine) Look() { e.nudge() }

func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// List returns what is raised or not yet told, sorted, and why it is not.
func (e *Engine) List() []State {
	list := e.list()
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, s := range list {
		if !s.Told {
			list[i].Untold = e.untold(s.Alert)
		}
	}
	return list
}

// untold says why an alert's next message was not sent yet. e.mu is held.
func (e *Engine) untold(name string) string {
	next := e.next[name]
	at := next.UTC().Format(time.TimeOnly) + " UTC"
	switch failed := e.failed[name]; {
	case failed.times > 0:
		return fmt.Sprintf("its channel did not take the message (tries: %d), the last time: %v; it is tried again at %s", failed.times, failed.last, at)
	case e.o.Now().Before(next):
		return "the alert told something within the last minute; what came since is told at " + at
	}
	return ""
}

// list returns what is raised or not yet told, sorted.
func (e *Engine) list() []State {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := slices.Collect(maps.Values(e.states))
	slices.SortFunc(list, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Alert, b.Alert), cmp.Compare(a.Sync, b.Sync), cmp.Compare(a.Condition, b.Condition))
	})
	return list
}

// Test sends a message that is marked as a test through the channel of an alert.
func (e *Engine) Test(ctx context.Context, name string) error {
	e.mu.Lock()
	at := slices.IndexFunc(e.alerts, func(a tidegate.Alert) bool { return a.Name == name })
	if at < 0 {
		e.mu.Unlock()
		return &tidegate.Fault{Action: tidegate.Halt, Code: "alert.not_found", Subject: "alert " + name, Message: fmt.Sprintf("there is no alert %q", name), Hint: "`tidegate alerts` lists them"}
	}
	a := e.alerts[at]
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	now := e.o.Now()
	return e.o.Tell(ctx, a, Notice{
		Alert: name, Hub: e.o.Hub, At: now.UTC(), Test: true,
		Raised: []State{{Alert: name, Sync: "example", Condition: Failed, Raised: true, Since: now.UTC(), Message: "this is a test: nothing is wrong"}}, Resolved: []State{},
	})
}

// Run watches until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var told grumble.Log
	for {
		if err := e.round(ctx); err == nil {
			told.Over(ctx, e.o.Log, e.o.Now(), "alerts are looked after again")
		} else if ctx.Err() == nil {
			told.About(ctx, e.o.Log, e.o.Now(), "looking after alerts failed and is tried again", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		case <-e.wake:
		}
	}
}

// round judges what happened and tells what is to be told.
func (e *Engine) round(ctx context.Context) error {
	if err := e.load(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	alerts, syncs, ended := e.alerts, e.syncs, e.ended
	e.ended = map[string]tidegate.Run{}
	e.mu.Unlock()
	var errs []error
	errs = append(errs, e.catchUp(ctx), e.forget(ctx, alerts, syncs))
	for _, run := range ended {
		errs = append(errs, e.judge(ctx, alerts, run))
	}
	errs = append(errs, e.stand(ctx, alerts))
	for _, a := range alerts {
		errs = append(errs, e.tell(ctx, a))
	}
	return errors.Join(errs...)
}

func (e *Engine) load(ctx context.Context) error {
	if e.loaded {
		return nil
	}
	list, err := e.o.States.AlertStates(ctx)
	if err != nil {
		return fmt.Errorf("reading what alerts are raised: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range list {
		e.states[s.key()] = s
	}
	e.loaded = true
	return nil
}

// forget drops states of alerts, syncs and conditions that are no longer watched.
func (e *Engine) forget(ctx context.Context, alerts []tidegate.Alert, syncs map[string]bool) error {
	var errs []error
	for _, s := range e.list() {
		kept := syncs[s.Sync] && slices.ContainsFunc(alerts, func(a tidegate.Alert) bool { return a.Name == s.Alert && watches(a, s.Sync, s.Condition) })
		if !kept {
			errs = append(errs, e.drop(ctx, s))
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) judge(ctx context.Context, alerts []tidegate.Alert, run tidegate.Run) error {
	history, err := e.o.History(ctx, run.Sync, historyRuns+1)
	if err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		if _, newer := e.ended[run.Sync]; !newer {
			e.ended[run.Sync] = run // for the next round
		}
		return fmt.Errorf("reading earlier runs of sync %s: %w", run.Sync, err)
	}
	var errs []error
	for _, a := range alerts {
		for _, v := range judge(a, run, history) {
			if v.condition == Partial && !v.holds && run.Counts.Waiting > 0 {
				continue // what the earlier run left behind was not tried by this one
			}
			errs = append(errs, e.apply(ctx, a, run.Sync, run.ID, v))
		}
	}
	return errors.Join(errs...)
}

// idle says whether a run had nothing to do.
func idle(run tidegate.Run) bool {
	c := run.Counts
	return run.State == tidegate.RunSucceeded && c.Added+c.Changed+c.Removed+c.BadKeys == 0
}

// stand judges what no run tells: lateness, and syncs of which none can start.
func (e *Engine) stand(ctx context.Context, alerts []tidegate.Alert) error {
	var errs []error
	for _, st := range e.o.Standing() {
		late := verdict{condition: Late}
		if !st.LateSince.IsZero() {
			late = verdict{Late, true, "no run has succeeded in time; it is late since " + st.LateSince.UTC().Format(time.RFC3339), "`tidegate sync status " + st.Sync + "` says why it is not running"}
		}
		for _, a := range alerts {
			if st.Part != "" {
				errs = append(errs, e.apply(ctx, a, st.Sync, "", part(a, st, e.o.Now())))
				continue
			}
			if st.Source {
				gap := verdict{condition: Gap}
				if st.Gap != "" {
					gap = verdict{Gap, true, st.Gap, "`tidegate events reconcile` shows the hours and tables"}
				}
				errs = append(errs, e.apply(ctx, a, st.Sync, "", gap))
				continue
			}
			if st.Forward {
				errs = append(errs, e.standForward(ctx, a, st))
				continue
			}
			errs = append(errs, e.apply(ctx, a, st.Sync, "", late))
			if st.Fault != nil {
				errs = append(errs, e.apply(ctx, a, st.Sync, "", verdict{Failed, true, "no run can start: " + st.Fault.Message, st.Fault.Hint}))
			}
		}
	}
	return errors.Join(errs...)
}

// standForward judges a forward, which has no runs: what it says holds now.
func (e *Engine) standForward(ctx context.Context, a tidegate.Alert, st Standing) error {
	failed, partial := verdict{condition: Failed}, verdict{condition: Partial}
	if st.Fault != nil {
		failed = verdict{Failed, true, "events are not delivered: " + st.Fault.Message, st.Fault.Hint}
	}
	if st.Dead > 0 {
		name := strings.TrimPrefix(st.Sync, "forward ")
		partial = verdict{Partial, true, fmt.Sprintf("%d events are dead letters", st.Dead), fmt.Sprintf("`tidegate forward dead %s` lists them, `tidegate forward retry %s` sends them again", name, name)}
	}
	return errors.Join(e.apply(ctx, a, st.Sync, "", failed), e.apply(ctx, a, st.Sync, "", partial))
}

// apply moves one state on, and stores it before anything is told.
func (e *Engine) apply(ctx context.Context, a tidegate.Alert, sync, run string, v verdict) error {
	if !watches(a, sync, v.condition) {
		return nil
	}
	e.mu.Lock()
	s, known := e.states[key{a.Name, sync, v.condition}]
	e.mu.Unlock()
	switch {
	case v.holds && (!known || !s.Raised):
		// A condition that comes back before its end was told has not ended.
		again := known && !s.Told
		s = State{
			Alert: a.Name, Sync: sync, Condition: v.condition, Raised: true, Since: e.o.Now().UTC(), Run: run,
			Message: v.message, Hint: v.hint, Told: again && s.RaiseTold, RaiseTold: again && s.RaiseTold,
		}
	case !v.holds && known && s.Raised && !s.RaiseTold:
		return e.drop(ctx, s)
	case !v.holds && known && s.Raised:
		s.Raised, s.Told, s.Since, s.Run = false, false, e.o.Now().UTC(), run
	default:
		return nil
	}
	return e.put(ctx, s)
}

// put makes s what is so. A store that cannot be written, whose disk may be why somebody
// is to be told, delays no message: it is written when it can be.
func (e *Engine) put(ctx context.Context, s State) error {
	e.mu.Lock()
	e.states[s.key()] = s
	e.mu.Unlock()
	return e.store(ctx, s.key())
}

func (e *Engine) drop(ctx context.Context, s State) error {
	e.mu.Lock()
	delete(e.states, s.key())
	e.mu.Unlock()
	return e.store(ctx, s.key())
}

// store stores one state as it is now, or that it is no more.
func (e *Engine) store(ctx context.Context, k key) error {
	e.mu.Lock()
	s, is := e.states[k]
	e.mu.Unlock()
	var err error
	if is {
		err = e.o.States.PutAlertState(ctx, s)
	} else {
		err = e.o.States.DeleteAlertState(ctx, k.alert, k.sync, k.condition)
	}
	if err != nil {
		e.behind[k] = true
		return fmt.Errorf("storing alert %s of %s: %w", k.alert, State{Sync: k.sync}.subject(), err)
	}
	delete(e.behind, k)
	return nil
}

// catchUp stores what could not be stored; the first failure will do.
func (e *Engine) catchUp(ctx context.Context) error {
	for k := range e.behind {
		if err := e.store(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// tell sends what an alert has to tell, unless it sent something just now.
func (e *Engine) tell(ctx context.Context, a tidegate.Alert) error {
	now := e.o.Now()
	e.mu.Lock()
	quiet, failed := now.Before(e.next[a.Name]), e.failed[a.Name]
	e.mu.Unlock()
	if quiet {
		return nil
	}
	n := Notice{Alert: a.Name, Hub: e.o.Hub, At: now.UTC(), Raised: []State{}, Resolved: []State{}}
	for _, s := range e.list() {
		switch {
		case s.Alert != a.Name || s.Told || len(n.Raised)+len(n.Resolved) == maxItems:
		case s.Raised:
			n.Raised = append(n.Raised, s)
		default:
			n.Resolved = append(n.Resolved, s)
		}
	}
	if len(n.Raised)+len(n.Resolved) == 0 {
		return nil
	}
	sending, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	if err := e.o.Tell(sending, a, n); err != nil {
		e.answered(a.Name, refusals{failed.times + 1, err}, tellAgain.Delay(failed.times, e.o.Random))
		return fmt.Errorf("sending alert %s: %w", a.Name, err)
	}
	e.answered(a.Name, refusals{}, quietTime)
	return e.told(ctx, n)
}

// answered notes what became of an alert's message, and how long it sends no other.
func (e *Engine) answered(name string, failed refusals, pause time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed[name], e.next[name] = failed, e.o.Now().Add(pause)
}

func (e *Engine) told(ctx context.Context, n Notice) error {
	var errs []error
	for _, s := range n.Raised {
		s.Told, s.RaiseTold = true, true
		errs = append(errs, e.put(ctx, s))
	}
	for _, s := range n.Resolved {
		errs = append(errs, e.drop(ctx, s))
	}
	return errors.Join(errs...)
}
