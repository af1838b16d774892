package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/ingest/journal"
	"github.com/tidegate/tidegate/internal/vfs"
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
		if vfs.Refused(err) { // on a full disk it is served: what waits is loaded
			return notOurs(data, err)
		}
	}
	return nil
}

// notOurs says what is to be done where this user is refused a file of the data folder, or that cannot be made.
func notOurs(data string, err error) error {
	hint := "name another folder with --data"
	if vfs.Refused(err) { // else there is a file of that name, or no space
		hint = vfs.Mend(err, data) + "; or " + hint
	}
	return &tidegate.Fault{Action: tidegate.Halt, Code: "data.not_writable", Subject: "data folder " + data, Message: err.Error(), Hint: hint, Err: err}
}

// checkStore says what doctor finds out about the control store that no server has open.
func checkStore(ctx context.Context, data string) api.Finding {
	f := api.Finding{Check: "control.db", Level: "ok", Detail: "every page verifies"}
	err := store.Check(ctx, filepath.Join(data, storeFile))
	if errors.Is(err, fs.ErrNotExist) {
		f.Detail = "there is none yet"
	} else if err != nil {
		fault := tidegate.FaultOf(err)
		f.Level, f.Detail, f.Hint = "error", fault.Error(), fault.Hint
	}
	return f
}

// checkJournal says what doctor finds out about the journal that no server has open.
func checkJournal(ctx context.Context, data string) api.Finding {
	f := api.Finding{Check: "journal", Level: "ok"}
	found, err := journal.Inspect(ctx, vfs.OS(), filepath.Join(data, journalDir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Detail = "there is none yet"
	case vfs.Refused(err):
		f.Level, f.Detail, f.Hint = "error", err.Error(), vfs.Mend(err, data)
	case err != nil:
		f.Level, f.Detail, f.Hint = "error", err.Error(), "look at the disk that holds the data folder"
	case len(found.Problems) > 0:
		f.Level, f.Detail = "error", fmt.Sprintf("%d places do not verify, the first: %s", len(found.Problems), found.Problems[0])
		f.Hint = "keep a copy of the folder and look at the disk; `tidegate serve` sets damaged ranges aside in journal/quarantine and goes on with the rest"
	case len(found.SetAside) > 0:
		f.Level, f.Detail = "warning", fmt.Sprintf("every frame verifies; %d ranges that did not were set aside before, the first in %s", len(found.SetAside), found.SetAside[0])
		f.Hint = "the events in them are lost to us: look at the disk, keep the files"
	default:
		f.Detail = fmt.Sprintf("every frame verifies; events: %d, segments: %d", found.Events, found.Segments)
	}
	return f
}
