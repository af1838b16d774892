package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/grumble"
	"github.com/tidegate/tidegate/internal/turns"
	"github.com/tidegate/tidegate/internal/vfs"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Options say which file to open and how much of the machine the engine may take.
type Options struct {
	// Path is the database file; it and its folder are created when missing.
	Path string
	// MemoryLimit bounds the engine's memory ("2GB"); larger operations spill to
	// TempDir. Empty means a quarter of the machine's memory, at most 4GB.
	MemoryLimit string
	// Threads bounds the engine's threads; 0 means the number of CPUs.
	Threads int
	// TempDir is where the engine spills to; empty means Path + ".tmp".
	TempDir string
	// Attach are further database files whose tables queries may read.
	Attach []Attached
	// ReadDirs are folders whose files (Parquet, CSV, JSON) queries may read.
	ReadDirs []string
	Log      *slog.Logger
	Now      func() time.Time
	// ProbeCommand returns a command that calls Probe(path) in a process of its
	// own and exits 0 when that returned nil, otherwise with the error on its
	// standard error. It is run before a file with a write-ahead log is opened,
	// because the engine may abort its process over a log that it cannot
	// replay. Nil, or a nil command: such a file is opened directly.
	ProbeCommand func(ctx context.Context, path string) *exec.Cmd
}

func (o Options) withDefaults() (Options, error) {
	if o.Path == "" || strings.HasPrefix(o.Path, ":memory:") {
		return o, errors.New("opening duckdb: Options.Path must name a file")
	}
	if o.Now == nil {
		return o, errors.New("opening duckdb: Options.Now is missing")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Threads <= 0 {
		o.Threads = runtime.NumCPU()
	}
	if o.MemoryLimit == "" {
		o.MemoryLimit = defaultMemory()
	}
	if o.TempDir == "" {
		o.TempDir = o.Path + ".tmp"
	}
	return o, nil
}

// state is where the database file is; see the package comment for the drawing.
type state uint8

const (
	stateOpen state = iota
	stateLent
	stateBroken
	stateClosed
)

// Warehouse is an open database file. Make one with Open.
type Warehouse struct {
	opts      Options
	dialect   sqltext.Dialect
	lock      io.Closer
	recovered chan struct{}
	stop      chan struct{}  // closed by Close
	owned     sync.WaitGroup // the reopening goroutine and Yield
	closeOnce sync.Once
	closeErr  error

	mu     sync.Mutex
	state  state
	db     *instance
	inside int           // calls, readers and transactions that use db
	left   chan struct{} // closed when inside falls to 0; nil when nobody waits
	// failing is what was logged of the engine.
	failing grumble.Log

	ensuring keyedMutex
	loading  reservations
	forgot   atomic.Pointer[time.Time] // when old loads were forgotten; nil: not yet
}

var (
	_ warehouse.Warehouse   = (*Warehouse)(nil)
	_ warehouse.Execer      = (*Warehouse)(nil)
	_ warehouse.Lister      = (*Warehouse)(nil)
	_ warehouse.Estimator   = (*Warehouse)(nil)
	_ warehouse.Yielder     = (*Warehouse)(nil)
	_ warehouse.Recoverer   = (*Warehouse)(nil)
	_ warehouse.TableFinder = (*Warehouse)(nil)
)

// Open opens the database file, creates what is missing and sets aside what
// cannot be read (see Recovered). The file must not be open elsewhere, in this
// process or another: that is a Retry fault with the code "warehouse.locked".
func Open(ctx context.Context, opts Options) (*Warehouse, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Warehouse{
		opts:      opts,
		dialect:   sqltext.DuckDB(),
		recovered: make(chan struct{}, 1),
		stop:      make(chan struct{}),
		failing:   grumble.Log{Every: time.Minute}, // on a full disk it fails with every load
	}
	if w.lock, err = lockFile(opts.Path); err != nil {
		return nil, err
	}
	db, lost, err := w.open(ctx)
	if err != nil {
		return nil, errors.Join(err, w.lock.Close())
	}
	w.opened(db, lost)
	return w, nil
}

// Dialect names the SQL that is spoken here.
func (w *Warehouse) Dialect() string { return w.dialect.Name() }

// Recovered implements warehouse.Recoverer.
func (w *Warehouse) Recovered() <-chan struct{} { return w.recovered }

// Close waits for running calls, readers and transactions to end, and closes
// the file. Later calls of Close return what the first did.
func (w *Warehouse) Close() error {
	w.closeOnce.Do(func() {
		w.mu.Lock()
		w.state = stateClosed
		left := w.leaving()
		w.mu.Unlock()
		close(w.stop)
		<-left
		w.owned.Wait()
		w.mu.Lock()
		db := w.db
		w.db = nil
		w.mu.Unlock()
		if db != nil {
			w.closeErr = db.close()
		}
		w.closeErr = errors.Join(w.closeErr, w.lock.Close())
	})
	return w.closeErr
}

// lockFile keeps the file from being opened twice. The engine's own lock does so
// between processes only: two instances inside one process would both believe that
// the file is theirs.
func lockFile(path string) (io.Closer, error) {
	disk := vfs.OS()
	if err := disk.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("locking the warehouse: %w", whose(path, err))
	}
	lock, err := disk.Lock(path + ".lock")
	if errors.Is(err, vfs.ErrLocked) {
		err = &tidegate.Fault{
			Action:  tidegate.Retry,
			Code:    "warehouse.locked",
			Subject: "file " + filepath.Base(path),
			Message: "the warehouse is open already",
			Hint:    "end the other server, or give this one another data folder",
			Err:     err,
		}
	} else if err != nil {
		err = fmt.Errorf("opening the warehouse: %w", whose(path, err))
	}
	return lock, err
}

// enter lends the engine to one call; the caller leaves once.
func (w *Warehouse) enter() (*instance, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.state {
	case stateOpen:
		w.inside++
		return w.db, nil
	case stateLent:
		return nil, yielded()
	case stateBroken:
		return nil, reopening()
	case stateClosed:
	}
	return nil, turns.ErrClosed
}

// leave ends what enter began; err is what the call ended with.
func (w *Warehouse) leave(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inside--
	if w.inside == 0 && w.left != nil {
		close(w.left)
		w.left = nil
	}
	if w.state == stateOpen && broken(err) {
		w.state = stateBroken
		w.failing.About(context.Background(), w.opts.Log, w.opts.Now(), "the warehouse engine failed and is opened again", err)
		left := w.leaving()
		w.owned.Go(func() { w.reopen(left) })
	}
}

// leaving returns a channel that closes when nobody is inside. w.mu is held.
func (w *Warehouse) leaving() <-chan struct{} {
	if w.inside == 0 {
		empty := make(chan struct{})
		close(empty)
		return empty
	}
	if w.left == nil {
		w.left = make(chan struct{})
	}
	return w.left
}

// session is one connection in use. It is ended once, with the error of its last call.
type session struct {
	*conn
	w  *Warehouse
	db *instance
	// dirty sessions are not used again: they may hold temporary tables.
	dirty bool
	ended bool
}

func (w *Warehouse) session() (*session, error) {
	db, err := w.enter()
	if err != nil {
		return nil, err
	}
	c, err := db.take()
	if err != nil {
		w.leave(err)
		return nil, err
	}
	return &session{conn: c, w: w, db: db}, nil
}

func (s *session) end(err error) {
	if s.ended {
		return
	}
	s.ended = true
	s.db.put(s.conn, s.dirty || broken(err))
	s.w.leave(err)
}

// keyedMutex is one mutex per name; names in use are few.
type keyedMutex struct {
	mu   sync.Mutex
	held map[string]*heldMutex
}

type heldMutex struct {
	sync.Mutex
	waiting int
}

func (k *keyedMutex) lock(name string) (unlock func()) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*heldMutex{}
	}
	m := k.held[name]
	if m == nil {
		m = &heldMutex{}
		k.held[name] = m
	}
	m.waiting++
	k.mu.Unlock()
	m.Lock()
	return func() {
		m.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if m.waiting--; m.waiting == 0 {
			delete(k.held, name)
		}
	}
}

// reservations are the loads under way, so that one load cannot run twice at once.
type reservations struct {
	mu   sync.Mutex
	held map[string]bool
}

func (r *reservations) take(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[name] {
		return false
	}
	if r.held == nil {
		r.held = map[string]bool{}
	}
	r.held[name] = true
	return true
}

func (r *reservations) release(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		delete(r.held, name)
	}
}
