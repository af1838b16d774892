package vfs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Sync leaves out the metadata that reading back does not need (fdatasync).
func (f osFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if errors.Is(err, unix.EINTR) {
			continue // interrupted before it began, not failed
		}
		if err != nil {
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
		return nil
	}
}

// Preallocate claims the blocks at once, so that a full disk says so here.
func (f osFile) Preallocate(size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil // some network and overlay file systems
		case err != nil:
			return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
		return nil
	}
}

// WriteZeros writes from a mapping of nothing, which is zeros, aligned, and takes no
// memory. Through the cache the same costs a processor more than all the rest of a sync.
func (f osFile) WriteZeros(off, n int64) error {
	direct, err := os.OpenFile(f.Name(), os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return f.zeroCached(off, n) // a file system that has none, as tmpfs before Linux 6.6
	}
	zeros, err := unix.Mmap(-1, 0, int(min(n, zeroChunk)), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return errors.Join(&fs.PathError{Op: "mmap", Path: f.Name(), Err: err}, direct.Close())
	}
	err = writeZeros(direct, zeros, off, n)
	err = errors.Join(err, unix.Munmap(zeros), direct.Close())
	if errors.Is(err, unix.EINVAL) { // blocks larger than ours, or none of this on that file system after all
		return f.zeroCached(off, n)
	}
	return err
}
