package journal

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/internal/vfs"
)

func TestPassedSegmentsStayForAWhile(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	o := options(t, vfs.NewMem(1))
	o.Now = func() time.Time { return time.Unix(1_800_000_000+clock.Load(), 0) }
	j := open(t, o)
	j.Retain(Retention{For: time.Hour})
	r := reader(t, j, "r")
	commit := func(to, oldest int64) {
		t.Helper()
		if err := r.Commit(t.Context(), at(to)); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := j.Stats().Oldest; got != at(oldest) {
			t.Errorf("the oldest is %s, want %d", got, oldest)
		}
	}
	appendN(t, j, 8, 600) // four a segment
	commit(8, 0)
	clock.Store(3000)
	appendN(t, j, 8, 600)
	commit(16, 0)
	clock.Store(3601) // the first two are older than an hour
	commit(16, 8)
	appendN(t, j, 2, 600)
	if got := drain(t, func() *Reader { _ = r.Close(); return reader(t, j, "r") }()); len(got) != 2 {
		t.Errorf("the reader goes on with %d events, want 2", len(got))
	}
	old, err := j.OpenAt(at(9))
	if err != nil {
		t.Fatal(err)
	}
	if got := drain(t, old); len(got) != 9 {
		t.Errorf("a replay reads %d events, want 9", len(got))
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	// Two segments' worth of bytes, whatever their age: the one from 12 on, and the next.
	j.Retain(Retention{For: time.Hour, Bytes: 4 * 700})
	if _, err := j.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := j.Stats().Oldest; got != at(12) {
		t.Errorf("with a bound of bytes the oldest is %s, want 12", got)
	}
}

// What is kept for its age is kept through restarts, past what was damaged in an earlier
// life; what a trim had begun to remove is not.
func TestKeptSegmentsStayOverARestart(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	o.Retain = Retention{For: time.Hour}
	j := open(t, o)
	r := reader(t, j, "r")
	appendN(t, j, 18, 600) // four a segment
	if err := r.Commit(t.Context(), at(18)); err != nil {
		t.Fatal(err)
	}
	paths := segmentsOf(t, mem)
	again := func(what string, oldest int64, damage int, want []int64) {
		t.Helper()
		closeJournal(t, j)
		j = open(t, o)
		if s := j.Stats(); s.Oldest != at(oldest) || len(s.Damage) != damage {
			t.Errorf("%s: %+v", what, s)
		}
		kept, err := j.OpenAt(at(oldest))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = kept.Close() }()
		if d := cmp.Diff(want, drain(t, kept)); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	again("a restart", 0, 0, sequence(0, 18))
	closeJournal(t, j)
	flip(t, mem, paths[1], 0, 1024) // its header: it is set aside
	j = open(t, o)
	for _, life := range []string{"a damaged segment", "the life after it"} {
		again(life, 0, 1, append(sequence(0, 4), sequence(8, 18)...))
	}
	closeJournal(t, j)
	if err := mem.Remove(paths[2]); err != nil { // as a trim does, and the power goes before the others are gone
		t.Fatal(err)
	}
	j = open(t, o)
	again("a trim cut short", 12, 1, sequence(12, 18))
	o.Retain = Retention{}
	again("no retention", 16, 1, sequence(16, 18))
}

// What is kept for its age alone never makes an event be refused.
func TestKeptSegmentsGoBeforeEventsAreRefused(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	mem.SetBudget(64 << 10)
	o := options(t, mem)
	o.ReserveBytes = 16 << 10
	j := open(t, o)
	j.Retain(Retention{For: time.Hour})
	r := reader(t, j, "r")
	for range 50 {
		last := appendN(t, j, 4, 600)
		if err := r.Commit(t.Context(), at(last.Position+1)); err != nil {
			t.Fatal(err)
		}
	}
	if s := j.Stats(); s.Full || s.Oldest == at(0) || s.Segments < 2 {
		t.Errorf("%+v", s)
	}
	// Without a reader that has passed them nothing goes.
	if _, err := j.Reader("slow"); err != nil {
		t.Fatal(err)
	}
	refused := false
	for range 50 {
		if _, err := j.Append(t.Context(), make([]byte, 600), 1); err != nil {
			refused = true
		}
	}
	if !refused {
		t.Error("events that a reader has not passed went to make room")
	}
}
