package journal

import (
	"time"

	"github.com/tidegate/tidegate"
)

// Stats is the state of a journal at one moment. Counters count since Open.
type Stats struct {
	Oldest   tidegate.Offset // first offset kept
	Durable  tidegate.Offset // next offset; everything below is durable
	Segments int
	Bytes    int64 // of frames kept, without space claimed in advance
	Spare    int   // segments prepared for later
	Full     bool  // the last group was refused for want of space

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
	LagBytes  int64
	// OldestUnread is when the first frame that is not committed was appended,
	// to the granularity of the index; zero when there is none.
	OldestUnread time.Time
}
