package journal

import (
	"context"
	"time"

	"github.com/tidegate/tidegate"
)

// Entry is one frame. Payload is valid until the reader's next call.
type Entry struct {
	First      tidegate.Offset // of the frame's first event
	Events     int
	AppendedAt time.Time
	Payload    []byte
}

// Reader reads frames in order.
type Reader struct{}

// Next returns the next frame and waits until there is one.
func (r *Reader) Next(ctx context.Context) (Entry, error) { return Entry{}, errSkeleton }

// TryNext returns the next frame if there is one.
func (r *Reader) TryNext() (Entry, bool, error) { return Entry{}, false, errSkeleton }

// Seek goes to the frame that holds offset.
func (r *Reader) Seek(offset tidegate.Offset) error { return errSkeleton }

// SeekTime goes to the first frame appended at t or later.
func (r *Reader) SeekTime(t time.Time) error { return errSkeleton }

// Position returns the offset after the last frame returned.
func (r *Reader) Position() tidegate.Offset { return tidegate.Offset{} }

// Committed returns the durable cursor.
func (r *Reader) Committed() tidegate.Offset { return tidegate.Offset{} }

// Commit makes next the durable cursor: this reader needs nothing below it any more.
func (r *Reader) Commit(ctx context.Context, next tidegate.Offset) error { return errSkeleton }

// Close releases the reader. Its durable cursor stays.
func (r *Reader) Close() error { return nil }
