//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package analytics

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFolder makes this process the only one to use the folder, until the file
// is closed or the process ends in whatever way.
func lockFolder(path string) (*os.File, error) {
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
	return f, nil
}
