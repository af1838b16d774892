package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/journal/segment"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/internal/vfs"
)

// writer is the state of the goroutine that writes and syncs. Nothing in it is
// shared.
type writer struct {
	j     *Journal
	buf   []byte // of the group before, to be filled again
	stamp segment.Stamper

	piece     *piece   // the last segment, nil before the first
	file      vfs.File // nil before the first segment and after sealing
	accepting bool     // piece takes frames; false at first and while it cannot be followed
	off       int64    // where the next frame goes
	claimed   int64    // up to here the file has its space
	position  int64    // of the next event
	lastAt    int64
	failed    error
}

// errRefused marks an error after which the journal stands where it stood
// before and goes on.
var errRefused = errors.New("the group was refused")

// run answers groups until the journal is closed and the last one is answered.
func (w *writer) run() {
	for {
		closing := false
		select {
		case <-w.j.wake:
		case <-w.j.closing:
			closing = true
		}
		if w.j.lightGroup() {
			runtime.Gosched()
		}
		g := w.take()
		if g != nil {
			w.commit(g)
		} else if closing {
			break
		}
	}
	if w.file != nil {
		if err := w.file.Close(); err != nil {
			w.j.o.Log.Warn("closing a journal segment failed", "path", w.piece.path, "error", err)
		}
	}
}

const pageBytes = 4 << 10

// lightFrame is how large the frames of a group are on average for which the writer
// makes way.
const lightFrame = 4 << 10

// lightGroup says whether the writer should let others run before it takes the group
// that fills. Those whom the group before has just answered are about to append again;
// where they append little that costs a lone producer nothing and makes groups half as
// large again (measured: 1.5 times the rate at 64 producers of 600 bytes). Those who
// append much have long to work for it, and the disk would wait for them meanwhile and
// the processors for the disk afterwards (0.9 times the rate of batches of 100).
func (j *Journal) lightGroup() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return int64(len(j.filling.buf)) < lightFrame*j.filling.frames || j.filling.frames == 0
}

// take returns the filling group, nil if it is empty, and lets the next fill.
func (w *writer) take() *group {
	j := w.j
	j.mu.Lock()
	g := j.filling
	if g.frames == 0 {
		j.mu.Unlock()
		return nil
	}
	j.filling = newGroup(w.buf)
	w.buf = nil
	j.mu.Unlock()
	j.room.Release(g.weight)
	return g
}

// commit makes g durable and answers it.
func (w *writer) commit(g *group) {
	dir := w.j.o.Dir
	err := w.failed
	if err == nil {
		err = w.write(g)
	}
	switch {
	case err == nil:
	case errors.Is(err, errRefused):
		g.err = faultRefused(dir, err)
		w.refuse(g)
	default:
		g.err = faultFailed(dir, err)
		w.fail(err)
	}
	if keep := 4 * w.j.o.GroupBytes; cap(g.buf) <= keep {
		w.buf = g.buf
	}
	g.buf = nil
	close(g.done)
}

// write brings g to the disk. Its error wraps errRefused if the journal can go on.
func (w *writer) write(g *group) error {
	if err := w.makeRoom(int64(len(g.buf))); err != nil {
		return err
	}
	at := max(w.j.o.Now().UnixNano(), w.lastAt)
	seal, index := w.piece.seal, w.piece.index // only this goroutine changes them
	if seal.Frames == 0 {
		seal.FirstAt = at
	}
	position, off := w.position, w.off
	for rest := g.buf; len(rest) > 0; {
		events, size := w.stamp.Stamp(rest, position, at, w.position)
		index = index.Add(segment.Place{Offset: off, Position: position, Appended: at})
		position += events
		off += int64(size)
		rest = rest[size:]
	}
	w.fillPage(g)
	if _, err := w.file.WriteAt(g.buf, w.off); err != nil {
		return w.rewind(fmt.Errorf("writing to %s: %w", w.piece.path, err))
	}
	crashpoint.Hit(crashpoint.JournalAfterWrite)
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", w.piece.path, err) // Never again on this file: what the kernel holds of it is unknown.
	}
	crashpoint.Hit(crashpoint.JournalAfterSync)
	g.first = w.position
	w.position, w.off, w.lastAt = position, off, at
	w.claimed = max(w.claimed, off)
	seal.End, seal.DataEnd, seal.LastAt = position, off, at
	seal.Frames += g.frames
	w.publish(g, seal, index)
	return nil
}

// fillPage ends g with zeros where its page ends, in a file whose blocks were written
// before: what the system does not hold of that page it would read from the disk
// first. The next group writes over them.
func (w *writer) fillPage(g *group) {
	end := w.off + int64(len(g.buf))
	if rest := -end & (pageBytes - 1); w.piece.written && end+rest <= w.claimed {
		g.buf = append(g.buf, make([]byte, rest)...)
	}
}

// publish lets readers see what has become durable.
func (w *writer) publish(g *group, seal segment.Seal, index segment.Index) {
	j := w.j
	j.mu.Lock()
	defer j.mu.Unlock()
	w.piece.seal, w.piece.index = seal, index
	j.durable = seal.End
	j.counts.groups++
	j.counts.frames += g.frames
	j.counts.events += g.events
	if j.full {
		j.full, j.refusal = false, nil
		j.o.Log.Info("the journal accepts events again", "dir", j.o.Dir)
	}
	j.announce()
}

// rewind goes back to the last durable offset after a write that found no
// room. Any other failure is returned as it is.
func (w *writer) rewind(cause error) error {
	if !vfs.IsFull(cause) {
		return cause
	}
	if err := w.file.Truncate(w.off); err != nil {
		return fmt.Errorf("going back to the last durable offset of %s: %w", w.piece.path, errors.Join(err, cause))
	}
	w.claimed = w.off
	return errors.Join(errRefused, cause)
}

func (w *writer) refuse(g *group) {
	j := w.j
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counts.refused += g.frames
	j.refusal = g.err
	if !j.full {
		j.full = true
		j.o.Log.Warn("the journal refuses events", "error", g.err, "hint", tidegate.FaultOf(g.err).Hint)
	}
}

// fail ends the journal: nothing is answered with success from here on.
func (w *writer) fail(cause error) {
	if w.failed != nil {
		return
	}
	w.failed = cause
	j := w.j
	j.mu.Lock()
	j.failed = cause
	j.announce()
	j.mu.Unlock()
	j.o.Fatal(faultFailed(j.o.Dir, cause))
}

// makeRoom sees to it that n bytes can be written at w.off, in a new segment if
// the last one is full.
func (w *writer) makeRoom(n int64) error {
	full := w.off > segment.DataStart && (w.off+n > w.j.o.SegmentBytes || w.j.sealSoon.Swap(false) || w.busy(n) && w.j.spares.count() > 0)
	if !w.accepting || full {
		if err := w.roll(n); err != nil {
			return err
		}
	}
	if w.off+n > w.claimed {
		if err := w.j.claim(n); err != nil {
			return err
		}
	}
	if w.off+n > w.j.o.SegmentBytes/4 || w.busy(n) {
		w.j.spares.ask()
	}
	return nil
}

// busyFrom is how much a segment takes whose blocks were never written before the
// journal looks for one to go on in: an idle hub writes no file in advance.
const busyFrom = 1 << 20

// busy says whether the segment should make way for one that was written in
// advance: until then every sync waits for the file system's own journal, which
// is twice the time and more when other programs write.
func (w *writer) busy(n int64) bool {
	return w.piece != nil && !w.piece.written && w.off+n > busyFrom
}

// roll seals the last segment and begins the next.
func (w *writer) roll(n int64) error {
	w.accepting = false
	if w.piece != nil && !w.piece.sealed && w.piece.seal.Frames > 0 {
		if err := w.sealPiece(); err != nil {
			return err
		}
		crashpoint.Hit(crashpoint.JournalAfterSeal)
	}
	header := segment.Header{Base: w.position, Created: w.j.o.Now(), Nonce: nonce()}
	file, claimed, written, err := w.create(header, n)
	if err != nil {
		return err
	}
	if w.file != nil { // a segment without a frame: the new one took its name
		_ = w.file.Close()
	}
	w.file, w.off, w.claimed, w.accepting = file, segment.DataStart, claimed, true
	w.stamp = header.Stamper()
	w.piece = &piece{
		path: w.j.path(segmentName(header.Base)), header: header, written: written,
		seal: segment.Seal{End: header.Base, DataEnd: segment.DataStart},
	}
	j := w.j
	j.mu.Lock()
	defer j.mu.Unlock()
	if last := len(j.segments) - 1; last >= 0 && j.segments[last].base() == header.Base {
		j.segments = j.segments[:last]
	}
	j.segments = append(j.segments[:len(j.segments):len(j.segments)], w.piece)
	return nil
}

// sealPiece writes and syncs index and trailer behind the last frame. After an
// error that wraps errRefused it can be called again.
func (w *writer) sealPiece() error {
	p := w.piece
	if w.file == nil { // left by a process before this one
		f, err := w.j.fs.OpenFile(p.path, os.O_RDWR, 0)
		if err != nil {
			return errors.Join(errRefused, fmt.Errorf("sealing a segment: %w", err))
		}
		w.file, w.off = f, p.seal.DataEnd
	}
	size, err := w.file.Size()
	if err != nil {
		return errors.Join(errRefused, fmt.Errorf("sealing %s: %w", p.path, err))
	}
	seal := p.seal
	index, trailer := seal.Encode(p.header, p.index)
	at := seal.TrailerOffset(size, len(index))
	if _, err = w.file.WriteAt(index, seal.DataEnd); err == nil {
		_, err = w.file.WriteAt(trailer, at)
	}
	if err != nil {
		return w.rewind(fmt.Errorf("sealing %s: %w", p.path, err))
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("syncing the sealed %s: %w", p.path, err)
	}
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("closing the sealed %s: %w", p.path, err)
	}
	w.file = nil
	w.j.mu.Lock()
	p.seal, p.sealed, p.size, p.index = seal, true, at+segment.TrailerSize, nil
	w.j.mu.Unlock()
	return nil
}

// create makes the file of a new segment, durable under its name, and returns
// up to where it has its space, and whether that was written before.
func (w *writer) create(header segment.Header, n int64) (f vfs.File, claimed int64, written bool, err error) {
	j := w.j
	temp := j.spares.take()
	if written = temp != ""; written {
		f, err = j.fs.OpenFile(temp, os.O_RDWR, 0)
	} else {
		if err := j.claim(segment.DataStart + n); err != nil {
			return nil, 0, false, err
		}
		temp = j.path("next" + vfs.TempSuffix)
		f, err = vfs.Create(j.fs, temp)
	}
	if err != nil {
		return nil, 0, false, errors.Join(errRefused, fmt.Errorf("beginning a segment: %w", err))
	}
	claimed, err = w.begin(f, temp, header)
	if err != nil {
		err = errors.Join(err, f.Close())
		if errors.Is(err, errRefused) {
			err = errors.Join(err, j.fs.Remove(temp))
		}
		return nil, 0, false, err
	}
	return f, claimed, written, nil
}

func (w *writer) begin(f vfs.File, temp string, header segment.Header) (claimed int64, err error) {
	j := w.j
	claimed, err = f.Size()
	if err != nil {
		return 0, errors.Join(errRefused, err)
	}
	if claimed == 0 && j.checkReserve(j.o.SegmentBytes) == nil && f.Preallocate(j.o.SegmentBytes) == nil {
		claimed = j.o.SegmentBytes // without it the file grows as it is written
	}
	if _, err := f.WriteAt(header.Encode(), 0); err != nil {
		if err = fmt.Errorf("beginning a segment: %w", err); vfs.IsFull(err) {
			return 0, errors.Join(errRefused, err)
		}
		return 0, err
	}
	// The header is durable before the name is, or a power cut could leave a
	// segment that nobody can read.
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("syncing a new segment: %w", err)
	}
	crashpoint.Hit(crashpoint.JournalAfterSegmentCreate)
	if err := j.fs.Rename(temp, j.path(segmentName(header.Base))); err != nil {
		if err = fmt.Errorf("naming a new segment: %w", err); vfs.IsFull(err) {
			return 0, errors.Join(errRefused, err)
		}
		return 0, err
	}
	if err := j.fs.SyncDir(j.o.Dir); err != nil {
		return 0, fmt.Errorf("syncing the name of a new segment: %w", err)
	}
	crashpoint.Hit(crashpoint.JournalAfterDirSync)
	return claimed, nil
}

func nonce() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it ends the process rather than fail
	return binary.LittleEndian.Uint64(b[:])
}
