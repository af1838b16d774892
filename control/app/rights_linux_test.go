package app_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/app"
)

// asNobody runs do with the rights of nobody in particular: root may write everything.
func asNobody(do func()) {
	if os.Geteuid() != 0 {
		do()
		return
	}
	const nobody = 65534
	runtime.LockOSThread() // the rights are those of the thread
	defer runtime.UnlockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0)
	defer func() { _, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 0, 0, 0) }()
	do()
}

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
		asNobody(func() {
			var a *app.App
			if a, err = app.Start(context.WithoutCancel(t.Context()), o); err == nil {
				a.Stop()
				err = errors.Join(errors.New("it was served"), a.Wait())
			}
		})
		f := tidegate.FaultOf(err)
		if f.Code != "data.not_writable" || !strings.Contains(f.Subject, o.Data) || !strings.Contains(f.Hint, "chown") || strings.Count(err.Error(), "opening the journal") > 1 {
			t.Errorf("%s: %v, hint %q", name, err, f.Hint)
		}
	}
}

// lockOfRoot makes a journal in which somebody else once worked.
func lockOfRoot(journal string) error {
	err := os.Mkdir(journal, 0o700)
	return errors.Join(err, os.Chmod(journal, 0o777), os.WriteFile(filepath.Join(journal, "LOCK"), nil, 0o000))
}
