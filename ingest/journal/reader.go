package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/journal/segment"
	"github.com/tidegate/tidegate/internal/vfs"
)

// Entry is one frame. Payload is valid until the reader's next call.
type Entry struct {
	First      tidegate.Offset // of the frame's first event
	Events     int
	AppendedAt time.Time // never before that of the entry before, even if the clock was
	Payload    []byte
}

// Reader reads durable frames in order.
//
//	         Seek, SeekTime                    Next, TryNext
//	Position ──────────────▶ a frame's start ──────────────▶ the next frame's start
//
// Where the journal is damaged the reader goes on behind the damage: the next
// Entry's First is then greater than Position was, and Stats tells the range.
type Reader struct {
	j      *Journal
	name   string
	cursor *cursor // nil: without a durable cursor

	mu     sync.Mutex
	pos    int64
	piece  *piece // the segment it stands in, nil if none is open
	file   vfs.File
	scan   *segment.Scanner
	closed bool
}

// Reader opens the durable cursor name, creating it at the oldest kept frame.
// A name has one Reader at a time. The reader begins at its cursor.
func (j *Journal) Reader(name string) (*Reader, error) {
	if err := checkReaderName(name); err != nil {
		return nil, err
	}
	j.disk.Lock()
	defer j.disk.Unlock()
	j.mu.Lock()
	c, fresh := j.cursors[name], false
	err := j.usable()
	switch {
	case err != nil:
	case c == nil && len(j.cursors) >= maxCursors:
		err = fmt.Errorf("opening the reader %s: there are %d readers already", name, maxCursors)
	case c == nil:
		c, fresh = &cursor{path: j.path(cursorsDir, name), committed: j.oldest()}, true
		j.cursors[name] = c // from here on it holds segments back
	case c.damaged != nil:
		err = faultCursor(c.path, c.damaged)
	case c.taken:
		err = fmt.Errorf("opening the reader %s: %w", name, errBusyName)
	}
	j.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if fresh {
		if err := j.saveCursor(c, c.committed); err != nil {
			j.mu.Lock()
			delete(j.cursors, name)
			j.mu.Unlock()
			return nil, err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	c.taken = true
	return &Reader{j: j, name: name, cursor: c, pos: c.committed}, nil
}

// OpenAt returns a reader without a durable cursor that begins at offset. It
// holds back no segment but the one it stands in; a reader that is overtaken
// by trimming gets an error that wraps ErrTrimmed.
func (j *Journal) OpenAt(offset tidegate.Offset) (*Reader, error) {
	r := &Reader{j: j}
	if err := r.Seek(offset); err != nil {
		return nil, err
	}
	return r, nil
}

// OpenAtTime returns a reader without a durable cursor that begins with the
// first frame appended at t or later.
func (j *Journal) OpenAtTime(t time.Time) (*Reader, error) {
	r := &Reader{j: j}
	if err := r.SeekTime(t); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// AppendedAt returns when the first frame that is kept at offset or behind was appended, the
// zero time when there is none or it cannot be read.
func (j *Journal) AppendedAt(offset tidegate.Offset) time.Time {
	j.mu.Lock()
	offset.Position = max(offset.Position, j.oldest())
	j.mu.Unlock()
	r, err := j.OpenAt(offset)
	if err != nil {
		return time.Time{}
	}
	defer r.Close() //nolint:errcheck // it only read
	e, ok, err := r.TryNext()
	if err != nil || !ok {
		return time.Time{}
	}
	return e.AppendedAt
}

// Next returns the next frame and waits until there is one.
func (r *Reader) Next(ctx context.Context) (Entry, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Entry{}, err
		}
		e, ok, err := r.TryNext()
		if ok || err != nil {
			return e, err
		}
		changed := r.j.wait() // before looking again, or a frame in between would be missed
		e, ok, err = r.TryNext()
		if ok || err != nil {
			return e, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Entry{}, ctx.Err()
		}
	}
}

// TryNext returns the next frame if there is one.
func (r *Reader) TryNext() (Entry, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok, err := r.next()
	if !ok || err != nil {
		return Entry{}, false, err
	}
	r.pos = f.End()
	return Entry{
		First:  tidegate.Offset{Position: f.First},
		Events: f.Events, AppendedAt: time.Unix(0, f.Appended), Payload: f.Payload,
	}, true, nil
}

// next returns the frame that holds r.pos or the first one behind it.
func (r *Reader) next() (segment.Frame, bool, error) {
	if r.closed {
		return segment.Frame{}, false, fmt.Errorf("reading the journal: %w", ErrClosed)
	}
	for {
		if r.scan == nil {
			if ok, err := r.enter(); !ok || err != nil {
				return segment.Frame{}, false, err
			}
		}
		f, err := r.scan.Next()
		var damage *segment.Damage
		switch {
		case err == nil && f.End() > r.pos:
			return f, true, nil
		case err == nil: // before the place that was sought
		case errors.As(err, &damage):
			r.j.disk.Lock()
			r.j.noteDamage(r.file, r.piece, *damage)
			r.j.disk.Unlock()
			r.pos = max(r.pos, damage.Next)
		case errors.Is(err, io.EOF):
			if ok, err := r.proceed(); !ok || err != nil {
				return segment.Frame{}, false, err
			}
		default:
			return segment.Frame{}, false, fmt.Errorf("reading %s: %w", r.piece.path, err)
		}
	}
}

// enter opens the segment that holds r.pos, ok false if there is nothing to
// read yet.
func (r *Reader) enter() (ok bool, err error) {
	j := r.j
	p, err := r.pin()
	if p == nil || err != nil {
		return false, err
	}
	f, err := vfs.Open(j.fs, p.path)
	if err != nil {
		r.unpin(p)
		return false, fmt.Errorf("reading the journal: %w", err)
	}
	from := p.header.Start()
	if place, ok := j.indexOf(p, f).AtPosition(r.pos); ok {
		from = place
	}
	j.mu.Lock()
	seal := p.seal
	j.mu.Unlock()
	r.piece, r.file = p, f
	r.scan = segment.NewScanner(f, p.header, from, seal.DataEnd, seal.End)
	return true, nil
}

// pin chooses the segment that holds r.pos, or the first one behind, and keeps
// it from being trimmed. It returns nil if there is nothing to read.
func (r *Reader) pin() (*piece, error) {
	j := r.j
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.failed != nil {
		return nil, j.usable()
	}
	if oldest := j.oldest(); r.pos < oldest {
		if r.cursor == nil {
			return nil, faultTrimmed(r.pos, oldest)
		}
		r.pos = oldest // its segment was lost, as Open has reported
	}
	for _, p := range j.segments {
		if p.seal.End > r.pos {
			if r.cursor == nil && p.base() > r.pos && r.trimmed(p) {
				return nil, faultTrimmed(r.pos, p.base())
			}
			p.refs++
			return p, nil
		}
	}
	return nil, nil
}

// trimmed tells a hole that trimming left before p from one that damage left.
// It is called with mu held.
func (r *Reader) trimmed(p *piece) bool {
	for _, d := range r.j.damage.list {
		if d.First.Position <= r.pos && p.base() <= d.Next.Position {
			return false
		}
	}
	passed, ok := r.j.passed()
	return ok && p.base() <= passed
}

func (r *Reader) unpin(p *piece) {
	r.j.mu.Lock()
	defer r.j.mu.Unlock()
	p.refs--
}

// proceed is called at the end of what was durable of the open segment: more of
// it may be by now, or another segment may follow.
func (r *Reader) proceed() (ok bool, err error) {
	j := r.j
	j.mu.Lock()
	err = j.usable()
	seal := r.piece.seal
	last := len(j.segments) == 0 || j.segments[len(j.segments)-1] == r.piece
	j.mu.Unlock()
	if seal.DataEnd > r.scan.Limit() {
		r.scan.Extend(seal.DataEnd, seal.End)
		return true, nil
	}
	if err != nil || last {
		return false, err
	}
	return true, r.leave()
}

// leave closes the open segment.
func (r *Reader) leave() error {
	if r.scan == nil {
		return nil
	}
	r.unpin(r.piece)
	err := r.file.Close()
	r.piece, r.file, r.scan = nil, nil, nil
	return err
}

// indexOf returns the index of p, of which f is the open file. Without one
// reading begins at the segment's start.
func (j *Journal) indexOf(p *piece, f io.ReaderAt) segment.Index {
	j.mu.Lock()
	index, seal, load := p.index, p.seal, p.sealed && p.index == nil
	j.mu.Unlock()
	if !load {
		return index
	}
	index, err := seal.ReadIndex(f, p.header)
	if err != nil {
		j.o.Log.Warn("the index of a journal segment cannot be read; the segment is read from its start", "path", p.path, "error", err)
		index = segment.Index{p.header.Start()}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	p.index = index
	return index
}

// Seek goes to the frame that holds offset. Its error wraps ErrTrimmed or
// ErrAhead if there never will be such a frame to read.
func (r *Reader) Seek(offset tidegate.Offset) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.j.mu.Lock()
	oldest, durable, err := r.j.oldest(), r.j.durable, r.j.usable()
	r.j.mu.Unlock()
	switch {
	case err != nil:
		return err
	case offset.Partition != 0:
		return fmt.Errorf("seeking %s: the local journal has the single partition 0", offset)
	case offset.Position < oldest:
		return faultTrimmed(offset.Position, oldest)
	case offset.Position > durable:
		return faultAhead(offset.Position, durable)
	}
	err = r.leave()
	r.pos = offset.Position
	return err
}

// Mark is Journal.Mark.
func (r *Reader) Mark(next tidegate.Offset) string { return r.j.Mark(next) }

// Fits is Journal.Fits.
func (r *Reader) Fits(mark string) error { return r.j.Fits(mark) }

// SeekTime goes to the first frame appended at t or later, to the end of the
// journal if there is none yet.
func (r *Reader) SeekTime(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.leave(); err != nil {
		return err
	}
	at := t.UnixNano()
	j := r.j
	j.mu.Lock()
	err := j.usable()
	r.pos = j.durable
	for _, p := range j.segments {
		if p.seal.Frames > 0 && p.seal.LastAt >= at {
			r.pos = p.base()
			break
		}
	}
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if ok, err := r.enter(); !ok || err != nil {
		return err
	}
	if place, ok := j.indexOf(r.piece, r.file).BeforeTime(at); ok {
		r.pos = max(r.pos, place.Position)
		if err := r.leave(); err != nil {
			return err
		}
	}
	for {
		f, ok, err := r.next()
		if !ok || err != nil {
			return err
		}
		if f.Appended >= at {
			r.pos = f.First
			return r.leave()
		}
		r.pos = f.End()
	}
}

// Position returns the offset after the last frame returned, or the one that
// was sought.
func (r *Reader) Position() tidegate.Offset {
	r.mu.Lock()
	defer r.mu.Unlock()
	return tidegate.Offset{Position: r.pos}
}

// Committed returns the durable cursor.
func (r *Reader) Committed() tidegate.Offset {
	r.j.mu.Lock()
	defer r.j.mu.Unlock()
	if r.cursor == nil {
		return tidegate.Offset{}
	}
	return tidegate.Offset{Position: r.cursor.committed}
}

// Commit makes next the durable cursor: this reader needs nothing below it any
// more, also after a crash. Segments that all readers have passed go. next may
// lie within a frame, but not below the cursor. After an error the cursor on
// the disk is either the old or the new one.
func (r *Reader) Commit(ctx context.Context, next tidegate.Offset) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.cursor == nil {
		return errors.New("committing to the journal: the reader has no durable cursor")
	}
	if next.Partition != 0 {
		return fmt.Errorf("committing %s: the local journal has the single partition 0", next)
	}
	return r.j.commitCursor(r.cursor, next.Position)
}

// Close releases the reader. Its durable cursor stays.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.cursor != nil {
		r.j.mu.Lock()
		r.cursor.taken = false
		r.j.mu.Unlock()
	}
	return r.leave()
}
