package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/vfs"
)

// What callers tell apart with errors.Is. Each travels inside a
// *tidegate.Fault that says what is to be done.
var (
	ErrFull     = errors.New("the journal's disk is full")                      // Throttle; nothing of the call is kept
	ErrClosed   = errors.New("the journal is closed")                           // Throttle; the process is going down
	ErrFailed   = errors.New("the journal's disk failed")                       // Halt; nothing is known of the call until the next start
	ErrTooLarge = errors.New("the payload is larger than a frame may be")       // Reject
	ErrTrimmed  = errors.New("the offset is no longer kept")                    // Halt; the oldest kept offset is in the hint
	ErrAhead    = errors.New("the offset lies beyond the end of the journal")   // Halt; reader and journal are not of one history
	ErrReplaced = errors.New("the journal is not the one that the place is of") // Halt; positions mean other events now
	ErrCursor   = errors.New("the reader's cursor file is damaged")             // Halt
	ErrLocked   = errors.New("another process has the journal open")            // Halt
	errBusyName = errors.New("the reader is open already; it takes one owner")  // a bug of the caller
)

// fullAfter is how long a client should wait before it asks a full journal
// again: long enough for a load to free a segment, short enough that service
// is back within seconds.
const fullAfter = 2 * time.Second

// faultRefused says why a group was refused that can be appended later.
func faultRefused(dir string, cause error) error {
	if !vfs.IsFull(cause) {
		return &tidegate.Fault{
			Action: tidegate.Throttle, Code: "journal.unavailable", Subject: "journal " + dir,
			Message: "no new segment can be begun: " + cause.Error(),
			Hint:    "look at the limit of open files and at the permissions of this directory",
			After:   fullAfter, Err: cause,
		}
	}
	return &tidegate.Fault{
		Action: tidegate.Throttle, Code: "journal.full", Subject: "journal " + dir,
		Message: "the disk is full or has reached the reserve kept for draining",
		Hint:    "free space on this file system, or find out why the readers do not move on (tidegate doctor)",
		After:   fullAfter, Err: fmt.Errorf("%w: %w", ErrFull, cause),
	}
}

func faultClosed(dir string) error {
	return &tidegate.Fault{
		Action: tidegate.Throttle, Code: "journal.closed", Subject: "journal " + dir,
		Message: ErrClosed.Error(), After: time.Second, Err: ErrClosed,
	}
}

func faultFailed(dir string, cause error) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "journal.failed", Subject: "journal " + dir,
		Message: "the disk refused to make events durable",
		Hint:    "look at the disk's health; a restart reads back what the disk has kept",
		Err:     fmt.Errorf("%w: %w", ErrFailed, cause),
	}
}

func faultTooLarge(size, limit int) error {
	return &tidegate.Fault{
		Action: tidegate.Reject, Code: "journal.too_large",
		Message: fmt.Sprintf("the payload has %d bytes, a frame holds at most %d", size, limit),
		Err:     ErrTooLarge,
	}
}

func faultTrimmed(asked, oldest int64) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "journal.trimmed", Subject: tidegate.Offset{Position: asked}.String(),
		Message: "every reader had passed this offset and its segment is gone",
		Hint:    "read from " + tidegate.Offset{Position: oldest}.String() + ", the oldest offset kept",
		Err:     ErrTrimmed,
	}
}

func faultAhead(asked, end int64) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "journal.ahead", Subject: tidegate.Offset{Position: asked}.String(),
		Message: "the journal ends before this offset, at " + tidegate.Offset{Position: end}.String(),
		Hint:    "the reader's state belongs to another or a newer journal: bring back the journal's directory, or rebuild the reader's state from the oldest offset kept",
		Err:     ErrAhead,
	}
}

func faultReplaced(asked int64, why string) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "journal.replaced", Subject: tidegate.Offset{Position: asked}.String(),
		Message: "the place " + why,
		Hint:    "the journal's directory was lost or put back: bring it back as it was, or rebuild the reader's state from the oldest offset kept",
		Err:     ErrReplaced,
	}
}

func faultCursor(path string, cause error) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "journal.cursor_damaged", Subject: path,
		Message: ErrCursor.Error(),
		Hint:    "remove the file to let this reader read everything that is kept once more",
		Err:     fmt.Errorf("%w: %w", ErrCursor, cause),
	}
}

func faultLocked(path string, cause error) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "journal.locked", Subject: path,
		Message: ErrLocked.Error(),
		Hint:    "stop the other tidegate that uses this data directory, or choose another directory",
		Err:     fmt.Errorf("%w: %w", ErrLocked, cause),
	}
}
