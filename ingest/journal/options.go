package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tidegate/tidegate/ingest/journal/segment"
	"github.com/tidegate/tidegate/internal/vfs"
)

// The defaults of Options.
const (
	DefaultSegmentBytes  = 64 << 20
	DefaultMaxFrameBytes = 8 << 20
	DefaultGroupBytes    = 1 << 20
	minSegmentBytes      = 4 << 10
	minReserve           = 256 << 20
)

// ReserveDefault asks for the default reserve: 5 % of the file system, but not
// less than 256 MiB.
const ReserveDefault int64 = -1

// Options are the settings of a journal. Dir, Now and Fatal are required; the
// zero value of everything else is its default, except that no reserve is kept.
type Options struct {
	Dir string
	FS  vfs.FS // the machine's file system when nil
	Log *slog.Logger
	Now func() time.Time

	SegmentBytes  int64 // size at which a segment is sealed
	MaxFrameBytes int   // largest payload that Append takes
	GroupBytes    int   // size at which a group stops growing and Append waits for the next one

	// ReserveBytes of the file system are left free for those who drain the
	// journal: below them no further segment is begun and Append answers
	// ErrFull. 0 keeps no reserve, ReserveDefault the default one.
	ReserveBytes int64

	// Retain is how long segments stay that every reader has passed; Journal.Retain
	// changes it. Without it an Open removes those that an earlier process kept.
	Retain Retention

	// Fatal is called once, with the cause, when the disk refused to make a
	// group durable. The process must then exit with a non-zero code: what the
	// kernel still holds of the file is unknown, only a new Open reads what the
	// disk kept. Append answers nobody of that group before Fatal returned.
	// Fatal must not call the journal.
	Fatal func(error)

	// Begin, if not nil, is asked for the first position of a journal where there is none:
	// above all that places kept elsewhere speak of, so that none of them means another
	// event than it meant.
	Begin func(context.Context) (int64, error)
	// Random is where a new journal's identity comes from; crypto/rand when nil.
	Random io.Reader

	// NoSync leaves out every fsync. It exists for test rigs that prove that
	// they would notice.
	NoSync bool
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("opening a journal: Dir is empty")
	}
	if o.Fatal == nil {
		return o, errors.New("opening a journal: Fatal is nil; someone must end the process when the disk fails")
	}
	if o.Now == nil {
		return o, errors.New("opening a journal: Now is nil")
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.MaxFrameBytes == 0 {
		o.MaxFrameBytes = DefaultMaxFrameBytes
	}
	if o.GroupBytes == 0 {
		o.GroupBytes = DefaultGroupBytes
	}
	if o.SegmentBytes < minSegmentBytes || o.MaxFrameBytes < 1 || o.MaxFrameBytes > segment.MaxPayload || o.GroupBytes < 1 {
		return o, fmt.Errorf("opening a journal: sizes out of range: SegmentBytes %d (at least %d), MaxFrameBytes %d (1 to %d), GroupBytes %d (at least 1)",
			o.SegmentBytes, minSegmentBytes, o.MaxFrameBytes, segment.MaxPayload, o.GroupBytes)
	}
	if o.ReserveBytes < ReserveDefault {
		return o, fmt.Errorf("opening a journal: ReserveBytes %d is negative", o.ReserveBytes)
	}
	return o, nil
}
