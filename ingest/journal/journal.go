// Package journal keeps accepted events on disk until every reader has passed
// them. It is the place where "accepted" becomes true: Append returns once the
// bytes are synced, the file's name included.
//
// # Files
//
//	LOCK                       held by the one process that has the journal open
//	identity                   a random name, made with the journal; see Identity below
//	00000000000000000000.seg   a segment, named by the position of its first event
//	spare-0.seg                a file prepared to become a segment: recycled, or written with zeros
//	cursors/NAME               how far a reader has come
//	quarantine/…               the bytes of ranges that did not verify
//
// A segment is written by one process in one life: Open cuts off what a dead
// writer left unfinished, and the first append begins a new segment.
//
//	spare ──header synced, renamed, directory synced──▶ active ──index and trailer synced──▶ sealed ──all readers passed──▶ spare or gone
//
// # Identity
//
// Positions alone do not say which event they mean: a journal that was lost and
// made anew gives them out once more, and so does one that was put back from a
// backup. Whoever keeps a place outside of the folder keeps its Mark with it, and
// asks Fits before he goes on there. The name is durable before the first frame. A
// journal of an earlier version gets one when it is opened, as does one whose file
// is gone or damaged, which a power cut does not do: the worst that follows is that
// a reader stops and asks, and then reads again what is kept. Only on a disk
// without room a journal goes without a name until the next Open, and marks nothing.
//
// # Group commit
//
// Append copies its frame into the group that is filling. One goroutine takes
// the group whenever it is free, writes it, syncs, and answers all its callers;
// meanwhile the next group fills. Nothing lingers for company: the sync of the
// group before is the only wait. Files prepared in advance are written with
// zeros because that measured fastest (docs/decisions/20261121-journal-format.md);
// the first segment of a life is only claimed, and gives way to such a file once
// there is traffic.
//
// # Invariants
//
// Invariant 1: Append returns nil only for what a power cut cannot take back.
// Positions are never used twice for events that anyone could have read. A
// reader sees durable frames only, in order. A segment goes only when every
// cursor has passed it (and, by Retain, not before some time, as long as there is room), and none goes while there is no cursor or one of them
// cannot be read (invariant 8). Damage is skipped, kept, counted and reported,
// never passed over in silence (invariant 7).
//
// The package does not know what a payload is, does not drop repeats and does
// not retry a sync that failed: it calls Options.Fatal.
//
// Concurrency: a Journal is safe for concurrent use. A Reader is too, but its
// calls take turns. The journal owns two goroutines, the one that syncs and the
// one that prepares segments; Close waits for both.
package journal

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/journal/segment"
	"github.com/tidegate/tidegate/internal/vfs"
)

// Journal is an append-only log of frames, open in this process.
type Journal struct {
	o       Options
	fs      *countedFS
	reserve int64
	lock    io.Closer

	identity identity // set by Open

	room    *semaphore.Weighted // bytes that the filling group still takes
	wake    chan struct{}       // something was appended; holds one
	closing chan struct{}       // closed by Close
	stopped chan struct{}       // closed when both goroutines have ended
	spares  spares

	// disk is held for whatever changes names or cursors on the disk, except
	// by the writer. It is taken before mu.
	disk sync.Mutex

	sealSoon atomic.Bool // the next append begins a new segment

	mu       sync.Mutex
	filling  *group
	closed   bool
	failed   error
	full     bool
	refusal  error    // why, while full
	segments []*piece // by base; the last one may be growing
	durable  int64
	changed  chan struct{} // closed when durable moves or the journal ends; nil while nobody waits
	cursors  map[string]*cursor
	damage   damageList
	counts   counts
	retain   Retention
}

type counts struct {
	frames, events, groups, refused int64
	tornBytes                       int64
}

// group is what one sync makes durable.
type group struct {
	buf    []byte // frames without stamps
	frames int64
	events int64
	weight int64 // of room

	done  chan struct{}
	first int64 // valid once done is closed, as is err
	err   error
}

func newGroup(buf []byte) *group { return &group{buf: buf[:0], done: make(chan struct{})} }

// piece is a segment as the journal and its readers see it. What changes is
// guarded by Journal.mu.
type piece struct {
	path   string
	header segment.Header
	// written: every block of the file was written before it became a segment.
	written bool

	seal   segment.Seal // of a growing segment: as far as it is durable
	index  segment.Index
	sealed bool  // seal and index stand in the file; index may have to be loaded
	size   int64 // of the file, once sealed
	refs   int   // readers that have it open
}

func (p *piece) base() int64 { return p.header.Base }
func (p *piece) bytes() int64 {
	return p.seal.DataEnd - segment.DataStart
}

// filled says whether most of the file's blocks were written. What was only claimed
// is no better than a new file.
func (p *piece) filled(size int64) bool { return p.written || p.seal.DataEnd >= size/2 }

func segmentName(base int64) string { return fmt.Sprintf("%020d.seg", base) }

func (j *Journal) path(elements ...string) string {
	return filepath.Join(append([]string{j.o.Dir}, elements...)...)
}

// Append makes payload durable as one frame of so many events and returns the
// offset of the first of them. events is at least 1 and at most len(payload).
// Payload may be reused once Append has returned.
//
// An error that wraps ErrFull, ErrClosed or ErrTooLarge says that nothing was
// kept. After ErrFailed, and when ctx ends after the frame has joined a group,
// it is not known: the frame may yet be read.
func (j *Journal) Append(ctx context.Context, payload []byte, events int) (tidegate.Offset, error) {
	if len(payload) > j.o.MaxFrameBytes {
		return tidegate.Offset{}, faultTooLarge(len(payload), j.o.MaxFrameBytes)
	}
	if events < 1 || events > len(payload) {
		return tidegate.Offset{}, fmt.Errorf("appending to the journal: %d events in %d bytes", events, len(payload))
	}
	weight := int64(min(segment.FrameHeaderSize+len(payload), j.o.GroupBytes))
	if err := j.room.Acquire(ctx, weight); err != nil {
		return tidegate.Offset{}, err
	}
	g, ahead, err := j.join(payload, int64(events), weight)
	if err != nil {
		j.room.Release(weight)
		return tidegate.Offset{}, err
	}
	select {
	case j.wake <- struct{}{}:
	default: // the writer has been told
	}
	if err := g.wait(ctx); err != nil {
		return tidegate.Offset{}, err
	}
	return tidegate.Offset{Position: g.first + ahead}, nil
}

// wait returns when the group is durable, or has failed, or ctx ends.
func (g *group) wait(ctx context.Context) error {
	if ctx.Done() == nil { // a choice of one costs half of a choice of two
		<-g.done
		return g.err
	}
	select {
	case <-g.done:
	case <-ctx.Done():
		select {
		case <-g.done: // both; the outcome is worth more
		default:
			return ctx.Err()
		}
	}
	return g.err
}

// join adds a frame to the filling group, in which ahead events come before it.
func (j *Journal) join(payload []byte, events, weight int64) (g *group, ahead int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.usable(); err != nil {
		return nil, 0, err
	}
	g = j.filling
	ahead = g.events
	g.buf = segment.AppendFrame(g.buf, payload, int(events))
	g.frames++
	g.events += events
	g.weight += weight
	return g, ahead, nil
}

// usable is called with mu held.
func (j *Journal) usable() error {
	if j.failed != nil {
		return faultFailed(j.o.Dir, j.failed)
	}
	if j.closed {
		return faultClosed(j.o.Dir)
	}
	return nil
}

// Durable returns the next offset; everything below it is durable.
func (j *Journal) Durable() tidegate.Offset {
	j.mu.Lock()
	defer j.mu.Unlock()
	return tidegate.Offset{Position: j.durable}
}

// oldest is called with mu held.
func (j *Journal) oldest() int64 {
	if len(j.segments) == 0 {
		return j.durable
	}
	return j.segments[0].base()
}

// wait returns a channel that is closed when there may be something new to
// read, or nothing ever again.
func (j *Journal) wait() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return j.changed
}

// announce is called with mu held.
func (j *Journal) announce() {
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// Close refuses further appends, answers those that were accepted, and waits
// for the journal's goroutines. When ctx ends first they are still running and
// the directory is still locked; another call waits on.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		close(j.closing)
		j.announce()
	}
	j.mu.Unlock()
	select {
	case <-j.stopped:
	case <-ctx.Done():
		return fmt.Errorf("closing the journal %s: %w", j.o.Dir, ctx.Err())
	}
	j.disk.Lock()
	defer j.disk.Unlock()
	if j.lock == nil {
		return nil
	}
	err := j.lock.Close()
	j.lock = nil
	if err != nil {
		return fmt.Errorf("closing the journal %s: %w", j.o.Dir, err)
	}
	return nil
}

// countedFS counts syncs, or leaves them out.
type countedFS struct {
	vfs.FS
	skip  bool
	syncs atomic.Int64
}

func (c *countedFS) SyncDir(name string) error {
	if c.skip {
		return nil
	}
	c.syncs.Add(1)
	return c.FS.SyncDir(name)
}

func (c *countedFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &countedFile{File: f, fs: c}, nil
}

type countedFile struct {
	vfs.File
	fs *countedFS
}

func (f *countedFile) Sync() error {
	if f.fs.skip {
		return nil
	}
	f.fs.syncs.Add(1)
	return f.File.Sync()
}
