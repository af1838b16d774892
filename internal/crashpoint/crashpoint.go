// Package crashpoint names the places in the code where a crash is most
// interesting and lets a test, or an operator with TIDEGATE_CRASHPOINT, make
// the process die exactly there.
//
// Invariants: every point stands in the one list that All returns; an unarmed
// Hit costs one atomic load and nothing else; a point is armed by an explicit
// call of Arm or SetHook, never by importing the package.
//
// It does not simulate anything: an armed point ends the process with SIGKILL,
// so that no deferred call, no buffer and no exit handler runs.
//
// Concurrency: all functions are safe for concurrent use. What is armed is one
// value for the whole process, because so is the process that dies.
package crashpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// Env is the environment variable that main hands to Arm.
const Env = "TIDEGATE_CRASHPOINT"

// Point names one place in the code.
type Point string

// The journal's points, in the order in which a group of frames meets them.
const (
	JournalAfterSeal          Point = "journal.afterSeal"          // the old segment is sealed and synced, no new one exists
	JournalAfterSegmentCreate Point = "journal.afterSegmentCreate" // the new segment's header is synced, its name is not
	JournalAfterDirSync       Point = "journal.afterDirSync"       // the new segment's name is synced, it holds no frame
	JournalAfterWrite         Point = "journal.afterWrite"         // a group is written, not synced
	JournalAfterSync          Point = "journal.afterSync"          // a group is synced, nobody was answered
	JournalAfterCursorWrite   Point = "journal.afterCursorWrite"   // the new cursor is synced under its temporary name
	JournalAfterCursorRename  Point = "journal.afterCursorRename"  // the new cursor has its name, the directory is not synced
	JournalAfterTrim          Point = "journal.afterTrim"          // segments are unlinked, the directory is not synced
)

// The loader's points.
const (
	LoadAfterManifest   Point = "load.afterManifest"
	LoadAfterDDL        Point = "load.afterDDL"
	LoadAfterRows       Point = "load.afterRows"
	LoadAfterCommit     Point = "load.afterCommit"
	LoadAfterCheckpoint Point = "load.afterCheckpoint"
	LoadAfterTrim       Point = "load.afterTrim"
)

// The sync runner's points.
const (
	SyncAfterLease   Point = "sync.afterLease"
	SyncAfterPlan    Point = "sync.afterPlan"
	SyncAfterIntent  Point = "sync.afterIntent"
	SyncAfterSend    Point = "sync.afterSend"
	SyncAfterPoll    Point = "sync.afterPoll"
	SyncAfterOutcome Point = "sync.afterOutcome"
	SyncAfterFinish  Point = "sync.afterFinish"
)

// The forwards' points.
const (
	ForwardAfterSend    Point = "forward.afterSend"    // a call was made, nothing of its answer is kept
	ForwardAfterLetters Point = "forward.afterLetters" // what failed is in the store, the cursor has not passed it
	ForwardAfterCursor  Point = "forward.afterCursor"  // the cursor has passed what is settled
)

// All returns every point, wing by wing.
func All() []Point {
	return []Point{
		JournalAfterSeal, JournalAfterSegmentCreate, JournalAfterDirSync, JournalAfterWrite, JournalAfterSync,
		JournalAfterCursorWrite, JournalAfterCursorRename, JournalAfterTrim,
		LoadAfterManifest, LoadAfterDDL, LoadAfterRows, LoadAfterCommit, LoadAfterCheckpoint, LoadAfterTrim,
		SyncAfterLease, SyncAfterPlan, SyncAfterIntent, SyncAfterSend, SyncAfterPoll, SyncAfterOutcome, SyncAfterFinish,
		ForwardAfterSend, ForwardAfterLetters, ForwardAfterCursor,
	}
}

// armed is what Hit does; nil, the production state, is nothing. It is the
// process's only crash point, hence the package's only variable.
var armed atomic.Pointer[func(Point)]

// Hit marks a pass through p. It returns at once unless p is armed.
func Hit(p Point) {
	if f := armed.Load(); f != nil {
		(*f)(p)
	}
}

// Arm parses spec, "POINT" or "POINT:N", and makes the Nth pass through POINT
// kill the process with SIGKILL. An empty spec arms nothing. main calls it
// once, with the value of Env.
func Arm(spec string) error {
	if spec == "" {
		return nil
	}
	name, count, counted := strings.Cut(spec, ":")
	pass := int64(1)
	if counted {
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil || n < 1 {
			return fmt.Errorf("arming crash point %q: the pass %q is not a number from 1 on", spec, count)
		}
		pass = n
	}
	point := Point(name)
	if !slices.Contains(All(), point) {
		return fmt.Errorf("arming crash point %q: no such point; the points are %s", spec, names())
	}
	kill := killAt(point, pass, killSelf)
	armed.Store(&kill)
	return nil
}

// SetHook makes every Hit call hook until the returned function restores what
// was armed before. It is for tests, which must not run in parallel with other
// tests that arm points.
func SetHook(hook func(Point)) (restore func()) {
	before := armed.Swap(&hook)
	return func() { armed.Store(before) }
}

func killAt(point Point, pass int64, kill func()) func(Point) {
	var passes atomic.Int64
	return func(p Point) {
		if p == point && passes.Add(1) == pass {
			kill()
		}
	}
}

// killSelf ends the process without running anything else of it. The wait
// after the signal keeps the goroutine from running past its crash point in the
// microseconds before the kernel delivers it.
func killSelf() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(fmt.Sprintf("killing the process at its crash point: %v", err))
	}
	select {}
}

func names() string {
	var list []string
	for _, p := range All() {
		list = append(list, string(p))
	}
	return strings.Join(list, ", ")
}
