// Package store keeps what the control plane must remember: definitions in
// versions, runs and their leases, the audit log and API tokens, in one SQLite
// file.
//
// Invariants: every row is keyed by workspace and every method belongs to a
// Workspace, so that no query can forget it; a method that writes returns after
// the commit is on disk (WAL, synchronous=FULL); a run is written only under
// the epoch of its lease; the audit log is append-only and hash-chained.
//
// It does not interpret definitions (control/project), decide permissions
// (control/auth) or start runs. One connection writes, several read; all
// methods are safe for concurrent use. The package starts no goroutine of its own.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/vfs"
)

// Options say where the store is.
type Options struct {
	// Path is the SQLite file; it is created when it does not exist.
	Path string
	Log  *slog.Logger
	Now  func() time.Time
}

// Store is an opened store. Close it when done.
type Store struct {
	write *sql.DB // one connection: SQLite has one writer, and a queue in Go is fairer than its busy loop
	read  *sql.DB
	now   func() time.Time
	path  string
}

const readers = 4

// Open opens the file, verifies it and brings it to this binary's schema. A file that is
// damaged, was written by a newer version or may not be written is a Halt that names
// the file; nothing is written to it.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{now: o.Now, path: o.Path}
	err := s.touch()
	if err != nil {
		return nil, s.classify("opening", err)
	}
	if s.write, err = openPool(o.Path, 1, "_txlock=immediate"); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, o.Log); err != nil {
		return nil, errors.Join(err, s.write.Close())
	}
	if s.read, err = openPool(o.Path, readers, "_query_only=true"); err != nil {
		return nil, errors.Join(err, s.write.Close())
	}
	return s, nil
}

// touch makes the file where there is none, because SQLite would let everybody read it, and
// opens it and what SQLite keeps beside it as a write will: SQLite reads what may not be
// written without a word.
func (s *Store) touch() error {
	for _, file := range []struct {
		suffix string
		create int
	}{{"", os.O_CREATE}, {"-wal", 0}, {"-shm", 0}} {
		f, err := os.OpenFile(s.path+file.suffix, os.O_RDWR|file.create, 0o600)
		if errors.Is(err, fs.ErrNotExist) && file.create == 0 {
			continue
		}
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// openPool opens the file. What is deleted is overwritten, so that the file keeps
// nothing of people who were erased.
func openPool(path string, size int, extra string) (*sql.DB, error) {
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String() +
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=secure_delete(1)&" + extra
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("opening the control store %s: %w", path, err)
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db, nil
}

func (s *Store) prepare(ctx context.Context, log *slog.Logger) error {
	if err := s.verify(ctx); err != nil {
		return s.classify("opening", err)
	}
	applied, err := migrate(ctx, s.write, s.now)
	if err != nil {
		return s.classify("migrating", err)
	}
	if applied > 0 {
		log.DebugContext(ctx, "control store migrated", "migrations", applied)
	}
	return nil
}

// verify reads the whole file once: a damaged page is found here, not in the
// middle of a run.
func (s *Store) verify(ctx context.Context) error {
	var verdict string
	if err := s.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "store.corrupt", Subject: s.path, Message: verdict, Hint: s.repairHint()}
	}
	return nil
}

func (s *Store) repairHint() string {
	return "stop tidegate, move the file (and its -wal and -shm) aside and put a backup in its place; without a backup an empty store is created and definitions are read from --project"
}

// leastFree is what SQLite needs of a disk to open a file: its shared memory, and pages.
const leastFree = 1 << 20

// classify turns what SQLite says into what is to be done about it.
func (s *Store) classify(act string, err error) error {
	if err == nil {
		return nil
	}
	var f *tidegate.Fault
	if errors.As(err, &f) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return s.notWritable(err)
	}
	var se *sqlite.Error
	if errors.As(err, &se) {
		switch se.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return &tidegate.Fault{Action: tidegate.Halt, Code: "store.corrupt", Subject: s.path, Message: "the control store is damaged: " + se.Error(), Hint: s.repairHint(), Err: err}
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			hint := "look at the disk that holds the file"
			if disk, err := vfs.OS().Space(filepath.Dir(s.path)); err == nil && disk.Free < leastFree {
				hint = fmt.Sprintf("free space on the disk that holds the file: %d KB are left", disk.Free>>10)
			}
			return &tidegate.Fault{Action: tidegate.Retry, Code: "store.unavailable", Subject: s.path, Message: se.Error(), Hint: hint, Err: err}
		case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
			return s.notWritable(err)
		}
	}
	return fmt.Errorf("%s the control store: %w", act, err)
}

func (s *Store) notWritable(err error) error {
	hint := "the folder must exist"
	var refused *fs.PathError
	switch {
	case errors.As(err, &refused) && vfs.Refused(refused):
		hint = vfs.Mend(refused, s.path+"*")
	case vfs.Unwritable(s.path, "", "-wal", "-shm") != nil:
		hint = vfs.Mend(vfs.Unwritable(s.path, "", "-wal", "-shm"), s.path+"*")
	}
	return &tidegate.Fault{Action: tidegate.Halt, Code: "store.not_writable", Subject: s.path, Message: err.Error(), Hint: hint, Err: err}
}

// Close waits for running calls and closes the file.
func (s *Store) Close() error { return errors.Join(s.read.Close(), s.write.Close()) }

// In returns the view of one workspace, through which alone rows are reached.
func (s *Store) In(workspace string) *Workspace { return &Workspace{s: s, id: workspace} }

// Workspace is everything the store holds for one workspace.
type Workspace struct {
	s  *Store
	id string
}

// ID returns the workspace's name.
func (w *Workspace) ID() string { return w.id }

// tx runs use in one write transaction, committed when use returns nil.
func (w *Workspace) tx(ctx context.Context, act string, use func(*sql.Tx) error) error {
	tx, err := w.s.write.BeginTx(ctx, nil)
	if err != nil {
		return w.s.classify(act, err)
	}
	if err := use(tx); err != nil {
		return w.s.classify(act, errors.Join(err, ignoreDone(tx.Rollback())))
	}
	return w.s.classify(act, tx.Commit())
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

func micros(t time.Time) int64 { return t.UnixMicro() }

func nullMicros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

func fromNullMicros(us sql.NullInt64) time.Time {
	if !us.Valid {
		return time.Time{}
	}
	return fromMicros(us.Int64)
}
