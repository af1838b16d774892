package duckdb

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// polite is by how much the engine's threads are nicer than the program.
const polite = 10

// politely calls start on a thread of low priority and returns when it has. The threads
// that start makes inherit that: the engine's workers then take what the program leaves
// of the processors, all of them when it is idle, and a large comparison or load does not
// halve what the collection endpoint takes meanwhile. What a statement does on its
// caller's thread keeps its priority, so that it comes to an end however busy the others are.
func politely(start func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with this goroutine and serves no other
		if level, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, 0, min(20-level+polite, 19)) // of this thread alone; without it they are as good as the others
		}
		start()
	}()
	<-done
}
