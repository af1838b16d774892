//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package analytics

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// lockFolder makes this process the only one to use the folder, until the closer
// is closed or the process ends in whatever way.
func lockFolder(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errSpoolBusy
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return folderLock{f}, nil
}

type folderLock struct{ file *os.File }

// Close unlocks before it closes: a child that is being started has a copy of the
// descriptor until it runs its own program, and would keep the lock.
func (l folderLock) Close() error {
	return errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
}
