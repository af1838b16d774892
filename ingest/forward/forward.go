package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/internal/retry"
)

// Limits bound what a forward holds. Zero values mean the defaults.
type Limits struct {
	Units   int           // events in memory, 5,000
	Bytes   int           // of them, 32 MiB
	Waiting int           // letters that wait for another try, 20,000
	Dead    int64         // dead letters that are kept, 100,000
	DeadFor time.Duration // how long they are, 30 days
	Seen    int           // message ids by which repeats are known, 100,000
	// Retry and Hold are how long an event is tried and how much of the journal is held back: 72 h and 10 GiB.
	Retry time.Duration
	Hold  int64
	// Call bounds one call, 30 s; Linger is how long a batch waits to fill, 20 ms;
	// Tick is how often the cursor moves and letters are looked after, 500 ms.
	Call, Linger, Tick time.Duration
}

func (l Limits) withDefaults() Limits {
	l.Units, l.Bytes, l.Waiting, l.Seen = or(l.Units, 5_000), or(l.Bytes, 32<<20), or(l.Waiting, 20_000), or(l.Seen, 100_000)
	l.Dead, l.Hold = or(l.Dead, 100_000), or(l.Hold, 10<<30)
	l.DeadFor, l.Retry = or(l.DeadFor, 30*24*time.Hour), or(l.Retry, 72*time.Hour)
	l.Call, l.Linger, l.Tick = or(l.Call, 30*time.Second), or(l.Linger, 20*time.Millisecond), or(l.Tick, 500*time.Millisecond)
	return l
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Options are what a Forward works with; all but Past, Backlog and Meter are required.
type Options struct {
	Def    tidegate.Forward
	Reader Reader
	// Past begins a while before Reader's cursor; nil: no event came before it. The Forward closes it.
	Past  Past
	Judge judge.Judge
	// Open opens the destination and compiles the mapping. It is called until it succeeds.
	Open    func(ctx context.Context) (*Opened, error)
	Store   Store
	Quotas  Quotas
	Backlog func() Backlog
	Limits  Limits
	// Paused holds the forward from the start.
	Paused bool
	Now    func() time.Time
	Random func() float64
	Log    *slog.Logger
	Meter  metric.Meter
}

// Forward is one forward at work.
type Forward struct {
	o      Options
	log    *slog.Logger
	meters *meters
	seen   *seen

	mu       sync.Mutex
	changed  chan struct{} // closed whenever something below changes
	lanes    *lanes
	breaker  breaker
	opened   *Opened
	paused   time.Time // since when; zero when it is not
	calling  int       // calls under way
	splits   [][]*unit // parts of batches that were refused as a whole
	kept     map[int64]bool
	settled  []int64 // letters to be removed from the store
	overrun  int64   // events before this position are too much for the journal
	counts   Tally
	letters  Counts
	storeErr *tidegate.Fault // why the store did not answer the last time
}

// New makes a Forward; Run works.
func New(o Options) (*Forward, error) {
	o.Limits = o.Limits.withDefaults()
	if o.Backlog == nil {
		o.Backlog = func() Backlog { return Backlog{} }
	}
	m, err := newMeters(o.Meter, o.Def.Name)
	if err != nil {
		return nil, fmt.Errorf("creating the metrics of forward %s: %w", o.Def.Name, err)
	}
	f := &Forward{
		o: o, log: o.Log.With("forward", o.Def.Name), meters: m, seen: newSeen(o.Limits.Seen),
		changed: make(chan struct{}), lanes: newLanes(), kept: map[int64]bool{},
	}
	f.lanes.read = o.Reader.Committed().Position
	if o.Paused {
		f.paused = o.Now()
	}
	return f, nil
}

// Run forwards until ctx ends; it waits for the calls that are under way, for a
// few seconds. The reader is closed when it returns.
func (f *Forward) Run(ctx context.Context) error {
	defer func() { _ = f.o.Reader.Close() }()
	if err := f.remember(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.open(ctx) })
	group.Go(func() error { return f.intake(ctx) })
	group.Go(func() error { return f.dispatch(ctx) })
	group.Go(func() error { return f.keep(ctx) })
	group.Go(func() error { return f.revive(ctx) })
	err := ignoreEnd(ctx, group.Wait())
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if e := f.commit(last); e != nil { // what is not committed is sent again
		f.log.Warn("saving how far the forward came failed", "error", e)
	}
	f.mu.Lock()
	opened := f.opened
	f.opened = nil
	f.mu.Unlock()
	if opened != nil {
		err = errors.Join(err, opened.Close())
	}
	return err
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// remember takes up what an earlier process left: the letters that wait, and the
// ids of what came before the cursor.
func (f *Forward) remember(ctx context.Context) error {
	var waiting []Letter
	err := f.persist(ctx, "reading the waiting letters", func(ctx context.Context) (err error) {
		waiting, err = f.o.Store.Waiting(ctx)
		return err
	})
	if err != nil {
		return err
	}
	f.Adopt(waiting)
	if f.o.Past == nil {
		return nil
	}
	err = f.recall(ctx, f.o.Past, f.o.Reader.Committed().Position)
	return errors.Join(err, f.o.Past.Close())
}

// Adopt takes letters that the store holds as waiting into the lanes, behind what
// waits there. Those that it has already are left alone.
func (f *Forward) Adopt(waiting []Letter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, letter := range waiting {
		if f.kept[letter.Position] {
			continue
		}
		f.kept[letter.Position] = true
		letter.Event = nil
		f.lanes.add(&unit{letter: letter, parked: true, stored: true, notBefore: letter.NextAt})
	}
	f.signal()
}

// Pause stops sending and, when the memory is full, reading. What waits longer
// than the forward's window becomes dead letters as if the destination were down.
func (f *Forward) Pause(pause bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !pause:
		f.paused = time.Time{}
	case f.paused.IsZero():
		f.paused = f.o.Now()
	}
	f.signal()
}

// Quiet pauses for good, and waits until no call is under way or ctx ends. It is for
// those who end Run soon and want no call cut off.
func (f *Forward) Quiet(ctx context.Context) {
	f.Pause(true)
	for {
		f.mu.Lock()
		calling, changed := f.calling, f.changed
		f.mu.Unlock()
		if calling == 0 || await(ctx, changed, 0) != nil {
			return
		}
	}
}

// RetryNow ends the waits: of the letters, and of a destination that is left alone.
func (f *Forward) RetryNow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.lanes.rest {
		u.notBefore = f.o.Now()
	}
	f.breaker.until = f.o.Now()
	f.signal()
}

// signal tells the goroutines that something changed. It is called with mu held.
func (f *Forward) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// await waits until something changes, d has passed (0: never) or ctx ends.
// changed is what f.changed was when there was nothing to do.
func await(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-changed:
	case <-timer:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// open opens the destination, as often as it takes.
func (f *Forward) open(ctx context.Context) error {
	for {
		opened, err := f.o.Open(ctx)
		if err == nil {
			err = f.o.Quotas.Declare(ctx, opened.Account, opened.Object.Limit)
			if err != nil { // the store of shared quotas is away: calls will wait for it
				f.log.Warn("declaring the limits of the destination failed", "error", err)
			}
			f.mu.Lock()
			f.opened = opened
			f.breaker = breaker{}
			f.signal()
			f.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		now := f.o.Now()
		f.mu.Lock()
		fault := *tidegate.FaultOf(err)
		fault.Action = tidegate.Halt // nothing is sent meanwhile, whatever it is
		f.breaker.learn(now, &fault)
		f.breaker.fault = tidegate.FaultOf(err)
		wait := f.breaker.wait(now)
		changed := f.changed
		f.mu.Unlock()
		for f.o.Now().Sub(now) < wait { // RetryNow shortens it
			if err := await(ctx, changed, wait); err != nil {
				return err
			}
			f.mu.Lock()
			wait, changed = f.breaker.until.Sub(now), f.changed
			f.mu.Unlock()
		}
	}
}

// persist calls write until it succeeds; only the end of ctx is an error.
func (f *Forward) persist(ctx context.Context, doing string, write func(context.Context) error) error {
	backoff := retry.Backoff{Base: 100 * time.Millisecond, Cap: 10 * time.Second}
	for attempt := 0; ; attempt++ {
		err := write(ctx)
		f.mu.Lock()
		told := f.storeErr != nil
		if f.storeErr = tidegate.FaultOf(err); ctx.Err() != nil {
			f.storeErr = nil
		}
		f.mu.Unlock()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !told {
			f.log.Warn("the forward waits for the control store", "doing", doing, "error", err)
		}
		if err := retry.Wait(ctx, backoff.Delay(attempt, f.o.Random)); err != nil {
			return err
		}
	}
}
