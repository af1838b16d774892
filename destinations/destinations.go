// Package destinations is the contract between the sync engine and the systems
// that receive rows. A connector (destinations/hubspot, …) implements
// Destination and registers a Kind in destinations/all; the suite
// destinations/destinationtest holds it to the words below.
//
// Batching, concurrency and rate are data on Object.Limit; the runner does
// them. A connector makes one call of the vendor's API per Write and says per
// record what became of it.
//
// It does not know models, ledgers or schedules. Methods of a Destination are
// safe for concurrent use.
package destinations

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/tidegate/tidegate"
)

// Field is one property of an object.
type Field struct {
	Name  string        `json:"name"`
	Label string        `json:"label,omitempty"`
	Type  tidegate.Type `json:"type"`
	// Identifier fields can match records; Required ones must be mapped; ReadOnly ones cannot be.
	Identifier bool `json:"identifier,omitempty"`
	Required   bool `json:"required,omitempty"`
	ReadOnly   bool `json:"read_only,omitempty"`
}

// Safety says what a repeated delivery of one operation does.
type Safety string

// The safeties of an operation.
const (
	Idempotent Safety = "idempotent" // the same call twice leaves the same state
	Dedupable  Safety = "dedupable"  // the destination drops a repeat that carries the same key
	Unsafe     Safety = "unsafe"     // a repeat does the thing twice; the destination's card says at-least-once
)

// Limit is what one object's API allows.
type Limit struct {
	Records     int           // records a call, ≥ 1
	Bytes       int           // encoded bytes a call; 0 means no limit is known
	Concurrency int           // calls at once, ≥ 1
	Calls       int           // calls per Per; 0 means no limit is known
	Per         time.Duration // the window of Calls
}

// Object is something that records are written to: `contacts`, a URL.
type Object struct {
	Name   string          `json:"name"`
	Label  string          `json:"label,omitempty"`
	Fields []Field         `json:"fields"`
	Modes  []tidegate.Mode `json:"modes"`
	Limit  Limit           `json:"limit"`
	// Open objects accept fields beyond Fields (a webhook body).
	Open bool `json:"open,omitempty"`
	// Safety is what a repeated Write does.
	Safety Safety `json:"safety"`
}

// Item is one change to be written.
type Item struct {
	Op  tidegate.Op
	Key tidegate.Key
	// Identifier is the value by which the destination matches the record.
	Identifier any
	// DestinationID is the destination's own id when an earlier outcome named it.
	DestinationID string
	// Record is the mapped payload; for Removed the last confirmed one.
	Record tidegate.Record
	// IdempotencyKey is stable over retries of this version of this key.
	IdempotencyKey string
}

// Batch is one call's worth of items: within Object.Limit, all of one Op
// (Removed, or Added and Changed together), no key twice. Write does not change it.
type Batch struct {
	Object          string
	Mode            tidegate.Mode
	IdentifierField string
	Items           []Item
}

// Disposition is what became of one item.
type Disposition string

// The dispositions.
const (
	Delivered Disposition = "delivered"
	Rejected  Disposition = "rejected" // Fault says why
	InDoubt   Disposition = "in_doubt" // the answer does not name the item
	Deferred  Disposition = "deferred" // not now: Fault is a Retry or a Throttle
)

// Outcome is what became of one item of a Batch.
type Outcome struct {
	Disposition   Disposition
	DestinationID string          // the destination's id of the record, when told
	Fault         *tidegate.Fault // nil for Delivered
}

// Destination is an opened connection to one account.
type Destination interface {
	// Objects lists what can be written, with live fields where the API tells them.
	Objects(ctx context.Context) ([]Object, error)
	// Write makes one call. It returns one Outcome per item, in order; or an
	// error, and then nothing is known about any item unless the error's fault
	// is Reject, Throttle or Halt, which say that the call as a whole was refused and nothing was applied
	// (a Reject batch is split by the runner until the bad record stands alone).
	Write(ctx context.Context, b Batch) ([]Outcome, error)
	// Close releases the connection. Closing twice is fine; Write after Close errs.
	Close() error
}

// Checker proves credentials without writing anything.
type Checker interface {
	Check(ctx context.Context) error
}

// Ticket names a write that finishes later.
type Ticket string

// Poller is implemented where writes finish later: such a Write returns
// Deferred outcomes whose DestinationID is empty and the runner polls the ticket.
type Poller interface {
	// Poll returns done=false while the destination still works on the ticket.
	Poll(ctx context.Context, t Ticket) (outcomes []Outcome, done bool, err error)
}

// Reader reads records back: resolving doubts, drift, three-way diff.
type Reader interface {
	// Read returns the record for each identifier value, nil where there is none.
	Read(ctx context.Context, object, identifierField string, identifiers []any, fields []string) ([]tidegate.Record, error)
}

// Provisioner creates missing fields.
type Provisioner interface {
	CreateField(ctx context.Context, object string, f Field) error
}

// Env is what a connector is lent. It must use nothing else of the outside world.
type Env struct {
	Log *slog.Logger
	// HTTP is the measured, limited, SSRF-guarded client of internal/egress.
	HTTP *http.Client
	Now  func() time.Time
}

// Simulator is a vendor's API that remembers what it was told, with its
// limits and error shapes. Tests and the demo use it; `tidegate simulate NAME` serves it.
type Simulator interface {
	http.Handler
	// Records returns what the simulator holds for an object: identifier or id → fields.
	Records(object string) map[string]tidegate.Record
	// Calls returns how many API calls were made and how many records they carried.
	Calls() (calls, records int64)
}

// Kind is a registered connector. Make one with Define.
type Kind struct {
	Name  string // "hubspot"
	Title string // "HubSpot"
	// NewConfig returns a pointer to a zero config struct: the source of the
	// strict decoding, the JSON Schema, the UI's form and the reference page.
	NewConfig func() any
	// Open takes what NewConfig returned, filled.
	Open func(ctx context.Context, cfg any, env Env) (Destination, error)
	// Simulate returns a fresh simulator; nil when the kind has none. options is
	// kind-specific JSON and may be nil.
	Simulate func(options json.RawMessage) (Simulator, error)
	// SimulatorConfig returns the config JSON by which the kind talks to a
	// simulator served at baseURL.
	SimulatorConfig func(baseURL string) json.RawMessage
}

// Define makes a Kind whose config is the struct C.
func Define[C any](name, title string, open func(ctx context.Context, cfg C, env Env) (Destination, error)) Kind {
	return Kind{
		Name:      name,
		Title:     title,
		NewConfig: func() any { return new(C) },
		Open: func(ctx context.Context, cfg any, env Env) (Destination, error) {
			return open(ctx, *cfg.(*C), env)
		},
	}
}
