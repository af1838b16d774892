//go:build unix

package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Refused says whether err is that this user may not do something to a file.
func Refused(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// Unwritable returns why this user may not read and write one of the files at path followed
// by a suffix, or their folder, and nil when it may. It opens nothing: closing a file lets go
// of the locks that this process has on it.
func Unwritable(path string, suffixes ...string) *fs.PathError {
	for _, suffix := range suffixes {
		if err := may(path+suffix, unix.R_OK|unix.W_OK); err != nil {
			return err
		}
	}
	return may(filepath.Dir(path), unix.W_OK|unix.X_OK)
}

func may(name string, rights uint32) *fs.PathError {
	err := unix.Faccessat(unix.AT_FDCWD, name, rights, unix.AT_EACCESS)
	if !Refused(err) {
		return nil
	}
	return &fs.PathError{Op: "open", Path: name, Err: err}
}

// Mend says how this user comes to read and write what was refused with err. all is what
// the command that it names is about: a folder, a file, or files by a pattern.
func Mend(err error, all string) string {
	me := fmt.Sprintf("this user (%d) must be allowed to ", os.Geteuid())
	if errors.Is(err, syscall.EROFS) {
		return "its disk is mounted for reading only: mount it for writing; if it was until now, the system's log says what happened to the disk"
	}
	at := all
	var refused *fs.PathError
	if errors.As(err, &refused) {
		at = refused.Path
	}
	info, err := os.Stat(at)
	for err != nil && at != filepath.Dir(at) { // not made, or not to be seen: it is about its folder
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	if info == nil {
		return me + "read and write it"
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	mine := ok && int(st.Uid) == os.Geteuid()
	owner := "its owner"
	if ok {
		owner += fmt.Sprintf(" (%d)", st.Uid)
	}
	if below(at, all) { // whose other files are not ours to give away
		me += "enter the folder " + at + " and write to it"
		if mine {
			return me + fmt.Sprintf(": `chmod u+rwx %s`", at)
		}
		return me + ", which is for " + owner + " to say"
	}
	deep, more := "", ""
	if dir, err := os.Stat(all); err == nil && dir.IsDir() {
		deep, more = "-R ", "X"
	}
	if mine {
		return me + fmt.Sprintf("read and write it: `chmod %su+rw%s %s`", deep, more, all)
	}
	return me + fmt.Sprintf("read and write it: `chown %s%d %s`, or start tidegate as %s", deep, os.Geteuid(), all, owner)
}

// below says whether path lies in the folder.
func below(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != "." && filepath.IsLocal(rel)
}
