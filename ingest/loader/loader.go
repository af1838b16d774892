// Package loader carries events from the journal into the warehouse.
//
//	journal ─▶ batch ─▶ repeats out ─▶ judge ─▶ shape ─▶ Ensure ─▶ one transaction ─▶ … ─▶ checkpoint ─▶ the journal may trim
//	           (time,     (ids of this   (plan,    (rows,    (DDL,      (rows, users, seen ids,    (minutes)
//	            size)      batch, then    rules)    dead      additive)  counts, cursor)
//	                       of history)              letters)
//
// What happens to a batch that fails:
//
//	loading ──ok──────────────▶ next batch
//	   │ refused data ────────▶ halves, down to the event, which becomes a dead letter
//	   │ warehouse lent ──────▶ wait in silence, read the cursor again
//	   └ anything else ───────▶ wait (doubling, at most Options.MaxBackoff), read the cursor again
//
// Invariants: rows and the cursor that says how far the journal is loaded commit
// in one transaction, so an event is loaded exactly once however the process
// ends (Invariant 3). Beside the cursor stands which journal it is a place of: in
// another one, whose positions mean other events, nothing is loaded before somebody
// decides (Invariant 8). The cursor in the warehouse is the truth; the journal's own
// cursor only says what may be trimmed and moves after a verified checkpoint, so
// that a lost write-ahead log is loaded again. One message id of one source is
// one event for ever; of equals the first in the journal
// counts. Every event read is counted as loaded, duplicate, dead, suppressed or
// dropped in the same transaction (Invariant 2). A stranger's event never stops the loader (Invariant 7).
//
// It does not accept events, does not decide what is valid, does not talk to an
// engine except through the warehouse contract, and never narrows, renames or
// drops anything there.
//
// Behind schedule (batches that are full), the next batch is read and shaped while
// the one before it is written, and a transaction takes as many as it takes to bring a
// table a whole group of rows (see part); what was prepared on the strength of a
// transaction that then failed is thrown away.
//
// Run owns at most two goroutines besides its caller's and waits for both; one
// Run per Loader. Wait and Stats may be called from anywhere.
package loader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/grumble"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Reader is the loader's place in the journal; *journal.Reader is one.
type Reader interface {
	// Next waits for the next frame. Ending its ctx loses no frame.
	Next(ctx context.Context) (journal.Entry, error)
	// TryNext returns the next frame if there is one.
	TryNext() (journal.Entry, bool, error)
	// Seek goes to the frame that holds offset.
	Seek(offset tidegate.Offset) error
	// Mark says of the place next which journal it is a place of.
	Mark(next tidegate.Offset) string
	// Fits returns an error when a mark is of another journal.
	Fits(mark string) error
	// Commit says that nothing below next is needed any more.
	Commit(ctx context.Context, next tidegate.Offset) error
	// Committed returns the last next that Commit was told, also by an earlier process.
	Committed() tidegate.Offset
}

// Warehouse is a warehouse with transactions, which keep rows and cursor together.
type Warehouse interface {
	warehouse.Warehouse
	warehouse.Execer
}

// Options are what a Loader needs. Reader, Warehouse, Log and Now must be set;
// a zero among the rest means its default.
type Options struct {
	Reader    Reader
	Warehouse Warehouse
	Log       *slog.Logger
	Now       func() time.Time

	// Head returns the journal's end, for the lag in Stats; nil: no lag is told.
	Head func() tidegate.Offset
	// AppendedAt returns when the first event at offset or behind was appended, zero when there
	// is none. Stats asks it about what waits and has not been read; nil: of that no age is told.
	AppendedAt func(offset tidegate.Offset) time.Time
	// OnLoad is called after every commit with the tables that got rows, sorted.
	// The loader waits for it, so it should only pass the news on.
	OnLoad func(tables []warehouse.Table)
	// OnFates is called after every commit with what became of the events, in order. The
	// loader waits for it too, and uses the memory again.
	OnFates func([]Fates)

	// Judge decides what is to become of each event that is no repeat; nil: all are kept.
	Judge judge.Judge
	// Books is the schema of the loader's own tables: BooksSchema when empty. Another one
	// makes a loader with a place, ids and counts of its own: a replay beside the hub's.
	Books string
	// Begin is where a loader goes on that has no place yet.
	Begin tidegate.Offset
	// Shape says how events become rows. Reserved and MaxName are filled from the warehouse's dialect.
	Shape shape.Options
	// MaxTables bounds the tables of one source (default shape.DefaultMaxTables);
	// events beyond keep their properties in tracks' `_unmapped`.
	MaxTables int

	// Linger is how long a batch waits for more events after its first (100 ms).
	Linger time.Duration
	// MaxEvents and MaxBytes end a batch at once (20,480 events, 24 MiB).
	MaxEvents int
	MaxBytes  int
	// TransactionRows is how many new rows one table has at most when, behind schedule, a
	// transaction takes several batches (122,880: DuckDB's group of rows).
	TransactionRows int
	// BusyShare is the share of its time that the loader works while more events arrive than
	// it can load (0.4).
	BusyShare float64
	// CheckpointEvery and CheckpointBytes (1 minute, 256 MiB of events) say when
	// the warehouse is checkpointed and the journal may trim. After new tables or
	// columns it happens within CheckpointAfterDDL (15 s), after which one is tried again
	// that met others who were writing.
	CheckpointEvery    time.Duration
	CheckpointBytes    int64
	CheckpointAfterDDL time.Duration
	// MaxBackoff bounds the wait between attempts while the warehouse fails (30 s).
	MaxBackoff time.Duration
	// MaxFilter bounds the message ids that the in-memory filter of repeats holds
	// (64 million, 12 bits each); beyond it every batch asks the warehouse.
	MaxFilter int
}

func (o *Options) fill() {
	setDefault(&o.Books, BooksSchema)
	setDefault(&o.MaxTables, shape.DefaultMaxTables)
	setDefault(&o.Linger, 100*time.Millisecond)
	setDefault(&o.MaxEvents, 20_480)
	setDefault(&o.MaxBytes, 24<<20)
	setDefault(&o.TransactionRows, 122_880)
	setDefault(&o.BusyShare, 0.4)
	setDefault(&o.CheckpointEvery, time.Minute)
	setDefault(&o.CheckpointBytes, 256<<20)
	setDefault(&o.CheckpointAfterDDL, 15*time.Second)
	setDefault(&o.MaxBackoff, 30*time.Second)
	setDefault(&o.MaxFilter, 64_000_000)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Stats is what a Loader has done since it was made, and how far behind it is.
type Stats struct {
	Position   tidegate.Offset // everything below is queryable
	LagEvents  int64           // events in the journal that may not be loaded; -1 when Options.Head is nil
	LagAge     time.Duration   // since the oldest of them was appended; 0 when there is none
	Loaded     int64           // events that became rows
	Duplicate  int64           // events left out because their message id had been loaded
	Dead       int64           // events that became dead letters
	Suppressed int64           // events of people of whom nothing may be kept
	Dropped    int64           // events that a rule left out
	Rows       int64           // rows written to event tables
	Batches    int64           // transactions committed
	Gaps       int64           // events that the journal no longer had
	LastLoad   time.Time       // of the last commit
	// Checkpointed is the offset below which the warehouse's own file holds everything.
	Checkpointed tidegate.Offset
	// Fault is why the last attempt failed, nil while all is well.
	Fault *tidegate.RunFault
}

// Loader carries events into the warehouse.
type Loader struct {
	opts    Options
	dialect sqltext.Dialect

	mu        sync.Mutex
	stats     Stats
	pending   time.Time // when the oldest event at hand was appended
	advanced  chan struct{}
	interrupt context.CancelFunc // ends the wait for events, nil while none waits
	recovered bool
	visits    []*visit // who waits in Between
	stopped   bool     // Run has returned

	// Run's own.
	position   tidegate.Offset // committed in the warehouse; meaningful when open
	open       bool
	tables     map[warehouse.Table]*shape.Table
	perSource  map[string]int // tables there are, by schema
	shaper     *shape.Shaper
	peeker     shape.Peeker
	filter     *filter
	inFilter   int             // its ids of which the warehouse is known to have rows
	batch      batch           // being prepared
	prepared   int             // events of it
	reading    tidegate.Offset // after the last frame taken from the journal
	ahead      lookahead
	filling    filling // the transaction in the making, as far as it is prepared
	spare      spare   // sheets to use again
	pace       pace
	grumble    grumble.Log
	lossTold   time.Time
	careful    int64 // below this position a transaction has one part
	scratch    []byte
	poison     map[tidegate.Offset]string
	checkpoint checkpoint
	touched    touched          // hours whose books have grown since they were made small
	met        map[meeting]bool // the collisions that are logged; nil: to be read
}

// New returns a Loader; Run makes it work.
func New(o Options) (*Loader, error) {
	if o.Reader == nil || o.Warehouse == nil || o.Log == nil || o.Now == nil {
		return nil, errors.New("making a loader: Reader, Warehouse, Log and Now must be set")
	}
	o.fill()
	dialect, ok := sqltext.Find(o.Warehouse.Dialect())
	if !ok {
		return nil, fmt.Errorf("making a loader: no SQL dialect called %q", o.Warehouse.Dialect())
	}
	if o.Shape.Reserved == nil {
		o.Shape.Reserved = dialect.Reserved
	}
	if o.Shape.MaxName == 0 {
		o.Shape.MaxName = dialect.MaxName()
	}
	l := &Loader{opts: o, dialect: dialect, advanced: make(chan struct{}), ahead: lookahead{news: make(chan struct{}, 1)}, poison: make(map[tidegate.Offset]string)}
	l.stats.LagEvents, l.stats.Position = -1, o.Begin // nothing is below, whatever the cursor will say
	l.filling.rows = make(map[*shape.Table]int)
	l.pace.share = o.BusyShare
	l.grumble.Every = time.Minute
	l.checkpoint.opts = &l.opts
	l.reset()
	return l, nil
}

// reset forgets what was read from the warehouse, so that it is read again.
func (l *Loader) reset() {
	l.open = false
	l.ahead.drop()
	l.batch.clear()
	l.prepared = 0
	l.filling.clear()
	l.spare.clear()
	l.perSource = make(map[string]int)
	l.tables = make(map[warehouse.Table]*shape.Table)
}

// Run loads until ctx ends, then checkpoints and returns nil. It returns an error
// only when nothing but a person can help: a frame of the journal that is whole but
// cannot be read.
func (l *Loader) Run(ctx context.Context) error {
	var watcher sync.WaitGroup
	defer watcher.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r, ok := l.opts.Warehouse.(warehouse.Recoverer); ok {
		watcher.Go(func() { l.watch(ctx, r) })
	}
	defer l.leave()
	defer l.ahead.settle()
	attempt := 0
	for ctx.Err() == nil {
		err := l.step(ctx)
		switch {
		case err == nil:
			attempt = 0
			l.fault(nil)
			l.grumble.Over(ctx, l.opts.Log, l.opts.Now(), "loading goes on")
			continue
		case ctx.Err() != nil:
		case errors.Is(err, errUnreadable):
			l.fault(err)
			return err
		case errors.Is(err, errStale):
			l.reset()
			if attempt++; attempt > 3 {
				l.rest(ctx, attempt)
			}
		case errors.Is(err, warehouse.ErrYielded):
			l.reset()
			_ = retry.Wait(ctx, 50*time.Millisecond)
		default:
			attempt++
			l.fault(err)
			l.grumble.About(ctx, l.opts.Log, l.opts.Now(), "loading failed and will be tried again", err, "attempt", attempt)
			l.reset()
			l.rest(ctx, attempt)
		}
	}
	return l.finish(ctx)
}

// step does one thing: open, load a batch or checkpoint.
func (l *Loader) step(ctx context.Context) error {
	if l.takeRecovered() {
		if now := l.opts.Now(); now.Sub(l.lossTold) >= time.Minute { // on a full disk it does with every load
			l.lossTold = now
			l.opts.Log.WarnContext(ctx, "the warehouse lost loads; they are loaded again from the journal")
		}
		l.reset()
	}
	if l.receive() {
		l.reset()
	}
	if !l.open {
		if err := l.openWarehouse(ctx); err != nil {
			return err
		}
	}
	cur, err := l.ahead.peek()
	if err != nil {
		return err
	}
	l.ahead.take()
	if cur == nil {
		if cur, err = l.prepareFirst(ctx); err != nil {
			return err
		}
		l.pace.begin(l.opts.Now(), l.head())
	}
	if cur != nil {
		if err := l.transact(ctx, cur); err != nil {
			return err
		}
	}
	if l.checkpoint.due(l.opts.Now()) {
		return l.tryCheckpoint(ctx)
	}
	return nil
}

// finish makes the last loads durable in the warehouse's own file. ctx has ended.
func (l *Loader) finish(ctx context.Context) error {
	if !l.open || !l.checkpoint.dirty {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := l.runCheckpoint(ctx); err != nil {
		l.opts.Log.WarnContext(ctx, "the last checkpoint failed; the next start loads from the journal what it lacks", "error", err)
	}
	return nil
}

// watch waits for recoveries of the warehouse and wakes the loader.
func (l *Loader) watch(ctx context.Context, r warehouse.Recoverer) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-r.Recovered():
			if !ok {
				return
			}
			l.mu.Lock()
			l.recovered = true
			if l.interrupt != nil {
				l.interrupt()
			}
			l.mu.Unlock()
		}
	}
}

func (l *Loader) takeRecovered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.recovered
	l.recovered = false
	return was
}

// Wait returns when every event below offset is queryable.
func (l *Loader) Wait(ctx context.Context, offset tidegate.Offset) error {
	for {
		l.mu.Lock()
		done := l.stats.Position.Partition == offset.Partition && l.stats.Position.Position >= offset.Position
		advanced := l.advanced
		l.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for offset %s to be loaded: %w", offset, ctx.Err())
		case <-advanced:
		}
	}
}

// Stats returns the loader's state.
func (l *Loader) Stats() Stats {
	l.mu.Lock()
	s, oldest := l.stats, l.pending
	l.mu.Unlock()
	from := s.Position
	if done := l.opts.Reader.Committed(); done.Partition == from.Partition && done.Position > from.Position {
		from = done // the warehouse has not said yet how far it is loaded
	}
	if l.opts.Head != nil {
		s.LagEvents = max(0, l.opts.Head().Position-from.Position)
	}
	if oldest.IsZero() && s.LagEvents > 0 && l.opts.AppendedAt != nil {
		oldest = l.opts.AppendedAt(from) // nothing is read while the warehouse cannot be opened
	}
	if !oldest.IsZero() {
		s.LagAge = max(0, l.opts.Now().Sub(oldest))
	}
	return s
}

func (l *Loader) fault(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Fault = tidegate.StoredFault(err)
}

// advance makes a new position known.
func (l *Loader) advance(change func(*Stats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Position = l.position
	change(&l.stats)
	close(l.advanced)
	l.advanced = make(chan struct{})
}
