package app_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
)

// TestDoctorWithoutAServer looks at the files of a hub that does not run, names what is
// damaged and changes nothing.
func TestDoctorWithoutAServer(t *testing.T) {
	t.Parallel()
	o := options(t, oneSource)
	p, err := project.LoadDir(o.Project, app.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	sendAll(t, a, sold("m1", "u1"))
	a.Stop()
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
	levels := func() string {
		t.Helper()
		var said []string
		for _, f := range app.DoctorFiles(t.Context(), p, o.Data, time.Now) {
			if f.Check == "control.db" || f.Check == "journal" {
				said = append(said, f.Check+" "+f.Level)
				if f.Level == "error" && (f.Hint == "" || !strings.Contains(f.Detail, o.Data)) {
					t.Errorf("%+v names no place and mend", f)
				}
			}
		}
		return strings.Join(said, ", ")
	}
	if got := levels(); got != "control.db ok, journal ok" {
		t.Errorf("of sound files: %s", got)
	}
	segments, err := filepath.Glob(filepath.Join(o.Data, "journal", "0*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	for _, spoilt := range []struct {
		path string
		from int
	}{{filepath.Join(o.Data, "control.db"), 4096}, {segments[0], 0}} {
		text, err := os.ReadFile(spoilt.path)
		if err != nil {
			t.Fatal(err)
		}
		for i := spoilt.from; i < min(len(text), spoilt.from+60_000); i++ {
			text[i] ^= 0xA5
		}
		if err := os.WriteFile(spoilt.path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := func() (list []string) {
		_ = filepath.WalkDir(o.Data, func(path string, _ os.DirEntry, _ error) error {
			if !strings.Contains(path, "warehouse") {
				list = append(list, path)
			}
			return nil
		})
		return list
	}
	before := names()
	if got := levels(); got != "control.db error, journal error" {
		t.Errorf("of damaged files: %s", got)
	}
	if after := names(); !slices.Equal(before, after) {
		t.Errorf("files were %v, are %v", before, after)
	}
}
