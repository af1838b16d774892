package cli

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

const someMaps = `00400000-07bc5000 r-xp 00000000 fd:00 1 /bin/tidegate
Size:              10 kB
Anonymous:             0 kB
VmFlags: rd ex
07bc5000-0ba63000 r--p 077c5000 fd:00 1 /bin/tidegate
Anonymous:             0 kB
0ba63000-0ba64000 r--p 0b663000 fd:00 1 /bin/tidegate
Anonymous:             4 kB
0ba64000-0bd6b000 rw-p 0b664000 fd:00 1 /bin/tidegate
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fd:00 2 /lib/libc.so.6
Anonymous:             0 kB
7f0000002000-7f0000003000 rw-p 00000000 00:00 0
Anonymous:             0 kB
`

func TestOnlyCleanMappingsOfTheProgramAreGivenBack(t *testing.T) {
	t.Parallel()
	got := cleanMappings(bufio.NewScanner(strings.NewReader(someMaps)), "/bin/tidegate")
	if len(got) != 2 || got[0] != (mapping{0x400000, 0x77c5000}) || got[1] != (mapping{0x7bc5000, 0x3e9e000}) {
		t.Errorf("%x", got)
	}
}

// TestSettle runs on after its own text was given back.
func TestSettle(t *testing.T) {
	t.Parallel()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Skip(err)
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer maps.Close()
	if len(cleanMappings(bufio.NewScanner(maps), self)) == 0 {
		t.Error("no mapping of this program was found")
	}
	settle()
	settle()
}
