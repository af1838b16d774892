package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/journal/segment"
	"github.com/tidegate/tidegate/internal/vfs"
)

const (
	segmentSuffix = ".seg"
	sparePrefix   = "spare-"
	cursorsDir    = "cursors"
	quarantineDir = "quarantine"
)

// Open opens the journal in o.Dir, creating it when there is none. It reads
// the ends of sealed segments and the whole of the last one, which it repairs.
func Open(ctx context.Context, o Options) (*Journal, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	j := &Journal{
		o: o, fs: &countedFS{FS: o.FS, skip: o.NoSync},
		room:    semaphore.NewWeighted(int64(o.GroupBytes)),
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}), stopped: make(chan struct{}),
		spares:  spares{wanted: make(chan struct{}, 1)},
		filling: newGroup(nil), cursors: map[string]*cursor{}, retain: o.Retain,
	}
	if err := vfs.MkdirAll(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j.lock, err = o.FS.Lock(j.path("LOCK"))
	if err != nil {
		if errors.Is(err, vfs.ErrLocked) {
			return nil, faultLocked(j.path("LOCK"), err)
		}
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	w, err := j.recover(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the journal %s: %w", o.Dir, err), j.lock.Close())
	}
	j.start(w)
	return j, nil
}

// start begins the journal's goroutines; Close waits for them by stopped.
func (j *Journal) start(w *writer) {
	preparing, stop := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() { j.prepare(preparing) })
	go func() {
		w.run()
		stop()
		both.Wait()
		close(j.stopped)
	}()
}

// recover reads the directory and leaves the journal as it was at its last
// durable offset.
func (j *Journal) recover(ctx context.Context) (*writer, error) {
	for _, dir := range []string{cursorsDir, quarantineDir} {
		if err := vfs.MkdirAll(j.fs, j.path(dir)); err != nil {
			return nil, err
		}
	}
	var err error
	if j.reserve, err = reserveFor(j.fs, j.o); err != nil {
		return nil, err
	}
	if err := j.loadDamage(); err != nil {
		return nil, err
	}
	if err := j.loadCursors(); err != nil {
		return nil, err
	}
	bases, err := j.list()
	if err != nil {
		return nil, err
	}
	if err := j.identify(ctx, len(bases) == 0 && len(j.cursors) == 0 && len(j.damage.list) == 0); err != nil {
		return nil, err
	}
	if j.retain.For <= 0 {
		if err := j.dropPassed(&bases); err != nil {
			return nil, err
		}
	}
	w := &writer{j: j}
	for i, base := range bases {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		next := int64(math.MaxInt64)
		if i+1 < len(bases) {
			next = bases[i+1]
		}
		if err := j.load(base, next); err != nil {
			return nil, err
		}
	}
	if err := j.settleEnd(w); err != nil {
		return nil, err
	}
	// Names that the process before saw but did not sync are durable from here
	// on, as are the bytes that settleEnd rewrote: readers may have them.
	return w, errors.Join(j.fs.SyncDir(j.o.Dir), j.fs.SyncDir(j.path(cursorsDir)))
}

// list finds the segments, keeps usable spares and clears away what a crash
// left half made.
func (j *Journal) list() (bases []int64, err error) {
	entries, err := j.fs.ReadDir(j.o.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, isSegment := strings.CutSuffix(e.Name(), segmentSuffix)
		switch {
		case strings.HasSuffix(e.Name(), vfs.TempSuffix):
			if err := j.fs.Remove(j.path(e.Name())); err != nil {
				return nil, err
			}
		case isSegment && strings.HasPrefix(name, sparePrefix):
			if err := j.keepSpare(e); err != nil {
				return nil, err
			}
		case isSegment:
			base, err := strconv.ParseInt(name, 10, 64)
			if err != nil || base < 0 || segmentName(base) != e.Name() {
				return nil, fmt.Errorf("%s is not the name of a segment; move it away", j.path(e.Name()))
			}
			bases = append(bases, base) // names of equal length: already in order
		}
	}
	return bases, nil
}

func (j *Journal) keepSpare(e fs.DirEntry) error {
	path := j.path(e.Name())
	info, err := e.Info()
	if err != nil {
		return err
	}
	var number int
	if _, err := fmt.Sscanf(e.Name(), sparePrefix+"%d"+segmentSuffix, &number); err == nil {
		j.spares.names = max(j.spares.names, number+1)
	}
	if !j.recyclable(info.Size()) || j.spares.count() >= maxSpares {
		return j.fs.Remove(path)
	}
	j.spares.put(path)
	return nil
}

func (j *Journal) recyclable(size int64) bool {
	return size >= j.o.SegmentBytes && size <= 2*j.o.SegmentBytes
}

// dropPassed removes segments that every cursor has passed, where none is kept for its
// age, as a trim that a crash cut short had begun to. The last one stays: it knows the position.
func (j *Journal) dropPassed(bases *[]int64) error {
	passed, ok := j.passed()
	list := *bases
	for ok && len(list) > 1 && list[1] <= passed {
		if err := j.fs.Remove(j.path(segmentName(list[0]))); err != nil {
			return err
		}
		list = list[1:]
	}
	*bases = list
	return nil
}

// load adds the segment that begins at base; next is where the one after it
// begins, math.MaxInt64 for the last.
func (j *Journal) load(base, next int64) error {
	if n := len(j.segments); n > 0 {
		before := j.segments[n-1].seal
		if before.End > base {
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "journal.overlap", Subject: j.path(segmentName(base)),
				Message: fmt.Sprintf("two segments claim the positions %d to %d", base, before.End),
				Hint:    "one of these files does not belong here: restore the directory as it was",
			}
		}
		if err := j.noteGap(j.segments[n-1], base); err != nil {
			return err
		}
	}
	path, last := j.path(segmentName(base)), next == math.MaxInt64
	flag := os.O_RDONLY
	if last {
		flag = os.O_RDWR
	}
	f, err := j.fs.OpenFile(path, flag, 0)
	if err != nil {
		return err
	}
	p := &piece{path: path}
	err = j.loadPiece(f, p, last)
	if err = errors.Join(err, f.Close()); errors.Is(err, segment.ErrHeader) {
		return j.setAside(path, base, next)
	}
	if err != nil {
		return fmt.Errorf("loading %s: %w", path, err)
	}
	if p.base() != base {
		return fmt.Errorf("loading %s: its header says that it begins at %d", path, p.base())
	}
	j.segments = append(j.segments, p)
	return nil
}

func (j *Journal) loadPiece(f vfs.File, p *piece, last bool) error {
	var err error
	if p.header, err = segment.ReadHeader(f); err != nil {
		return err
	}
	if p.size, err = f.Size(); err != nil {
		return err
	}
	p.seal, err = segment.ReadSeal(f, p.size, p.header)
	if err == nil && last { // its writer may have died while it wrote the seal
		p.index, err = p.seal.ReadIndex(f, p.header)
	}
	if err == nil {
		p.sealed = true
		if last { // or before it had synced it
			return rewrite(f, span{p.seal.DataEnd, p.seal.IndexEnd()}, span{p.size - segment.TrailerSize, p.size})
		}
		return nil
	}
	if !errors.Is(err, segment.ErrNoSeal) && !errors.Is(err, segment.ErrIndex) {
		return err
	}
	rec, err := segment.Recover(f, p.size, p.header)
	if err != nil {
		return err
	}
	p.seal, p.index, p.sealed = rec.Seal, rec.Index, !last
	for _, d := range rec.Damage {
		j.noteDamage(f, p, d)
	}
	if !last {
		j.o.Log.Warn("a journal segment has lost its seal", "path", p.path)
		return nil
	}
	j.counts.tornBytes += rec.TornBytes
	return j.repair(f, rec)
}

// repair cuts the torn tail off and makes what is left durable.
func (j *Journal) repair(f vfs.File, rec segment.Recovered) error {
	if err := f.Truncate(rec.DataEnd); err != nil {
		return fmt.Errorf("cutting off the torn tail: %w", err)
	}
	return rewrite(f, span{rec.LastGroup, rec.DataEnd})
}

// span is a range of a file, without the byte at its end.
type span struct{ from, to int64 }

// rewrite writes once more what it reads, and syncs. A sync alone would not do:
// if the one of the process before failed, the kernel may hold the bytes as
// clean though the disk never got them.
func rewrite(f vfs.File, spans ...span) error {
	for _, s := range spans {
		again := make([]byte, s.to-s.from)
		if n, err := f.ReadAt(again, s.from); n < len(again) {
			return fmt.Errorf("reading what may not be durable: %w", err)
		}
		if _, err := f.WriteAt(again, s.from); err != nil {
			return fmt.Errorf("rewriting what may not be durable: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing what may not be durable: %w", err)
	}
	return nil
}

// setAside keeps a copy of a segment of which both headers are gone: without
// its nonce nothing in it can be told from anything else. Its positions are
// lost; where it was the last one, as many are skipped as it may have held.
func (j *Journal) setAside(path string, base, next int64) error {
	f, err := vfs.Open(j.fs, path)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil {
		if next == math.MaxInt64 {
			next = base + size // a frame has no more events than bytes
		}
		j.noteDamage(f, &piece{header: segment.Header{Base: base}}, segment.Damage{To: size, First: base, Next: next})
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	j.durable = max(j.durable, next)
	return j.fs.Remove(path)
}

// noteGap reports positions between two segments that no file holds. Where every reader
// has passed them it is what a trim, cut short by a crash, had begun to remove: the segments
// before them, which it was to remove too, go.
func (j *Journal) noteGap(before *piece, base int64) error {
	passed, ok := j.passed()
	end := max(before.seal.End, j.durable) // a segment in between may have been set aside
	switch {
	case end >= base, j.damage.covers(end, base): // what was set aside in an earlier life is known
	case !ok || base > passed:
		j.noteDamage(nil, before, segment.Damage{From: before.seal.DataEnd, To: before.seal.DataEnd, First: end, Next: base})
	default:
		for _, p := range j.segments {
			if err := j.fs.Remove(p.path); err != nil {
				return err
			}
		}
		j.segments = nil
	}
	return nil
}

// settleEnd decides the next position. It lies behind everything that any
// reader has passed: a position that was read is never given again.
func (j *Journal) settleEnd(w *writer) error {
	end := max(j.durable, j.identity.begin) // durable is more than 0 if the last segment was set aside
	var last *piece
	if n := len(j.segments); n > 0 {
		last = j.segments[n-1]
		end = max(end, last.seal.End)
		w.lastAt = last.seal.LastAt
	}
	ahead := end
	for _, c := range j.cursors {
		ahead = max(ahead, c.committed)
	}
	for _, d := range j.damage.list {
		ahead = max(ahead, d.Next.Position)
	}
	if passed, ok := j.passed(); ok && last != nil && passed < j.oldest() {
		j.noteDamage(nil, j.segments[0], segment.Damage{First: passed, Next: j.oldest()})
	}
	if ahead > end {
		lost := segment.Damage{First: end, Next: ahead}
		if last == nil {
			last = &piece{}
		} else {
			lost.From, lost.To = last.seal.DataEnd, last.seal.DataEnd
		}
		j.noteDamage(nil, last, lost)
	}
	if len(j.segments) > 0 {
		w.piece = j.segments[len(j.segments)-1]
	}
	j.durable, w.position = ahead, ahead
	return nil
}
