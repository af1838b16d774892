package api_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidegate/tidegate/control/api"
)

// TestACopyOfADataFolderHasNoServer: a copy holds the announcement too, and its server is that
// of the folder it was made of. A folder that was moved, or has another name inside of a
// container, keeps its server.
func TestACopyOfADataFolderHasNoServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, copied, moved := filepath.Join(dir, "data"), filepath.Join(dir, "copied"), filepath.Join(dir, "moved")
	if err := errors.Join(os.Mkdir(data, 0o700), os.Mkdir(copied, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Announce(data, api.Announcement{AdminURL: "http://127.0.0.1:1", PID: 7}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(data, api.ServerFile))
	if err = errors.Join(err, os.WriteFile(filepath.Join(copied, api.ServerFile), text, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir  string
		want bool
	}{{data, true}, {copied, false}, {moved, true}} {
		if c.dir == moved {
			if err := os.Rename(data, moved); err != nil {
				t.Fatal(err)
			}
		}
		if a, err := api.Announced(c.dir); err != nil || (a != nil) != c.want {
			t.Errorf("in %s: %+v, %v", filepath.Base(c.dir), a, err)
		}
	}
}
