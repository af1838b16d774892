package cli

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// settle gives back what only the start needed: free heap, and the pages of the program
// file that the start ran through. The kernel maps sixteen pages around each that is
// touched and never lets go of them by itself; they stay in the file cache, so what is
// used again costs a soft fault and no read. Where it does not work, nothing is given back.
func settle() {
	debug.FreeOSMemory()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer maps.Close() //nolint:errcheck // it is only read
	for _, m := range cleanMappings(bufio.NewScanner(maps), self) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.from, m.length, unix.MADV_DONTNEED)
	}
}

// mapping is a part of the address space.
type mapping struct{ from, length uintptr }

// cleanMappings are the mappings of file of which every page is as in the file: the
// others hold what the loader wrote before it made them read-only.
func cleanMappings(lines *bufio.Scanner, file string) (clean []mapping) {
	var current mapping
	for lines.Scan() {
		line := lines.Text()
		var from, to uintptr
		var perms string
		if n, _ := fmt.Sscanf(line, "%x-%x %4s", &from, &to, &perms); n == 3 {
			current = mapping{}
			if strings.HasSuffix(line, " "+file) && (perms == "r-xp" || perms == "r--p") {
				current = mapping{from, to - from}
			}
			continue
		}
		var dirty int
		if n, _ := fmt.Sscanf(line, "Anonymous: %d kB", &dirty); n == 1 && dirty == 0 && current.length > 0 {
			clean = append(clean, current)
		}
	}
	return clean
}
