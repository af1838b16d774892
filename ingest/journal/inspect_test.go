package journal

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/vfs"
)

// TestInspectFindsDamageAndChangesNothing: what Open would find, without its repairs.
func TestInspectFindsDamageAndChangesNothing(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	if _, err := Inspect(t.Context(), mem, testDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no journal: %v", err)
	}
	j := open(t, options(t, mem))
	r := reader(t, j, "r")
	appendN(t, j, 16, 600) // four a segment
	if err := errors.Join(r.Commit(t.Context(), at(4)), r.Close()); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	inspect := func() Inspection {
		t.Helper()
		found, err := Inspect(t.Context(), mem, testDir)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	sound := inspect()
	if len(sound.Problems) != 0 || sound.Segments == 0 || sound.Events < 12 || sound.Bytes < 600*12 {
		t.Errorf("of a sound journal: %+v", sound)
	}
	segments := segmentsOf(t, mem)
	flip(t, mem, segments[0], 1024+640+100, 1)
	flip(t, mem, segments[1], 0, 1024)
	flip(t, mem, testDir+"/cursors/r", 20, 1)
	found := inspect()
	if len(found.Problems) != 3 || found.Events >= sound.Events {
		t.Fatalf("of a damaged one: %+v", found)
	}
	for i, file := range []string{segments[0], segments[1], "cursors/r"} {
		if !strings.Contains(found.Problems[i], file) {
			t.Errorf("%q does not name %s", found.Problems[i], file)
		}
	}
	if again := inspect(); strings.Join(again.Problems, "\n") != strings.Join(found.Problems, "\n") || len(segmentsOf(t, mem)) != len(segments) {
		t.Errorf("it was changed: %+v", again)
	}
}
