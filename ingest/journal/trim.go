package journal

import (
	"context"
	"errors"
	"fmt"

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
		if recycle && j.recyclable(p.size) && j.spares.count()+len(recycled) < maxSpares {
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

// unlist takes the segments to remove out of the list, so that no reader opens
// them any more.
func (j *Journal) unlist() (gone []*piece) {
	j.mu.Lock()
	defer j.mu.Unlock()
	passed, ok := j.passed()
	if !ok {
		return nil
	}
	kept := make([]*piece, 0, len(j.segments))
	for i, p := range j.segments {
		if i < len(j.segments)-1 && p.sealed && p.refs == 0 && p.seal.End <= passed {
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
