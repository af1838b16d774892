package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate/internal/crashpoint"
)

// Trim removes the segments that every durable reader has passed and tells how
// many. Commit calls it; it is there for those who closed a reader that had
// kept a segment open.
func (j *Journal) Trim(ctx context.Context) (deleted int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	j.disk.Lock()
	defer j.disk.Unlock()
	j.mu.Lock()
	err = j.usable()
	j.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return j.trim()
}

// trim is called with disk held. The last segment always stays: the next
// position is written nowhere else.
func (j *Journal) trim() (deleted int, err error) {
	gone := j.unlist()
	if len(gone) == 0 {
		return 0, nil
	}
	recycle := j.checkReserve(0) == nil
	var recycled []string
	for _, p := range gone {
		if recycle && j.recyclable(p.size) && p.filled(j.o.SegmentBytes) && j.spares.count()+len(recycled) < maxSpares {
			path := j.path(j.spares.name())
			if renameErr := j.fs.Rename(p.path, path); renameErr != nil {
				err = errors.Join(err, renameErr)
				continue
			}
			recycled = append(recycled, path)
			continue
		}
		err = errors.Join(err, j.fs.Remove(p.path))
	}
	crashpoint.Hit(crashpoint.JournalAfterTrim)
	if syncErr := j.fs.SyncDir(j.o.Dir); syncErr != nil {
		return len(gone), fmt.Errorf("trimming the journal: %w", errors.Join(err, syncErr))
	}
	// Only now: a recycled file that got its old name back in a power cut must
	// still hold what it held.
	for _, path := range recycled {
		j.spares.put(path)
	}
	if err != nil {
		return len(gone), fmt.Errorf("trimming the journal: %w", err)
	}
	return len(gone), nil
}

// Retention is how long segments stay that every reader has passed.
type Retention struct {
	// For is how long after its last frame a segment stays; 0: it goes at once.
	For time.Duration
	// Bytes bounds the frames of such segments, the newest being kept; 0: no bound.
	Bytes int64
}

// Retain keeps segments that every reader has passed, from now on, unless the disk has
// come to its reserve.
func (j *Journal) Retain(r Retention) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.retain = r
}

// makeSpace removes the oldest segments that are kept for their age alone until n bytes
// can be claimed again. It is for those who find the reserve touched.
func (j *Journal) makeSpace(n int64) {
	j.disk.Lock()
	defer j.disk.Unlock()
	for range maxSpace {
		if j.checkReserve(n) == nil {
			return
		}
		gone := j.unlistOldest()
		if gone == nil {
			return
		}
		if err := errors.Join(j.fs.Remove(gone.path), j.fs.SyncDir(j.o.Dir)); err != nil {
			j.o.Log.Warn("removing a journal segment to make room failed", "path", gone.path, "error", err)
			return
		}
	}
}

// maxSpace bounds the segments that go to make room for one.
const maxSpace = 64

// unlistOldest takes the oldest segment that every reader has passed out of the list,
// whatever its age; nil if there is none.
func (j *Journal) unlistOldest() *piece {
	j.mu.Lock()
	defer j.mu.Unlock()
	passed, ok := j.passed()
	for i, p := range j.segments {
		if !ok || i == len(j.segments)-1 || p.seal.End > passed {
			return nil
		}
		if p.sealed && p.refs == 0 {
			j.segments = slices.Delete(slices.Clone(j.segments), i, i+1)
			return p
		}
	}
	return nil
}

// kept says of the segments that every reader has passed which stay for their age. It is
// called with mu held.
func (j *Journal) kept(passed int64, full bool) (from int) {
	if j.retain.For <= 0 || full {
		return len(j.segments)
	}
	oldest := j.o.Now().Add(-j.retain.For).UnixNano()
	var bytes int64
	for i := len(j.segments) - 1; i >= 0; i-- {
		p := j.segments[i]
		if p.seal.End > passed || !p.sealed {
			continue
		}
		if bytes += p.bytes(); p.seal.LastAt < oldest || j.retain.Bytes > 0 && bytes > j.retain.Bytes {
			return i + 1
		}
	}
	return 0
}

// unlist takes the segments to remove out of the list, so that no reader opens
// them any more.
func (j *Journal) unlist() (gone []*piece) {
	full := j.checkReserve(j.o.SegmentBytes) != nil
	j.mu.Lock()
	defer j.mu.Unlock()
	passed, ok := j.passed()
	if !ok {
		return nil
	}
	stay := j.kept(passed, full)
	kept := make([]*piece, 0, len(j.segments))
	for i, p := range j.segments {
		if i < stay && i < len(j.segments)-1 && p.sealed && p.refs == 0 && p.seal.End <= passed {
			gone = append(gone, p)
		} else {
			kept = append(kept, p)
		}
	}
	if len(gone) > 0 {
		j.segments = kept
	}
	return gone
}
