package app_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/internal/vfs/vfstest"
)

// TestAFolderThatMayNotBeWritten: what an accident with owners leaves behind is named at the
// start, in one sentence and with its mend.
func TestAFolderThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(data string) error{
		"folder":         func(data string) error { return os.Chmod(data, 0o555) },
		"journal":        func(data string) error { return os.Mkdir(filepath.Join(data, "journal"), 0o555) },
		"file of others": func(data string) error { return lockOfRoot(filepath.Join(data, "journal")) },
	} {
		o := options(t, oneSource)
		dir, err := os.MkdirTemp("", "rights") // where nobody may read
		if err != nil {
			t.Fatal(err)
		}
		o.Project, o.Data = dir, filepath.Join(dir, "data")
		t.Cleanup(func() { _ = errors.Join(os.Chmod(o.Data, 0o700), os.RemoveAll(dir)) })
		err = errors.Join(
			os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "tidegate.yaml"), []byte(oneSource), 0o600), os.Chmod(filepath.Join(dir, "tidegate.yaml"), 0o644),
			os.Mkdir(o.Data, 0o700), os.Chmod(o.Data, 0o777), spoil(o.Data),
		)
		if err != nil {
			t.Fatal(err)
		}
		vfstest.AsNobody(func() {
			var a *app.App
			if a, err = app.Start(context.WithoutCancel(t.Context()), o); err == nil {
				a.Stop()
				err = errors.Join(errors.New("it was served"), a.Wait())
			}
		})
		f := tidegate.FaultOf(err)
		if f.Code != "data.not_writable" || !strings.Contains(f.Subject, o.Data) || !strings.Contains(f.Hint, "this user") || !strings.Contains(f.Hint, o.Data) || strings.Count(err.Error(), "opening the journal") > 1 {
			t.Errorf("%s: %v, hint %q", name, err, f.Hint)
		}
	}
}

// TestDoctorWithoutRights: each check that is refused a file says how to be let in.
func TestDoctorWithoutRights(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "rights") // where nobody may read
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, oneSource)
	o.Data = filepath.Join(dir, "data")
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p, err := project.LoadDir(o.Project, app.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	a.Stop()
	if err := errors.Join(a.Wait(), os.Chmod(dir, 0o755), os.Chmod(o.Data, 0o755)); err != nil {
		t.Fatal(err)
	}
	var found []api.Finding
	vfstest.AsNobody(func() { found = app.DoctorFiles(t.Context(), p, o.Data, time.Now) })
	refused := 0
	for _, f := range found {
		if f.Check == "server" {
			continue
		}
		if refused++; f.Level != "error" || !strings.Contains(f.Hint, "this user") {
			t.Errorf("%+v", f)
		}
	}
	if refused != 4 {
		t.Errorf("found %+v", found)
	}
}

// lockOfRoot makes a journal in which somebody else once worked.
func lockOfRoot(journal string) error {
	err := os.Mkdir(journal, 0o700)
	return errors.Join(err, os.Chmod(journal, 0o777), os.WriteFile(filepath.Join(journal, "LOCK"), nil, 0o000))
}
