package duckdb

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/vfs/vfstest"
)

// TestAFileThatMayNotBeWritten: what an accident with owners leaves behind is named with its
// user and its mend, whichever file it is.
func TestAFileThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		rights     fs.FileMode
	}{
		{"unreadable", "w.duckdb", 0},
		{"read only", "w.duckdb", 0o444},
		{"log", "w.duckdb.wal", 0o444},
		{"lock", "w.duckdb.lock", 0},
		{"folder", "", 0o555},
		{"folder out of reach", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "rights") // the test's own is nobody's to enter
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = errors.Join(os.Chmod(dir, 0o700), os.RemoveAll(dir)) })
			o := Options{Path: filepath.Join(dir, "w.duckdb"), Now: time.Now}
			w, err := Open(t.Context(), o)
			if err == nil {
				_, err = w.Exec(t.Context(), "CREATE TABLE t AS SELECT 1 AS a")
				err = errors.Join(err, w.Close())
			}
			spoilt := filepath.Join(dir, c.file)
			for _, name := range []string{"w.duckdb", "w.duckdb.wal", "w.duckdb.lock", ""} {
				if name == "w.duckdb.wal" && name != c.file {
					continue
				}
				path := filepath.Join(dir, name)
				if name == "w.duckdb.wal" {
					err = errors.Join(err, os.WriteFile(path, nil, 0o600))
				}
				err = errors.Join(err, os.Chmod(path, 0o777))
			}
			if c.name == "folder" { // in which the file has yet to be made
				err = errors.Join(err, os.Remove(o.Path), os.Remove(o.Path+".lock"))
			}
			if err = errors.Join(err, os.Chmod(spoilt, c.rights)); err != nil {
				t.Fatal(err)
			}
			vfstest.AsNobody(func() {
				if w, err = Open(t.Context(), o); err == nil {
					err = errors.Join(errors.New("it was opened"), w.Close())
				}
			})
			f := tidegate.FaultOf(err)
			if f.Code != "warehouse.not_writable" || f.Action != tidegate.Halt || f.Subject != "file w.duckdb" || !strings.Contains(f.Message, filepath.Join(dir, c.file)) ||
				!strings.Contains(f.Hint, "this user") || !strings.Contains(f.Hint, dir) || strings.Count(err.Error(), "permission denied") > 1 {
				t.Errorf("%v, hint %q", err, f.Hint)
			}
		})
	}
}
