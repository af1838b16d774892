package forward

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/ingest/journal"
)

// Reader is a reader of the journal with a durable cursor; journal.Reader is one.
type Reader interface {
	// Next waits for the next frame. Ending its ctx loses no frame.
	Next(ctx context.Context) (journal.Entry, error)
	// TryNext returns the next frame if there is one.
	TryNext() (journal.Entry, bool, error)
	// Committed is the durable cursor, Commit moves it.
	Committed() tidegate.Offset
	Commit(ctx context.Context, next tidegate.Offset) error
	Close() error
}

// Past reads what lies before the cursor, to know which events came already.
type Past interface {
	TryNext() (journal.Entry, bool, error)
	Close() error
}

// Mapper makes records of events. It is safe for concurrent use.
type Mapper interface {
	// Wants says whether the filter takes the event. A fault is a Reject.
	Wants(e *View) (bool, *tidegate.Fault)
	// Map makes the event's record. A fault is a Reject.
	Map(e *View) (Mapped, *tidegate.Fault)
}

// Mapped is the record that an event becomes.
type Mapped struct {
	Record tidegate.Record
	// Key is the record's: two events with equal keys write one record.
	Key        tidegate.Key
	Identifier any
}

// Opened is everything that sending needs.
type Opened struct {
	Destination     destinations.Destination
	Object          destinations.Object
	IdentifierField string
	Mapper          Mapper
	// Integration is the name by which events mean the destination.
	Integration string
	// Account names what shares one quota.
	Account string
	Close   func() error
}

// Quotas hand out the calls that accounts allow, to this forward's claim.
type Quotas interface {
	// Take takes the right to make one call and returns 0, or how long to wait before asking again.
	Take(ctx context.Context, account string) (time.Duration, error)
	Declare(ctx context.Context, account string, l destinations.Limit) error
	// Learn takes the result of a call.
	Learn(ctx context.Context, account string, err error) error
}

// Letter is an event that is kept beside the journal: it waits for another try, or is dead.
type Letter struct {
	Position int64 // in the journal; the letter's name
	// Lanes are the names of the event's lanes.
	Lanes []string
	// Event is the whole event as the journal had it, encoded; see Forward.Show.
	Event []byte

	Source     string
	MessageID  string
	Type       tidegate.EventType
	Name       string // of a track event, a page or a screen
	User       string // userId, else anonymousId
	ReceivedAt time.Time

	Dead     bool
	Attempts int
	FirstAt  time.Time // of the first try
	NextAt   time.Time // of the next; zero when dead
	DiedAt   time.Time // zero when waiting
	Code     string    // of the last fault
	Message  string
	Hint     string
}

// Counts are how many letters there are.
type Counts struct {
	Waiting int64 `json:"waiting"`
	Dead    int64 `json:"dead"`
}

// Store keeps the letters of one forward. What a method wrote is on disk when it
// returns. It is safe for concurrent use.
type Store interface {
	// Put writes letters, over those of the same positions.
	Put(ctx context.Context, letters []Letter) error
	// Remove forgets letters; those that are not there are no error.
	Remove(ctx context.Context, positions []int64) error
	// Waiting lists the waiting letters without their events, by position.
	Waiting(ctx context.Context) ([]Letter, error)
	// Get returns letters with their events, in any order; unknown ones are left out.
	Get(ctx context.Context, positions []int64) ([]Letter, error)
	// Prune forgets the oldest dead letters beyond keep, and those that died before.
	Prune(ctx context.Context, keep int64, before time.Time) (int64, error)
	// Count counts letters.
	Count(ctx context.Context) (Counts, error)
}

// Backlog is what a forward holds back of the journal.
type Backlog struct {
	Events int64
	Bytes  int64
	Oldest time.Time // when the oldest of it came; zero when there is nothing
}

// Body is what a letter shows of its event.
type Body struct {
	Event   json.RawMessage `json:"event"`
	Context json.RawMessage `json:"context,omitempty"`
}
