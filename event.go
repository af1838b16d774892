package tidegate

import (
	"fmt"
	"time"
)

// EventType is the kind of a call that a tracking SDK makes.
type EventType string

// The event types of the tracking protocol. Every one lands in a table of its own.
const (
	Track    EventType = "track"
	Identify EventType = "identify"
	Page     EventType = "page"
	Screen   EventType = "screen"
	Group    EventType = "group"
	Alias    EventType = "alias"
)

// EventTypes lists the types in the order in which the documentation names them.
func EventTypes() []EventType { return []EventType{Track, Identify, Page, Screen, Group, Alias} }

// Valid says whether t is one of the six types.
func (t EventType) Valid() bool {
	switch t {
	case Track, Identify, Page, Screen, Group, Alias:
		return true
	}
	return false
}

// The refusals whose events were journaled without what they say: of the body the
// messageId is left, and what they shared with other events is not theirs. To
// the sender they were accepted.
const (
	RefusedSuppressed = "privacy.suppressed" // the person's events must not be kept
	RefusedBot        = "event.bot"          // the source drops what programs that read the web send
)

// Withheld says whether an event refused with this code was journaled without
// what it says.
func Withheld(refusal string) bool { return refusal == RefusedSuppressed || refusal == RefusedBot }

// Offset is the place of one event in the journal. Offsets order events within
// one partition only. The local journal has the single partition 0; positions
// count events (not bytes, not requests) from 0.
type Offset struct {
	Partition int32
	Position  int64
}

// String returns "partition:position", the form that the CLI and the
// `_tidegate_offset` column show.
func (o Offset) String() string { return fmt.Sprintf("%d:%d", o.Partition, o.Position) }

// Event is one accepted or refused event as the readers of the journal see it.
// The bytes are the client's own; nothing is decoded until a reader needs it.
// Body and Context alias a read buffer and are valid until the reader's next
// call.
type Event struct {
	Offset     Offset
	Source     string    // name of the source whose write key came with the request
	ReceivedAt time.Time // the server's clock when the request came in, one per request
	SentAt     string    // batch-level sentAt as sent, empty when the request had none
	RequestIP  string
	Body       []byte // the event's JSON object
	Context    []byte // batch-level "context" object to be merged under the event's own; nil when absent
	// Integrations is the batch-level "integrations" object, nil when absent.
	Integrations []byte
	// MessageID is set by the server when the event came without one; empty otherwise.
	MessageID string
	// Type is set when the path named it (POST /v1/track) and the body did not; empty otherwise.
	Type EventType
	// Refusal is the fault code for which the event was refused ("event.no_identity");
	// empty for an accepted event. A refused event is kept, not loaded.
	Refusal string
	// Replayed says that a replay appended the event again after it had been loaded once:
	// readers that act on the world outside leave it alone.
	Replayed bool
}
