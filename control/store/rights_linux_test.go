package store_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/internal/vfs/vfstest"
)

// TestAStoreThatMayNotBeWrittenIsNotOpened: SQLite opens it, and the first write, hours
// later, would have failed.
func TestAStoreThatMayNotBeWrittenIsNotOpened(t *testing.T) {
	t.Parallel()
	c := newClock()
	for name, rights := range map[string]struct{ file, log, dir fs.FileMode }{
		"file":   {0o444, 0, 0o777},
		"log":    {0o666, 0o444, 0o777},
		"folder": {0o666, 0, 0o555},
	} {
		dir, err := os.MkdirTemp("", "rights")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = errors.Join(os.Chmod(dir, 0o700), os.RemoveAll(dir)) })
		path := filepath.Join(dir, "control.db")
		s, err := store.Open(t.Context(), store.Options{Path: path, Log: slog.New(slog.DiscardHandler), Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the new file's rights are %v, %v", info.Mode(), err)
		}
		err = s.Close()
		if rights.log != 0 {
			err = errors.Join(err, os.WriteFile(path+"-wal", nil, rights.log)) // as a crash leaves it
		}
		err = errors.Join(err, os.Chmod(path, rights.file), os.Chmod(dir, rights.dir))
		if err != nil {
			t.Fatal(err)
		}
		vfstest.AsNobody(func() {
			if s, err = store.Open(t.Context(), store.Options{Path: path, Log: slog.New(slog.DiscardHandler), Now: c.now}); err == nil {
				err = errors.Join(errors.New("it was opened"), s.Close())
			}
		})
		if f := wantFault(t, err, "store.not_writable"); f.Action != tidegate.Halt || f.Subject != path || f.Hint == "" {
			t.Errorf("%s: %+v", name, f)
		}
	}
}
