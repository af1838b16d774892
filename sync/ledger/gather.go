package ledger

import (
	"math/bits"
	"runtime"
	"sync"
)

const (
	// partRows is about how many fingerprints of a side share a part: their table fits the cache of a processor.
	partRows           = 96 << 10
	minParts, maxParts = 16, 2048
	// blockRows is how many fingerprints are kept in one piece.
	blockRows = 512
)

// gathered is one side of a comparison: the fingerprints of its rows, parted by their
// highest bits. add and addWide are called by several goroutines at once, all else by one afterwards.
type gathered struct {
	parts int
	shift uint
	limit int64
	// wide: each fingerprint is followed by a number.
	wide bool

	mu   sync.Mutex
	idle []*gatherer
	all  []*gatherer
	rows int64
	// over: there were more rows than limit, and what is kept is not all.
	over bool
}

// gatherer is what one goroutine at a time adds to.
type gatherer struct {
	open   [][]int64   // by part, being filled
	filled [][][]int64 // by part
}

// gather prepares for about expected rows, and keeps limit of them at most. Both sides of
// a comparison expect the same, so that their parts are.
func gather(expected, limit int64) *gathered {
	parts := minParts
	for parts < maxParts && expected/int64(parts) > partRows {
		parts *= 2
	}
	return &gathered{parts: parts, shift: uint(63 - bits.TrailingZeros(uint(parts))), limit: limit}
}

// add keeps fingerprints, which have 63 bits.
func (g *gathered) add(values []int64, _ []bool) {
	to := g.begin(len(values))
	if to == nil {
		return
	}
	for _, v := range values {
		part := to.place(v, g.shift)
		to.open[part] = append(to.open[part], v)
	}
	g.end(to)
}

// addWide keeps fingerprints, each with the number of equal place.
func (g *gathered) addWide(values, numbers []int64) {
	to := g.begin(len(values))
	if to == nil {
		return
	}
	for i, v := range values {
		part := to.place(v, g.shift)
		to.open[part] = append(to.open[part], v, numbers[i])
	}
	g.end(to)
}

// place is the part of a fingerprint, in which there is room for it.
func (to *gatherer) place(v int64, shift uint) (part int) {
	part = int(v>>shift) & (len(to.open) - 1)
	if len(to.open[part]) == cap(to.open[part]) {
		to.next(part)
	}
	return part
}

func (g *gathered) end(to *gatherer) {
	g.mu.Lock()
	g.idle = append(g.idle, to)
	g.mu.Unlock()
}

// begin counts rows and lends a gatherer; nil when there are too many.
func (g *gathered) begin(rows int) *gatherer {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rows += int64(rows)
	if g.over = g.over || g.rows > g.limit; g.over {
		g.all, g.idle = nil, nil
		return nil
	}
	if n := len(g.idle); n > 0 {
		to := g.idle[n-1]
		g.idle = g.idle[:n-1]
		return to
	}
	to := &gatherer{open: make([][]int64, g.parts), filled: make([][][]int64, g.parts)}
	g.all = append(g.all, to)
	return to
}

func (to *gatherer) next(part int) {
	if full := to.open[part]; full != nil {
		to.filled[part] = append(to.filled[part], full)
	}
	to.open[part] = make([]int64, 0, blockRows)
}

// blocks are the fingerprints of one part.
func (g *gathered) blocks(part int) (list [][]int64, rows int) {
	for _, from := range g.all {
		list = append(append(list, from.filled[part]...), from.open[part])
	}
	for _, b := range list {
		rows += len(b)
	}
	return list, rows
}

// list is all that was gathered.
func (g *gathered) list() []int64 {
	all := make([]int64, 0, g.rows)
	for part := range g.parts {
		list, _ := g.blocks(part)
		for _, b := range list {
			all = append(all, b...)
		}
	}
	return all
}

// pairs is what the fingerprints of model and ledger come to.
type pairs struct {
	// added are those of the model that the ledger lacks, once for each row; gone those
	// of the ledger that the model lacks.
	added, gone []int64
	// numbers are those of added, where the model's side is wide.
	numbers []int64
	// twins: some fingerprint of one side has several rows on the other.
	twins bool
}

// pair finds the partner of each fingerprint, part by part, and forgets what it was given.
func pair(model, ledger *gathered) pairs {
	workers := min(runtime.NumCPU(), runtime.GOMAXPROCS(0), ledger.parts)
	found := make([]pairs, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			var t table
			for part := w; part < ledger.parts; part += workers {
				t.pair(model, ledger, part, &found[w])
			}
		})
	}
	all.Wait()
	model.all, ledger.all = nil, nil
	var p pairs
	for _, f := range found {
		p.added, p.gone, p.twins = append(p.added, f.added...), append(p.gone, f.gone...), p.twins || f.twins
		p.numbers = append(p.numbers, f.numbers...)
	}
	return p
}

// table holds the ledger's fingerprints of one part, by their lowest bits; 0 is a free slot,
// and each value is kept plus one.
type table struct {
	slots []uint64
	met   []bool
}

// room empties t for rows values.
func (t *table) room(rows int) (mask int) {
	size := 1 << bits.Len(uint(rows*4/3))
	if size > len(t.slots) {
		t.slots, t.met = make([]uint64, size), make([]bool, size)
	}
	clear(t.slots[:size])
	clear(t.met[:size])
	return size - 1
}

func (t *table) pair(model, ledger *gathered, part int, into *pairs) {
	known, rows := ledger.blocks(part)
	mask := t.room(rows)
	slots, met := t.slots[:mask+1], t.met[:mask+1]
	for _, block := range known {
		for _, v := range block {
			at := slotOf(slots, v)
			into.twins = into.twins || slots[at] != 0
			slots[at] = uint64(v) + 1
		}
	}
	now, _ := model.blocks(part)
	step := 1
	if model.wide {
		step = 2
	}
	for _, block := range now {
		for i := 0; i < len(block); i += step {
			v := block[i]
			at := slotOf(slots, v)
			if slots[at] == 0 {
				into.added = append(into.added, v)
				into.numbers = append(into.numbers, block[i+1:i+step]...)
				continue
			}
			into.twins = into.twins || met[at]
			met[at] = true
		}
	}
	for at, v := range slots {
		if v != 0 && !met[at] {
			into.gone = append(into.gone, int64(v-1))
		}
	}
}

// slotOf is where v is, or a free slot. There are always some, the number of slots is a power of two.
func slotOf(slots []uint64, v int64) int {
	mask := len(slots) - 1
	at := int(v) & mask
	for slots[at] != 0 && slots[at] != uint64(v)+1 {
		at = (at + 1) & mask
	}
	return at
}

// among says which values are in list. What it returns may be called by several goroutines at once.
func among(list []int64) func(values []int64, answers []bool) {
	slots := make([]uint64, 1<<bits.Len(uint(2*len(list))))
	// Of sixteen values that are not in list fifteen end at a bit, which is nearer than a slot.
	maybe := make([]uint64, max(len(slots)/8, 1))
	last := int64(64*len(maybe) - 1)
	for _, v := range list {
		slots[slotOf(slots, v)] = uint64(v) + 1
		maybe[v&last>>6] |= 1 << (v & 63)
	}
	return func(values []int64, answers []bool) {
		for i, v := range values {
			if maybe[v&last>>6]>>(v&63)&1 == 1 {
				answers[i] = slots[slotOf(slots, v)] != 0
			}
		}
	}
}
