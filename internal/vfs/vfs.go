// Package vfs is the small part of a file system that durable state is built
// on, so that the code that promises durability can be run against a disk that
// loses power, tears writes, fills up and fails.
//
// OS is the machine's file system. Mem lives in memory and remembers what was
// synced and what was not: CrashClone returns one of the states that a power
// cut could leave.
//
// Invariants of every implementation: what File.Sync returned nil for survives
// a power cut, provided that the file's name was made durable with SyncDir; an
// error of Sync says nothing about what is durable and is never to be retried
// on the same data.
//
// It does not offer links, permissions, walking or memory maps; a rename stays
// within its directory.
//
// Concurrency: an FS and its Files are safe for concurrent use, except that
// Read and Write share the file's position as they do in package os.
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"
)

// FS is a file system. Names are paths as package os takes them. Errors wrap
// fs.ErrNotExist, fs.ErrExist and the syscall.Errno of the cause.
type FS interface {
	// OpenFile takes the flags of os.OpenFile: O_RDONLY, O_RDWR, O_CREATE,
	// O_EXCL and O_TRUNC.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename replaces newname atomically. Both names are in one directory.
	Rename(oldname, newname string) error
	Remove(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir lists a directory in the order of names.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in the directory durable.
	SyncDir(name string) error
	// Space tells the size of the file system that holds name and what of it
	// is free for this process.
	Space(name string) (Space, error)
	// Lock takes name for this process until the closer is closed. An error
	// that wraps ErrLocked says that someone else has it.
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Size() (int64, error)
	// Sync makes the contents and the size durable (fdatasync).
	Sync() error
	// Preallocate claims the space of the first size bytes and extends the
	// file to them where the system can; elsewhere it does nothing.
	Preallocate(size int64) error
	// WriteZeros writes n zeros at off, both multiples of ZeroUnit, past the
	// system's cache where it can: the blocks are in use then, and nobody is going to
	// read them.
	WriteZeros(off, n int64) error
}

// ZeroUnit is what WriteZeros writes multiples of: a block of any disk.
const ZeroUnit = 4 << 10

// Space is the size of a file system in bytes.
type Space struct {
	Total, Free int64
}

// ErrLocked is wrapped by the error of a Lock that someone else holds.
var ErrLocked = errors.New("the lock is held by another process")

// IsFull says whether err means that the file system, or this user's share of
// it, has no room left.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// Create opens name for reading and writing, empty.
func Create(fsys FS, name string) (File, error) {
	return fsys.OpenFile(name, flagCreate, 0o600)
}

// Open opens name for reading.
func Open(fsys FS, name string) (File, error) {
	return fsys.OpenFile(name, flagRead, 0)
}

// ReadFile returns the contents of name, of which there may be at most limit
// bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := Open(fsys, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EFBIG}
	}
	return data, nil
}

// TempSuffix ends the names under which Replace writes. A file of such a name
// that a crash left behind means nothing.
const TempSuffix = ".tmp"

// Replace gives name the contents data so that a crash leaves either the old
// or the new ones. between, if not nil, is called with 0 once the new contents
// are durable and with 1 once they have their name.
func Replace(fsys FS, name string, data []byte, between func(step int)) error {
	temp := name + TempSuffix
	if err := writeSynced(fsys, temp, data); err != nil {
		_ = fsys.Remove(temp) // the write's error is the one to tell
		return err
	}
	if between != nil {
		between(0)
	}
	if err := fsys.Rename(temp, name); err != nil {
		return err
	}
	if between != nil {
		between(1)
	}
	return fsys.SyncDir(filepath.Dir(name))
}

func writeSynced(fsys FS, name string, data []byte) error {
	f, err := Create(fsys, name)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// MkdirAll makes the directory name and those above it, durably.
func MkdirAll(fsys FS, name string) error {
	missing := []string{}
	for dir := filepath.Clean(name); ; dir = filepath.Dir(dir) {
		_, err := fsys.Stat(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return err
		}
		missing = append(missing, dir)
	}
	if err := fsys.MkdirAll(name, 0o700); err != nil {
		return err
	}
	for _, dir := range missing {
		if err := fsys.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}
