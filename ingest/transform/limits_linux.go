package transform

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// confine takes from a worker what no script needs. What the system refuses to take
// is no reason not to work: the runtime itself offers scripts neither files nor network.
func confine() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{})
	_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// capData has the system refuse memory beyond what the process has now and so much more.
func capData(more int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return
	}
	_, rest, found := bytes.Cut(status, []byte("VmData:"))
	line, _, _ := bytes.Cut(rest, []byte("kB"))
	kB, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if !found || err != nil {
		return
	}
	limit := unix.Rlimit{}
	if unix.Getrlimit(unix.RLIMIT_DATA, &limit) != nil {
		return
	}
	limit.Cur = min(limit.Max, uint64(kB<<10+more)) //nolint:gosec // both are positive
	_ = unix.Setrlimit(unix.RLIMIT_DATA, &limit)
}

// processorTime is what the process has used.
func processorTime(func() time.Time) time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
