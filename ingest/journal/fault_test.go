package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
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
	t.Helper()
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
			if j.Stats().Full || log.count("refuses events") != 1 || log.count(`hint="free space`) != 1 || log.count("accepts events again") != 1 {
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
	o := options(t, tap)
	o.SegmentBytes = 1 << 20 // no segment is prepared meanwhile: every change of the disk is the writer's
	j := open(t, o)
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
		"no clock":         func(o *Options) { o.Now = nil },
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
