//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package analytics

import (
	"path/filepath"
	"syscall"
	"testing"
)

// TestLockThatAChildInherits: between its fork and its own program a child has a copy
// of every descriptor; the lock does not wait for it.
func TestLockThatAChildInherits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := lockFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := syscall.Dup(int(lock.(folderLock).file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(inherited) }()
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if lock, err = lockFolder(path); err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}
