package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/sync/ledger"
)

// The simulator drives the production Step with a seeded scheduler over a model
// ledger and a model destination. One schedule is a few runs of one sync whose
// model changes between them, with faults of every kind, and then a quiet end.
//
// Checked all along: an intent is durable before its change arrives; per record
// no older value after a newer; nothing is removed beyond the guard's limit
// without an approval; what the ledger calls confirmed is what the destination
// holds; nothing is rejected that the destination did not reject; an operation
// that must not be repeated is not. In the end the destination holds the model.

// step1 is Step, or a planted bug around it.
type stepper func(State, Input) (State, []Effect)

// simRunner is one process that carries the run.
type simRunner struct {
	state   State
	pending []Effect
	wake    time.Time
	lease   Lease
	runID   string
	frozen  bool
}

type world struct {
	rng   *rand.Rand
	step  stepper
	now   time.Time
	src   *source
	led   *modelLedger
	runs  *memoryRuns
	dest  *modelDestination
	def   tidegate.Sync
	limit destinations.Limit
	safe  destinations.Safety
	async bool // the destination decides later

	quiet    bool
	active   []*simRunner // the last one is the latest
	runSeq   int
	approved map[string]bool
	removed  map[string]int64 // removals applied per run
	sent     map[string]map[tidegate.Key]bool
	passed   map[string]bool // runs whose canary was judged or approved
	fired    map[string]int
	events   int
	trace    func(format string, args ...any)
	wrong    []string
}

func newWorld(seed uint64, step stepper) *world {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := &world{
		rng: rng, step: step, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), src: newSource(), runs: newMemoryRuns(),
		approved: map[string]bool{}, removed: map[string]int64{}, fired: map[string]int{},
		sent: map[string]map[tidegate.Key]bool{}, passed: map[string]bool{},
	}
	w.led = newModelLedger(w.src, func() time.Time { return w.now })
	w.dest = &modelDestination{
		w: w, records: map[string]tidegate.Record{}, version: map[string]int{}, applied: map[string]int{},
		refused: map[tidegate.Key]bool{}, owner: map[string]tidegate.Key{}, jobs: map[destinations.Ticket]*job{},
	}
	modes := []tidegate.Mode{
		tidegate.Mirror, tidegate.Mirror, tidegate.Mirror, tidegate.Mirror, tidegate.Upsert, tidegate.Upsert,
		tidegate.Insert, tidegate.Append, tidegate.Audience, tidegate.Audience, tidegate.Full,
	}
	w.def = tidegate.Sync{Name: "s", Mode: modes[rng.IntN(len(modes))], Guards: tidegate.Guards{MaxRemovedRows: 2}}
	if rng.IntN(4) == 0 {
		w.def.Delivery.CanaryRecords, w.def.Delivery.CanaryWait = 1+rng.IntN(3), "10m"
	}
	w.async = rng.IntN(4) == 0
	w.limit = destinations.Limit{Records: 1 + rng.IntN(4), Concurrency: 1 + rng.IntN(3)}
	if rng.IntN(4) == 0 {
		w.limit.Bytes = 300
	}
	w.safe = destinations.Idempotent
	if rng.IntN(6) == 0 && w.def.Mode != tidegate.Audience { // to be a member twice is to be one
		w.safe = destinations.Unsafe
	}
	w.dest.poisoned = func(k tidegate.Key) bool { return !w.quiet && w.src.rows[k].poisoned }
	w.led.planErr = w.planFault
	return w
}

func (w *world) violation(format string, args ...any) {
	if w.trace != nil {
		w.trace("VIOLATION "+format, args...)
	}
	if len(w.wrong) < 5 {
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	}
}

// fault says whether a fault of this kind strikes now, and counts it.
func (w *world) fault(kind string, oneIn int) bool {
	if w.quiet || w.rng.IntN(oneIn) != 0 {
		return false
	}
	w.fired[kind]++
	return true
}

func (w *world) planFault() error {
	switch {
	case w.fault("query error", 15):
		return errors.New("connection lost half way")
	case w.fault("query refused", 30):
		return &tidegate.Fault{Action: tidegate.Halt, Code: "model.query", Message: "no such table"}
	}
	return nil
}

// mutate changes the model.
func (w *world) mutate() {
	for range 1 + w.rng.IntN(6) {
		key := tidegate.Key(fmt.Sprintf("[%d]", w.rng.IntN(9)))
		r, present := w.src.rows[key]
		if h := w.led.keys[key]; w.def.Mode == tidegate.Audience && h != nil && h.open == "in_doubt" {
			continue // what was attempted under one identifier is forgotten with it
		}
		switch w.rng.IntN(8) {
		case 0, 1, 2, 3:
			id := r.identifier
			if present && w.def.Mode == tidegate.Audience && w.rng.IntN(2) == 0 && !w.taken(id+"'") {
				id += "'" // the member is known by another identifier now
				w.fired["member moved"]++
			}
			if !present {
				id = "id" + string(key)
				if w.taken(id) {
					continue
				}
			}
			w.src.put(key, id)
		case 4, 5:
			if present {
				w.src.remove(key)
			}
		case 6:
			if present {
				w.src.put(key, r.identifier)
				switch w.rng.IntN(3) {
				case 0:
					w.poison(key, true, false)
				case 1:
					w.poison(key, false, true)
				case 2:
					r := w.src.rows[key]
					r.sick = true
					w.src.rows[key] = r
				}
			}
		case 7: // the row comes back under another key
			other := tidegate.Key(fmt.Sprintf("[%d]", 100+w.src.version))
			if present && (w.def.Mode == tidegate.Mirror || w.def.Mode == tidegate.Audience) {
				w.src.remove(key)
				w.src.put(other, r.identifier)
				w.fired["rekeyed"]++
			}
		}
	}
	if w.fault("empty result", 10) {
		for key := range w.src.rows {
			if h := w.led.keys[key]; w.def.Mode != tidegate.Audience || h == nil || h.open != "in_doubt" {
				w.src.remove(key)
			}
		}
	}
	w.src.bad = int64(w.rng.IntN(2))
}

func (w *world) taken(id string) bool {
	for _, r := range w.src.rows {
		if r.identifier == id {
			return true
		}
	}
	return false
}

func (w *world) poison(key tidegate.Key, poisoned, unmappable bool) {
	r := w.src.rows[key]
	r.poisoned, r.unmappable = poisoned, unmappable
	w.src.rows[key] = r
	if unmappable {
		w.dest.refused[key] = true
	}
	w.fired["poisoned"]++
}

const (
	simTTL      = 30 * time.Second
	simRetryFor = time.Hour
)

// begin starts or resumes the run in a new process.
func (w *world) begin(run tidegate.Run) {
	lease, err := w.runs.AcquireLease(context.Background(), "", "s", "node"+strconv.Itoa(w.rng.IntN(1<<30)), w.now, simTTL)
	if err != nil {
		w.violation("taking the lease: %v", err)
		return
	}
	if stored, exists := w.runs.runs[run.ID]; exists {
		run = stored
	}
	run.Epoch = lease.Epoch
	if _, exists := w.runs.runs[run.ID]; !exists {
		w.runs.runs[run.ID] = run
	}
	r := &simRunner{lease: lease, runID: run.ID}
	r.state = NewState(Config{
		Run: run, Mode: w.def.Mode, Removal: tidegate.Delete, Guards: w.def.Guards, Object: "o",
		RetryFor: simRetryFor, Canary: w.def.Delivery.CanaryRecords, CanaryWait: 10 * time.Minute, Review: run.Trigger == tidegate.TriggerPlan,
		IdentifierField: "id", Limit: w.limit, Safety: w.safe,
		LeaseUntil: lease.Expires, Seed: w.rng.Uint64(),
		Tuning: Tuning{
			WindowRows: 2 + w.rng.IntN(4), FlushRows: 1 + w.rng.IntN(4), Tries: 3, Down: 6, Throttles: 4,
			Backoff: retry.Backoff{Base: time.Second}, Patience: 20 * time.Second,
			TicketFor: 10 * time.Minute, TicketGrace: 5 * time.Second,
		},
	})
	w.active = append(w.active, r)
	w.feed(r, Begin{})
}

func (w *world) newRun() tidegate.Run {
	w.runSeq++
	run := tidegate.Run{ID: fmt.Sprintf("run_%04d", w.runSeq), Sync: "s", State: tidegate.RunQueued}
	if w.rng.IntN(12) == 0 {
		run.Trigger = tidegate.TriggerPlan
		w.fired["planned for review"]++
	}
	return run
}

func (w *world) feed(r *simRunner, e Event) {
	w.events++
	var effects []Effect
	r.state, effects = w.step(r.state, Input{At: w.now, Event: e})
	if w.trace != nil {
		w.trace("%s %s epoch %d: %T%+v → phase %d, effects %+v", w.now.Format("15:04:05.000"), r.runID, r.lease.Epoch, e, e, r.state.phase, effects)
	}
	for _, effect := range effects {
		switch effect := effect.(type) {
		case WakeAt:
			r.wake = effect.At
		case Interrupt:
			for i, p := range r.pending {
				if kind := kindOf(p); kind == "plan" || kind == "survey" {
					r.pending[i] = interrupted{p}
				}
			}
		case GiveUpLease:
			_ = w.runs.ReleaseLease(context.Background(), r.lease)
		case SendBatch:
			if !w.now.Before(r.lease.Expires) {
				w.violation("%s sends although its lease ran out", r.runID)
			}
			r.pending = append(r.pending, effect)
		case PollTicket:
			if !w.now.Before(r.lease.Expires) {
				w.violation("%s asks although its lease ran out", r.runID)
			}
			r.pending = append(r.pending, effect)
		default:
			r.pending = append(r.pending, effect)
		}
	}
	if r.state.Phase() == Done {
		w.active = slices.DeleteFunc(w.active, func(o *simRunner) bool { return o == r })
		w.ended(r)
	}
}

// interrupted is an effect that an Interrupt ended.
type interrupted struct{ Effect }

// run carries everything on until no process is left; it bounds the schedule.
func (w *world) run() {
	for steps := 0; len(w.active) > 0; steps++ {
		if steps > 20_000 {
			r := w.active[len(w.active)-1]
			w.violation("the run does not end: phase %d, pending %v, inflight %d", r.state.phase, r.pending, len(r.state.flow.inflight))
			w.active = nil
			return
		}
		w.disturb()
		var able []*simRunner
		for _, r := range w.active {
			if !r.frozen {
				able = append(able, r)
			}
		}
		if len(able) == 0 {
			w.pass(time.Second)
			continue
		}
		r := able[w.rng.IntN(len(able))]
		if len(r.pending) == 0 || !r.wake.IsZero() && w.rng.IntN(4) == 0 {
			w.tick(r)
			continue
		}
		i := w.rng.IntN(len(r.pending))
		effect := r.pending[i]
		r.pending = slices.Delete(r.pending, i, i+1)
		w.now = w.now.Add(time.Duration(w.rng.IntN(60)) * time.Millisecond)
		e := w.perform(r, effect)
		if w.fault("crash after "+nameOf(effect), 60) {
			w.crash(r)
			continue
		}
		w.feed(r, e)
	}
}

func nameOf(e Effect) string {
	switch e.(type) {
	case SendBatch:
		return "send"
	case PollTicket:
		return "poll"
	}
	if i, ok := e.(interrupted); ok {
		return nameOf(i.Effect)
	}
	return kindOf(e)
}

func (w *world) tick(r *simRunner) {
	if r.wake.IsZero() {
		if len(r.pending) == 0 {
			w.violation("nothing is under way and nothing is waited for: phase %d", r.state.phase)
			w.active = nil
		}
		return
	}
	if wait := r.wake.Sub(w.now); wait > 0 {
		w.pass(wait)
	}
	r.wake = time.Time{}
	if slices.Contains(w.active, r) {
		w.feed(r, Tick{})
	}
}

// pass lets time go by; processes that are not frozen keep their lease.
func (w *world) pass(d time.Duration) {
	for d > 0 {
		part := min(d, simTTL/3)
		d -= part
		w.now = w.now.Add(part)
		for _, r := range slices.Clone(w.active) {
			if r.frozen {
				continue
			}
			l, err := w.runs.RenewLease(context.Background(), r.lease, w.now.Add(simTTL))
			if err != nil {
				w.feed(r, LeaseGone{})
				continue
			}
			r.lease = l
			w.feed(r, LeaseRenewed{Until: l.Expires})
		}
	}
}

// disturb strikes the processes themselves.
func (w *world) disturb() {
	if w.quiet {
		return
	}
	r := w.active[len(w.active)-1]
	switch {
	case w.fault("cancel", 300):
		w.feed(r, CancelAsked{})
	case w.fault("stop", 300):
		w.feed(r, StopAsked{})
	case w.fault("crash", 250):
		w.crash(r)
	case !r.frozen && len(w.active) == 1 && w.fault("second runner", 200):
		// The process hangs past its lease; another takes the run over, and then
		// the first wakes up.
		r.frozen = true
		w.now = w.now.Add(simTTL + time.Second)
		if run := w.runs.runs[r.runID]; run.State == tidegate.RunRunning || run.State == tidegate.RunQueued {
			w.begin(run)
		}
		if w.rng.IntN(2) == 0 {
			r.frozen = false
		}
	}
	for _, r := range w.active {
		if r.frozen && w.rng.IntN(10) == 0 {
			r.frozen = false
		}
	}
}

// crash loses a process and everything it had under way; each call that was on
// its way may or may not have arrived.
func (w *world) crash(r *simRunner) {
	for _, e := range r.pending {
		if send, ok := e.(SendBatch); ok && w.now.Before(r.lease.Expires) && w.rng.IntN(2) == 0 {
			w.dest.apply(r, send.Batch, len(send.Batch.Items))
		}
		if poll, ok := e.(PollTicket); ok && w.rng.IntN(2) == 0 {
			w.dest.work(r, poll.Ticket)
		}
	}
	w.active = slices.DeleteFunc(w.active, func(o *simRunner) bool { return o == r })
}

// perform executes an effect and returns what came of it.
func (w *world) perform(r *simRunner, e Effect) Event {
	if i, ok := e.(interrupted); ok {
		return EffectFailed{Effect: i.Effect, Err: context.Canceled}
	}
	if send, ok := e.(SendBatch); ok {
		return w.dest.call(r, send)
	}
	if poll, ok := e.(PollTicket); ok {
		return w.dest.poll(r, poll)
	}
	before := w.fault("ledger away before "+kindOf(e), 80)
	if before {
		return EffectFailed{Effect: e, Err: errors.New("database is locked")}
	}
	event, err := w.local(r, e)
	if err == nil && w.fault("ledger away after "+kindOf(e), 80) {
		err = errors.New("connection reset after commit")
	}
	if err != nil {
		return EffectFailed{Effect: e, Err: err}
	}
	return event
}

func (w *world) local(r *simRunner, e Effect) (Event, error) {
	ctx := context.Background()
	switch e := e.(type) {
	case StoreRun:
		return RunStored{}, w.runs.UpdateRun(ctx, e.Run, e.From)
	case MakePlan:
		if _, err := w.led.Plan(ctx, ledger.PlanRequest{RunID: r.runID, Epoch: r.lease.Epoch, Mode: w.def.Mode}); err != nil {
			return nil, err
		}
		p, err := w.led.Progress(ctx, r.runID)
		return PlanStored{Progress: p}, err
	case SurveyPlan:
		clashes, err := survey(ctx, w.led, r.runID, w.def.Mode, "id")
		if len(clashes) > 0 {
			w.fired["clash"]++
			for _, c := range clashes {
				if len(c.Takes) > 0 {
					w.fired["taken over"]++
				}
			}
		}
		return PlanSurveyed{Clashes: clashes}, err
	case ReadWindow:
		reader, err := w.led.Changes(ctx, r.runID, e.From)
		if err != nil {
			return nil, err
		}
		most := min(e.Max, len(reader.(*planReader).changes)+1)
		into := slices.Grow(e.Into[:0], most)[:most] // whoever still points into it sees other changes
		n, err := reader.Read(ctx, into)
		return WindowRead{Changes: into[:n], End: n < e.Max && (err == nil || errors.Is(err, io.EOF))}, nil
	case StoreIntent:
		return IntentStored{}, w.led.Intend(ctx, r.runID, r.lease.Epoch, e.First, e.Last)
	case StoreResults:
		w.checkRejections(r, e.Results)
		return ResultsStored{}, w.led.Record(ctx, r.runID, r.lease.Epoch, e.Results)
	case DropPlan:
		if err := w.led.fence(r.lease.Epoch); err != nil {
			return nil, err
		}
		return PlanDropped{}, w.led.Finish(ctx, r.runID)
	}
	return nil, fmt.Errorf("no such effect: %T", e)
}
