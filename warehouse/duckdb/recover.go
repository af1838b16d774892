package duckdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
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
	db, err := openInstance(ctx, o, map[string]string{"access_mode": "READ_ONLY"})
	if err != nil {
		return err
	}
	return db.close()
}

// open opens the file. What cannot be read is set aside, first the log, then
// the file, and told to Recovered: the journal holds what is missing.
func (w *Warehouse) open(ctx context.Context) (*instance, error) {
	path := w.opts.Path
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("opening the warehouse: %w", err)
	}
	lost := false
	for {
		db, err := w.tryOpen(ctx)
		if err == nil {
			if lost {
				select {
				case w.recovered <- struct{}{}:
				default: // one signal is waiting already
				}
			}
			return db, nil
		}
		if !unreadable(err) || ctx.Err() != nil {
			return nil, fmt.Errorf("opening the warehouse: %w", err)
		}
		// Invariant 8: nothing is deleted, and what is lost is said. Each turn
		// moves one file away, so this ends.
		victim := path + ".wal"
		if !exists(victim) {
			victim = path
		}
		if !exists(victim) {
			return nil, fmt.Errorf("opening the warehouse: %w", err)
		}
		kept, moveErr := setAside(victim, w.opts.Now())
		if moveErr != nil {
			return nil, errors.Join(fmt.Errorf("opening the warehouse: %w", err), moveErr)
		}
		w.opts.Log.Error("a file of the warehouse cannot be read and was set aside; what it held is loaded again from the journal",
			"file", victim, "kept_as", kept, "error", err)
		lost = true
	}
}

func (w *Warehouse) tryOpen(ctx context.Context) (*instance, error) {
	if w.opts.ProbeCommand != nil && exists(w.opts.Path+".wal") {
		if err := w.probe(ctx); err != nil {
			return nil, err
		}
	}
	return openInstance(ctx, w.opts, nil)
}

// errAborted is a probe that died instead of answering.
var errAborted = errors.New("the engine aborted while it opened the file")

func (w *Warehouse) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := w.opts.ProbeCommand(ctx, w.opts.Path)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = nil, &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("probing the file: %w", ctx.Err())
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("probing the file: %w", err) // it did not start: nothing is known about the file
	}
	if exit.ExitCode() < 0 || exit.ExitCode() == 2 { // a signal, or a Go program's own death by one
		return fmt.Errorf("probing the file: %w", errAborted)
	}
	return openFault(w.opts.Path, probeMessage(said.String()))
}

// probeMessage takes the engine's message out of what a probe wrote.
func probeMessage(said string) string {
	said = strings.TrimSpace(said)
	for _, r := range rules {
		if at := strings.Index(said, r.prefix); at >= 0 {
			return said[at:]
		}
	}
	if at := strings.Index(said, "Serialization Error"); at >= 0 {
		return said[at:]
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
	if !errors.As(err, &f) || f.Code == "warehouse.locked" || f.Code == "warehouse.config" {
		return false
	}
	m := strings.ToLower(f.Message)
	for _, sign := range []string{
		"replaying wal", "wal file", "corrupt", "checksum", "serialization error", "internal error", "fatal error",
		"not a valid duckdb database file", "magic bytes", "deserializ",
	} {
		if strings.Contains(m, sign) {
			return !strings.Contains(m, "no space left") && !strings.Contains(m, "permission denied")
		}
	}
	return false
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
	for wait := firstReopen; ; wait = min(2*wait, lastReopen) {
		db, err := w.open(ctx)
		if err == nil {
			w.opened(db)
			return
		}
		w.opts.Log.Warn("the warehouse cannot be opened and is tried again", "error", err, "wait_ms", wait.Milliseconds())
		timer := time.NewTimer(wait)
		select {
		case <-w.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// opened puts db into service; Close finds it even when it came first.
func (w *Warehouse) opened(db *instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
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
	db, err := w.open(context.WithoutCancel(ctx))
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
	w.opened(db)
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
		return nil, errClosed
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
		err = c.control(ctx, "CHECKPOINT")
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
		if err := s.control(ctx, "CHECKPOINT"); err != nil {
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
	return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.busy", Message: "rows were committed while the checkpoint ran"}
}
