package warehousetest

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/tidegate/tidegate/warehouse"
)

// Memory fails when a load or a read of ten times as many rows holds more memory than one
// may that streams. It looks at the heap of the whole process, so the test must run alone:
// it calls no t.Parallel, and nothing of the engine may live in the process.
func Memory(t *testing.T, w warehouse.Warehouse) {
	t.Helper()
	// A million rows that are held take 300 MB: 13 cells of 16 bytes each, and what they point to.
	MemoryWithin(t, w, 100_000, room)
}

// MemoryWithin is Memory with fewer rows, for an engine that is slow, and so with less room.
func MemoryWithin(t *testing.T, w warehouse.Warehouse, few int, room int64) {
	t.Helper()
	source := newRowSource(narrowColumns)
	table := warehouse.Table{Schema: "flat", Name: "t"}
	if _, err := w.Ensure(t.Context(), table, source.schema); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{few, 10 * few} {
		g := newGauge()
		rows := source.reader(n)
		rows.every, rows.look = n/lookings, g.look
		if got, err := w.Load(t.Context(), warehouse.Load{ID: fmt.Sprint(n), Table: table}, rows); err != nil || got != int64(n) {
			t.Fatal(got, err)
		}
		g.judge(t, fmt.Sprintf("a load of %d rows", n), room)
	}
	readWithin(t, w, "SELECT * FROM flat.t", 11*few, room)
}

func readWithin(t *testing.T, w warehouse.Warehouse, sql string, n int, room int64) {
	t.Helper()
	g := newGauge()
	if got := drain(t, w, sql, n/lookings, g.look); got != n {
		t.Errorf("%d rows, want %d", got, n)
	}
	g.judge(t, fmt.Sprintf("a read of %d rows", n), room)
}

const (
	// room is what a stream may hold; an adapter that loads columns has a chunk of rows in hand.
	room = 128 << 20
	// lookings is how often the heap is looked at; the last is near the end.
	lookings = 9
)

// gauge remembers by how much the heap has grown at most.
type gauge struct{ before, most int64 }

func newGauge() *gauge { return &gauge{before: Held()} }

func (g *gauge) look() { g.most = max(g.most, Held()-g.before) }

func (g *gauge) judge(t *testing.T, what string, room int64) {
	t.Helper()
	t.Logf("%s held %d MiB of heap; the process %.0f MiB at its peak", what, g.most>>20, peak())
	if g.most > room {
		t.Errorf("%s held %d bytes of heap, more than %d", what, g.most, room)
	}
}

// Held is what lives on the heap, about. What other goroutines allocate while the collector marks is counted as living until
// it runs again: on a busy machine that is megabytes of rows under way, so the least of a few looks is taken.
func Held() int64 {
	least := int64(math.MaxInt64)
	for range 3 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, int64(m.HeapAlloc))
	}
	return least
}
