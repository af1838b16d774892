package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/internal/vfs"
)

// TestTheIdentityOutlivesPowerCuts cuts the power, or kills the process, before every
// change that making a journal and appending to it brings to the disk.
func TestTheIdentityOutlivesPowerCuts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		for n := 1; ; n++ {
			mem, rng := vfs.NewMem(seed), rand.New(rand.NewPCG(seed, uint64(n)))
			o, changes := options(t, mem), 0
			o.Begin = func(context.Context) (int64, error) { return 1000, nil }
			var left *vfs.Mem
			var acknowledged atomic.Bool
			when := false
			o.FS = &tapFS{FS: mem, before: func() {
				if changes++; changes == n {
					left, when = mem.CrashClone(rng), acknowledged.Load()
					if seed == 0 {
						left = mem.KillClone()
					}
				}
			}}
			j := open(t, o)
			appendN(t, j, 1, 10)
			acknowledged.Store(true)
			first, tap := j.identity, o.FS.(*tapFS)
			reader(t, j, "late")
			tap.set(nil)
			closeJournal(t, j)
			if left == nil {
				break
			}
			o.FS = left
			j = open(t, o)
			got, events := j.identity, j.Durable().Position > j.Begin().Position
			switch {
			case got.id == "" || got.begin != 1000:
				t.Errorf("seed %d, cut at %d: %+v", seed, n, got)
			case (events || when) && got != first:
				t.Errorf("seed %d, cut at %d: a frame is there under another name than it was written under", seed, n)
			case len(j.Stats().Damage) > 0:
				t.Errorf("seed %d, cut at %d: %+v", seed, n, j.Stats().Damage)
			}
			// What it said once stays, whatever becomes of this process.
			o.FS = left.CrashClone(rand.New(rand.NewPCG(0, 0)))
			if again := open(t, o); again.identity != got {
				t.Errorf("seed %d, cut at %d: it was %+v and is %+v", seed, n, got, again.identity)
			}
		}
	}
}

func TestPlacesFitOneJournalOnly(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	o.Random = bytes.NewReader(append(bytes.Repeat([]byte{0xaa}, 16), bytes.Repeat([]byte{0xbb}, 16)...))
	j := open(t, o)
	none := j.Mark(at(0))
	appendN(t, j, 3, 10)
	three := j.Mark(at(3))
	closeJournal(t, j)
	backup := mem.KillClone()
	j = open(t, o)
	appendN(t, j, 30, 600) // several files
	end := j.Mark(at(33))
	for _, mark := range []string{"", none, three, end} {
		if err := j.Fits(mark); err != nil {
			t.Errorf("%q: %v", mark, err)
		}
	}
	if err := j.Fits("something else"); err == nil {
		t.Error("what no journal says fits")
	}

	// Its files are written again without somebody, and go when they are read.
	r := reader(t, j, "r")
	if _, err := j.Rewrite(t.Context(), at(33), shout); err != nil {
		t.Fatal(err)
	}
	for _, position := range []int64{3, 33} {
		if err := r.Commit(t.Context(), at(position)); err != nil {
			t.Fatal(err)
		}
		for _, mark := range []string{three, end} {
			if err := r.Fits(mark); err != nil {
				t.Errorf("%q after rewriting, read up to %d: %v", mark, position, err)
			}
		}
	}
	if oldest := j.Stats().Oldest.Position; oldest < 10 {
		t.Fatalf("nothing was trimmed below %d", oldest)
	}
	closeJournal(t, j)

	// The same journal as it was earlier: what it does not have yet is not told by the mark …
	o.FS = backup
	j = open(t, o)
	if err := j.Fits(end); err != nil {
		t.Errorf("a place ahead is told when it is sought: %v", err)
	}
	appendN(t, j, 40, 10) // … and what it has now is something else.
	if err := j.Fits(end); !errors.Is(err, ErrReplaced) {
		t.Errorf("put back and written on: %v", err)
	}
	if err := j.Fits(three); err != nil {
		t.Errorf("what was the same before: %v", err)
	}

	// Another one.
	o.FS = vfs.NewMem(2)
	j = open(t, o)
	if err := j.Fits(end); !errors.Is(err, ErrReplaced) {
		t.Errorf("of another journal, ahead: %v", err)
	}
	appendN(t, j, 40, 10)
	if err := j.Fits(end); !errors.Is(err, ErrReplaced) {
		t.Errorf("of another journal: %v", err)
	}
	if err := j.Fits(none); err != nil {
		t.Errorf("before the first event nothing can have been another one: %v", err)
	}
}

func TestAnIdentityThatIsGoneIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*vfs.Mem) error{
		"as of an earlier version": func(mem *vfs.Mem) error { return mem.Remove(testDir + "/" + identityName) },
		"damaged": func(mem *vfs.Mem) error {
			return vfs.Replace(mem, testDir+"/"+identityName, []byte("tidegate journal 1 id aaaa begin 0"), nil)
		},
		"too long": func(mem *vfs.Mem) error {
			return vfs.Replace(mem, testDir+"/"+identityName, bytes.Repeat([]byte("x"), 1000), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem(1)
			o := options(t, mem)
			j := open(t, o)
			appendN(t, j, 3, 10)
			was, mark := j.identity, j.Mark(at(3))
			closeJournal(t, j)
			if err := spoil(mem); err != nil {
				t.Fatal(err)
			}
			o.Begin = func(context.Context) (int64, error) { return 0, errors.New("it has begun long ago") }
			j = open(t, o)
			if err := j.Fits(mark); !errors.Is(err, ErrReplaced) || j.identity.id == was.id {
				t.Errorf("%+v was %+v: %v", j.identity, was, err)
			}
			if end := j.Durable(); end != at(3) {
				t.Errorf("it ends at %s", end)
			}
			now := j.identity
			closeJournal(t, j)
			if j = open(t, o); j.identity != now {
				t.Errorf("the name does not stay: %+v, then %+v", now, j.identity)
			}
		})
	}
}

// TestWithoutRoomForAName: what waits in a journal on a full disk can be read all the same.
func TestWithoutRoomForAName(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	j := open(t, o)
	appendN(t, j, 3, 10)
	mark := j.Mark(at(2))
	closeJournal(t, j)
	if err := mem.Remove(testDir + "/" + identityName); err != nil {
		t.Fatal(err)
	}
	mem.SetBudget(mem.Used())
	j = open(t, o)
	if got := j.Mark(at(3)); got != "" {
		t.Errorf("it calls itself %q", got)
	}
	if err := j.Fits(mark); err != nil {
		t.Errorf("what it cannot know: %v", err)
	}
	if _, err := mem.Stat(testDir + "/" + identityName); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a name is left: %v", err)
	}
	closeJournal(t, j)
	mem.SetBudget(0)
	if j = open(t, o); j.Mark(at(3)) == "" {
		t.Error("there is room, and no name")
	}
}

// TestAJournalBeginsWhereItIsTold: positions that were given out are not given out again,
// and none counts as lost that never was.
func TestAJournalBeginsWhereItIsTold(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	o.Begin = func(context.Context) (int64, error) { return 5000, nil }
	for life := range int64(3) {
		j := open(t, o)
		r := reader(t, j, fmt.Sprint("r", life))
		if st := j.Stats(); st.Oldest != at(5000) || st.Durable != at(5000+max(0, life-1)) || len(st.Damage) > 0 || j.Begin() != at(5000) {
			t.Errorf("life %d: %+v", life, st)
		}
		if r.Position() != at(5000) {
			t.Errorf("life %d: a new reader begins at %s", life, r.Position())
		}
		if life > 0 { // the first leaves nothing but its readers
			appendN(t, j, 1, 10)
		}
		if err := j.Fits(j.Mark(j.Durable())); err != nil {
			t.Error(err)
		}
		closeJournal(t, j)
		o.Begin = func(context.Context) (int64, error) { return 9000, nil }
	}
}
