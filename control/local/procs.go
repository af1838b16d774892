package local

import (
	"runtime"
	"syscall"
)

// slotsPerProcessor of Go code may run at a time in a hub. A goroutine that waits for
// the disk keeps its slot until the runtime takes it away, some twenty microseconds
// later at the soonest, and a hub's journal waits for the disk all the time: with as many
// slots as processors requests wait for a slot while a processor idles (1.06 to 1.11 times
// the rate of the collection endpoint; docs/benchmarks.md).
const slotsPerProcessor = 2

// giveSlots sets GOMAXPROCS, unless the environment does. What counts processors
// takes the lesser of runtime.NumCPU and GOMAXPROCS.
func giveSlots(getenv func(string) string) {
	if getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(slotsPerProcessor * runtime.GOMAXPROCS(0)) // which knows of a container's share
	}
}

// keepPrivate keeps what a hub makes from everybody else's eyes: the engine of the warehouse
// would let all read its log, in which events are. It is of the process, so no command does it
// that makes files for people or runs another program.
func keepPrivate() { syscall.Umask(0o077) }
