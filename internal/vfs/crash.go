package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Sector is what a disk writes as a whole: a power cut keeps all or nothing of
// a sector, and any mixture of the sectors of what was not synced.
const Sector = 512

// node is a file or a directory. It holds what a running process sees beside
// what is on the disk for certain; the list of changes leads from the second
// to the first.
type node struct {
	linked bool

	data, disk []byte
	changes    []change

	names, diskNames map[string]*node // not nil: a directory
	moves            []move
}

// change is an unsynced write of data at off, or a truncation to the size off.
type change struct {
	off      int64
	data     []byte
	truncate bool
}

// move is an unsynced change of names: a creation (add), a removal (remove) or
// a rename (both, kept or lost together).
type move struct {
	remove, add string
	node        *node
}

func newDir() *node {
	return &node{names: map[string]*node{}, diskNames: map[string]*node{}}
}

func (n *node) isDir() bool { return n.names != nil }

func (n *node) info(base string) memInfo {
	return memInfo{name: base, size: int64(len(n.data)), dir: n.isDir()}
}

func (n *node) change(c change) {
	n.data = c.apply(n.data, func() bool { return true })
	n.changes = append(n.changes, c)
}

func (n *node) move(v move) {
	v.apply(n.names)
	n.moves = append(n.moves, v)
}

// settle brings to the disk the changes and moves that keep chooses, and
// forgets the others.
func (n *node) settle(keep func() bool) {
	for _, c := range n.changes {
		n.disk = c.apply(n.disk, keep)
	}
	n.changes = nil
	n.diskNames = n.surviveNames(keep)
	n.moves = nil
}

func (n *node) surviveNames(keep func() bool) map[string]*node {
	if !n.isDir() {
		return nil
	}
	names := maps.Clone(n.diskNames)
	for _, v := range n.moves {
		if keep() {
			v.apply(names)
		}
	}
	return names
}

// apply returns b with those sectors of c that keep chooses.
func (c change) apply(b []byte, keep func() bool) []byte {
	if c.truncate {
		if keep() {
			b = sized(b, c.off)
		}
		return b
	}
	for done := int64(0); done < int64(len(c.data)); {
		at := c.off + done
		end := min(int64(len(c.data)), done+Sector-at%Sector)
		if keep() {
			if need := c.off + end; need > int64(len(b)) {
				b = sized(b, need)
			}
			copy(b[at:], c.data[done:end])
		}
		done = end
	}
	return b
}

// sized returns b cut or filled up with zeros.
func sized(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	old := len(b)
	if int64(cap(b)) < size {
		b = append(make([]byte, 0, size+size/4), b...)
	}
	b = b[:size]
	clear(b[old:])
	return b
}

func (v move) apply(names map[string]*node) {
	if v.remove != "" && names[v.remove] == v.node {
		delete(names, v.remove)
	}
	if v.add != "" {
		names[v.add] = v.node
	}
}

// CrashClone returns the file system as it may look after the power was cut at
// this moment; m goes on untouched. rng chooses among the possible states, the
// two extremes (everything unsynced lost, nothing lost) included.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	var keep func() bool
	switch rng.IntN(4) {
	case 0:
		keep = func() bool { return false }
	case 1:
		keep = func() bool { return true }
	case 2: // the disk had come this far
		left := rng.IntN(64)
		keep = func() bool { left--; return left >= 0 }
	default:
		percent := rng.IntN(101)
		keep = func() bool { return rng.IntN(100) < percent }
	}
	return m.clone(rng.Uint64(), keep)
}

// KillClone returns the file system as a process finds it that replaces one
// killed at this moment: it sees everything that was written, and what was not
// synced still is not.
func (m *Mem) KillClone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem(m.rng.Uint64())
	c.budget, c.used = m.budget, m.used
	c.root = m.root.copy(map[*node]*node{})
	return c
}

// clone copies m with those unsynced changes that keep chooses.
func (m *Mem) clone(seed uint64, keep func() bool) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem(seed)
	c.budget = m.budget
	c.root = m.root.after(keep, map[*node]*node{})
	c.used = c.root.size()
	return c
}

// after returns what a power cut leaves of n and of everything below it.
func (n *node) after(keep func() bool, seen map[*node]*node) *node {
	if old, ok := seen[n]; ok {
		return old
	}
	if !n.isDir() {
		f := &node{linked: true, disk: slices.Clone(n.disk)}
		for _, c := range n.changes {
			f.disk = c.apply(f.disk, keep)
		}
		f.data = slices.Clone(f.disk)
		seen[n] = f
		return f
	}
	d := newDir()
	seen[n] = d
	names := n.surviveNames(keep)
	for _, base := range slices.Sorted(maps.Keys(names)) { // in order, or the seed would not decide
		d.names[base] = names[base].after(keep, seen)
	}
	maps.Copy(d.diskNames, d.names)
	return d
}

// copy returns n and everything below it, unsynced changes included.
func (n *node) copy(seen map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if old, ok := seen[n]; ok {
		return old
	}
	c := &node{linked: n.linked, data: slices.Clone(n.data), disk: slices.Clone(n.disk), changes: slices.Clone(n.changes)}
	seen[n] = c
	if !n.isDir() {
		return c
	}
	c.names, c.diskNames = map[string]*node{}, map[string]*node{}
	for base, child := range n.names {
		c.names[base] = child.copy(seen)
	}
	for base, child := range n.diskNames {
		c.diskNames[base] = child.copy(seen)
	}
	for _, v := range n.moves {
		v.node = v.node.copy(seen)
		c.moves = append(c.moves, v)
	}
	return c
}

func (n *node) size() int64 {
	total := int64(len(n.data))
	for _, child := range n.names {
		total += child.size()
	}
	return total
}
