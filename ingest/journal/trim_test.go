package journal

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/internal/vfs"
)

func TestSegmentsGoWhenEveryReaderHasPassed(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	j := open(t, o)
	appendN(t, j, 18, 600) // four a segment, two in the last
	if n, err := j.Trim(t.Context()); n != 0 || err != nil {
		t.Errorf("without a reader %d segments went, %v", n, err)
	}
	a, b := reader(t, j, "a"), reader(t, j, "b")
	for _, step := range []struct {
		r      *Reader
		commit int64
		oldest int64
	}{
		{a, 18, 0}, {b, 3, 0}, {b, 4, 4}, {b, 11, 8}, {b, 18, 16},
	} {
		if err := step.r.Commit(t.Context(), at(step.commit)); err != nil {
			t.Fatal(err)
		}
		if got := j.Stats().Oldest; got != at(step.oldest) {
			t.Errorf("after %s has committed %d the oldest is %s, want %d", step.r.name, step.commit, got, step.oldest)
		}
	}
	if s := j.Stats(); s.Segments != 1 || s.Spare < maxSpares || len(segmentsOf(t, mem)) != 1 {
		t.Errorf("stats %+v", s)
	}
	// The files come back into use, and what they held before does not.
	appendN(t, j, 30, 600)
	if diff := cmp.Diff(sequence(18, 48), drain(t, func() *Reader { _ = a.Close(); return reader(t, j, "a") }())); diff != "" {
		t.Errorf("from recycled files (-want +got):\n%s", diff)
	}
	closeJournal(t, j)
	j = open(t, o)
	if s := j.Stats(); s.Oldest != at(16) || len(s.Damage) > 0 || s.TornBytes > 0 {
		t.Errorf("after a restart %+v", s)
	}
}

// A segment that was only claimed makes way for a written one as soon as there is
// traffic, and is not used again; an idle journal writes nothing in advance.
func TestABusyJournalGoesOnInAWrittenFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem(1)
		o := options(t, mem)
		o.SegmentBytes = 8 << 20
		j := open(t, o)
		r := reader(t, j, "r")
		appendN(t, j, 1000, 1000)
		synctest.Wait() // whatever is prepared is
		if s := j.Stats(); s.Segments != 1 || s.Spare != 0 {
			t.Errorf("with little in it: %+v", s)
		}
		appendN(t, j, 8, 1000) // frames of 1040 bytes: the eighth passes the mark
		synctest.Wait()
		if s := j.Stats(); s.Segments != 1 || s.Spare != 1 {
			t.Errorf("with more than %d bytes in it: %+v", busyFrom, s)
		}
		appendN(t, j, 1, 1000)
		if s := j.Stats(); s.Segments != 2 || s.Spare != 0 {
			t.Errorf("the next frame: %+v", s)
		}
		if err := r.Commit(t.Context(), at(1009)); err != nil {
			t.Fatal(err)
		}
		if s := j.Stats(); s.Segments != 1 || s.Spare != 0 {
			t.Errorf("a file that was only claimed is used again: %+v", s)
		}
		appendN(t, j, 100, 1000)
		synctest.Wait()
		if s := j.Stats(); s.Segments != 1 || s.Spare != 0 {
			t.Errorf("in the written file: %+v", s)
		}
		closeJournal(t, j)
	})
}

func TestCommitIsMonotoneAndBounded(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	j := open(t, o)
	appendN(t, j, 5, 100)
	r := reader(t, j, "r")
	if err := r.Commit(t.Context(), at(3)); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(t.Context(), at(3)); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := r.Commit(t.Context(), at(2)); err == nil {
		t.Error("the cursor went back")
	}
	if err := r.Commit(t.Context(), at(6)); !errors.Is(err, ErrAhead) {
		t.Errorf("beyond the end: %v", err)
	}
	if _, err := j.Reader("r"); err == nil {
		t.Error("one cursor has two readers")
	}
	for _, name := range []string{"", "a/b", "..", "a b", "x.tmp", strings.Repeat("x", 101)} {
		if _, err := j.Reader(name); err == nil {
			t.Errorf("%q is taken as a name", name)
		}
	}
	closeJournal(t, j)
	if err := r.Commit(t.Context(), at(4)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	r = reader(t, open(t, o), "r")
	if r.Committed() != at(3) || r.Position() != at(3) {
		t.Errorf("after a restart at %s, %s", r.Committed(), r.Position())
	}
}

func TestReaderWithoutCursorIsToldWhenItIsOvertaken(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	j := open(t, options(t, mem))
	appendN(t, j, 18, 600)
	tail, err := j.OpenAt(at(1))
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	if _, _, err := tail.TryNext(); err != nil {
		t.Fatal(err)
	}
	r := reader(t, j, "r")
	if err := r.Commit(t.Context(), at(18)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the rest of the segment in which it stands
		if _, ok, err := tail.TryNext(); !ok || err != nil {
			t.Fatalf("in its own segment: %v, %v", ok, err)
		}
	}
	if e, ok, err := tail.TryNext(); ok || !errors.Is(err, ErrTrimmed) || !strings.Contains(err.Error(), "0:4") {
		t.Errorf("overtaken, it read %s, %v, %v", e.First, ok, err)
	}
	if n, err := j.Trim(t.Context()); n != 1 || err != nil {
		t.Errorf("after it had left, trimmed %d, %v", n, err)
	}
	if _, err := j.OpenAt(at(15)); !errors.Is(err, ErrTrimmed) {
		t.Errorf("OpenAt what is gone: %v", err)
	}
}

func TestStatsTellTheLag(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	begin := clock
	o := options(t, vfs.NewMem(1))
	o.SegmentBytes = 256 << 10
	o.Now = func() time.Time { return clock }
	j := open(t, o)
	r := reader(t, j, "r")
	if s := j.Stats().Readers; len(s) != 1 || s[0].LagEvents != 0 || s[0].LagBytes != 0 || !s[0].OldestUnread.IsZero() {
		t.Errorf("with nothing to read %+v", s)
	}
	for i := range 400 {
		clock = begin.Add(time.Duration(i) * time.Second)
		appendN(t, j, 1, 960) // a thousand bytes with the header
	}
	for _, committed := range []int64{0, 150, 250, 399, 400} {
		if err := r.Commit(t.Context(), at(committed)); err != nil {
			t.Fatal(err)
		}
		s := j.Stats().Readers[0]
		bytes, age := (400-committed)*1000, begin.Add(time.Duration(committed)*time.Second)
		if s.LagEvents != 400-committed || s.LagBytes < bytes || s.LagBytes > bytes+66_000 {
			t.Errorf("committed %d: %+v", committed, s)
		}
		if committed < 400 && (s.OldestUnread.After(age) || s.OldestUnread.Before(age.Add(-67*time.Second))) {
			t.Errorf("committed %d: the oldest unread is of %s, want about %s", committed, s.OldestUnread, age)
		}
	}
	if s := j.Stats(); s.Frames != 400 || s.Groups != 400 || s.Events != 400 || s.Syncs < 400 {
		t.Errorf("%+v", s)
	}
}

// TestSegmentsArePreparedInAdvance waits for the preparer by what it makes.
func TestSegmentsArePreparedInAdvance(t *testing.T) {
	t.Parallel()
	prepared := make(chan struct{}, 1)
	mem := vfs.NewMem(1)
	tap := &tapFS{FS: mem}
	o := options(t, tap)
	j := open(t, o)
	tap.set(func() {
		if entries, _ := mem.ReadDir(testDir); slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), sparePrefix) }) {
			select {
			case prepared <- struct{}{}:
			default:
			}
		}
	})
	appendN(t, j, 1, 1500)
	<-prepared
	tap.set(nil)
}

func FuzzDecodeCursor(f *testing.F) {
	f.Add(encodeCursor(0))
	f.Add(encodeCursor(1 << 60))
	f.Add([]byte("tidegate cursor 1 position 5 crc 00000000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeCursor(b)
		if err == nil && string(encodeCursor(p)) != string(b) {
			t.Errorf("%q was taken for %d", b, p)
		}
	})
}

// TestRecycledFilesWaitForTheirName: a recycled file that is written before its
// new name is durable could stand under its old name after a power cut.
func TestRecycledFilesWaitForTheirName(t *testing.T) {
	t.Parallel()
	tap := &tapFS{FS: vfs.NewMem(1)}
	j := open(t, options(t, tap))
	appendN(t, j, 18, 600)
	r := reader(t, j, "r")
	before, most := j.spares.count(), 0
	tap.set(func() { most = max(most, j.spares.count()) })
	if err := r.Commit(t.Context(), at(18)); err != nil {
		t.Fatal(err)
	}
	tap.set(nil)
	if after := j.spares.count(); most > before || after <= before {
		t.Errorf("%d spares before, %d offered while names were not synced, %d after", before, most, after)
	}
}
