package crashpoint

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The tests of this package share the process's one armed point, so none of
// them is parallel.

func TestAllPointsAreDistinctAndNamedAfterAWing(t *testing.T) {
	seen := map[Point]bool{}
	for _, p := range All() {
		if seen[p] {
			t.Errorf("%s stands twice in the list", p)
		}
		seen[p] = true
		wing, name, ok := strings.Cut(string(p), ".")
		if !ok || name == "" || !slices.Contains([]string{"journal", "load", "forward", "sync"}, wing) {
			t.Errorf("%q is not WING.NAME", p)
		}
	}
}

func TestArm(t *testing.T) {
	for _, tc := range []struct {
		name, spec, wantErr string
	}{
		{"empty arms nothing", "", ""},
		{"point alone", "journal.afterSync", ""},
		{"point and pass", "load.afterCommit:3", ""},
		{"unknown point lists the points", "wal.afterSync", "journal.afterSync, journal.afterCursorWrite"},
		{"pass zero", "journal.afterSync:0", "not a number from 1 on"},
		{"pass in words", "journal.afterSync:third", "not a number from 1 on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer armed.Store(nil)
			err := Arm(tc.spec)
			if tc.wantErr == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got := armed.Load() != nil; got != (tc.spec != "") {
					t.Errorf("armed = %v", got)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Fatalf("error %v does not say %q", err, tc.wantErr)
			}
			if armed.Load() != nil {
				t.Error("a refused spec armed a point")
			}
		})
	}
}

func TestSetHookSeesEveryHitAndRestores(t *testing.T) {
	var got []Point
	restore := SetHook(func(p Point) { got = append(got, p) })
	Hit(JournalAfterWrite)
	Hit(SyncAfterSend)
	restore()
	Hit(JournalAfterSync)
	if len(got) != 2 || got[0] != JournalAfterWrite || got[1] != SyncAfterSend {
		t.Errorf("hook saw %v", got)
	}
}

func TestKillAtCountsPassesOfItsPointOnly(t *testing.T) {
	kills := 0
	hit := killAt(LoadAfterRows, 3, func() { kills++ })
	for range 5 {
		hit(LoadAfterCommit)
	}
	hit(LoadAfterRows)
	hit(LoadAfterRows)
	if kills != 0 {
		t.Fatal("killed before the third pass")
	}
	hit(LoadAfterRows)
	hit(LoadAfterRows)
	if kills != 1 {
		t.Errorf("killed %d times, want once", kills)
	}
}

// TestArmedProcessDiesBySIGKILL runs this test binary again as the victim.
func TestArmedProcessDiesBySIGKILL(t *testing.T) {
	if os.Getenv("CRASHPOINT_VICTIM") == "1" {
		if err := Arm(os.Getenv(Env)); err != nil {
			t.Fatal(err)
		}
		Hit(LoadAfterCommit)
		Hit(LoadAfterCommit)
		os.Exit(3)
	}
	victim := exec.Command(os.Args[0], "-test.run=^TestArmedProcessDiesBySIGKILL$")
	victim.Env = append(os.Environ(), "CRASHPOINT_VICTIM=1", Env+"=load.afterCommit:2")
	err := victim.Run()
	status, ok := victim.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the victim ended with %v (%v), want SIGKILL", victim.ProcessState, err)
	}
}

func BenchmarkHitUnarmed(b *testing.B) {
	for b.Loop() {
		Hit(JournalAfterWrite)
	}
}
