package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tidegate/tidegate"
)

// The names of what a data folder holds.
const (
	storeFile  = "control.db"
	journalDir = "journal"
)

// makeData makes the data folder, or finds out that this user may not write to it or to the
// journal in it, which would take no event.
func makeData(data string) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return notOurs(data, err)
	}
	for _, dir := range []string{data, filepath.Join(data, journalDir)} {
		f, err := os.CreateTemp(dir, ".writable-*")
		if err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
		if refused(err) { // on a full disk it is served: what waits is loaded
			return notOurs(data, err)
		}
	}
	return nil
}

// refused says whether err is that this user may not do something to a file.
func refused(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// notOurs says what is to be done where this user is refused a file of the data folder.
func notOurs(data string, err error) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "data.not_writable", Subject: "data folder " + data, Message: err.Error(),
		Hint: fmt.Sprintf("this user (%d) must be allowed to read and write the folder and all that it holds: `chown -R %d %s`, or start tidegate as its owner, or name another folder with --data", os.Geteuid(), os.Geteuid(), data), Err: err,
	}
}
