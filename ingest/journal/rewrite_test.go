package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/vfs"
)

// shout changes payloads that begin with an even number.
func shout(payload []byte, first tidegate.Offset) ([]byte, int, error) {
	if first.Position%2 == 1 {
		return nil, 0, nil
	}
	return fmt.Appendf(nil, "%d/gone", first.Position), 1, nil
}

// check reads everything and says how many frames still have what they had.
func check(t *testing.T, j *Journal, below, end int64) (untouched int) {
	t.Helper()
	r, err := j.OpenAt(at(0))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for want := range end {
		e, ok, err := r.TryNext()
		if err != nil || !ok || e.First != at(want) {
			t.Fatalf("frame %d: %s, %v, %v", want, e.First, ok, err)
		}
		gone := bytes.HasSuffix(e.Payload, []byte("/gone"))
		if gone && (want%2 == 1 || want >= below) {
			t.Errorf("frame %d was changed", want)
		}
		if !gone && want%2 == 0 && want < below {
			untouched++
		}
	}
	return untouched
}

func TestRewriteTakesFramesOutOfTheFiles(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	j := open(t, o)
	reading := reader(t, j, "r")
	appendN(t, j, 18, 600) // four a segment, two in the last
	before := drainSome(t, reading, 2)
	done, err := j.Rewrite(t.Context(), at(14), shout)
	if err != nil || done.Segments != 4 || done.Events != 7 || done.Growing {
		t.Fatalf("%+v, %v", done, err)
	}
	if n := check(t, j, 14, 18); n != 0 {
		t.Errorf("%d frames are as they were", n)
	}
	if rest := drain(t, reading); len(before)+len(rest) != 18 {
		t.Errorf("a reader in the middle read %d frames", len(before)+len(rest))
	}
	// What grows is sealed by the next append, and then rewritten too.
	if done, err = j.Rewrite(t.Context(), at(18), shout); err != nil || !done.Growing {
		t.Fatalf("%+v, %v", done, err)
	}
	appendN(t, j, 1, 600)
	if done, err = j.Rewrite(t.Context(), at(18), shout); err != nil || done.Growing {
		t.Fatalf("%+v, %v", done, err)
	}
	if n := check(t, j, 18, 19); n != 0 {
		t.Errorf("%d frames are as they were", n)
	}
	for name, content := range filesOf(t, mem) {
		for n := int64(0); n < 18; n += 2 {
			if bytes.Contains(content, fmt.Appendf(nil, "%d/%s", n, bytes.Repeat([]byte{byte('a' + n)}, 9))) {
				t.Errorf("%s holds frame %d still", name, n)
			}
		}
	}
	closeJournal(t, j)
	j = open(t, o)
	if s := j.Stats(); len(s.Damage) > 0 || s.TornBytes > 0 {
		t.Errorf("after a restart %+v", s)
	}
	if n := check(t, j, 18, 19); n != 0 {
		t.Errorf("after a restart %d frames are as they were", n)
	}
}

// A power cut leaves each segment as it was or as it was to become.
func TestRewriteAndPowerCuts(t *testing.T) {
	t.Parallel()
	cuts := 0
	for seed := range uint64(60) {
		mem := vfs.NewMem(seed)
		j, err := Open(t.Context(), options(t, mem))
		if err != nil {
			t.Fatal(err)
		}
		appendN(t, j, 18, 600)
		rng := rand.New(rand.NewPCG(seed, 1))
		ops, cut := 0, rng.IntN(50)
		mem.Inject(func(vfs.Op) error {
			if ops++; ops > cut {
				return errCut
			}
			return nil
		})
		if _, err := j.Rewrite(t.Context(), at(18), shout); err != nil {
			cuts++
		}
		clone := mem.CrashClone(rng)
		mem.Inject(nil)
		if err := j.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		again, err := Open(t.Context(), options(t, clone))
		if err != nil {
			t.Fatal(err)
		}
		check(t, again, 18, 18)
		if s := again.Stats(); len(s.Damage) > 0 {
			t.Errorf("seed %d: %+v", seed, s.Damage)
		}
		if err := again.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if cuts < 20 {
		t.Errorf("the power was cut in the middle %d times only", cuts)
	}
}

var errCut = errors.New("the power is gone")

func drainSome(t *testing.T, r *Reader, n int) (seen []int64) {
	t.Helper()
	for range n {
		e, ok, err := r.TryNext()
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		seen = append(seen, e.First.Position)
	}
	return seen
}

// filesOf returns the content of the journal's files.
func filesOf(t *testing.T, mem *vfs.Mem) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	entries, err := mem.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		b, err := vfs.ReadFile(mem, testDir+"/"+e.Name(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = b
	}
	return all
}
