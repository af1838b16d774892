package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/vfs"
)

// This file runs random schedules of operations and crashes against the
// journal and compares every state after a crash with an oracle that knows
// nothing but what was asked and what was answered.

type stepKind int

const (
	stepAppend  stepKind = iota // some producers at once
	stepRead                    // a reader reads some frames
	stepCommit                  // a reader commits what it has read
	stepRestart                 // the process ends in order
	stepTrim
	stepBoth // a reader commits while producers append
	stepKinds
)

type fault int

const (
	faultNone    fault = iota
	faultKill          // kill -9 at the Nth change of the file system
	faultCut           // power cut there
	faultENOSPC        // the disk is full, with N bytes left
	faultSyncEIO       // the Nth sync fails, and the process dies of it
	faults
)

type step struct {
	kind  stepKind
	fault fault
	n     int // of the fault
	count int // producers, or frames to read
	size  int
	who   int // which reader
}

type schedule struct {
	seed  uint64
	steps []step
}

// newSchedule makes the schedule of a seed. The steps come evenly from the
// seed, because rapid's own draws lean towards small numbers and would hardly
// ever fill a segment; rapid shrinks the number of steps.
func newSchedule(seed uint64, steps int) schedule {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := schedule{seed: seed}
	for range steps {
		st := step{
			kind: stepKind(rng.IntN(int(stepKinds))), n: 1 + rng.IntN(14),
			count: 1 + rng.IntN(8), size: 10 + rng.IntN(1500), who: rng.IntN(2),
		}
		switch rng.IntN(4) {
		case 0:
			st.kind = stepAppend
		case 1:
			st.kind = stepCommit
		}
		if rng.IntN(3) == 0 {
			st.fault = fault(rng.IntN(int(faults)))
		}
		s.steps = append(s.steps, st)
	}
	return s
}

// oracle is what must hold after a crash.
type oracle struct {
	mu        sync.Mutex
	attempted map[string]bool  // payloads given to Append
	acked     map[int64]string // answered: must be there
	seen      map[int64]string // read: must stay what it was
	committed [2]int64         // answered commits
	asked     [2]int64         // commits given to Commit
	fired     map[string]int   // what happened, so that no kind of fault stays untested unnoticed
}

func (o *oracle) copy() *oracle {
	return &oracle{
		attempted: maps.Clone(o.attempted), acked: maps.Clone(o.acked), seen: maps.Clone(o.seen),
		committed: o.committed, asked: o.asked, fired: o.fired,
	}
}

// rig drives one schedule.
type rig struct {
	seed    uint64
	mem     *vfs.Mem
	tap     *tapFS
	o       *oracle
	rng     *rand.Rand
	noSync  bool
	j       *Journal
	readers [2]*Reader
	failed  error // what Fatal was given
	log     *logbook
	serial  int
}

var readerNames = [2]string{"load", "forward"}

func runSchedule(s schedule, noSync bool, fired map[string]int) error {
	r := &rig{
		seed: s.seed, mem: vfs.NewMem(s.seed), rng: rand.New(rand.NewPCG(s.seed, 2)), noSync: noSync,
		o: &oracle{attempted: map[string]bool{}, acked: map[int64]string{}, seen: map[int64]string{}, fired: fired},
	}
	if err := r.open(nil); err != nil {
		return err
	}
	defer func() { r.close() }()
	for i, st := range s.steps {
		if err := r.step(st); err != nil {
			return fmt.Errorf("step %d: %w; the steps are %+v", i, err, s.steps)
		}
	}
	if err := r.crash(r.mem.CrashClone(r.rng), r.o); err != nil {
		return fmt.Errorf("final power cut: %w; the steps are %+v", err, s.steps)
	}
	return nil
}

func (r *rig) close() {
	for _, reader := range r.readers {
		if reader != nil {
			_ = reader.Close()
		}
	}
	if r.j != nil {
		_ = r.j.Close(context.Background())
	}
	r.j, r.readers = nil, [2]*Reader{}
}

func (r *rig) options() Options {
	var retain Retention // of every second schedule
	if r.seed%2 == 1 {
		retain = Retention{For: time.Hour, Bytes: 3 * minSegmentBytes}
	}
	return Options{
		Retain: retain,
		Dir:    testDir, FS: r.tap, Now: time.Now, SegmentBytes: minSegmentBytes, GroupBytes: 2048, MaxFrameBytes: 4096,
		Fatal: func(err error) { r.failed = err }, NoSync: r.noSync, Log: r.log.logger(),
	}
}

// open opens the journal and its readers. before is called before every change
// of the file system, so that a crash can come while the journal recovers.
func (r *rig) open(before func()) error {
	r.tap = &tapFS{FS: r.mem, before: before}
	r.failed, r.log = nil, &logbook{}
	j, err := Open(context.Background(), r.options())
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	r.j = j
	for i, name := range readerNames {
		if r.readers[i], err = j.Reader(name); err != nil {
			r.close()
			return err
		}
	}
	return nil
}

// step does one operation under its fault. Whatever the fault leaves is opened
// and compared with the oracle.
func (r *rig) step(st step) error {
	var clone *vfs.Mem
	var then *oracle
	switch st.fault {
	case faultKill, faultCut:
		left := st.n
		r.tap.set(func() {
			if left--; left == 0 {
				r.o.mu.Lock()
				defer r.o.mu.Unlock()
				then = r.o.copy()
				if st.fault == faultKill {
					clone = r.mem.KillClone()
				} else {
					clone = r.mem.CrashClone(r.rng)
				}
			}
		})
	case faultENOSPC:
		r.mem.SetBudget(r.mem.Used() + int64(st.n)*100)
	case faultSyncEIO:
		r.mem.Inject(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync && op.N == st.n {
				return syscall.EIO
			}
			return nil
		})
	case faultNone, faults:
	}
	err := r.do(st)
	r.tap.set(nil)
	r.mem.SetBudget(0)
	r.mem.Inject(nil)
	switch {
	case clone != nil:
		r.o.fired[[]string{"", "kill", "cut"}[st.fault]]++
		return r.crash(clone, then)
	case r.failed != nil && st.fault == faultSyncEIO:
		r.o.fired["sync error"]++
		if st.who == 0 {
			return r.crash(r.mem.KillClone(), r.o)
		}
		return r.crash(r.mem.CrashClone(r.rng), r.o)
	case errors.Is(err, ErrFull):
		r.o.fired["full"]++
		return nil
	case err != nil && st.fault != faultNone && (vfs.IsFull(err) || errors.Is(err, syscall.EIO)):
		r.o.fired["refused"]++
		if r.j == nil { // not even the start succeeded: the disk is mended, the next one must
			return r.crash(r.mem.KillClone(), r.o)
		}
		return nil
	}
	return err
}

func (r *rig) do(st step) error {
	switch st.kind {
	case stepAppend:
		return r.append(st.count, st.size)
	case stepRead:
		return r.read(st.who, st.count)
	case stepBoth:
		committed := make(chan error)
		go func() { committed <- r.commit(st) }()
		return errors.Join(r.append(st.count, st.size), <-committed)
	case stepCommit:
		return r.commit(st)
	case stepTrim:
		_, err := r.j.Trim(context.Background())
		return err
	case stepRestart:
		before := r.tap.hook()
		r.close()
		if err := r.open(before); err != nil {
			return err
		}
		return r.compare()
	case stepKinds:
	}
	return nil
}

func (r *rig) commit(st step) error {
	if err := r.read(st.who, 10*st.count); err != nil {
		return err
	}
	position := r.readers[st.who].Position()
	r.o.mu.Lock()
	r.o.asked[st.who] = max(r.o.asked[st.who], position.Position)
	r.o.mu.Unlock()
	err := r.readers[st.who].Commit(context.Background(), position)
	if err == nil {
		r.o.mu.Lock()
		r.o.committed[st.who] = position.Position
		r.o.mu.Unlock()
	}
	return err
}

func (r *rig) append(producers, size int) error {
	var wg sync.WaitGroup
	errs := make([]error, producers)
	for i := range producers {
		r.serial++
		payload := fmt.Sprintf("%d:%s", r.serial, strings.Repeat("p", (size*(i+1))%1500))
		r.o.mu.Lock()
		r.o.attempted[payload] = true
		r.o.mu.Unlock()
		wg.Go(func() {
			first, err := r.j.Append(context.Background(), []byte(payload), 2)
			if errs[i] = err; err == nil {
				r.o.mu.Lock()
				r.o.acked[first.Position] = payload
				r.o.mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (r *rig) read(who, count int) error {
	for range count {
		e, ok, err := r.readers[who].TryNext()
		if err != nil || !ok {
			return err
		}
		if err := r.o.saw(e); err != nil {
			return err
		}
	}
	return nil
}

func (o *oracle) saw(e Entry) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, payload := e.First.Position, string(e.Payload)
	if before, ok := o.seen[p]; ok && before != payload {
		return fmt.Errorf("the position %d was read as %.10q and is now %.10q", p, before, payload)
	}
	if acked, ok := o.acked[p]; ok && acked != payload {
		return fmt.Errorf("the position %d was answered for %.10q and is %.10q", p, acked, payload)
	}
	if !o.attempted[payload] || e.Events != 2 {
		return fmt.Errorf("the frame %.10q at %d was never appended", payload, p)
	}
	o.seen[p] = payload
	return nil
}

// crash lets the process die, which leaves the file system left, and compares.
func (r *rig) crash(left *vfs.Mem, then *oracle) error {
	r.close()
	r.mem, r.o = left, then
	if err := r.open(nil); err != nil {
		return err
	}
	return r.compare()
}

// compare holds the journal against the oracle.
func (r *rig) compare() error {
	o := r.o
	s := r.j.Stats()
	if len(s.Damage) > 0 {
		return fmt.Errorf("damage is reported that nobody did: %+v", s.Damage)
	}
	if r.log.count("level=") > 0 {
		return fmt.Errorf("after a crash that the journal is made for, the log says: %s", r.log.text.String())
	}
	oldest := s.Oldest.Position
	if oldest > 0 {
		o.fired["trimmed"]++
	}
	if s.Spare > 0 {
		o.fired["recycled"]++
	}
	for i, reader := range r.readers {
		at := reader.Committed().Position
		if at < o.committed[i] || at > o.asked[i] {
			return fmt.Errorf("the cursor of %s is %d: answered %d, asked %d", readerNames[i], at, o.committed[i], o.asked[i])
		}
		if at < oldest {
			return fmt.Errorf("the cursor of %s is %d, but only %d and later are kept", readerNames[i], at, oldest)
		}
		o.committed[i], o.asked[i] = at, max(at, o.asked[i])
	}
	if bound := min(o.asked[0], o.asked[1]); oldest > bound {
		return fmt.Errorf("the oldest kept is %d, a reader may need %d", oldest, bound)
	}
	got, err := r.everything(oldest)
	if err != nil {
		return err
	}
	for p, payload := range o.acked {
		if p >= oldest && got[p] != payload {
			return fmt.Errorf("lost: %d was answered and holds %.10q", p, got[p])
		}
	}
	for p, payload := range o.seen {
		if p >= oldest && got[p] != payload {
			return fmt.Errorf("lost: %d was read and holds %.10q", p, got[p])
		}
	}
	counted := map[string]int{}
	for _, payload := range got {
		if counted[payload]++; counted[payload] > 1 {
			return fmt.Errorf("%.10q is there twice", payload)
		}
	}
	return nil
}

// everything reads all frames that are kept, without a gap.
func (r *rig) everything(oldest int64) (map[int64]string, error) {
	reader, err := r.j.OpenAt(tidegate.Offset{Position: oldest})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	got, next := map[int64]string{}, oldest
	for {
		e, ok, err := reader.TryNext()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if e.First.Position != next {
			return nil, fmt.Errorf("frame %d where %d was due", e.First.Position, next)
		}
		if err := r.o.saw(e); err != nil {
			return nil, err
		}
		got[next] = string(e.Payload)
		next += int64(e.Events)
	}
	if d := r.j.Durable().Position; d != next {
		return nil, fmt.Errorf("the journal ends at %d, the last frame at %d", d, next)
	}
	return got, nil
}

// tapFS calls a hook before every change of the file system.
type tapFS struct {
	vfs.FS
	mu     sync.Mutex
	before func()
}

func (t *tapFS) set(before func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.before = before
}

func (t *tapFS) hook() func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.before
}

func (t *tapFS) tap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.before != nil {
		t.before()
	}
}

func (t *tapFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag&os.O_CREATE != 0 {
		t.tap()
	}
	f, err := t.FS.OpenFile(name, flag, perm)
	return &tapFile{File: f, t: t}, err
}
func (t *tapFS) Rename(a, b string) error  { t.tap(); return t.FS.Rename(a, b) }
func (t *tapFS) Remove(name string) error  { t.tap(); return t.FS.Remove(name) }
func (t *tapFS) SyncDir(name string) error { t.tap(); return t.FS.SyncDir(name) }

type tapFile struct {
	vfs.File
	t *tapFS
}

func (f *tapFile) WriteAt(p []byte, off int64) (int, error) { f.t.tap(); return f.File.WriteAt(p, off) }

func (f *tapFile) Truncate(size int64) error { f.t.tap(); return f.File.Truncate(size) }
func (f *tapFile) Sync() error               { f.t.tap(); return f.File.Sync() }

func TestCrashSchedules(t *testing.T) {
	t.Parallel()
	fired := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		if err := runSchedule(newSchedule(rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(1, 30).Draw(rt, "steps")), false, fired); err != nil {
			rt.Fatal(err)
		}
	})
	for _, kind := range []string{"kill", "cut", "sync error", "full", "trimmed", "recycled"} {
		if fired[kind] < 50 {
			t.Errorf("%q happened %d times: the schedules do not test it", kind, fired[kind])
		}
	}
	t.Logf("faults: %v", fired)
}

// TestCrashSchedulesNoticeAMissingSync is the check of the checker: the same
// schedules on a journal that does not sync must be caught.
func TestCrashSchedulesNoticeAMissingSync(t *testing.T) {
	t.Parallel()
	const n = 500
	tried, caught := 0, 0
	for seed := range n {
		s := newSchedule(uint64(seed), 8)
		if !slices.ContainsFunc(s.steps, func(st step) bool { return st.kind == stepAppend && st.fault == faultNone }) {
			continue // nothing is promised for certain
		}
		tried++
		if err := runSchedule(s, true, map[string]int{}); err != nil {
			caught++
		}
	}
	t.Logf("%d of %d schedules without sync were caught", caught, tried)
	if tried < 200 || caught < tried/2 {
		t.Errorf("of %d schedules without sync only %d were caught", tried, caught)
	}
}
