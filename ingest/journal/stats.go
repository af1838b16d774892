package journal

import (
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/journal/segment"
	"github.com/tidegate/tidegate/internal/vfs"
)

// Stats is the state of a journal at one moment. Counters count since Open.
type Stats struct {
	Oldest   tidegate.Offset // first offset kept
	Durable  tidegate.Offset // next offset; everything below is durable
	Segments int
	Bytes    int64 // of frames kept, without space claimed in advance
	Spare    int   // segments prepared for later
	Full     bool  // the last group was refused, for the reason Refusal
	Refusal  error

	Frames  int64 // appended
	Events  int64 // appended
	Groups  int64
	Syncs   int64 // fsyncs of files and directories
	Refused int64 // frames refused because the disk was full

	TornBytes int64    // of unanswered frames that Open cut off the end
	Damage    []Damage // ranges that do not verify, oldest first, also those found by earlier processes
	Readers   []ReaderStats
}

// Damage is a range of a segment that did not verify. What it held is lost;
// its bytes are kept in the file Quarantined.
type Damage struct {
	Segment     int64 // base position of the segment
	Offset      int64 // of the first bad byte in the segment
	Bytes       int64
	First, Next tidegate.Offset // the events lost: First up to, without, Next
	Quarantined string
}

// ReaderStats is the lag of one durable reader.
type ReaderStats struct {
	Name      string
	Committed tidegate.Offset
	LagEvents int64
	LagBytes  int64  // to the granularity of the index
	Damaged   string // why the cursor's file cannot be read; empty for a sound one
	// OldestUnread is when the first frame that is not committed was appended,
	// to the granularity of the index; zero when there is none.
	OldestUnread time.Time
}

// lagging is a reader whose oldest unread frame is still to be looked up.
type lagging struct {
	i     int // in Stats.Readers
	piece *piece
	pos   int64
}

// Stats tells the state of the journal. It reads from the disk only for
// readers that lag by more than a segment.
func (j *Journal) Stats() Stats {
	s, behind := j.snapshot()
	for _, l := range behind {
		s.Readers[l.i].locate(j, l)
	}
	return s
}

func (j *Journal) snapshot() (Stats, []lagging) {
	spares := j.spares.count()
	j.mu.Lock()
	defer j.mu.Unlock()
	s := Stats{
		Oldest: tidegate.Offset{Position: j.oldest()}, Durable: tidegate.Offset{Position: j.durable},
		Segments: len(j.segments), Spare: spares, Full: j.full, Refusal: j.refusal,
		Frames: j.counts.frames, Events: j.counts.events, Groups: j.counts.groups,
		Syncs: j.fs.syncs.Load(), Refused: j.counts.refused,
		TornBytes: j.counts.tornBytes, Damage: slices.Clone(j.damage.list),
	}
	for _, p := range j.segments {
		s.Bytes += p.bytes()
	}
	var behind []lagging
	for name, c := range j.cursors {
		r := ReaderStats{Name: name, Committed: tidegate.Offset{Position: c.committed}, LagEvents: j.durable - c.committed}
		if c.damaged != nil {
			r.Damaged = c.damaged.Error()
		}
		s.Readers = append(s.Readers, r)
	}
	slices.SortFunc(s.Readers, func(a, b ReaderStats) int { return strings.Compare(a.Name, b.Name) })
	for i := range s.Readers {
		at := s.Readers[i].Committed.Position
		var first *piece
		for _, p := range j.segments {
			if p.seal.End <= at {
				continue
			}
			s.Readers[i].LagBytes += p.bytes()
			if first == nil {
				first = p
			}
		}
		if first != nil {
			behind = append(behind, lagging{i: i, piece: first, pos: at})
		}
	}
	return s, behind
}

// locate takes off LagBytes what the reader has passed of its segment and finds
// the age of what it has not.
func (r *ReaderStats) locate(j *Journal, l lagging) {
	j.mu.Lock()
	index, firstAt, load := l.piece.index, l.piece.seal.FirstAt, l.piece.sealed && l.piece.index == nil
	j.mu.Unlock()
	if load {
		if f, err := vfs.Open(j.fs, l.piece.path); err == nil { // else it was trimmed a moment ago
			index = j.indexOf(l.piece, f)
			_ = f.Close() // only read
		}
	}
	r.OldestUnread = time.Unix(0, firstAt)
	if place, ok := index.AtPosition(l.pos); ok && place.Appended > 0 {
		r.OldestUnread = time.Unix(0, place.Appended)
		r.LagBytes -= place.Offset - segment.DataStart
	}
}
