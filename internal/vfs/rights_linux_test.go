package vfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tidegate/tidegate/internal/vfs"
	"github.com/tidegate/tidegate/internal/vfs/vfstest"
)

// TestMend: the command is about what is refused, and gives away no folder that holds more.
func TestMend(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	file := filepath.Join(data, "file")
	if err := errors.Join(os.Mkdir(data, 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		refused, all string
		err          error
		want         string
	}{
		{file, file, fs.ErrPermission, "`chmod u+rw " + file + "`"},
		{file, file + "*", fs.ErrPermission, "`chmod u+rw " + file + "*`"},
		{filepath.Join(data, "new"), data, fs.ErrPermission, "`chmod -R u+rwX " + data + "`"},
		{filepath.Join(data, "new.lock"), filepath.Join(data, "new*"), fs.ErrPermission, "`chmod u+rwx " + data + "`"},
		{"/proc/1/new", "/proc/1/new", fs.ErrPermission, "folder /proc/1 "},
		{file, file, syscall.EROFS, "mounted for reading only"},
	} {
		if got := vfs.Mend(&fs.PathError{Op: "open", Path: c.refused, Err: c.err}, c.all); !strings.Contains(got, c.want) {
			t.Errorf("of %s, refused %s: %s", c.all, c.refused, got)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(file, vfstest.Nobody, -1); err != nil {
		t.Fatal(err)
	}
	if got := vfs.Mend(&fs.PathError{Op: "open", Path: file, Err: fs.ErrPermission}, data); !strings.Contains(got, "`chown -R 0 "+data+"`") || !strings.Contains(got, "owner (65534)") {
		t.Errorf("of a file of another: %s", got)
	}
}

// TestUnwritable finds the file that is refused.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "rights")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "file")
	err = errors.Join(os.Chmod(dir, 0o777), os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666), os.WriteFile(path+".log", nil, 0o400))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		suffixes []string
		rights   fs.FileMode // of the folder
		want     string
	}{
		{[]string{""}, 0o777, ""},
		{[]string{"", ".none"}, 0o777, ""},
		{[]string{"", ".log"}, 0o777, path + ".log"},
		{[]string{""}, 0o555, dir},
	} {
		if err := os.Chmod(dir, c.rights); err != nil {
			t.Fatal(err)
		}
		got := ""
		vfstest.AsNobody(func() {
			if refused := vfs.Unwritable(path, c.suffixes...); refused != nil {
				got = refused.Path
			}
		})
		if got != c.want {
			t.Errorf("of %q in a folder of %v: refused %q, want %q", c.suffixes, c.rights, got, c.want)
		}
	}
}
