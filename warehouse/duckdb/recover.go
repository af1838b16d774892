package duckdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/grumble"
	"github.com/tidegate/tidegate/internal/turns"
	"github.com/tidegate/tidegate/warehouse"
)

const (
	// probeTimeout bounds a probe; replaying the largest log takes seconds.
	probeTimeout = 5 * time.Minute
	// firstReopen and lastReopen bound the wait between two attempts to open a broken database again.
	firstReopen = 50 * time.Millisecond
	lastReopen  = 10 * time.Second
	// maxAside bounds how many unreadable files of one name and second are kept apart.
	maxAside = 1000
)

// Probe opens the database file read-only, which replays its write-ahead log in
// memory, and closes it again without changing it. Call it in a process that
// may die: see Options.ProbeCommand.
func Probe(ctx context.Context, path string) error {
	o := Options{Path: path, Threads: 1, MemoryLimit: defaultMemory(), TempDir: path + ".probe"}
	db, err := openInstance(ctx, o, true)
	if err != nil {
		return err
	}
	return db.close()
}

// open opens the file. What cannot be read is set aside, first the log, then
// the file, and counts as lost: the journal holds what is missing.
func (w *Warehouse) open(ctx context.Context) (db *instance, lost bool, err error) {
	path := w.opts.Path
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, false, fmt.Errorf("opening the warehouse: %w", whose(path, err))
	}
	for {
		db, err := w.tryOpen(ctx)
		if err == nil {
			return db, lost, nil
		}
		if !unreadable(err) || ctx.Err() != nil {
			return nil, lost, fmt.Errorf("opening the warehouse: %w", whose(path, err))
		}
		// Invariant 8: nothing is deleted, and what is lost is said. Each turn
		// moves one file away, so this ends.
		victim := path + ".wal"
		if !exists(victim) {
			victim = path
		}
		if !exists(victim) {
			return nil, lost, fmt.Errorf("opening the warehouse: %w", err)
		}
		kept, moveErr := setAside(victim, w.opts.Now())
		if moveErr != nil {
			return nil, lost, errors.Join(fmt.Errorf("opening the warehouse: %w", err), moveErr)
		}
		w.opts.Log.Error("a file of the warehouse cannot be read and was set aside; what it held is loaded again from the journal",
			"file", victim, "kept_as", kept, "error", err)
		lost = true
	}
}

func (w *Warehouse) tellRecovered() {
	select {
	case w.recovered <- struct{}{}:
	default: // one signal is waiting already
	}
}

func (w *Warehouse) tryOpen(ctx context.Context) (*instance, error) {
	path := w.opts.Path
	if err := cutTornLogs(path); err != nil {
		return nil, err
	}
	if w.opts.ProbeCommand != nil && exists(path+".wal") {
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		if cmd := w.opts.ProbeCommand(probe, path); cmd != nil {
			if err := runProbe(probe, cmd, path); err != nil {
				return nil, fmt.Errorf("probing the file: %w", err)
			}
		}
	}
	if exists(path) {
		return openInstance(ctx, w.opts, false)
	}
	db, err := openInstance(ctx, w.opts, false)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil { // the engine lets everybody read it
		return nil, errors.Join(fmt.Errorf("opening the warehouse: %w", err), db.close())
	}
	return db, nil
}

// errAborted is a probe that died of the file instead of answering.
var errAborted = errors.New("the engine aborted while it opened the file")

func runProbe(ctx context.Context, cmd *exec.Cmd, path string) error {
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err // it did not start: nothing is known about the file
	}
	if died(exit, said.String()) {
		return errAborted
	}
	return openFault(path, probeMessage(said.String()))
}

// died says whether a probe ended by a signal that its own code brought about.
// One from outside, such as the kernel's when memory is short, says nothing about the file.
func died(exit *exec.ExitError, said string) bool {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return slices.Contains([]syscall.Signal{syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE}, status.Signal())
	}
	// A Go program turns such a signal in foreign code into exit code 2 and a trace.
	return exit.ExitCode() == 2 && (strings.Contains(said, "SIGABRT") || strings.Contains(said, "[signal SIG"))
}

// probeMessage takes the engine's message out of what a probe wrote.
func probeMessage(said string) string {
	said = strings.TrimSpace(said)
	for _, r := range rules {
		if at := strings.Index(said, r.prefix); at >= 0 {
			return said[at:]
		}
	}
	return said
}

// unreadable says whether err is about the contents of the file or its log,
// rather than about the disk, the permissions or another program.
func unreadable(err error) bool {
	if errors.Is(err, errAborted) {
		return true
	}
	var f *tidegate.Fault
	if !errors.As(err, &f) {
		return false
	}
	return f.Code == "warehouse.corrupt"
}

// corruptSigns are what the engine says of damaged contents. That a file is
// none of its own at all is not among them: it may be a stranger's, at a wrong path.
var corruptSigns = []string{
	"Failure while replaying WAL", "Corrupt WAL file", "Corrupt database file", "does not match stored checksum",
	"Serialization Error", "Failed to deserialize", "Could not read enough bytes from file", "INTERNAL Error",
}

// openFault classifies why the engine does not open the file.
func openFault(path, msg string) error {
	f := fault(msg)
	f.Subject = "file " + filepath.Base(path)
	has := func(sign string) bool { return strings.Contains(msg, sign) }
	switch {
	case has("Could not set lock"), has("Conflicting lock"):
		f.Action, f.Code = tidegate.Retry, "warehouse.locked"
		f.Hint = "another program has the warehouse open; end it, or run it through `tidegate exec`"
	case has("No space left"), has("Permission denied"), has("Input/output error"), has("Read-only file system"):
		f.Action, f.Code = tidegate.Retry, "warehouse.io"
	case has("database file with version"):
		f.Action, f.Code = tidegate.Halt, "warehouse.version"
		f.Hint = "the file was written by a newer DuckDB; use a newer Tidegate, or another path"
	case has("not a valid DuckDB database file") && !empty(path):
		f.Action, f.Code = tidegate.Halt, "warehouse.foreign"
		f.Hint = "the file is not a DuckDB database; give the warehouse another path, or move the file away if it is a damaged warehouse"
	default:
		for _, sign := range append(corruptSigns, "not a valid DuckDB database file") {
			if has(sign) {
				f.Code = "warehouse.corrupt"
			}
		}
	}
	return f
}

func empty(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == 0
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// setAside renames path to a name that nothing has and returns it.
func setAside(path string, now time.Time) (string, error) {
	base := path + ".unreadable-" + now.UTC().Format("20060102T150405Z")
	for n := range maxAside {
		kept := base
		if n > 0 {
			kept += "-" + strconv.Itoa(n)
		}
		if exists(kept) {
			continue
		}
		if err := os.Rename(path, kept); err != nil {
			return "", fmt.Errorf("setting %s aside: %w", filepath.Base(path), err)
		}
		return kept, nil
	}
	return "", fmt.Errorf("setting %s aside: too many files were set aside in one second", filepath.Base(path))
}

// reopen closes the broken instance once everybody has left it, and opens the
// file until that succeeds or the warehouse is closed.
func (w *Warehouse) reopen(left <-chan struct{}) {
	<-left
	w.mu.Lock()
	old := w.db
	w.db = nil
	w.mu.Unlock()
	if old != nil {
		if err := old.close(); err != nil {
			w.opts.Log.Warn("closing the broken warehouse", "error", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-w.stop:
			cancel()
		case <-ended:
		}
	}()
	opening := grumble.Log{Every: time.Minute}
	for wait := firstReopen; ; wait = min(2*wait, lastReopen) {
		db, _, err := w.open(ctx)
		if err == nil {
			// Rows whose load had returned are in the log, and the engine reads the log
			// as far as it can without saying how far that was: so it counts as lost.
			opening.Over(ctx, w.opts.Log, w.opts.Now(), "the warehouse is open again")
			w.opened(db, true)
			return
		}
		opening.About(ctx, w.opts.Log, w.opts.Now(), "the warehouse cannot be opened and is tried again", err)
		timer := time.NewTimer(wait)
		select {
		case <-w.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// opened puts db into service; Close finds it even when it came first. Who hears
// from Recovered that rows were lost finds the warehouse open, and no call gets
// through before that is told.
func (w *Warehouse) opened(db *instance, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if lost {
		w.tellRecovered()
	}
	w.db = db
	if w.state != stateClosed {
		w.state = stateOpen
	}
}

// Yield implements warehouse.Yielder.
func (w *Warehouse) Yield(ctx context.Context, use func(ctx context.Context, path string) error) error {
	left, err := w.lend()
	if err != nil {
		return err
	}
	defer w.owned.Done()
	select {
	case <-left:
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.state == stateLent {
			w.state = stateOpen
		}
		return fmt.Errorf("yielding the warehouse: waiting for running calls: %w", ctx.Err())
	}
	if err := w.shut(ctx); err != nil {
		return err
	}
	used := use(ctx, w.opts.Path)
	if w.stopped() {
		return used
	}
	db, lost, err := w.open(context.WithoutCancel(ctx))
	if err != nil {
		// The other program may have left the file open or unreadable: that is
		// told here and mended by trying again.
		w.mu.Lock()
		if w.state == stateLent {
			w.state = stateBroken
			left := w.leaving()
			w.owned.Go(func() { w.reopen(left) })
		}
		w.mu.Unlock()
		return errors.Join(used, fmt.Errorf("taking the warehouse back: %w", err))
	}
	w.opened(db, lost)
	return used
}

func (w *Warehouse) stopped() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

// lend refuses new calls from here on and returns what closes when the running ones have left.
func (w *Warehouse) lend() (<-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.state {
	case stateOpen:
	case stateLent:
		return nil, yielded()
	case stateBroken:
		return nil, reopening()
	case stateClosed:
		return nil, turns.ErrClosed
	}
	w.state = stateLent
	w.owned.Add(1)
	return w.leaving(), nil
}

// shut flushes and closes the file of a lent warehouse.
func (w *Warehouse) shut(ctx context.Context) error {
	w.mu.Lock()
	db := w.db
	w.mu.Unlock()
	c, err := db.take()
	if err == nil {
		err = c.settle(ctx, "CHECKPOINT")
		db.put(c, true)
	}
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.state == stateLent {
			w.state = stateOpen
		}
		return fmt.Errorf("yielding the warehouse: flushing: %w", err)
	}
	w.mu.Lock()
	w.db = nil
	w.mu.Unlock()
	return db.close()
}

// checkpointAttempts bounds how often Checkpoint starts over because rows were
// committed while it ran.
const checkpointAttempts = 5

// Checkpoint implements warehouse.Recoverer. It is verified by the write-ahead
// log being empty afterwards: then everything is in the database file.
func (w *Warehouse) Checkpoint(ctx context.Context) error {
	s, err := w.session()
	if err != nil {
		return err
	}
	err = s.checkpoint(ctx, w.opts.Path)
	s.end(err)
	return err
}

func (s *session) checkpoint(ctx context.Context, path string) error {
	for range checkpointAttempts {
		if err := s.settle(ctx, "CHECKPOINT"); err != nil {
			if tidegate.FaultOf(err).Code == "warehouse.conflict" {
				err = fmt.Errorf("%w: %w", warehouse.ErrBusy, err)
			}
			return fmt.Errorf("checkpointing: %w", err)
		}
		info, err := os.Stat(path + ".wal")
		if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("verifying the checkpoint: %w", err)
		}
	}
	return fmt.Errorf("%w: %w", warehouse.ErrBusy, &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.busy", Message: "rows were committed while the checkpoint ran"})
}
