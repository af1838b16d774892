package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/tidegate/tidegate/internal/vfs"
)

// reserveFor returns the bytes to leave free. The default never claims more
// than a quarter, or a small disk would take nothing at all.
func reserveFor(fsys vfs.FS, o Options) (int64, error) {
	if o.ReserveBytes != ReserveDefault {
		return o.ReserveBytes, nil
	}
	space, err := fsys.Space(o.Dir)
	if err != nil {
		return 0, fmt.Errorf("measuring the file system of %s: %w", o.Dir, err)
	}
	return min(max(minReserve, space.Total/20), space.Total/4), nil
}

// checkReserve refuses when claiming n more bytes would touch the reserve.
func (j *Journal) checkReserve(n int64) error {
	if j.reserve == 0 {
		return nil
	}
	space, err := j.fs.Space(j.o.Dir)
	if err != nil {
		return errors.Join(errRefused, fmt.Errorf("measuring the file system: %w", err))
	}
	if space.Free-n < j.reserve {
		return errors.Join(errRefused, fmt.Errorf("%d bytes are free, %d are kept in reserve: %w", space.Free, j.reserve, syscall.ENOSPC))
	}
	return nil
}

// claim refuses like checkReserve, after what is kept for its age alone has gone.
func (j *Journal) claim(n int64) error {
	if err := j.checkReserve(n); err == nil {
		return nil
	}
	j.makeSpace(n)
	return j.checkReserve(n)
}

// maxSpares is how many prepared segments are kept: one to roll into at once
// and one that a trim had to put somewhere.
const maxSpares = 2

// spares are files with space for a segment, durable under their names.
type spares struct {
	wanted chan struct{} // holds one

	mu    sync.Mutex
	paths []string
	names int // given so far
}

// ask tells the preparer that a segment will be needed soon.
func (s *spares) ask() {
	s.mu.Lock()
	ready := len(s.paths) > 0
	s.mu.Unlock()
	if ready {
		return
	}
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

// take returns a prepared file, "" if there is none.
func (s *spares) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.paths) == 0 {
		return ""
	}
	path := s.paths[0]
	s.paths = s.paths[1:]
	return path
}

func (s *spares) put(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths = append(s.paths, path)
}

func (s *spares) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.paths)
}

// name returns a file name that no other spare has.
func (s *spares) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names++
	return fmt.Sprintf("%s%d%s", sparePrefix, s.names-1, segmentSuffix)
}

// zeroChunk is what is written between two looks at whether the journal closes.
const zeroChunk = 1 << 20

// prepare writes spare segments when they are wanted, until the journal closes.
func (j *Journal) prepare(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.spares.wanted:
		}
		if j.spares.count() > 0 || j.checkReserve(j.o.SegmentBytes) != nil {
			continue // the segment after this one grows as it is written
		}
		path := j.path(j.spares.name())
		if err := j.writeZeros(ctx, path); err != nil {
			removeErr := j.fs.Remove(path)
			if ctx.Err() == nil && !vfs.IsFull(err) {
				j.o.Log.Warn("preparing a journal segment failed", "error", errors.Join(err, removeErr))
			}
			continue
		}
		j.spares.put(path)
	}
}

// writeZeros gives path the size of a segment with every block written, so
// that a later sync has no metadata to write.
func (j *Journal) writeZeros(ctx context.Context, path string) error {
	f, err := vfs.Create(j.fs, path)
	if err != nil {
		return err
	}
	err = f.Preallocate(j.o.SegmentBytes)
	for off := int64(0); err == nil && off < j.o.SegmentBytes; off += zeroChunk {
		if err = ctx.Err(); err == nil {
			err = f.WriteZeros(off, min(zeroChunk, j.o.SegmentBytes-off))
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
