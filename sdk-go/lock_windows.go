package analytics

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// lockFolder makes this process the only one to use the folder, until the
// closer is closed or the process ends in whatever way. An open file cannot be removed
// on Windows, so a file that can be removed has no owner.
func lockFolder(path string) (io.Closer, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("locking %s: %w (%v)", path, errSpoolBusy, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		err = errSpoolBusy
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}
