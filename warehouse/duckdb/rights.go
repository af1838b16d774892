package duckdb

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/vfs"
)

// whose says of an error for which the file at path is not open what is to be done when it
// is one about rights, and otherwise returns it. No instance has the file open.
func whose(path string, err error) error {
	var refused *fs.PathError
	if !errors.As(err, &refused) || !vfs.Refused(err) {
		if refused = refusal(path, err); refused == nil {
			return err
		}
	}
	// By a pattern: a command that ran as another user leaves a log and a lock too.
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.not_writable", Subject: "file " + filepath.Base(path), Message: refused.Error(),
		Hint: vfs.Mend(refused, path+"*"), Err: err,
	}
}

// refusal finds the file of which the engine said that it may not be opened, nil when it
// said nothing of the kind.
func refusal(path string, err error) *fs.PathError {
	var f *tidegate.Fault
	if !errors.As(err, &f) || f.Code != "warehouse.io" || !strings.Contains(f.Message, "Permission denied") && !strings.Contains(f.Message, "Read-only file system") {
		return nil
	}
	return vfs.Unwritable(path, "", ".wal")
}
