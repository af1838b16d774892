package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/ingest/forward"
	"github.com/tidegate/tidegate/internal/grumble"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/runner"
)

const (
	readerPrefix  = "forward." // of the journal's cursors
	forwardPrefix = "forward " // of claims, stages, findings and alerts
	// pastEvents are read again before the cursor, to know repeats after a start.
	pastEvents = 100_000
)

// forwards are the forwards at work. One goroutine starts and ends them.
//
//	activated ─▶ place in the journal saved ─▶ started ─▶ ended when the project, or
//	its connection, says otherwise; a forward that is no longer defined is forgotten.
type forwards struct {
	changed chan struct{}
	// begin is where the journal ended when the process started: new forwards of the
	// first activation begin there, because events are accepted before it.
	begin     tidegate.Offset
	activated bool // guarded by dbtProjects.mu, as every activation is

	// starting is held while forwards are started, or kept from it.
	starting sync.Mutex

	mu      sync.Mutex
	running map[string]*running
}

// running is one forward with what it was made of.
type running struct {
	forward *forward.Forward
	made    string
	stop    context.CancelFunc
	done    chan struct{}
}

func newForwards() forwards {
	return forwards{changed: make(chan struct{}, 1), running: map[string]*running{}}
}

func (f *forwards) wake() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *forwards) get(name string) *forward.Forward {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.running[name]; r != nil {
		return r.forward
	}
	return nil
}

// placeForwards gives new forwards their places in the journal, before anything
// that comes after the activation. A place that was not saved whole is chosen
// again; a cursor without a memory of it is kept (Invariant 8).
func (h *Hub) placeForwards(ctx context.Context, list []tidegate.Forward) error {
	begin := h.forwards.begin
	if h.forwards.activated {
		begin = h.journal.Durable()
	}
	h.forwards.activated = true
	if len(list) == 0 {
		return nil
	}
	states, err := h.forwardStates(ctx)
	if err != nil {
		return err
	}
	cursors := map[string]bool{}
	for _, r := range h.journal.Stats().Readers {
		cursors[r.Name] = true
	}
	for _, def := range list {
		state, known := states[def.Name]
		if state.Started {
			continue
		}
		w := h.runs.In(tidegate.DefaultWorkspace)
		if known || !cursors[readerPrefix+def.Name] {
			if err := w.PutForward(ctx, store.ForwardState{Name: def.Name, Paused: state.Paused}); err != nil {
				return fmt.Errorf("placing forward %s: %w", def.Name, err)
			}
			if err := h.placeForward(ctx, def, begin); err != nil {
				return fmt.Errorf("placing forward %s: %w", def.Name, err)
			}
		}
		if err := w.PutForward(ctx, store.ForwardState{Name: def.Name, Paused: state.Paused, Started: true}); err != nil {
			return fmt.Errorf("placing forward %s: %w", def.Name, err)
		}
	}
	return nil
}

func (h *Hub) placeForward(ctx context.Context, def tidegate.Forward, begin tidegate.Offset) error {
	reader, err := h.journal.Reader(readerPrefix + def.Name)
	if err != nil {
		return err
	}
	if def.Start != "oldest" && begin.Position > reader.Committed().Position {
		err = reader.Commit(ctx, begin)
	}
	return errors.Join(err, reader.Close())
}

func (h *Hub) forwardStates(ctx context.Context) (map[string]store.ForwardState, error) {
	list, err := h.runs.In(tidegate.DefaultWorkspace).ForwardStates(ctx)
	if err != nil {
		return nil, err
	}
	states := map[string]store.ForwardState{}
	for _, s := range list {
		states[s.Name] = s
	}
	return states, nil
}

// runForwards keeps the forwards of the active project at work until ctx ends.
func (h *Hub) runForwards(ctx context.Context) error {
	told := grumble.Log{}
	again := time.NewTicker(30 * time.Second) // what could not be started is tried again
	defer again.Stop()
	for {
		if err := h.reconcileForwards(ctx); err == nil {
			told.Over(ctx, h.o.Log, h.o.Now(), "all forwards are started")
		} else if ctx.Err() == nil {
			told.About(ctx, h.o.Log, h.o.Now(), "starting forwards failed and is tried again", err)
		}
		select {
		case <-ctx.Done():
			h.forwards.endAll()
			return nil
		case <-h.forwards.changed:
		case <-again.C:
		}
	}
}

func (f *forwards) endAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.running {
		r.stop()
	}
	for name, r := range f.running {
		<-r.done
		delete(f.running, name)
	}
}

// reconcileForwards ends what is no longer wanted as it is, and starts what is.
func (h *Hub) reconcileForwards(ctx context.Context) error {
	h.forwards.starting.Lock()
	defer h.forwards.starting.Unlock()
	a := h.active.Load()
	wanted := map[string]string{}
	for _, def := range a.project.Forwards {
		_, _, secrets, _ := h.connections.configure(ctx, a.destinations[def.Destination]) // a fault shows when it is opened
		wanted[def.Name] = madeOf(def, a, secrets)
	}
	h.forwards.mu.Lock()
	var over []*running
	for name, r := range h.forwards.running {
		if wanted[name] != r.made {
			r.stop()
			over = append(over, r)
			delete(h.forwards.running, name)
		}
	}
	h.forwards.mu.Unlock()
	for _, r := range over {
		<-r.done
	}
	errs := []error{h.forgetForwards(ctx, wanted)}
	for _, def := range a.project.Forwards {
		if h.forwards.get(def.Name) == nil {
			errs = append(errs, h.startForward(ctx, def, wanted[def.Name]))
		}
	}
	return errors.Join(errs...)
}

// madeOf is what a forward depends on, as text; secrets is the digest of its destination's.
func madeOf(def tidegate.Forward, a *active, secrets string) string {
	text, err := json.Marshal([]any{def, a.destinations[def.Destination], secrets, a.project.Settings.AllowPrivate})
	if err != nil { // definitions were decoded from JSON
		panic(fmt.Sprintf("encoding forward %s: %v", def.Name, err))
	}
	return string(text)
}

// forgetForwards drops the cursors, letters and states of forwards that are no longer defined.
func (h *Hub) forgetForwards(ctx context.Context, wanted map[string]string) error {
	var errs []error
	for _, r := range h.journal.Stats().Readers {
		name, ok := strings.CutPrefix(r.Name, readerPrefix)
		if _, kept := wanted[name]; ok && !kept {
			errs = append(errs, h.journal.DropReader(ctx, r.Name))
		}
	}
	states, err := h.forwardStates(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for name := range states {
		if _, kept := wanted[name]; !kept {
			errs = append(errs, h.runs.In(tidegate.DefaultWorkspace).ForgetForward(ctx, name))
		}
	}
	return errors.Join(errs...)
}

func (h *Hub) startForward(ctx context.Context, def tidegate.Forward, made string) error {
	reader, err := h.journal.Reader(readerPrefix + def.Name)
	if err != nil {
		return fmt.Errorf("starting forward %s: %w", def.Name, err)
	}
	o := forward.Options{
		Def: def, Reader: reader, Judge: &h.judge, Store: h.runs.In(tidegate.DefaultWorkspace).Letters(def.Name), Quotas: forwardQuotas{h.quotas, claimOf(def)},
		Open: func(ctx context.Context) (*forward.Opened, error) { return h.openForward(ctx, def) }, Backlog: h.backlog(readerPrefix + def.Name),
		Paused: true, Now: h.o.Now, Random: rand.Float64, Log: h.o.Log, Meter: h.o.Telemetry.Meter("ingest/forward"),
	}
	o.Limits.Hold = def.Delivery.HoldBytes
	o.Limits.Retry, _ = time.ParseDuration(def.Delivery.RetryFor) // checked; none means the default
	if past, err := h.journal.OpenAt(tidegate.Offset{Position: max(h.journal.Stats().Oldest.Position, reader.Committed().Position-pastEvents)}); err == nil {
		o.Past = past
	}
	f, err := forward.New(o)
	if err != nil {
		return errors.Join(err, reader.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	r := &running{forward: f, made: made, stop: stop, done: make(chan struct{})}
	h.forwards.mu.Lock()
	h.forwards.running[def.Name] = r
	h.forwards.mu.Unlock()
	// Whoever resumes it from now on finds it; what was said before is read here.
	states, err := h.forwardStates(ctx)
	if err != nil {
		h.forwards.mu.Lock()
		delete(h.forwards.running, def.Name)
		h.forwards.mu.Unlock()
		stop()
		return errors.Join(fmt.Errorf("starting forward %s: %w", def.Name, err), reader.Close())
	}
	if !def.Paused && !states[def.Name].Paused {
		f.Pause(false)
	}
	go func() { // endAll and reconcileForwards wait for it
		defer close(r.done)
		if err := f.Run(ctx); err != nil {
			h.o.Log.Error("a forward ended", "forward", def.Name, "error", err)
		}
	}()
	return nil
}

// backlog tells what a reader holds back of the journal.
func (h *Hub) backlog(reader string) func() forward.Backlog {
	return func() forward.Backlog {
		for _, r := range h.journal.Stats().Readers {
			if r.Name == reader && r.LagEvents > 0 {
				return forward.Backlog{Events: r.LagEvents, Bytes: r.LagBytes, Oldest: r.OldestUnread}
			}
		}
		return forward.Backlog{}
	}
}

// openForward opens the destination and compiles filter and mapping against its object.
func (h *Hub) openForward(ctx context.Context, def tidegate.Forward) (_ *forward.Opened, err error) {
	a := h.active.Load()
	conn := a.destinations[def.Destination]
	open, release, err := h.connections.hold(ctx, conn, prefixes(a.project.Settings.AllowPrivate))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	dest := open.dest
	object, err := objectOf(ctx, dest, "forward", def.Name, def.Destination, def.Object, def.Mode)
	if err != nil {
		return nil, err
	}
	if err := createFields(ctx, dest, &object, def); err != nil {
		return nil, err
	}
	compiled, err := project.CompileForward(def, object)
	if err != nil {
		why := tidegate.FaultOf(err)
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "mapping.invalid", Subject: strings.TrimSuffix(forwardPrefix+def.Name+": "+why.Subject, ": "),
			Message: why.Message, Hint: cmp.Or(why.Hint, "mend the forward and apply the project again"), Err: err,
		}
	}
	if _, err := open.identify(ctx); err != nil { // who shares its limits
		return nil, err
	}
	return &forward.Opened{
		Destination: dest, Object: object, IdentifierField: compiled.IdentifierField(), Mapper: compiled,
		Integration: first(def.Integration, conn.Kind), Account: open.limits(), Close: release,
	}, nil
}

// createFields makes the fields that the mapping names and the object lacks, where the forward may.
func createFields(ctx context.Context, dest destinations.Destination, object *destinations.Object, def tidegate.Forward) error {
	missing := mapping.Missing(def.Mapping, project.ForwardModel(def.Mapping), *object)
	if len(missing) == 0 {
		return nil
	}
	provisioner, ok := dest.(destinations.Provisioner)
	if !ok {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "mapping.invalid", Subject: forwardPrefix + def.Name + ": mapping.create_fields",
			Message: fmt.Sprintf("%s has no field %q, and this destination cannot create fields", object.Name, missing[0].Name), Hint: "create it there, or leave it out of the mapping",
		}
	}
	for _, f := range missing {
		if err := provisioner.CreateField(ctx, object.Name, f); err != nil {
			return fmt.Errorf("creating field %s: %w", f.Name, err)
		}
	}
	object.Fields = append(slices.Clone(object.Fields), missing...)
	return nil
}

// forwardQuotas are the hub's quotas under the claim of one forward.
type forwardQuotas struct {
	quotas runner.Quotas
	claim  runner.Claim
}

var _ forward.Quotas = forwardQuotas{}

func claimOf(def tidegate.Forward) runner.Claim {
	return runner.Claim{Sync: forwardPrefix + def.Name, Weight: or(def.Delivery.Priority, 10), Percent: or(def.Delivery.QuotaPercent, 100)}
}

func or(v, otherwise int) int {
	if v == 0 {
		return otherwise
	}
	return v
}

func (q forwardQuotas) Take(ctx context.Context, account string) (time.Duration, error) {
	return q.quotas.Take(ctx, account, q.claim)
}

func (q forwardQuotas) Declare(ctx context.Context, account string, l destinations.Limit) error {
	return q.quotas.Declare(ctx, account, l)
}

func (q forwardQuotas) Learn(ctx context.Context, account string, err error) error {
	return q.quotas.Learn(ctx, account, err)
}
