package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// both runs a test on the machine's file system and on the one in memory: what
// holds for one has to hold for the other.
func both(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Helper()
	t.Parallel()
	t.Run("os", func(t *testing.T) { t.Parallel(); test(t, OS(), t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		t.Parallel()
		m := NewMem(1)
		if err := m.MkdirAll("/tmp/x", 0o700); err != nil {
			t.Fatal(err)
		}
		test(t, m, "/tmp/x")
	})
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func create(tb testing.TB, fsys FS, name string) File {
	tb.Helper()
	f, err := Create(fsys, name)
	must(tb, err)
	return f
}

func contents(tb testing.TB, fsys FS, name string) string {
	tb.Helper()
	b, err := ReadFile(fsys, name, 1<<20)
	must(tb, err)
	return string(b)
}

func TestFilesReadWhatWasWritten(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		t.Helper()
		name := filepath.Join(dir, "a")
		f := create(t, fsys, name)
		_, err := f.Write([]byte("hello "))
		must(t, err)
		_, err = f.Write([]byte("world"))
		must(t, err)
		_, err = f.WriteAt([]byte("J"), 0)
		must(t, err)
		_, err = f.WriteAt([]byte("!"), 13)
		must(t, err)
		must(t, f.Sync())
		if got := contents(t, fsys, name); got != "Jello world\x00\x00!" {
			t.Errorf("got %q", got)
		}
		must(t, f.Truncate(5))
		must(t, f.Truncate(7))
		if got := contents(t, fsys, name); got != "Jello\x00\x00" {
			t.Errorf("after truncating %q", got)
		}
		p := make([]byte, 4)
		if n, err := f.ReadAt(p, 5); n != 2 || !errors.Is(err, io.EOF) {
			t.Errorf("reading over the end: %d, %v", n, err)
		}
		must(t, f.Preallocate(3))
		if size, err := f.Size(); size < 7 || err != nil {
			t.Errorf("preallocating less cut the file to %d, %v", size, err)
		}
		must(t, f.Close())
		if err := f.Sync(); err == nil {
			t.Error("a closed file was synced")
		}
		if _, err := ReadFile(fsys, name, 3); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("a file over the limit: %v", err)
		}
	})
}

func TestNames(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		t.Helper()
		at := func(name string) string { return filepath.Join(dir, name) }
		must(t, create(t, fsys, at("b")).Close())
		must(t, create(t, fsys, at("a")).Close())
		must(t, MkdirAll(fsys, at("d/e/f")))
		must(t, MkdirAll(fsys, at("d/e/f")))
		must(t, fsys.Rename(at("b"), at("c")))
		must(t, Replace(fsys, at("a"), []byte("new"), nil))
		if _, err := fsys.OpenFile(at("a"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); !errors.Is(err, fs.ErrExist) {
			t.Errorf("exclusive creation: %v", err)
		}
		for _, err := range []error{fsys.Remove(at("b")), fsys.Rename(at("b"), at("x")), second(Open(fsys, at("b"))), second(fsys.Stat(at("b"))), fsys.SyncDir(at("nowhere"))} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a name that is not there: %v", err)
			}
		}
		if err := fsys.Remove(at("d/e")); err == nil {
			t.Error("a directory with a directory in it was removed")
		}
		entries, err := fsys.ReadDir(dir)
		must(t, err)
		var names []string
		for _, e := range entries {
			info, err := e.Info()
			must(t, err)
			names = append(names, e.Name())
			if e.IsDir() != (e.Name() == "d") || e.Name() == "a" && info.Size() != 3 {
				t.Errorf("%s: %v", e.Name(), info)
			}
		}
		if diff := cmp.Diff([]string{"a", "c", "d"}, names); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
		f, err := Open(fsys, at("a"))
		must(t, err)
		must(t, fsys.Remove(at("a")))
		if b, err := io.ReadAll(f); string(b) != "new" || err != nil {
			t.Errorf("an open file that was removed reads %q, %v", b, err)
		}
		must(t, f.Close())
	})
}

func second[T any](_ T, err error) error { return err }

func TestLock(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		t.Helper()
		name := filepath.Join(dir, "LOCK")
		l, err := fsys.Lock(name)
		must(t, err)
		if _, err := fsys.Lock(name); !errors.Is(err, ErrLocked) {
			t.Errorf("a second lock: %v", err)
		}
		must(t, l.Close())
		l, err = fsys.Lock(name)
		must(t, err)
		must(t, l.Close())
	})
}

// TestLockThatAChildInherits: between its fork and its own program a child has a copy
// of every descriptor; the lock does not wait for it.
func TestLockThatAChildInherits(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "LOCK")
	l, err := OS().Lock(name)
	must(t, err)
	inherited, err := unix.Dup(int(l.(osLock).Fd()))
	must(t, err)
	defer func() { must(t, unix.Close(inherited)) }()
	must(t, l.Close())
	l, err = OS().Lock(name)
	must(t, err)
	must(t, l.Close())
}

func TestSpace(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		t.Helper()
		s, err := fsys.Space(dir)
		if err != nil || s.Free <= 0 || s.Total < s.Free {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// TestPowerCutKeepsWhatWasSynced is the contract of Mem: over many cuts,
// synced bytes under synced names are always there, and each kind of loss of
// the others happens.
func TestPowerCutKeepsWhatWasSynced(t *testing.T) {
	t.Parallel()
	m := NewMem(1)
	must(t, MkdirAll(m, "/d"))
	f := create(t, m, "/d/synced")
	_, err := f.WriteAt(bytes.Repeat([]byte("a"), 4*Sector), 0)
	must(t, err)
	must(t, f.Sync())
	must(t, m.SyncDir("/d"))
	_, err = f.WriteAt(bytes.Repeat([]byte("b"), 4*Sector), Sector/2) // unsynced, over five sectors
	must(t, err)
	must(t, create(t, m, "/d/unsynced").Close())

	seen := map[string]int{}
	for seed := range uint64(400) {
		c := m.CrashClone(rand.New(rand.NewPCG(seed, 0)))
		got := contents(t, c, "/d/synced")
		if len(got) < 4*Sector || got[:Sector/2] != string(bytes.Repeat([]byte("a"), Sector/2)) {
			t.Fatalf("seed %d lost synced bytes", seed)
		}
		kept, reordered := 0, false
		for off := Sector / 2; off < 4*Sector+Sector/2; off += Sector / 2 {
			sector := byte('a')
			if off < len(got) {
				sector = got[off]
			}
			switch {
			case sector == 'b':
				reordered = reordered || kept < off/(Sector/2)-1
				kept++
			case off < 4*Sector && sector != 'a':
				t.Fatalf("seed %d: byte %d is %q", seed, off, sector)
			}
		}
		switch {
		case kept == 0:
			seen["all lost"]++
		case kept == 8:
			seen["all kept"]++
		case reordered:
			seen["reordered"]++
		default:
			seen["torn"]++
		}
		if _, err := c.Stat("/d/unsynced"); err != nil {
			seen["name lost"]++
		} else {
			seen["name kept"]++
		}
	}
	for _, kind := range []string{"all lost", "all kept", "reordered", "torn", "name lost", "name kept"} {
		if seen[kind] < 5 {
			t.Errorf("%q happened %d times in 400 cuts", kind, seen[kind])
		}
	}
}

func TestPowerCutIsDecidedByItsSeed(t *testing.T) {
	t.Parallel()
	m := NewMem(1)
	for _, name := range []string{"/a", "/b", "/c", "/d"} {
		f := create(t, m, name)
		_, err := f.WriteAt(bytes.Repeat([]byte("x"), 3*Sector), 0)
		must(t, err)
	}
	state := func(seed uint64) (s []string) {
		c := m.CrashClone(rand.New(rand.NewPCG(seed, 0)))
		entries, err := c.ReadDir("/")
		must(t, err)
		for _, e := range entries {
			s = append(s, e.Name(), contents(t, c, "/"+e.Name()))
		}
		return s
	}
	for seed := range uint64(50) {
		if diff := cmp.Diff(state(seed), state(seed)); diff != "" {
			t.Fatalf("seed %d gave two states:\n%s", seed, diff)
		}
	}
}

func TestRenameIsAtomicInAPowerCut(t *testing.T) {
	t.Parallel()
	m := NewMem(1)
	must(t, Replace(m, "/cursor", []byte("old"), nil))
	seen := map[string]int{}
	must(t, Replace(m, "/cursor", []byte("new"), func(int) {
		for seed := range uint64(100) {
			seen[contents(t, m.CrashClone(rand.New(rand.NewPCG(seed, 0))), "/cursor")]++
		}
	}))
	if len(seen) != 2 || seen["old"] < 10 || seen["new"] < 10 {
		t.Errorf("power cuts left %v", seen)
	}
	if got := contents(t, m.CrashClone(rand.New(rand.NewPCG(0, 0))), "/cursor"); got != "new" {
		t.Errorf("after Replace %q", got)
	}
}

func TestKillLosesNothingAndSyncsNothing(t *testing.T) {
	t.Parallel()
	m := NewMem(1)
	f := create(t, m, "/a")
	_, err := f.WriteAt([]byte("bytes"), 0)
	must(t, err)
	k := m.KillClone()
	if got := contents(t, k, "/a"); got != "bytes" {
		t.Errorf("the next process reads %q", got)
	}
	lost := 0
	for seed := range uint64(40) {
		if _, err := k.CrashClone(rand.New(rand.NewPCG(seed, 0))).Stat("/a"); err != nil {
			lost++
		}
	}
	if lost == 0 {
		t.Error("the kill made an unsynced name durable")
	}
	if k.Used() != 5 {
		t.Errorf("the clone counts %d bytes", k.Used())
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	m := NewMem(1)
	m.SetBudget(1000)
	f := create(t, m, "/a")
	_, err := f.WriteAt(make([]byte, 900), 0)
	must(t, err)
	if n, err := f.WriteAt(make([]byte, 300), 800); n != 200 || !IsFull(err) {
		t.Errorf("a write over the end of the disk: %d, %v", n, err)
	}
	if err := f.Preallocate(2000); !IsFull(err) {
		t.Errorf("preallocating more than there is: %v", err)
	}
	if s, _ := m.Space("/"); s.Free != 0 || s.Total != 1000 {
		t.Errorf("space %+v", s)
	}
	must(t, f.Truncate(100))
	if m.Used() != 100 {
		t.Errorf("%d used after truncating to 100", m.Used())
	}
	must(t, m.Remove("/a"))
	if m.Used() != 0 {
		t.Errorf("%d used after removing", m.Used())
	}
}

// TestFailedSyncIsNotMadeGoodByTheNext is what Linux does, and why a failed
// sync ends the process.
func TestFailedSyncIsNotMadeGoodByTheNext(t *testing.T) {
	t.Parallel()
	lost := 0
	for seed := range uint64(40) {
		m := NewMem(seed)
		f := create(t, m, "/a")
		must(t, m.SyncDir("/"))
		_, err := f.WriteAt([]byte("bytes"), 0)
		must(t, err)
		m.Inject(func(op Op) error {
			if op.Kind == OpSync && op.N == 1 {
				return syscall.EIO
			}
			return nil
		})
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		must(t, f.Sync())
		if contents(t, m, "/a") != "bytes" {
			t.Fatal("the process does not see what it wrote")
		}
		if contents(t, m.CrashClone(rand.New(rand.NewPCG(seed, 0))), "/a") != "bytes" {
			lost++
		}
	}
	if lost < 5 || lost > 35 {
		t.Errorf("the second sync hid the loss in %d of 40 cases", 40-lost)
	}
}

func TestInjectedFaults(t *testing.T) {
	t.Parallel()
	for kind := range kinds {
		m := NewMem(7)
		must(t, m.MkdirAll("/d", 0o700))
		f := create(t, m, "/d/a")
		fired := 0
		m.Inject(func(op Op) error {
			if op.Kind == kind && op.N == 2 {
				fired++
				return syscall.EIO
			}
			return nil
		})
		failures := 0
		for range 3 {
			for _, err := range []error{
				second(f.WriteAt([]byte("0123456789"), 0)), f.Sync(), m.SyncDir("/d"),
				second(f.ReadAt(make([]byte, 1), 0)), renameToItself(m),
			} {
				if errors.Is(err, syscall.EIO) {
					failures++
				}
			}
		}
		if fired != 1 || failures != 1 {
			t.Errorf("kind %d fired %d times and failed %d operations", kind, fired, failures)
		}
	}
}

// renameToItself makes one OpName.
func renameToItself(m *Mem) error { return m.Rename("/d/a", "/d/a") }
