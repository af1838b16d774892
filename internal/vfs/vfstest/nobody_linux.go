package vfstest

import (
	"os"
	"runtime"
	"syscall"
)

// Nobody is the user as whom AsNobody runs a function when the test runs as root.
const Nobody = 65534

// AsNobody runs do with the rights of nobody in particular: root may read and write
// everything. They are those of do's own goroutine; one that it starts has root's.
func AsNobody(do func()) {
	if os.Geteuid() != 0 {
		do()
		return
	}
	runtime.LockOSThread() // the rights are those of the thread
	defer runtime.UnlockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, Nobody, 0, 0)
	defer func() { _, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 0, 0, 0) }()
	do()
}
