package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Kind is what an operation does, for those who inject faults.
type Kind uint8

// The operations that can be made to fail.
const (
	OpWrite   Kind = iota // File.Write, File.WriteAt, File.Truncate and File.Preallocate
	OpSync                // File.Sync
	OpSyncDir             // FS.SyncDir
	OpRead                // File.Read and File.ReadAt
	OpName                // OpenFile with O_CREATE, Rename, Remove, MkdirAll
	kinds
)

// Op is one operation that is about to happen.
type Op struct {
	Kind Kind
	Name string // of the file or directory
	N    int    // how many operations of this kind there were, this one included
}

// Mem is a file system in memory that knows what a power cut would leave of it.
type Mem struct {
	mu     sync.Mutex
	root   *node
	budget int64 // bytes that all files together may hold; 0 is without limit
	used   int64
	inject func(Op) error
	counts [kinds]int
	rng    *rand.Rand // what a failing operation leaves half done
	locks  map[string]bool
}

// NewMem returns an empty file system. The seed decides what operations that
// fail leave half done.
func NewMem(seed uint64) *Mem {
	return &Mem{root: newDir(), rng: rand.New(rand.NewPCG(seed, 0)), locks: map[string]bool{}}
}

// SetBudget limits the bytes that all files together may hold; 0 lifts the
// limit. A write beyond it stores what fits and fails with ENOSPC.
func (m *Mem) SetBudget(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.budget = bytes
}

// Used returns the bytes that all files together hold.
func (m *Mem) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Inject asks before every operation whether it shall fail, and with what. A
// write that fails has stored a part of its bytes; a sync that fails has made
// a part of the unsynced changes durable and, as Linux does, calls the others
// clean: no later sync brings them to the disk. before must not use m.
func (m *Mem) Inject(before func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inject = before
	m.counts = [kinds]int{}
}

func (m *Mem) ask(k Kind, name string) error {
	m.counts[k]++
	if m.inject == nil {
		return nil
	}
	if err := m.inject(Op{Kind: k, Name: name, N: m.counts[k]}); err != nil {
		return &fs.PathError{Op: "injected fault", Path: name, Err: err}
	}
	return nil
}

func elements(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean(name)), "/")
	if name == "." || name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func (m *Mem) lookup(op, name string) (*node, error) {
	n := m.root
	for _, e := range elements(name) {
		next, ok := n.names[e]
		if !ok {
			return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT}
		}
		n = next
	}
	return n, nil
}

func (m *Mem) parent(op, name string) (*node, string, error) {
	dir, err := m.lookup(op, filepath.Dir(name))
	if err != nil {
		return nil, "", err
	}
	if !dir.isDir() {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return dir, filepath.Base(name), nil
}

// OpenFile opens a file. O_APPEND is not offered.
func (m *Mem) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("open", name)
	if err != nil {
		return nil, err
	}
	n, exists := dir.names[base]
	switch {
	case exists && n.isDir():
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case exists && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EEXIST}
	case !exists && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case !exists:
		if err := m.ask(OpName, name); err != nil {
			return nil, err
		}
		n = &node{linked: true}
		dir.move(move{add: base, node: n})
	}
	f := &memFile{m: m, n: n, name: name, writable: flag&(os.O_WRONLY|os.O_RDWR) != 0}
	if exists && flag&os.O_TRUNC != 0 {
		m.resize(n, 0)
	}
	return f, nil
}

// Rename replaces newname, in the same directory only.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if filepath.Dir(oldname) != filepath.Dir(newname) {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: syscall.EXDEV}
	}
	dir, base, err := m.parent("rename", oldname)
	if err != nil {
		return err
	}
	n, ok := dir.names[base]
	if !ok {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: syscall.ENOENT}
	}
	if err := m.ask(OpName, oldname); err != nil {
		return err
	}
	to := filepath.Base(newname)
	if replaced, ok := dir.names[to]; ok && replaced != n {
		m.unlink(replaced)
	}
	dir.move(move{remove: base, add: to, node: n})
	return nil
}

// Remove takes a file or an empty directory away. Open files stay readable.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n, ok := dir.names[base]
	if !ok {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOENT}
	}
	if len(n.names) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	if err := m.ask(OpName, name); err != nil {
		return err
	}
	m.unlink(n)
	dir.move(move{remove: base, node: n})
	return nil
}

func (m *Mem) unlink(n *node) {
	if n.linked {
		m.used -= int64(len(n.data))
	}
	n.linked = false
}

// MkdirAll makes a directory and those above it. Their names need SyncDir of
// the directory above to be durable.
func (m *Mem) MkdirAll(name string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, e := range elements(name) {
		next, ok := n.names[e]
		if !ok {
			if err := m.ask(OpName, name); err != nil {
				return err
			}
			next = newDir()
			n.move(move{add: e, node: next})
		}
		if !next.isDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		n = next
	}
	return nil
}

// ReadDir lists a directory in the order of names.
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	list := make([]fs.DirEntry, 0, len(dir.names))
	for base, n := range dir.names {
		list = append(list, fs.FileInfoToDirEntry(n.info(base)))
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// Stat describes a file or directory.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(filepath.Base(name)), nil
}

// SyncDir makes the names in a directory durable, but not what they name.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.lookup("syncdir", name)
	if err != nil {
		return err
	}
	if err := m.ask(OpSyncDir, name); err != nil {
		dir.settle(func() bool { return m.rng.IntN(2) == 0 })
		return err
	}
	dir.settle(func() bool { return true })
	return nil
}

// Space tells the budget and what is left of it.
func (m *Mem) Space(string) (Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.budget == 0 {
		return Space{Total: 1 << 50, Free: m.free()}, nil
	}
	return Space{Total: m.budget, Free: m.free()}, nil
}

// Lock takes name. A crash clone holds no locks.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return nil, fmt.Errorf("locking %s: %w", name, ErrLocked)
	}
	m.locks[name] = true
	return &memLock{m: m, name: name}, nil
}

type memLock struct {
	m    *Mem
	name string
}

// Close gives the lock back.
func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.name)
	return nil
}

// free returns what is left of the budget.
func (m *Mem) free() int64 {
	if m.budget == 0 {
		return 1<<50 - m.used
	}
	return max(0, m.budget-m.used)
}

func (m *Mem) resize(n *node, size int64) {
	if n.linked {
		m.used += size - int64(len(n.data))
	}
	n.change(change{off: size, truncate: true})
}

type memFile struct {
	m        *Mem
	n        *node
	name     string
	writable bool
	pos      int64 // guarded by m.mu, as is closed
	closed   bool
}

func (f *memFile) usable(op string, write bool) error {
	if f.closed {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	}
	if write && !f.writable {
		return &fs.PathError{Op: op, Path: f.name, Err: syscall.EBADF}
	}
	return nil
}

func (f *memFile) readAt(p []byte, off int64) (int, error) {
	if err := f.usable("read", false); err != nil {
		return 0, err
	}
	if err := f.m.ask(OpRead, f.name); err != nil {
		return 0, err
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.readAt(p, off)
}

func (f *memFile) Read(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n, err := f.readAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *memFile) writeAt(p []byte, off int64) (int, error) {
	if err := f.usable("write", true); err != nil {
		return 0, err
	}
	fault := f.m.ask(OpWrite, f.name)
	if fault != nil {
		p = p[:f.m.rng.IntN(len(p)+1)]
	}
	full := false
	if size := int64(len(f.n.data)); f.n.linked {
		if room := size + f.m.free() - off; room < int64(len(p)) && off+int64(len(p)) > size {
			p, full = p[:max(0, room)], true
		}
		if len(p) > 0 {
			f.m.used += max(0, off+int64(len(p))-size)
		}
	}
	if len(p) > 0 {
		f.n.change(change{off: off, data: slices.Clone(p)})
	}
	switch {
	case fault != nil:
		return len(p), fault
	case full:
		return len(p), &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	return len(p), nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.writeAt(p, off)
}

func (f *memFile) Write(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n, err := f.writeAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usable("truncate", true); err != nil {
		return err
	}
	if err := f.m.ask(OpWrite, f.name); err != nil {
		return err
	}
	f.m.resize(f.n, size)
	return nil
}

func (f *memFile) Preallocate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usable("fallocate", true); err != nil {
		return err
	}
	if err := f.m.ask(OpWrite, f.name); err != nil {
		return err
	}
	more := size - int64(len(f.n.data))
	if more <= 0 {
		return nil
	}
	if more > f.m.free() {
		return &fs.PathError{Op: "fallocate", Path: f.name, Err: syscall.ENOSPC}
	}
	f.m.resize(f.n, size)
	return nil
}

// WriteZeros has no cache to go past: what it wrote is durable with the next Sync.
func (f *memFile) WriteZeros(off, n int64) error {
	_, err := f.WriteAt(make([]byte, n), off)
	return err
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), f.usable("stat", false)
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usable("sync", false); err != nil {
		return err
	}
	if err := f.m.ask(OpSync, f.name); err != nil {
		f.n.settle(func() bool { return f.m.rng.IntN(2) == 0 })
		return err
	}
	f.n.settle(func() bool { return true })
	return nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usable("close", false); err != nil {
		return err
	}
	f.closed = true
	return nil
}

type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
