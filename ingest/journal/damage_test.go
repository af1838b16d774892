package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/vfs"
)

// flip changes n bytes of a file, durably, and returns what they are now.
func flip(tb testing.TB, fsys vfs.FS, name string, off int64, n int) (bad []byte) {
	tb.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	old := make([]byte, n)
	if _, err := f.ReadAt(old, off); err != nil {
		tb.Fatal(err)
	}
	bad = slices.Clone(old)
	for i := range bad {
		bad[i] ^= 0x40
	}
	if _, err := f.WriteAt(bad, off); err != nil {
		tb.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		tb.Fatal(err)
	}
	return bad
}

func segmentsOf(tb testing.TB, fsys vfs.FS) (paths []string) {
	tb.Helper()
	entries, err := fsys.ReadDir(testDir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), segmentSuffix) && !strings.HasPrefix(e.Name(), sparePrefix) {
			paths = append(paths, filepath.Join(testDir, e.Name()))
		}
	}
	return paths
}

// TestDamageInTheMiddle damages frames that had been answered for, in a sealed
// segment and in the one being written, live and before a restart.
func TestDamageInTheMiddle(t *testing.T) {
	t.Parallel()
	const frame = 40 + 600
	for _, tc := range []struct {
		name    string
		segment int
		frame   int64
		frames  int // damaged
		want    []int64
	}{
		{"first frame of a sealed segment", 0, 0, 1, sequence(1, 16)},
		{"middle of a sealed segment", 1, 2, 1, append(sequence(0, 6), sequence(7, 16)...)},
		{"end of a sealed segment", 1, 3, 1, append(sequence(0, 7), sequence(8, 16)...)},
		{"two frames of the growing segment", 3, 0, 2, append(sequence(0, 12), 14, 15)},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/restart=%v", tc.name, restart), func(t *testing.T) {
				t.Parallel()
				var log logbook
				mem := vfs.NewMem(1)
				o := options(t, mem)
				o.Log = log.logger()
				j := open(t, o)
				appendN(t, j, 16, 600) // four a segment
				if restart {
					closeJournal(t, j)
				}
				name := segmentsOf(t, mem)[tc.segment]
				off := 1024 + tc.frame*frame
				bad := flip(t, mem, name, off+100, frame*(tc.frames-1)+1)
				if restart {
					j = open(t, o)
				}
				r := reader(t, j, "r")
				if diff := cmp.Diff(tc.want, drain(t, r)); diff != "" {
					t.Errorf("read (-want +got):\n%s", diff)
				}
				first := int64(tc.segment)*4 + tc.frame
				want := Damage{
					Segment: int64(tc.segment) * 4, Offset: off, Bytes: frame * int64(tc.frames),
					First: at(first), Next: at(first + int64(tc.frames)),
				}
				for look := range 3 {
					got := j.Stats().Damage
					if len(got) != 1 {
						t.Fatalf("look %d: damage %+v", look, got)
					}
					kept, err := vfs.ReadFile(mem, got[0].Quarantined, 1<<20)
					if err != nil || !bytes.Contains(kept, bad) || int64(len(kept)) != want.Bytes {
						t.Errorf("quarantined %d bytes, %v", len(kept), err)
					}
					got[0].Quarantined = ""
					if diff := cmp.Diff(want, got[0]); diff != "" {
						t.Errorf("look %d (-want +got):\n%s", look, diff)
					}
					if look == 0 { // another reader meets it again
						r2, err := j.OpenAt(at(0))
						if err != nil {
							t.Fatal(err)
						}
						drain(t, r2)
						_ = r2.Close()
					} else {
						closeJournal(t, j)
						j = open(t, o)
					}
				}
				if log.count("level=ERROR") != 1 {
					t.Errorf("the log says:\n%s", log.text.String())
				}
			})
		}
	}
}

// TestPositionsThatWereReadAreNeverGivenAgain damages the last frame, which
// looks like a torn tail, after a reader has passed it.
func TestPositionsThatWereReadAreNeverGivenAgain(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	j := open(t, o)
	appendN(t, j, 3, 600)
	r := reader(t, j, "r")
	if err := r.Commit(t.Context(), at(3)); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	flip(t, mem, segmentsOf(t, mem)[0], 1024+2*640+100, 1)
	for life := range int64(2) {
		j = open(t, o)
		if d := j.Durable(); d != at(3+life) {
			t.Fatalf("life %d: the next position is %s", life, d)
		}
		if got := j.Stats().Damage; len(got) != 1 || got[0].First != at(2) || got[0].Next != at(3) {
			t.Errorf("life %d: damage %+v", life, got)
		}
		r = reader(t, j, "r")
		appendN(t, j, 1, 10)
		if diff := cmp.Diff(sequence(3, 4+life), drain(t, r)); diff != "" {
			t.Errorf("life %d (-want +got):\n%s", life, diff)
		}
		closeJournal(t, j)
	}
}

// TestSegmentWithoutAHeader and TestSegmentThatIsGone lose a whole segment.
func TestSegmentWithoutAHeader(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		segment int
		want    []int64
		next    int64 // beginning of the life after
	}{
		{"in the middle", 1, append(sequence(0, 4), sequence(8, 16)...), 16},
		{"the last one", 3, sequence(0, 12), 12 + 4096},
		{"the first one", 0, sequence(4, 16), 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem(1)
			o := options(t, mem)
			j := open(t, o)
			appendN(t, j, 16, 600)
			reader(t, j, "r")
			closeJournal(t, j)
			flip(t, mem, segmentsOf(t, mem)[tc.segment], 0, 1024)
			for life := range int64(3) {
				j = open(t, o)
				if d := j.Durable(); d != at(tc.next+max(0, life-1)) {
					t.Errorf("life %d: the next position is %s", life, d)
				}
				got := drain(t, reader(t, j, "r"))
				if len(got) >= len(tc.want) {
					got = got[:len(tc.want)]
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("life %d (-want +got):\n%s", life, diff)
				}
				first := int64(tc.segment) * 4
				damage := j.Stats().Damage
				if len(damage) != 1 || damage[0].First != at(first) || damage[0].Next != at(max(first+4, tc.next*int64(tc.segment/3))) {
					t.Errorf("life %d: damage %+v", life, damage)
				} else if kept, err := mem.Stat(damage[0].Quarantined); err != nil || kept.Size() != damage[0].Bytes {
					t.Errorf("life %d: kept %v, %v", life, kept, err)
				}
				if life > 0 {
					appendN(t, j, 1, 10)
				}
				closeJournal(t, j)
			}
		})
	}
}

func TestSegmentThatIsGone(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	j := open(t, o)
	appendN(t, j, 16, 600)
	reader(t, j, "r")
	closeJournal(t, j)
	paths := segmentsOf(t, mem)
	for _, gone := range []int{0, 2} {
		if err := mem.Remove(paths[gone]); err != nil {
			t.Fatal(err)
		}
	}
	for life := range 2 {
		j = open(t, o)
		if diff := cmp.Diff(append(sequence(4, 8), sequence(12, 16)...), drain(t, reader(t, j, "r"))); diff != "" {
			t.Errorf("life %d (-want +got):\n%s", life, diff)
		}
		damage := j.Stats().Damage
		if len(damage) != 2 || damage[0].Next != at(4) || damage[1].First != at(8) || damage[1].Next != at(12) {
			t.Errorf("life %d: damage %+v", life, damage)
		}
		closeJournal(t, j)
	}
}

func TestEverythingGoneButTheCursors(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	j := open(t, o)
	appendN(t, j, 3, 600)
	if err := reader(t, j, "r").Commit(t.Context(), at(2)); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	if err := mem.Remove(segmentsOf(t, mem)[0]); err != nil {
		t.Fatal(err)
	}
	j = open(t, o)
	if d := j.Durable(); d != at(2) || len(j.Stats().Damage) != 1 {
		t.Errorf("begins at %s with the damage %+v", d, j.Stats().Damage)
	}
}

func TestDamagedCursorStopsItsReaderAndEveryTrim(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	j := open(t, o)
	appendN(t, j, 16, 600)
	for _, name := range []string{"a", "b"} {
		if err := reader(t, j, name).Commit(t.Context(), at(2)); err != nil {
			t.Fatal(err)
		}
	}
	closeJournal(t, j)
	flip(t, mem, testDir+"/cursors/a", 20, 1)
	j = open(t, o)
	if _, err := j.Reader("a"); !errors.Is(err, ErrCursor) || tidegate.FaultOf(err).Action != tidegate.Halt {
		t.Errorf("the damaged cursor gave %v", err)
	}
	b := reader(t, j, "b")
	if err := b.Commit(t.Context(), at(16)); err != nil {
		t.Fatal(err)
	}
	if s := j.Stats(); s.Oldest != at(0) || s.Readers[0].Damaged == "" {
		t.Errorf("trimmed although a cursor is not known: %+v", s)
	}
	if err := j.DropReader(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if n, err := j.Trim(t.Context()); n != 3 || err != nil {
		t.Errorf("trimmed %d, %v", n, err)
	}
	reader(t, j, "a")
	if err := j.DropReader(t.Context(), "a"); err == nil {
		t.Error("a reader that is open was dropped")
	}
}
