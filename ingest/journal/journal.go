// Package journal keeps accepted events on disk until every reader has passed
// them.
package journal

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate"
)

var errSkeleton = errors.New("opening a journal: being built")

// Journal is an append-only log of frames.
type Journal struct{}

// Open opens the journal in o.Dir, creating it when there is none.
func Open(ctx context.Context, o Options) (*Journal, error) { return nil, errSkeleton }

// Append makes payload durable as one frame of so many events and returns the
// offset of the first of them. events is at least 1 and at most len(payload).
func (j *Journal) Append(ctx context.Context, payload []byte, events int) (tidegate.Offset, error) {
	return tidegate.Offset{}, errSkeleton
}

// Durable returns the next offset; everything below it is durable.
func (j *Journal) Durable() tidegate.Offset { return tidegate.Offset{} }

// Reader opens the durable cursor name, creating it at the oldest kept frame.
func (j *Journal) Reader(name string) (*Reader, error) { return nil, errSkeleton }

// DropReader forgets the durable cursor name.
func (j *Journal) DropReader(ctx context.Context, name string) error { return errSkeleton }

// OpenAt returns a reader without a durable cursor that begins at offset.
func (j *Journal) OpenAt(offset tidegate.Offset) (*Reader, error) { return nil, errSkeleton }

// OpenAtTime returns a reader without a durable cursor that begins with the
// first frame appended at t or later.
func (j *Journal) OpenAtTime(t time.Time) (*Reader, error) { return nil, errSkeleton }

// Trim removes the segments that every durable reader has passed.
func (j *Journal) Trim(ctx context.Context) (deleted int, err error) { return 0, errSkeleton }

// Stats tells the state of the journal.
func (j *Journal) Stats() Stats { return Stats{} }

// Close answers what was accepted and stops.
func (j *Journal) Close(ctx context.Context) error { return errSkeleton }
