package api

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/replay"
)

// EventHub is what a hub does with events that it has taken.
type EventHub interface {
	// Reconcile holds the books of a period against each other and against the tables.
	Reconcile(ctx context.Context, p ReconcilePeriod) (Reconciliation, error)
	// DeadLetters lists dead letters, newest first, and their causes.
	DeadLetters(ctx context.Context, q DeadQuery) (DeadLetters, error)
	// PlanReplay counts what a replay would do and does nothing.
	PlanReplay(ctx context.Context, r ReplayRequest) (ReplayPlan, error)
	// StartReplay stores a replay, which then runs until it is done, across restarts.
	StartReplay(ctx context.Context, actor string, r ReplayRequest) (Replay, error)
	// Replays lists replays, newest first.
	Replays(ctx context.Context, limit int) ([]Replay, error)
	// ReplayOf returns one replay; fault "replay.not_found".
	ReplayOf(ctx context.Context, id string) (Replay, error)
	// CancelReplay stops a replay after the chunk at hand; what was replayed stays.
	CancelReplay(ctx context.Context, id string) (Replay, error)
	// Streams lists the project's streams.
	Streams(ctx context.Context) ([]tidegate.Stream, error)
	// Stream calls emit for the events of a stream until emit errs, ctx ends or, unless
	// follow, the journal's end is reached; fault "stream.not_found". Its first call has the
	// zero item: the stream is open.
	Stream(ctx context.Context, name string, from StreamFrom, emit func(StreamItem) error) error
}

// ReconcilePeriod says what is reconciled: whole hours, From ≤ hour < To.
type ReconcilePeriod struct {
	From, To time.Time
	Source   string
}

// Reconciliation is the books of a period. Invariant 2.
type Reconciliation struct {
	From     time.Time         `json:"from"`
	To       time.Time         `json:"to"`
	Balanced bool              `json:"balanced"`
	Hours    []ReconciledHour  `json:"hours" doc:"What became of the events that came in, by source and hour."`
	Tables   []ReconciledTable `json:"tables" doc:"What tables were given and what they hold, by hour; those that agree only with details."`
	// Since is the first hour that is counted; what came before is not compared.
	Since time.Time `json:"since,omitzero"`
}

// ReconciledHour is one hour of one source: accepted = loaded + duplicates + waiting + dead + suppressed + dropped + gap.
type ReconciledHour struct {
	Hour time.Time `json:"hour"`
	SourceCounts
	Gap int64 `json:"gap" doc:"Events that the journal took and nobody accounts for; negative: accounted for and never taken."`
}

// ReconciledTable is one hour of one table.
type ReconciledTable struct {
	Table  string    `json:"table"`
	Hour   time.Time `json:"hour"`
	Booked int64     `json:"booked" doc:"Rows that the table was given."`
	Found  int64     `json:"found" doc:"Rows that it holds."`
	Gap    int64     `json:"gap" doc:"Rows that it was given and does not hold; negative: rows that came from elsewhere."`
}

// DeadQuery says which dead letters are listed.
type DeadQuery struct {
	Source, Code string
	Limit        int
	Body         bool
}

// DeadLetters are dead letters and their causes.
type DeadLetters struct {
	Total  int64               `json:"total"`
	Causes []DeadCause         `json:"causes" doc:"Letters of one code and, but for numbers and names in it, one reason; most frequent first."`
	Items  []replay.DeadLetter `json:"items" doc:"Newest first."`
}

// DeadCause is dead letters with one cause.
type DeadCause struct {
	Source  string    `json:"source"`
	Code    string    `json:"code"`
	Reason  string    `json:"reason" doc:"Of the newest."`
	Count   int64     `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Example string    `json:"example" doc:"Offset of the newest."`
}

// ReplayRequest says what is replayed and where to.
type ReplayRequest struct {
	From     string    `json:"from,omitempty" doc:"The first offset, partition:position. The oldest that the journal has when empty."`
	To       string    `json:"to,omitempty" doc:"The offset before which it ends. The journal's end when empty."`
	FromTime time.Time `json:"from_time,omitzero" doc:"The first arrival, instead of from."`
	ToTime   time.Time `json:"to_time,omitzero" doc:"The arrival before which it ends, instead of to."`
	Source   string    `json:"source,omitempty" doc:"Events of this source only."`
	Types    []string  `json:"types,omitempty" doc:"Events of these types only."`
	Filter   string    `json:"filter,omitempty" maxLength:"8192" doc:"A condition in CEL over event, source, type, name, message_id, user_id, anonymous_id, received_at and refusal."`
	Dead     bool      `json:"dead,omitempty" doc:"Dead letters only."`
	Code     string    `json:"code,omitempty" doc:"Dead letters of this code only."`
	Into     string    `json:"into,omitempty" pattern:"^[a-z][a-z0-9_]{0,62}$" doc:"live, or a new schema beside the live ones."`
	Compare  bool      `json:"compare,omitempty" doc:"Compare the schema with the live tables afterwards."`
}

// ReplayPlan is what a replay would do.
type ReplayPlan struct {
	From   string        `json:"from"`
	To     string        `json:"to"`
	Counts replay.Totals `json:"counts"`
	// Oldest is the first offset that the journal still holds, Since when it came.
	Oldest string    `json:"oldest"`
	Since  time.Time `json:"since,omitzero"`
	// Lacks says that the journal begins after what was asked for.
	Lacks bool `json:"lacks,omitempty"`
}

// Replay is a replay with how far it has come.
type Replay struct {
	ID        string             `json:"id"`
	State     string             `json:"state" enum:"waiting,running,done,failed,canceled"`
	Request   ReplayRequest      `json:"request"`
	From      string             `json:"from"`
	To        string             `json:"to"`
	Next      string             `json:"next,omitempty" doc:"Where it goes on."`
	Counts    replay.Totals      `json:"counts"`
	Expected  int64              `json:"expected" doc:"Events that it was going to replay when it was asked for."`
	Diff      []replay.TableDiff `json:"diff,omitempty"`
	Fault     *tidegate.RunFault `json:"fault,omitempty"`
	Actor     string             `json:"actor"`
	CreatedAt time.Time          `json:"created_at"`
	UpdatedAt time.Time          `json:"updated_at"`
}

// StreamFrom says where a stream begins and whether it waits for more.
type StreamFrom struct {
	// Next is the first offset wanted; nil: the journal's end.
	Next   *tidegate.Offset
	Since  time.Time // the first arrival, when Next is nil
	Follow bool
}

// StreamItem is one event, or how far a stream has come without one.
type StreamItem struct {
	Event *StreamEvent
	// Next is where a reader goes on after it.
	Next tidegate.Offset
}

// StreamEvent is one event of a stream.
type StreamEvent struct {
	Offset      string          `json:"offset"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	MessageID   string          `json:"message_id"`
	UserID      string          `json:"user_id,omitempty"`
	AnonymousID string          `json:"anonymous_id,omitempty"`
	ReceivedAt  time.Time       `json:"received_at"`
	Event       json.RawMessage `json:"event"`
	Context     json.RawMessage `json:"context,omitempty" doc:"What the events of one request share."`
}

// Became is what an event became, as the live view tells.
type Became struct {
	// State is waiting, loaded, duplicate, dead, suppressed, dropped, or unknown for
	// events too long ago to be remembered.
	State      string            `json:"state" enum:"waiting,loaded,duplicate,dead,suppressed,dropped,unknown"`
	Tables     []string          `json:"tables,omitempty" doc:"The tables that have, or will have, a row of it."`
	Code       string            `json:"code,omitempty" doc:"Why it is a dead letter."`
	Reason     string            `json:"reason,omitempty"`
	Changed    bool              `json:"changed,omitempty" doc:"Rules changed it."`
	Violations []judge.Violation `json:"violations,omitempty"`
}

func (s *server) eventRoutes() []route {
	return []route{
		do("GET", "/v1/reconciliation", "reconcile", auth.Read, "Holds the books of a period against each other and against the tables", s.reconcile),
		do("GET", "/v1/dead-letters", "listDeadLetters", auth.Query, "Dead letters, newest first, and their causes", s.listDeadLetters),
		do("POST", "/v1/replays/plan", "planReplay", auth.Query, "Counts what a replay would do, and does nothing", s.planReplay),
		do("POST", "/v1/replays", "startReplay", auth.Operate, "Starts a replay; it goes on across restarts", s.startReplay),
		do("GET", "/v1/replays", "listReplays", auth.Read, "Replays, newest first", s.listReplays),
		do("GET", "/v1/replays/{id}", "getReplay", auth.Read, "One replay with how far it has come", s.getReplay),
		do("POST", "/v1/replays/{id}/cancel", "cancelReplay", auth.Operate, "Stops a replay; what was replayed stays", s.cancelReplay),
		do("GET", "/v1/streams", "listStreams", auth.Stream, "The streams of the project", s.listStreams),
		do("GET", "/v1/streams/{name}", "readStream", auth.Stream, "Reads a stream as server-sent events (Accept: text/event-stream) or NDJSON; Last-Event-ID or after= goes on where a reader was", s.readStream).streaming("{event} each, {at} while nothing matches, then {end} or {error}"),
	}
}

func (s *server) reconcile(ctx context.Context, in *struct {
	From   time.Time `query:"from" doc:"The first hour; 24 hours ago when it is not given."`
	To     time.Time `query:"to" doc:"Ends before this hour; now when it is not given."`
	Source string    `query:"source" doc:"This source only."`
},
) (*body[Reconciliation], error) {
	return answer(s.o.Hub.Reconcile(ctx, ReconcilePeriod{From: in.From, To: in.To, Source: in.Source}))
}

func (s *server) listDeadLetters(ctx context.Context, in *struct {
	Source string `query:"source"`
	Code   string `query:"code"`
	Limit  int    `query:"limit" default:"50" minimum:"0" maximum:"10000"`
	Full   bool   `query:"body" doc:"With what the event said."`
},
) (*body[DeadLetters], error) {
	return answer(s.o.Hub.DeadLetters(ctx, DeadQuery{Source: in.Source, Code: in.Code, Limit: in.Limit, Body: in.Full}))
}

type replayIn struct {
	Body ReplayRequest
}

func (s *server) planReplay(ctx context.Context, in *replayIn) (*body[ReplayPlan], error) {
	return answer(s.o.Hub.PlanReplay(ctx, in.Body))
}

func (s *server) startReplay(ctx context.Context, in *replayIn) (*body[Replay], error) {
	r, err := s.o.Hub.StartReplay(ctx, who(ctx).Name, in.Body)
	return s.auditedReplay(ctx, "replay.start", r, err)
}

func (s *server) auditedReplay(ctx context.Context, action string, r Replay, err error) (*body[Replay], error) {
	if err != nil {
		return nil, err
	}
	return answer(r, s.audit(ctx, action, r.ID, r.Request))
}

func (s *server) listReplays(ctx context.Context, in *struct {
	Limit int `query:"limit" default:"20" minimum:"1" maximum:"1000"`
},
) (*body[list[Replay]], error) {
	return answerList(s.o.Hub.Replays(ctx, in.Limit))
}

// JobAddress is the path of one replay or deletion; see DefinitionAddress.
type JobAddress struct {
	ID string `path:"id" maxLength:"100"`
}

func (s *server) getReplay(ctx context.Context, in *JobAddress) (*body[Replay], error) {
	return answer(s.o.Hub.ReplayOf(ctx, in.ID))
}

func (s *server) cancelReplay(ctx context.Context, in *JobAddress) (*body[Replay], error) {
	r, err := s.o.Hub.CancelReplay(ctx, in.ID)
	return s.auditedReplay(ctx, "replay.cancel", r, err)
}

// Reconcile holds the books of a period against each other.
func (c *Client) Reconcile(ctx context.Context, p ReconcilePeriod) (Reconciliation, error) {
	query := url.Values{}
	setTime(query, "from", p.From)
	setTime(query, "to", p.To)
	setText(query, "source", p.Source)
	return get[Reconciliation](ctx, c, "/v1/reconciliation", query)
}

func setTime(query url.Values, name string, at time.Time) {
	if !at.IsZero() {
		query.Set(name, at.UTC().Format(time.RFC3339Nano))
	}
}

func setText(query url.Values, name, text string) {
	if text != "" {
		query.Set(name, text)
	}
}

// DeadLetters lists dead letters and their causes.
func (c *Client) DeadLetters(ctx context.Context, q DeadQuery) (DeadLetters, error) {
	query := url.Values{"limit": {strconv.Itoa(q.Limit)}, "body": {strconv.FormatBool(q.Body)}}
	setText(query, "source", q.Source)
	setText(query, "code", q.Code)
	return get[DeadLetters](ctx, c, "/v1/dead-letters", query)
}

// PlanReplay counts what a replay would do.
func (c *Client) PlanReplay(ctx context.Context, r ReplayRequest) (ReplayPlan, error) {
	return post[ReplayPlan](ctx, c, "/v1/replays/plan", nil, r)
}

// StartReplay starts a replay.
func (c *Client) StartReplay(ctx context.Context, r ReplayRequest) (Replay, error) {
	return post[Replay](ctx, c, "/v1/replays", nil, r)
}

// Replays lists replays, newest first.
func (c *Client) Replays(ctx context.Context, limit int) ([]Replay, error) {
	return items(get[list[Replay]](ctx, c, "/v1/replays", url.Values{"limit": {strconv.Itoa(limit)}}))
}

// Replay returns one replay.
func (c *Client) Replay(ctx context.Context, id string) (Replay, error) {
	return get[Replay](ctx, c, "/v1/replays/"+url.PathEscape(id), nil)
}

// CancelReplay stops a replay.
func (c *Client) CancelReplay(ctx context.Context, id string) (Replay, error) {
	return post[Replay](ctx, c, "/v1/replays/"+url.PathEscape(id)+"/cancel", nil, nil)
}
