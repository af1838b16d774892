package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/internal/vfs"
)

// logbook remembers what was logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logbook) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

// TestCrashPointsAreReached is not parallel: a crash point's hook is one for
// the whole process.
func TestCrashPointsAreReached(t *testing.T) {
	reached := map[crashpoint.Point]int{}
	var mu sync.Mutex
	defer crashpoint.SetHook(func(p crashpoint.Point) {
		mu.Lock()
		defer mu.Unlock()
		reached[p]++
	})()
	j := open(t, options(t, vfs.NewMem(1)))
	r := reader(t, j, "r")
	appendN(t, j, 20, 600)
	if err := r.Commit(t.Context(), j.Durable()); err != nil {
		t.Fatal(err)
	}
	for _, p := range crashpoint.All() {
		if strings.HasPrefix(string(p), "journal.") && reached[p] == 0 {
			t.Errorf("%s is in the list and was never passed", p)
		}
	}
}

// TestDiskErrors lets the Nth sync or write fail for good. Whoever was answered
// must be there after a restart, Fatal must have been told once, and nobody is
// answered afterwards.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	for kind, name := range map[vfs.Kind]string{vfs.OpSync: "sync", vfs.OpWrite: "write", vfs.OpSyncDir: "directory sync"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hit := 0
			for n := 1; n <= 20; n++ {
				for _, kill := range []bool{true, false} {
					if testDiskError(t, kind, n, kill) {
						hit++
					}
				}
			}
			if hit < 15 { // the others hit the goroutine that prepares segments
				t.Errorf("only %d faults of 40 hit the writer", hit)
			}
		})
	}
}

// testDiskError tells whether the fault ended the journal. A fault that hits the
// preparation of a segment must harm nobody.
func testDiskError(t *testing.T, kind vfs.Kind, n int, kill bool) bool {
	mem := vfs.NewMem(uint64(n))
	o := options(t, mem)
	fatal := 0
	o.Fatal = func(error) { fatal++ }
	j := open(t, o)
	mem.Inject(func(op vfs.Op) error {
		if op.Kind == kind && op.N == n {
			return syscall.EIO
		}
		return nil
	})
	answered, failed := 0, false
	for i := range 120 {
		first, err := j.Append(t.Context(), fmt.Appendf(nil, "%d/%s", i, strings.Repeat("x", 500)), 1)
		switch {
		case err == nil && failed:
			t.Fatal("an append was answered after the disk had failed")
		case err == nil && first != at(int64(i)):
			t.Fatalf("append %d was answered with %s", i, first)
		case err == nil:
			answered++
		default:
			failed = true
			if f := tidegate.FaultOf(err); !errors.Is(err, ErrFailed) || f.Action != tidegate.Halt {
				t.Fatalf("append %d: %v", i, err)
			}
		}
	}
	if failed != (fatal == 1) || fatal > 1 {
		t.Fatalf("the fault at %d: failed %v, and Fatal was called %d times", n, failed, fatal)
	}
	if _, err := j.Reader("late"); failed && !errors.Is(err, ErrFailed) {
		t.Errorf("a reader of a failed journal: %v", err)
	}
	left := mem.KillClone()
	if !kill {
		left = mem.CrashClone(rand.New(rand.NewPCG(uint64(n), 3)))
	}
	again := open(t, options(t, left))
	r, err := again.OpenAt(at(0))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := drain(t, r); len(got) < answered || len(again.Stats().Damage) > 0 {
		t.Errorf("%d were answered, %d are there; damage %v", answered, len(got), again.Stats().Damage)
	}
	appendN(t, again, 1, 10)
	return failed
}

func TestFullDiskRefusesAndResumes(t *testing.T) {
	t.Parallel()
	for name, reserve := range map[string]int64{"no reserve": 0, "reserve": 20_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logbook
			mem := vfs.NewMem(3)
			mem.SetBudget(60_000)
			o := options(t, mem)
			o.ReserveBytes, o.Log = reserve, log.logger()
			j := open(t, o)
			body := strings.Repeat("x", 700)
			answered := int64(0)
			var err error
			for err == nil {
				if _, err = j.Append(t.Context(), fmt.Appendf(nil, "%d/%s", answered, body), 1); err == nil {
					answered++
				}
			}
			f := tidegate.FaultOf(err)
			if !errors.Is(err, ErrFull) || f.Action != tidegate.Throttle || f.After <= 0 || f.Hint == "" {
				t.Fatalf("a full disk answered %v", err)
			}
			if left := 60_000 - mem.Used(); left < reserve {
				t.Errorf("%d bytes are left of a reserve of %d", left, reserve)
			}
			for range 5 {
				if _, err := j.Append(t.Context(), []byte(body), 1); !errors.Is(err, ErrFull) {
					t.Fatalf("still full, but %v", err)
				}
			}
			if d := j.Durable(); d != at(answered) {
				t.Errorf("the journal stands at %s after %d answers", d, answered)
			}
			if s := j.Stats(); !s.Full || s.Refused != 6 {
				t.Errorf("stats %+v", s)
			}
			mem.SetBudget(120_000)
			if first, err := j.Append(t.Context(), fmt.Appendf(nil, "%d/after", answered), 1); err != nil || first != at(answered) {
				t.Fatalf("with space again: %s, %v", first, err)
			}
			if j.Stats().Full || log.count("refuses events") != 1 || log.count("accepts events again") != 1 {
				t.Errorf("the log says:\n%s", log.text.String())
			}
			again := open(t, options(t, mem.CrashClone(rand.New(rand.NewPCG(1, 1)))))
			r, err := again.OpenAt(at(0))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if diff := cmp.Diff(sequence(0, answered+1), drain(t, r)); diff != "" {
				t.Errorf("after a power cut (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFullDiskGoesBack looks at the file: what the refused group had written of
// itself is gone.
func TestFullDiskGoesBack(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(3)
	mem.SetBudget(3000) // less than a segment: the file grows as it is written
	o := options(t, mem)
	j := open(t, o)
	appendN(t, j, 1, 900)
	before := mem.Used()
	if _, err := j.Append(t.Context(), make([]byte, 1500), 1); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if after := mem.Used(); after != before {
		t.Errorf("the refused append left %d bytes", after-before)
	}
	appendN(t, j, 1, 500)
}

func TestReadersDoNotSeeWhatIsNotSynced(t *testing.T) {
	t.Parallel()
	tap := &tapFS{FS: vfs.NewMem(1)}
	j := open(t, options(t, tap))
	r, err := j.OpenAt(at(0))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	looks := 0
	for i := range int64(10) {
		tap.set(func() {
			looks++
			if e, ok, err := r.TryNext(); ok || err != nil || j.Durable() != at(i) {
				t.Errorf("while %d is being written a reader sees %s, %v; the journal stands at %s", i, e.First, err, j.Durable())
			}
		})
		appendN(t, j, 1, 900)
		tap.set(nil)
		if _, ok, err := r.TryNext(); !ok || err != nil {
			t.Fatalf("after the answer the reader sees %v, %v", ok, err)
		}
	}
	if looks < 20 {
		t.Errorf("only %d looks", looks)
	}
}

// damage changes a byte of the file on m and makes it durable.
func flip(t testing.TB, fsys vfs.FS, name string, off int64, n int) (old []byte) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	old = make([]byte, n)
	if _, err := f.ReadAt(old, off); err != nil {
		t.Fatal(err)
	}
	bad := slices.Clone(old)
	for i := range bad {
		bad[i] ^= 0x40
	}
	if _, err := f.WriteAt(bad, off); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return bad
}

func segmentsOf(t testing.TB, fsys vfs.FS) (paths []string) {
	t.Helper()
	entries, err := fsys.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
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

func TestCancelledAppend(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem(1)
	held, release := make(chan struct{}), make(chan struct{})
	tap := &tapFS{FS: mem}
	j := open(t, options(t, tap))
	appendN(t, j, 1, 10)
	var once sync.Once
	tap.set(func() { once.Do(func() { close(held) }); <-release })
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	go func() {
		_, err := j.Append(ctx, []byte("in a group that is being written"), 1)
		errs <- err
	}()
	<-held
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := j.Append(ctx, []byte("x"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	closing, give := context.WithTimeout(t.Context(), time.Millisecond)
	defer give()
	if err := j.Close(closing); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close while the disk hangs: %v", err)
	}
	close(release)
	closeJournal(t, j)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"no directory":     func(o *Options) { o.Dir = "" },
		"nobody to tell":   func(o *Options) { o.Fatal = nil },
		"tiny segments":    func(o *Options) { o.SegmentBytes = 100 },
		"negative reserve": func(o *Options) { o.ReserveBytes = -2 },
		"negative group":   func(o *Options) { o.GroupBytes = -1 },
		"frame beyond all": func(o *Options) { o.MaxFrameBytes = 1 << 31 },
		"a directory's file": func(o *Options) {
			f, _ := vfs.Create(o.FS, "/file")
			_ = f.Close()
			o.Dir = "/file"
		},
	} {
		o := options(t, vfs.NewMem(1))
		change(&o)
		if j, err := Open(t.Context(), o); err == nil {
			closeJournal(t, j)
			t.Errorf("%s: opened", name)
		}
	}
	for _, foreign := range []string{"notes.seg", "1.seg", "cursors/a b"} {
		mem := vfs.NewMem(1)
		closeJournal(t, open(t, options(t, mem)))
		f, err := vfs.Create(mem, testDir+"/"+foreign)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if _, err := Open(t.Context(), options(t, mem)); err == nil || !strings.Contains(err.Error(), foreign) {
			t.Errorf("with %s in the way: %v", foreign, err)
		}
		if _, err := mem.Stat(testDir + "/" + foreign); errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was taken away", foreign)
		}
	}
}
