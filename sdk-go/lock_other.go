//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package analytics

import (
	"errors"
	"io"
)

// lockFolder refuses: nothing here frees a lock when its process is killed, and
// a folder that two processes use would lose messages.
func lockFolder(string) (io.Closer, error) {
	return nil, errors.New("this system has no file locks that end with their process: leave SpoolDir empty")
}
