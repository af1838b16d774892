//go:build unix

package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

const (
	flagRead   = os.O_RDONLY
	flagCreate = os.O_RDWR | os.O_CREATE | os.O_TRUNC
)

// OS returns the machine's file system.
func OS() FS { return osFS{} }

type osFS struct{}

type osFile struct{ *os.File }

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(oldname, newname string) error         { return os.Rename(oldname, newname) }
func (osFS) Remove(name string) error                     { return os.Remove(name) }
func (osFS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (osFS) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (osFS) Space(name string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	block := int64(st.Bsize) //nolint:unconvert // an int32 on some systems
	return Space{Total: int64(st.Blocks) * block, Free: int64(st.Bavail) * block}, nil
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if err == unix.EWOULDBLOCK {
			err = ErrLocked
		}
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return osLock{f}, nil
}

// osLock is a file that is locked.
type osLock struct{ *os.File }

// Close unlocks before it closes: a child that is being started has a copy of the
// descriptor until it runs its own program, and closing ours alone would leave the
// lock with that copy.
func (l osLock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

const zeroChunk = 1 << 20

// zeroCached is WriteZeros through the system's cache.
func (f osFile) zeroCached(off, n int64) error {
	return writeZeros(f.File, make([]byte, min(n, zeroChunk)), off, n)
}

func writeZeros(to io.WriterAt, zeros []byte, off, n int64) error {
	for end := off + n; off < end; off += int64(len(zeros)) {
		if _, err := to.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off); err != nil {
			return err
		}
	}
	return nil
}
