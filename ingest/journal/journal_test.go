package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/vfs"
)

const testDir = "/data/journal"

// options are those of a small journal that fails the test when the disk does.
func options(tb testing.TB, fsys vfs.FS) Options {
	tb.Helper()
	return Options{
		Dir: testDir, FS: fsys, Now: time.Now, SegmentBytes: minSegmentBytes, GroupBytes: 2048, MaxFrameBytes: 8192,
		Fatal: func(err error) { tb.Errorf("the journal failed: %v", err) },
	}
}

func open(tb testing.TB, o Options) *Journal {
	tb.Helper()
	j, err := Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := j.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return j
}

func closeJournal(tb testing.TB, j *Journal) {
	tb.Helper()
	if err := j.Close(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

func reader(tb testing.TB, j *Journal, name string) *Reader {
	tb.Helper()
	r, err := j.Reader(name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

func at(position int64) tidegate.Offset { return tidegate.Offset{Position: position} }

func appendN(tb testing.TB, j *Journal, n, size int) (last tidegate.Offset) {
	tb.Helper()
	for i := range n {
		payload := fmt.Appendf(nil, "%d/", j.Durable().Position)
		payload = append(payload, bytes.Repeat([]byte{byte('a' + i%26)}, max(0, size-len(payload)))...)
		first, err := j.Append(tb.Context(), payload, 1)
		if err != nil {
			tb.Fatal(err)
		}
		last = first
	}
	return last
}

// drain reads what there is and returns the first position of every frame.
func drain(tb testing.TB, r *Reader) (firsts []int64) {
	tb.Helper()
	for {
		e, ok, err := r.TryNext()
		if err != nil {
			tb.Fatal(err)
		}
		if !ok {
			return firsts
		}
		if want := fmt.Sprintf("%d/", e.First.Position); !strings.HasPrefix(string(e.Payload), want) {
			tb.Fatalf("the frame at %d holds %.20q", e.First.Position, e.Payload)
		}
		firsts = append(firsts, e.First.Position)
	}
}

func sequence(from, to int64) (s []int64) {
	for i := from; i < to; i++ {
		s = append(s, i)
	}
	return s
}

func TestAppendAndReadAcrossSegmentsAndRestarts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		fs   func(t *testing.T) (vfs.FS, string)
	}{
		{"memory", func(*testing.T) (vfs.FS, string) { return vfs.NewMem(1), testDir }},
		{"disk", func(t *testing.T) (vfs.FS, string) { t.Helper(); return vfs.OS(), t.TempDir() + "/a/b" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fsys, dir := tc.fs(t)
			o := options(t, fsys)
			o.Dir = dir
			for life := range int64(4) {
				j := open(t, o)
				if got := j.Durable(); got != at(life*30) {
					t.Fatalf("life %d begins at %s", life, got)
				}
				appendN(t, j, 30, 600)
				r, err := j.OpenAt(at(0))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(sequence(0, (life+1)*30), drain(t, r)); diff != "" {
					t.Errorf("life %d reads (-want +got):\n%s", life, diff)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				if s := j.Stats(); s.Segments < int(life+1)*4 || len(s.Damage) > 0 || s.TornBytes > 0 {
					t.Errorf("life %d: %+v", life, s)
				}
				closeJournal(t, j)
			}
		})
	}
}

func TestPositionsCountEvents(t *testing.T) {
	t.Parallel()
	j := open(t, options(t, vfs.NewMem(1)))
	want := int64(0)
	for _, events := range []int{1, 7, 100, 2} {
		got, err := j.Append(t.Context(), bytes.Repeat([]byte("x"), 100), events)
		if err != nil || got != at(want) {
			t.Fatalf("Append gave %s, %v; want %d", got, err, want)
		}
		want += int64(events)
	}
	r, err := j.OpenAt(at(50)) // within the frame of 100
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	e, err := r.Next(t.Context())
	if err != nil || e.First != at(8) || e.Events != 100 || r.Position() != at(108) {
		t.Errorf("got %+v at %s, %v", e, r.Position(), err)
	}
}

func TestAppendRefusesWhatNoFrameHolds(t *testing.T) {
	t.Parallel()
	j := open(t, options(t, vfs.NewMem(1)))
	for _, tc := range []struct {
		name    string
		payload int
		events  int
		want    error
	}{
		{"too large", 8193, 1, ErrTooLarge},
		{"no events", 10, 0, nil},
		{"more events than bytes", 10, 11, nil},
		{"empty", 0, 1, nil},
	} {
		_, err := j.Append(t.Context(), make([]byte, tc.payload), tc.events)
		if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if _, err := j.Append(t.Context(), make([]byte, 8192), 1); err != nil {
		t.Errorf("the largest frame, larger than a segment and a group: %v", err)
	}
	if s := j.Stats(); s.Frames != 1 || s.Events != 1 {
		t.Errorf("counted %+v", s)
	}
}

func TestConcurrentProducersAndReaders(t *testing.T) {
	t.Parallel()
	const producers, each = 16, 60
	j := open(t, options(t, vfs.NewMem(1)))
	var wg sync.WaitGroup
	var mu sync.Mutex
	answered := map[int64]string{}
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				body := fmt.Sprintf("%d.%d %s", p, i, strings.Repeat("x", i*3))
				first, err := j.Append(t.Context(), []byte(body), 1+i%3)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				answered[first.Position] = body
				mu.Unlock()
			}
		})
	}
	for n := range 3 {
		r := reader(t, j, fmt.Sprintf("reader-%d", n))
		wg.Go(func() {
			next, lastOf := int64(0), map[string]int{}
			for range producers * each {
				e, err := r.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if e.First.Position != next {
					t.Errorf("read %s, want %d", e.First, next)
				}
				next += int64(e.Events)
				var p, i int
				if _, err := fmt.Sscanf(string(e.Payload), "%d.%d", &p, &i); err != nil {
					t.Error(err)
				}
				if last, seen := lastOf[fmt.Sprint(p)]; seen && i != last+1 {
					t.Errorf("producer %d: %d after %d", p, i, last)
				}
				lastOf[fmt.Sprint(p)] = i
				if i%10 == 0 {
					if err := r.Commit(t.Context(), e.First); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if len(answered) != producers*each {
		t.Errorf("%d distinct offsets for %d appends", len(answered), producers*each)
	}
	if s := j.Stats(); s.Groups >= s.Frames {
		t.Errorf("%d groups for %d frames: nothing was committed together", s.Groups, s.Frames)
	}
}

func TestNextWaitsAndIsWoken(t *testing.T) {
	t.Parallel()
	j := open(t, options(t, vfs.NewMem(1)))
	r := reader(t, j, "r")
	got := make(chan error)
	go func() {
		_, err := r.Next(context.Background())
		got <- err
	}()
	appendN(t, j, 1, 10)
	if err := <-got; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := r.Next(ctx)
		got <- err
	}()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled Next returned %v", err)
	}
	go func() {
		_, err := r.Next(context.Background())
		got <- err
	}()
	closeJournal(t, j)
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("Next of a closed journal returned %v", err)
	}
}

func TestCloseAnswersWhatWasAccepted(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	o := options(t, mem)
	j := open(t, o)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var kept int64
	for range 8 {
		wg.Go(func() {
			for {
				_, err := j.Append(context.Background(), []byte("body"), 1)
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				kept++
				mu.Unlock()
			}
		})
	}
	for j.Durable().Position < 100 {
		<-j.wait()
	}
	closeJournal(t, j)
	wg.Wait()
	closeJournal(t, j) // twice is once
	if _, err := j.Append(t.Context(), []byte("x"), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	if got := open(t, o).Durable(); got != at(kept) {
		t.Errorf("%d were answered, %s are kept", kept, got)
	}
}

func TestOneProcessPerDirectory(t *testing.T) {
	t.Parallel()
	o := options(t, vfs.OS())
	o.Dir = t.TempDir()
	j := open(t, o)
	_, err := Open(t.Context(), o)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), o.Dir) {
		t.Errorf("a second Open returned %v", err)
	}
	closeJournal(t, j)
	open(t, o)
}

func TestSeekByOffsetAndTime(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	begin := clock
	var mu sync.Mutex
	o := options(t, vfs.NewMem(1))
	o.SegmentBytes = 200 << 10 // several index entries in each
	o.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return clock
	}
	j := open(t, o)
	for i := range 500 {
		mu.Lock()
		clock = begin.Add(time.Duration(i) * time.Second)
		if i == 250 {
			clock = begin // the wall clock jumps back for one frame
		}
		mu.Unlock()
		appendN(t, j, 1, 1500)
	}
	for life := range 2 {
		r, err := j.OpenAt(at(0))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []int64{0, 1, 43, 44, 100, 249, 251, 300, 499, 7} {
			if err := r.Seek(at(want)); err != nil {
				t.Fatal(err)
			}
			if e, ok, err := r.TryNext(); !ok || err != nil || e.First != at(want) {
				t.Errorf("life %d: sought %d, got %+v, %v, %v", life, want, e.First, ok, err)
			}
			when := begin.Add(time.Duration(want)*time.Second - time.Millisecond)
			if err := r.SeekTime(when); err != nil {
				t.Fatal(err)
			}
			if e, ok, err := r.TryNext(); !ok || err != nil || e.First != at(want) {
				t.Errorf("life %d: sought %s, got %+v, %v, %v", life, when, e.First, ok, err)
			}
		}
		if err := r.SeekTime(begin.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := r.TryNext(); ok || err != nil || r.Position() != at(500) {
			t.Errorf("sought the future, stand at %s: %v, %v", r.Position(), ok, err)
		}
		if err := r.Seek(at(501)); !errors.Is(err, ErrAhead) {
			t.Errorf("sought beyond the end: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		closeJournal(t, j)
		j = open(t, o)
	}
}

func TestOpenAtTimeTails(t *testing.T) {
	t.Parallel()
	j := open(t, options(t, vfs.NewMem(1)))
	appendN(t, j, 3, 10)
	r, err := j.OpenAtTime(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Commit(t.Context(), at(1)); err == nil {
		t.Error("a reader without a cursor committed")
	}
	appendN(t, j, 1, 10)
	if e, err := r.Next(t.Context()); err != nil || e.First != at(3) {
		t.Errorf("got %s, %v", e.First, err)
	}
}

// TestAppendedAt is when what stands at an offset came.
func TestAppendedAt(t *testing.T) {
	t.Parallel()
	o := options(t, vfs.NewMem(1))
	begin := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var seconds atomic.Int64
	o.Now = func() time.Time { return begin.Add(time.Duration(seconds.Load()) * time.Second) }
	j := open(t, o)
	if got := j.AppendedAt(at(0)); !got.IsZero() {
		t.Errorf("in an empty journal: %v", got)
	}
	for range 3 {
		appendN(t, j, 1, 10)
		seconds.Add(60)
	}
	for position, minutes := range []int{0, 1, 2} {
		if got := j.AppendedAt(at(int64(position))); !got.Equal(begin.Add(time.Duration(minutes) * time.Minute)) {
			t.Errorf("of offset %d: %v", position, got)
		}
	}
	if got := j.AppendedAt(j.Durable()); !got.IsZero() {
		t.Errorf("behind the last frame: %v", got)
	}
}
