package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/journal/segment"
	"github.com/tidegate/tidegate/internal/vfs"
)

// Rewritten is what Rewrite has done.
type Rewritten struct {
	Segments int // written again
	Events   int // changed, as the caller counts them
	// Growing says that the segment that is being written holds frames below the offset
	// too: it cannot be written again before it is sealed, which the next append does.
	Growing bool
	// Damaged are files that were left as they are, because they cannot be read whole.
	Damaged []string
}

// Change returns what a frame's payload becomes and how many of its events are changed;
// nil and 0 leave it as it is. The number of events must stay. payload is valid during
// the call.
type Change func(payload []byte, first tidegate.Offset) (changed []byte, events int, err error)

// Rewrite lets change rewrite the frames below an offset, segment by segment: each
// segment with a changed frame is written anew, synced, and takes the old one's name,
// so that a power cut leaves the one or the other. Positions and times stay; readers
// that have the old file open read it to its end. Space that files claimed in advance,
// where bytes of earlier lives may stand, is emptied too.
func (j *Journal) Rewrite(ctx context.Context, below tidegate.Offset, change Change) (Rewritten, error) {
	var done Rewritten
	if err := j.dropSpares(); err != nil {
		return done, err
	}
	j.mu.Lock()
	segments, err := j.segments, j.usable()
	j.mu.Unlock()
	if err != nil {
		return done, err
	}
	for i, p := range segments {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		j.mu.Lock()
		sealed, end := p.sealed, p.seal.End
		j.mu.Unlock()
		if p.base() >= below.Position {
			break
		}
		if !sealed {
			done.Growing = i == len(segments)-1 && end > p.base()
			j.sealSoon.Store(true)
			continue
		}
		if err := j.rewritePiece(p, below.Position, change, &done); err != nil {
			return done, fmt.Errorf("rewriting %s: %w", p.path, err)
		}
	}
	return done, nil
}

// dropSpares removes the prepared files: a recycled one holds its earlier life.
func (j *Journal) dropSpares() error {
	for range maxSpares + 1 {
		path := j.spares.take()
		if path == "" {
			return nil
		}
		if err := j.fs.Remove(path); err != nil {
			return fmt.Errorf("removing a prepared segment: %w", err)
		}
	}
	return nil
}

// rewritePiece rewrites one sealed segment if a frame of it changes.
func (j *Journal) rewritePiece(p *piece, below int64, change Change, done *Rewritten) (err error) {
	j.mu.Lock()
	p.refs++ // it is not trimmed meanwhile
	seal := p.seal
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		p.refs--
		j.mu.Unlock()
	}()
	f, err := j.fs.OpenFile(p.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	next, events, whole, err := j.changedFrames(f, p, seal, below, change)
	if err != nil {
		return err
	}
	if !whole {
		done.Damaged = append(done.Damaged, p.path)
		return nil
	}
	if events == 0 {
		return j.wipe(f, p, seal)
	}
	if err := j.replacePiece(p, next); err != nil {
		return err
	}
	done.Segments++
	done.Events += events
	return nil
}

// rewriting is a segment's new content.
type rewriting struct {
	header segment.Header
	seal   segment.Seal
	index  segment.Index
	frames []byte
}

// changedFrames reads a segment and makes its new content; whole is false when the
// segment is damaged. A segment fits into memory: SegmentBytes and one group.
func (j *Journal) changedFrames(f vfs.File, p *piece, seal segment.Seal, below int64, change Change) (out rewriting, events int, whole bool, err error) {
	out = rewriting{
		header: segment.Header{Base: p.header.Base, Created: p.header.Created, Nonce: nonce()},
		seal:   segment.Seal{FirstAt: seal.FirstAt, LastAt: seal.LastAt, Frames: seal.Frames},
	}
	stamp := out.header.Stamper()
	scan := segment.NewScanner(f, p.header, p.header.Start(), seal.DataEnd, seal.End)
	for {
		frame, err := scan.Next()
		var damage *segment.Damage
		switch {
		case errors.Is(err, io.EOF):
			out.seal.End, out.seal.DataEnd = seal.End, segment.DataStart+int64(len(out.frames))
			return out, events, true, nil
		case errors.As(err, &damage):
			return out, 0, false, nil
		case err != nil:
			return out, 0, false, err
		}
		payload := frame.Payload
		if frame.First < below {
			changed, n, err := change(payload, tidegate.Offset{Position: frame.First})
			if err != nil {
				return out, 0, false, err
			}
			if n > 0 {
				payload, events = changed, events+n
			}
		}
		at := len(out.frames)
		out.index = out.index.Add(segment.Place{Offset: segment.DataStart + int64(at), Position: frame.First, Appended: frame.Appended})
		out.frames = segment.AppendFrame(out.frames, payload, frame.Events)
		stamp.Stamp(out.frames[at:], frame.First, frame.Appended, frame.Durable)
	}
}

// replacePiece writes the new content beside the old file, which it then replaces.
func (j *Journal) replacePiece(p *piece, next rewriting) error {
	temp := j.path("rewrite" + vfs.TempSuffix)
	index, trailer := next.seal.Encode(next.header, next.index)
	f, err := vfs.Create(j.fs, temp)
	if err != nil {
		return err
	}
	off := int64(0)
	for _, part := range [][]byte{next.header.Encode(), next.frames, index, trailer} {
		if err == nil {
			_, err = f.WriteAt(part, off)
			off += int64(len(part))
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, j.fs.Remove(temp))
	}
	j.disk.Lock()
	defer j.disk.Unlock()
	if err := j.fs.Rename(temp, p.path); err != nil {
		return err
	}
	if err := j.fs.SyncDir(j.o.Dir); err != nil {
		return err
	}
	fresh := &piece{path: p.path, header: next.header, seal: next.seal, sealed: true, size: off}
	j.mu.Lock()
	defer j.mu.Unlock()
	segments := make([]*piece, len(j.segments))
	for i, q := range j.segments {
		if segments[i] = q; q == p {
			segments[i] = fresh
		}
	}
	j.segments = segments
	return nil
}

// wipe empties the space between a segment's index and its trailer.
func (j *Journal) wipe(f vfs.File, p *piece, seal segment.Seal) error {
	end := p.size - segment.TrailerSize
	if seal.IndexEnd() >= end {
		return nil
	}
	zeros := make([]byte, min(zeroChunk, end-seal.IndexEnd()))
	for off := seal.IndexEnd(); off < end; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off); err != nil {
			return err
		}
	}
	return f.Sync()
}
