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
	// Rules names the platform by whose rules personal data is normalised before it is hashed
	// (google, linkedin, meta, pinterest, snap, tiktok); empty where the platform has none.
	Rules string `json:"rules,omitempty"`
	// Removals are what mode mirror can do with a removed record; delete when empty.
	Removals []tidegate.Removal `json:"removals,omitempty"`
	// Safety is what a repeated Write does; Safeties overrides it for single modes.
	Safety   Safety                   `json:"safety"`
	Safeties map[tidegate.Mode]Safety `json:"safeties,omitempty"`
}

// SafetyIn is what a repeated Write does in mode m.
func (o Object) SafetyIn(m tidegate.Mode) Safety {
	if s, ok := o.Safeties[m]; ok {
		return s
	}
	return o.Safety
}

// Item is one change to be written.
type Item struct {
	Op  tidegate.Op
	Key tidegate.Key
	// Identifier is the value by which the destination matches the record.
	Identifier any
	// PreviousIdentifier is what the record was confirmed by, when that has changed and is
	// remembered; nil otherwise. Another record may have that identifier by now.
	PreviousIdentifier any
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
	// Removal says what a batch of Removed items does: never empty in mode mirror.
	Removal tidegate.Removal
	// Audience is what Audiencer.EnsureAudience returned, in mode audience.
	Audience string
	Items    []Item
}

// Disposition is what became of one item.
type Disposition string

// The dispositions.
const (
	Delivered Disposition = "delivered"
	Rejected  Disposition = "rejected" // Fault says why
	InDoubt   Disposition = "in_doubt" // the answer does not name the item
	Deferred  Disposition = "deferred" // not now: Fault is a Retry or a Throttle
	Pending   Disposition = "pending"  // accepted, and decided later: Ticket names what Poller is asked
)

// Outcome is what became of one item of a Batch.
type Outcome struct {
	Disposition   Disposition
	DestinationID string          // the destination's id of the record, when told
	Fault         *tidegate.Fault // nil for Delivered and Pending
	// Ticket is set with Pending: either all items of a Batch are Pending with the same ticket, or none is.
	Ticket Ticket
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

// Accounter tells which account of the vendor the connection opens, so that a name that leads to
// another account than before, and two names that lead to one, are noticed.
type Accounter interface {
	// Account returns the vendor's id of the account: no secret, no space in it, the same for
	// every credential of the account. It is empty when the credential may not ask.
	Account(ctx context.Context) (string, error)
}

// Ticket names a write that finishes later.
type Ticket string

// Poller is implemented where writes finish later: such a Write returns Pending
// outcomes, and the runner polls their ticket, also after a restart of the process.
type Poller interface {
	// Poll asks how the writing of b, as it was given to Write, came out. It returns
	// done=false while the destination still works on it; then one Outcome per item, in order.
	// A ticket that the destination does not know (any more) is a Reject fault with the code "ticket.unknown".
	Poll(ctx context.Context, t Ticket, b Batch) (outcomes []Outcome, done bool, err error)
}

// Reader reads records back: resolving doubts, drift, three-way diff.
type Reader interface {
	// Read returns the record for each identifier value, nil where there is none.
	Read(ctx context.Context, object, identifierField string, identifiers []any, fields []string) ([]tidegate.Record, error)
}

// Provisioner creates missing fields. Creating one that exists is no error when it has the type.
type Provisioner interface {
	CreateField(ctx context.Context, object string, f Field) error
}

// Audiencer is implemented where mode audience is: lists, segments, custom audiences.
type Audiencer interface {
	// EnsureAudience finds the audience of that name or creates it, and returns its id.
	EnsureAudience(ctx context.Context, object, name string) (id string, err error)
}

// Cost is an amount of what a destination charges or limits: data points, daily calls.
type Cost struct {
	Unit   string `json:"unit" doc:"One of it, in the singular."` // "data point"
	Amount int64  `json:"amount"`
	// Left is how much of the unit the account has left, as far as the destination has said; nil: unknown.
	Left *int64 `json:"left,omitempty"`
}

// Spending is what a plan would send.
type Spending struct {
	Mode          tidegate.Mode
	Records       int64 // added, changed and removed records that the mode lets through
	ChangedFields int64 // fields with another value than the confirmed one, over all records
	Calls         int64
}

// Coster tells what a plan costs beyond calls and time.
type Coster interface {
	Cost(object string, s Spending) []Cost
}

// Allowance is what a destination said about its rate limit in an answer.
type Allowance struct {
	Limit     int           // calls per window; 0 unknown
	Remaining int           // calls left in it; -1 unknown
	Reset     time.Duration // until the window ends; 0 unknown
	Window    time.Duration // length of the window; 0 unknown
}

// Env is what a connector is lent. It must use nothing else of the outside world.
type Env struct {
	Log *slog.Logger
	// HTTP is the measured, limited, SSRF-guarded client of internal/egress.
	HTTP *http.Client
	Now  func() time.Time
	// Allow, when set, is told what answers say about the account's rate limit. It does not block.
	Allow func(Allowance)
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
