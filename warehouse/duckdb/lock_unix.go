//go:build unix

package duckdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate"
)

// fileLock keeps the file from being opened twice. The engine's own lock does
// so between processes only: two instances inside one process would both
// believe that the file is theirs.
type fileLock struct{ file *os.File }

func lockFile(path string) (*fileLock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("locking the warehouse: %w", err)
	}
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("locking the warehouse: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = &tidegate.Fault{
			Action:  tidegate.Retry,
			Code:    "warehouse.locked",
			Subject: "file " + filepath.Base(path),
			Message: "the warehouse is open already",
			Hint:    "end the other server, or give this one another data folder",
			Err:     err,
		}
		return nil, errors.Join(err, f.Close())
	}
	return &fileLock{file: f}, nil
}

func (l *fileLock) release() error { return l.file.Close() }
