package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/ingest/forward"
)

// Forwards is the part of Hub that forwards events.
type Forwards interface {
	// Forwards returns every forward's status, sorted by name.
	Forwards(ctx context.Context) ([]ForwardStatus, error)
	// Forward returns one forward's status; fault "forward.not_found".
	Forward(ctx context.Context, name string) (ForwardStatus, error)
	// PauseForward holds a forward, or lets it go on; a restart does not change it.
	PauseForward(ctx context.Context, name string, pause bool) error
	// DeadEvents lists a forward's dead letters, newest first.
	DeadEvents(ctx context.Context, name string, f DeadFilter) ([]DeadEvent, error)
	// DeadCauses counts a forward's dead letters by their codes.
	DeadCauses(ctx context.Context, name string) ([]store.LetterCause, error)
	// RetryDead sends dead letters again, behind what waits, and returns how many.
	RetryDead(ctx context.Context, name string, f DeadFilter) (int64, error)
	// DiscardDead forgets dead letters for good, and returns how many.
	DiscardDead(ctx context.Context, name string, f DeadFilter) (int64, error)
}

// ForwardStatus tells how a forward is.
type ForwardStatus struct {
	Name        string              `json:"name"`
	Destination string              `json:"destination"`
	Object      string              `json:"object"`
	Mode        string              `json:"mode"`
	State       forward.State       `json:"state" enum:"opening,running,down,halted,paused"`
	Reason      string              `json:"reason,omitempty" doc:"Why it is not running, and what to do."`
	Since       time.Time           `json:"since,omitzero"`
	LagEvents   int64               `json:"lag_events" doc:"Events of the journal that it has not passed, of all sources."`
	LagBytes    int64               `json:"lag_bytes"`
	LagSeconds  float64             `json:"lag_seconds" doc:"Age of the oldest of them."`
	InMemory    int                 `json:"in_memory" doc:"Events on their way."`
	Waiting     int64               `json:"waiting" doc:"Events that failed and are tried again, or stand behind such."`
	Dead        int64               `json:"dead" doc:"Dead letters."`
	Overrun     bool                `json:"overrun,omitempty" doc:"It holds more of the journal than it may, and gives its oldest events up."`
	Safety      destinations.Safety `json:"safety,omitempty" doc:"What a repeated delivery does: idempotent, dedupable (by the idempotency key) or unsafe (at least once)."`
	Progress    forward.Tally       `json:"progress" doc:"Since the forward was started."`
}

// DeadFilter chooses dead letters; both empty: all.
type DeadFilter struct {
	Code     string
	Position *int64
	Before   int64 // positions below it; 0: any
	Limit    int
}

// DeadEvent is a dead letter.
type DeadEvent struct {
	Position   int64           `json:"position" doc:"In the journal; the letter's name."`
	Source     string          `json:"source"`
	MessageID  string          `json:"message_id"`
	Type       string          `json:"type"`
	Name       string          `json:"name,omitempty"`
	User       string          `json:"user,omitempty"`
	ReceivedAt time.Time       `json:"received_at"`
	DiedAt     time.Time       `json:"died_at"`
	Attempts   int             `json:"attempts"`
	Code       string          `json:"code"`
	Message    string          `json:"message"`
	Hint       string          `json:"hint,omitempty"`
	Event      json.RawMessage `json:"event"`
}

// ForwardAddress is the path of a forward.
type ForwardAddress struct {
	Name string `path:"name" maxLength:"63"`
}

// DeadAddress is the path of a forward with the choice of dead letters. It is exported because
// what an embedded type that is not would read of the request is left out without a word.
type DeadAddress struct {
	ForwardAddress
	Code     string `query:"code" doc:"Only letters with this code."`
	Position int64  `query:"position" default:"-1" doc:"Only the letter at this position."`
}

func (in *DeadAddress) filter() DeadFilter {
	f := DeadFilter{Code: in.Code}
	if in.Position >= 0 {
		f.Position = &in.Position
	}
	return f
}

func (s *server) listForwards(ctx context.Context, _ *nothing) (*body[list[ForwardStatus]], error) {
	return answerList(s.o.Hub.Forwards(ctx))
}

func (s *server) getForward(ctx context.Context, in *ForwardAddress) (*body[ForwardStatus], error) {
	return answer(s.o.Hub.Forward(ctx, in.Name))
}

func (s *server) pauseForward(ctx context.Context, in *ForwardAddress) (*nothing, error) {
	err := s.o.Hub.PauseForward(ctx, in.Name, true)
	if err == nil {
		err = s.audit(ctx, "forward.pause", in.Name, nil)
	}
	return &nothing{}, err
}

func (s *server) resumeForward(ctx context.Context, in *ForwardAddress) (*nothing, error) {
	err := s.o.Hub.PauseForward(ctx, in.Name, false)
	if err == nil {
		err = s.audit(ctx, "forward.resume", in.Name, nil)
	}
	return &nothing{}, err
}

func (s *server) listDeadEvents(ctx context.Context, in *struct {
	DeadAddress
	Before int64 `query:"before" doc:"Only letters below this position."`
	Limit  int   `query:"limit" default:"50" minimum:"1" maximum:"1000"`
},
) (*body[list[DeadEvent]], error) {
	f := in.filter()
	f.Before, f.Limit = in.Before, in.Limit
	return answerList(s.o.Hub.DeadEvents(ctx, in.Name, f))
}

func (s *server) listDeadCauses(ctx context.Context, in *ForwardAddress) (*body[list[store.LetterCause]], error) {
	return answerList(s.o.Hub.DeadCauses(ctx, in.Name))
}

func (s *server) retryDeadEvents(ctx context.Context, in *DeadAddress) (*body[Retried], error) {
	n, err := s.o.Hub.RetryDead(ctx, in.Name, in.filter())
	if err == nil {
		err = s.audit(ctx, "forward.retry", in.Name, Retried{Retried: n})
	}
	return answer(Retried{Retried: n}, err)
}

// Discarded is how many dead letters were forgotten.
type Discarded struct {
	Discarded int64 `json:"discarded"`
}

func (s *server) discardDeadEvents(ctx context.Context, in *DeadAddress) (*body[Discarded], error) {
	n, err := s.o.Hub.DiscardDead(ctx, in.Name, in.filter())
	if err == nil {
		err = s.audit(ctx, "forward.discard", in.Name, Discarded{Discarded: n})
	}
	return answer(Discarded{Discarded: n}, err)
}

// ListForwards returns every forward's status.
func (c *Client) ListForwards(ctx context.Context) ([]ForwardStatus, error) {
	var out list[ForwardStatus]
	err := c.call(ctx, http.MethodGet, "/v1/forwards", nil, nil, nil, &out)
	return out.Items, err
}

// GetForward returns one forward's status.
func (c *Client) GetForward(ctx context.Context, name string) (ForwardStatus, error) {
	var out ForwardStatus
	err := c.call(ctx, http.MethodGet, forwardPath(name), nil, nil, nil, &out)
	return out, err
}

// PauseForward holds a forward.
func (c *Client) PauseForward(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, forwardPath(name)+"/pause", nil, nil, nil, nil)
}

// ResumeForward lets a paused forward go on, and one that waits for its destination try at once.
func (c *Client) ResumeForward(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, forwardPath(name)+"/resume", nil, nil, nil, nil)
}

// ListDeadEvents lists a forward's dead letters, newest first.
func (c *Client) ListDeadEvents(ctx context.Context, name string, f DeadFilter) ([]DeadEvent, error) {
	q := f.query()
	q.Set("limit", strconv.Itoa(max(f.Limit, 1)))
	if f.Before > 0 {
		q.Set("before", strconv.FormatInt(f.Before, 10))
	}
	var out list[DeadEvent]
	err := c.call(ctx, http.MethodGet, forwardPath(name)+"/dead", q, nil, nil, &out)
	return out.Items, err
}

// ListDeadCauses counts a forward's dead letters by their codes.
func (c *Client) ListDeadCauses(ctx context.Context, name string) ([]store.LetterCause, error) {
	var out list[store.LetterCause]
	err := c.call(ctx, http.MethodGet, forwardPath(name)+"/dead/causes", nil, nil, nil, &out)
	return out.Items, err
}

// RetryDeadEvents sends dead letters again and returns how many.
func (c *Client) RetryDeadEvents(ctx context.Context, name string, f DeadFilter) (int64, error) {
	var out Retried
	err := c.call(ctx, http.MethodPost, forwardPath(name)+"/dead/retry", f.query(), nil, nil, &out)
	return out.Retried, err
}

// DiscardDeadEvents forgets dead letters for good and returns how many.
func (c *Client) DiscardDeadEvents(ctx context.Context, name string, f DeadFilter) (int64, error) {
	var out Discarded
	err := c.call(ctx, http.MethodPost, forwardPath(name)+"/dead/discard", f.query(), nil, nil, &out)
	return out.Discarded, err
}

func (f DeadFilter) query() url.Values {
	q := url.Values{}
	if f.Code != "" {
		q.Set("code", f.Code)
	}
	if f.Position != nil {
		q.Set("position", strconv.FormatInt(*f.Position, 10))
	}
	return q
}

func forwardPath(name string) string { return "/v1/forwards/" + url.PathEscape(name) }
