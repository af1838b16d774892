package scheduler

import (
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
	"github.com/tidegate/tidegate/warehouse"
)

const (
	// settle is how long a load is given to be followed by others before the
	// syncs that read its tables start.
	settle = 500 * time.Millisecond
	// grace is how long a sync may take to catch up after the start, or with a new objective, before it is called late.
	grace = time.Minute
	// brokenWait is how long a sync whose start failed is left alone.
	brokenWait = 30 * time.Second
)

// Options are what a Scheduler works with; all but Hold and Log are required.
type Options struct {
	// Run runs one sync and returns when the run has ended or is held. An error
	// says that no run came about; runs that fail are no errors.
	Run func(ctx context.Context, sync, trigger string) error
	// LastRun returns when the sync's last run was created; zero when there was none.
	LastRun func(ctx context.Context, sync string) (time.Time, error)
	// LastSuccess returns when the sync's last run that succeeded ended; zero when there was none.
	LastSuccess func(ctx context.Context, sync string) (time.Time, error)
	// LastComplete is LastSuccess of the runs after which no record of an earlier one waited for another try.
	LastComplete func(ctx context.Context, sync string) (time.Time, error)
	// Tables returns the tables that the sync's model reads. It may ask the
	// warehouse; an error is told by Why and asked again at the next load.
	Tables func(ctx context.Context, sync string) ([]warehouse.Table, error)
	// Hold says what a run of the sync would have to wait for now, empty when nothing. What is due
	// starts when Hold no longer says anything; Look tells that. It must not block.
	Hold func(sync string) string
	Now  func() time.Time
	Log  *slog.Logger
}

// Scheduler starts runs when they are due.
type Scheduler struct {
	o      Options
	wake   chan struct{}
	loaded chan []warehouse.Table

	mu      sync.Mutex
	entries map[string]*entry
}

type entry struct {
	sync     tidegate.Sync
	plan     Plan
	next     time.Time // next fire of the plan
	settled  time.Time // when a load becomes a run; zero: none waits
	notYet   time.Time // no start before this: the last one failed
	again    time.Time // see After; zero: nothing is planned
	againFor string
	pending  string // trigger of the run that follows the current one
	running  bool
	fault    *tidegate.RunFault
	tables   []warehouse.Table // read by the model, once known
	loads    bool              // a load of its tables was seen since the start
	fresh    bool              // not yet asked for what was loaded before it was set

	freshness time.Duration // 0: no objective
	complete  time.Time     // end of the last run after which the destination was as the model says
	since     time.Time     // when it was set with this objective: it is not late at once
	resumed   time.Time     // when it was resumed last: while it was paused nobody waited for it
}

// lateAt is when the sync becomes late; zero when it never does.
func (e *entry) lateAt() time.Time {
	if e.freshness <= 0 || e.sync.Paused {
		return time.Time{}
	}
	from := e.complete
	if from.IsZero() {
		from = e.since
	}
	if e.resumed.After(from) {
		from = e.resumed
	}
	late := from.Add(e.freshness)
	if earliest := e.since.Add(grace); late.Before(earliest) {
		return earliest
	}
	return late
}

// New makes a Scheduler; Set gives it syncs and Run makes it work.
func New(o Options) *Scheduler {
	return &Scheduler{o: o, wake: make(chan struct{}, 1), loaded: make(chan []warehouse.Table, 1), entries: map[string]*entry{}}
}

// Set replaces the syncs, all or none. What runs goes on; a sync that keeps its
// schedule keeps its next fire.
func (s *Scheduler) Set(ctx context.Context, syncs []tidegate.Sync) error {
	next := make(map[string]*entry, len(syncs))
	var problems []error
	for _, def := range syncs {
		plan, err := Compile(def.Schedule)
		if err != nil {
			problems = append(problems, fmt.Errorf("sync %s: %w", def.Name, err))
			continue
		}
		e, err := s.entry(ctx, def, plan)
		if err != nil {
			return err
		}
		next[def.Name] = e
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	s.mu.Lock()
	for name, e := range next {
		if old := s.entries[name]; old != nil {
			e.running, e.pending, e.loads = old.running, old.pending, old.loads
			if e.resumed = old.resumed; e.freshness == old.freshness {
				e.since = old.since
			}
			if old.complete.After(e.complete) {
				e.complete = old.complete
			}
			if old.sync.Schedule == e.sync.Schedule {
				e.next = old.next
			}
			// While it was paused, loads and ends of other syncs went unseen: it looks as it does after a start.
			resumed := old.sync.Paused && !e.sync.Paused
			if resumed {
				e.resumed = s.o.Now()
			}
			if old.sync.Model == e.sync.Model {
				if !resumed || !old.again.IsZero() {
					e.again, e.againFor = old.again, old.againFor
				}
				e.settled, e.fresh = old.settled, e.fresh && (old.fresh || resumed || !old.sync.Schedule.AfterLoad)
			}
		}
	}
	// A removed sync that still runs stays until its run ends, without a schedule.
	for name, old := range s.entries {
		if next[name] == nil && old.running {
			old.plan, old.next, old.settled, old.pending = Plan{}, time.Time{}, time.Time{}, ""
			old.sync.Paused, old.sync.Schedule = true, tidegate.Schedule{}
			next[name] = old
		}
	}
	s.entries = next
	s.mu.Unlock()
	s.nudge()
	return nil
}

// entry makes the entry of a sync, due at once when the store says that it
// missed a fire, or a success of the sync that it follows, while the process was away.
func (s *Scheduler) entry(ctx context.Context, def tidegate.Sync, plan Plan) (*entry, error) {
	last, err := s.o.LastRun(ctx, def.Name)
	if err != nil {
		return nil, fmt.Errorf("reading the last run of sync %s: %w", def.Name, err)
	}
	now := s.o.Now()
	e := &entry{sync: def, plan: plan, fresh: def.Schedule.AfterLoad, since: now}
	ran := last
	if last.IsZero() || last.After(now) {
		last = now // a new schedule missed nothing
	}
	if e.next = plan.Next(last); !e.next.IsZero() && e.next.Before(now) {
		e.next = now // missed while away: once, now
	}
	if e.complete, err = s.o.LastComplete(ctx, def.Name); err != nil {
		return nil, fmt.Errorf("reading the last complete run of sync %s: %w", def.Name, err)
	}
	if def.Schedule.Freshness != "" {
		if e.freshness, err = time.ParseDuration(def.Schedule.Freshness); err != nil {
			return nil, invalid("schedule.freshness", fmt.Sprintf("%q is no duration", def.Schedule.Freshness), "write it as 15m or 6h")
		}
	}
	if before := def.Schedule.AfterSync; before != "" {
		done, err := s.o.LastSuccess(ctx, before)
		if err != nil {
			return nil, fmt.Errorf("reading the last success of sync %s: %w", before, err)
		}
		if done.After(ran) {
			e.again, e.againFor = now, tidegate.TriggerAfterSync
		}
	}
	return e, nil
}

// Notify tells that tables were loaded. It never blocks.
func (s *Scheduler) Notify(tables []warehouse.Table) {
	tables = slices.Clone(tables)
	for {
		select {
		case s.loaded <- tables:
			return
		case earlier := <-s.loaded:
			tables = append(tables, earlier...)
			slices.SortFunc(tables, func(a, b warehouse.Table) int { return strings.Compare(a.String(), b.String()) })
			tables = slices.Compact(tables)
		}
	}
}

// Trigger starts a sync now, or after its current run. It also starts paused ones.
func (s *Scheduler) Trigger(name, trigger string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[name]
	if e == nil {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "sync.not_found", Subject: "sync " + name, Message: "there is no such sync"}
	}
	e.pending, e.notYet = trigger, time.Time{}
	s.nudge()
	return nil
}

// Fire starts a sync because something that it follows has happened, now or
// after its current run. Unlike Trigger it leaves a paused sync alone.
func (s *Scheduler) Fire(name, trigger string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[name]; e != nil && !e.sync.Paused {
		e.pending = trigger
		s.nudge()
	}
}

// Ended tells that a run has ended: syncs that follow one that succeeded start.
func (s *Scheduler) Ended(run tidegate.Run) {
	if run.State != tidegate.RunSucceeded {
		return
	}
	s.mu.Lock()
	if e := s.entries[run.Sync]; e != nil && run.Counts.Waiting == 0 && run.EndedAt.After(e.complete) {
		e.complete = run.EndedAt
	}
	var follow []string
	for name, e := range s.entries {
		if e.sync.Schedule.AfterSync == run.Sync {
			follow = append(follow, name)
		}
	}
	s.mu.Unlock()
	for _, name := range follow {
		s.Fire(name, tidegate.TriggerAfterSync)
	}
}

// After starts a sync once delay has passed, unless another start comes first
// or it is paused. A later call replaces an earlier one.
func (s *Scheduler) After(name, trigger string, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[name]; e != nil && !e.sync.Paused {
		e.again, e.againFor = s.o.Now().Add(delay), trigger
		s.nudge()
	}
}

// Look makes the scheduler look for what is due without waiting for its next turn.
func (s *Scheduler) Look() { s.nudge() }

// hold is what a run of the sync would have to wait for now.
func (s *Scheduler) hold(name string) string {
	if s.o.Hold == nil {
		return ""
	}
	return s.o.Hold(name)
}

func (s *Scheduler) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run starts what is due until ctx ends, then waits for the runs, which see the
// end of ctx too.
func (s *Scheduler) Run(ctx context.Context) error {
	var runs sync.WaitGroup
	defer runs.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.noteFresh(ctx)
		wait := s.startDue(ctx, &runs)
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-s.wake:
		case tables := <-s.loaded:
			s.noteLoad(ctx, tables)
		}
	}
}

// longest is how long the loop sleeps at most: a clock that was set forward is
// noticed after it.
const longest = time.Minute

// startDue starts every due sync and returns how long nothing further is due.
func (s *Scheduler) startDue(ctx context.Context, runs *sync.WaitGroup) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, wait := s.o.Now(), longest
	until := func(t time.Time) {
		if !t.IsZero() {
			wait = min(wait, max(t.Sub(now), 0))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.entries)) {
		e := s.entries[name]
		if !e.sync.Paused {
			if !e.next.IsZero() && !now.Before(e.next) {
				e.pending, e.next = tidegate.TriggerSchedule, e.plan.Next(now)
			}
			if !e.settled.IsZero() && !now.Before(e.settled) {
				e.settled = time.Time{}
				if e.pending == "" {
					e.pending = tidegate.TriggerAfterLoad
				}
			}
			if !e.again.IsZero() && !now.Before(e.again) {
				if e.pending == "" {
					e.pending = e.againFor
				}
				e.again = time.Time{}
			}
			until(e.next)
			until(e.settled)
			until(e.again)
		}
		switch {
		case e.pending == "" || e.running: // the end of a run nudges the loop
		case now.Before(e.notYet):
			until(e.notYet)
		case s.hold(name) != "": // its end nudges the loop
		default:
			s.start(ctx, name, e, runs)
		}
	}
	return wait
}

// start runs one sync in a goroutine of its own; the caller holds the lock.
func (s *Scheduler) start(ctx context.Context, name string, e *entry, runs *sync.WaitGroup) {
	trigger := e.pending
	e.pending, e.running, e.again = "", true, time.Time{}
	runs.Go(func() {
		err := s.o.Run(ctx, name, trigger)
		s.mu.Lock()
		defer s.mu.Unlock()
		if now := s.entries[name]; now != nil {
			now.running = false
			now.fault = tidegate.StoredFault(err)
			if err != nil && ctx.Err() == nil {
				if now.pending == "" {
					now.pending = trigger
				}
				now.notYet = s.o.Now().Add(brokenWait)
				if tidegate.FaultOf(err).Action == tidegate.Halt {
					now.pending = "" // nothing until someone acts, or the schedule comes again
				}
			}
		}
		s.nudge()
	})
}

// noteFresh makes syncs that run after loads run once when they are set and
// their tables are there: a load whose run a crash prevented is caught up.
func (s *Scheduler) noteFresh(ctx context.Context) {
	for _, name := range s.afterLoad() {
		s.mu.Lock()
		e := s.entries[name]
		fresh := e != nil && e.fresh
		if fresh {
			e.fresh = false
		}
		s.mu.Unlock()
		if !fresh {
			continue
		}
		read, err := s.o.Tables(ctx, name)
		s.mu.Lock()
		if e := s.entries[name]; e != nil && err == nil && len(read) > 0 {
			e.tables = read
			if e.settled.IsZero() {
				e.settled = s.o.Now().Add(settle)
			}
		}
		s.mu.Unlock()
	}
}

// noteLoad marks the syncs that read one of the tables.
func (s *Scheduler) noteLoad(ctx context.Context, tables []warehouse.Table) {
	for _, name := range s.afterLoad() {
		read, err := s.o.Tables(ctx, name)
		s.mu.Lock()
		if e := s.entries[name]; e != nil {
			if err != nil {
				e.fault = tidegate.StoredFault(err)
			} else {
				e.fault, e.tables = nil, read
				if overlap(read, tables) && e.settled.IsZero() {
					e.loads, e.settled = true, s.o.Now().Add(settle)
				}
			}
		}
		s.mu.Unlock()
	}
}

func (s *Scheduler) afterLoad() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, e := range s.entries {
		if e.sync.Schedule.AfterLoad && !e.sync.Paused {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// overlap compares names without regard to case, as SQL does.
func overlap(read, loaded []warehouse.Table) bool {
	for _, r := range read {
		for _, l := range loaded {
			if strings.EqualFold(r.Schema, l.Schema) && strings.EqualFold(r.Name, l.Name) {
				return true
			}
		}
	}
	return false
}
