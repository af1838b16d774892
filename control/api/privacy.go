package api

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/ingest/privacy"
)

// PrivacyHub is what a hub does for people who do not want to be kept.
type PrivacyHub interface {
	// Suppressions lists who is suppressed, oldest first.
	Suppressions(ctx context.Context) ([]privacy.Entry, error)
	// Suppress keeps nothing of people from now on; it returns how many are new.
	Suppress(ctx context.Context, actor string, r SuppressRequest) (int64, error)
	// Unsuppress lets people's events in again; it returns how many were suppressed.
	Unsuppress(ctx context.Context, r SuppressRequest) (int64, error)
	// Delete stores the deletion of people, which then runs until it is done, across restarts.
	Delete(ctx context.Context, actor string, r DeleteRequest) (Deletion, error)
	// Deletions lists deletions, newest first.
	Deletions(ctx context.Context, limit int) ([]Deletion, error)
	// DeletionOf returns one deletion with its receipt; fault "deletion.not_found".
	DeletionOf(ctx context.Context, id string) (Deletion, error)
	// ScanPrivacy looks for personal data in events where nobody expects it.
	ScanPrivacy(ctx context.Context, r ScanRequest) (privacy.Report, error)
}

// SuppressRequest names people.
type SuppressRequest struct {
	Source string           `json:"source,omitempty" doc:"For events of this source only."`
	People []privacy.Person `json:"people" minItems:"1" maxItems:"100000"`
	Reason string           `json:"reason,omitempty" maxLength:"500"`
}

// DeleteRequest asks for the deletion of people.
type DeleteRequest struct {
	SuppressRequest
	// Suppress keeps nothing of them from now on too.
	Suppress bool `json:"suppress,omitempty"`
	// Keep leaves what destinations hold.
	KeepDestinations bool `json:"keep_destinations,omitempty" doc:"Leaves what destinations hold; the receipt names them."`
}

// Deletion is a deletion with its receipt.
type Deletion struct {
	ID        string             `json:"id"`
	State     string             `json:"state" enum:"waiting,running,done,failed"`
	Request   DeleteRequest      `json:"request"`
	Receipt   privacy.Receipt    `json:"receipt"`
	Fault     *tidegate.RunFault `json:"fault,omitempty" doc:"Why the last attempt failed; it is tried again."`
	Actor     string             `json:"actor"`
	CreatedAt time.Time          `json:"created_at"`
	UpdatedAt time.Time          `json:"updated_at"`
}

// ScanRequest says which events are looked at.
type ScanRequest struct {
	Source string
	Since  time.Time
	Limit  int // events looked at
}

// Regulation is a request in the words of Segment's API.
type Regulation struct {
	RegulationType string   `json:"regulationType" enum:"SUPPRESS_ONLY,UNSUPPRESS,SUPPRESS_WITH_DELETE,DELETE_ONLY,SUPPRESS_WITH_DELETE_INTERNAL,DELETE_INTERNAL" doc:"…_INTERNAL leaves what destinations hold."`
	SubjectType    string   `json:"subjectType" enum:"USER_ID,ANONYMOUS_ID"`
	SubjectIDs     []string `json:"subjectIds" minItems:"1" maxItems:"5000"`
	Source         string   `json:"source,omitempty" doc:"For events of this source only."`
}

// Regulated is what a regulation began.
type Regulated struct {
	Suppressed   int64     `json:"suppressed"`
	Unsuppressed int64     `json:"unsuppressed"`
	Deletion     *Deletion `json:"deletion,omitempty"`
}

// Changed is how many entries a request changed.
type Changed struct {
	Changed int64 `json:"changed"`
}

func (s *server) privacyRoutes() []route {
	return []route{
		do("GET", "/v1/privacy/suppressions", "listSuppressions", auth.Admin, "Who is suppressed", s.listSuppressions),
		do("POST", "/v1/privacy/suppressions", "suppress", auth.Operate, "Keeps nothing of people from now on", s.suppress),
		do("POST", "/v1/privacy/suppressions/remove", "unsuppress", auth.Admin, "Lets people's events in again", s.unsuppress),
		do("POST", "/v1/privacy/deletions", "deletePeople", auth.Admin, "Deletes people from journal, warehouse and destinations; the receipt says what was found and is left", s.deletePeople),
		do("GET", "/v1/privacy/deletions", "listDeletions", auth.Admin, "Deletions, newest first", s.listDeletions),
		do("GET", "/v1/privacy/deletions/{id}", "getDeletion", auth.Admin, "One deletion with its receipt", s.getDeletion),
		do("POST", "/v1/privacy/regulations", "regulate", auth.Admin, "Takes a request in the words of Segment's regulations", s.regulate),
		do("GET", "/v1/privacy/scan", "scanPrivacy", auth.Query, "Looks for personal data in events where nobody expects it; shows no value", s.scanPrivacy),
	}
}

// auditPeople writes that something was done to so many people, never whom.
func (s *server) auditPeople(ctx context.Context, action, object string, people int, source string) error {
	return s.audit(ctx, action, object, map[string]any{"people": people, "source": source})
}

func (s *server) listSuppressions(ctx context.Context, _ *nothing) (*body[list[privacy.Entry]], error) {
	return answerList(s.o.Hub.Suppressions(ctx))
}

func (s *server) suppress(ctx context.Context, in *struct{ Body SuppressRequest }) (*body[Changed], error) {
	n, err := s.o.Hub.Suppress(ctx, who(ctx).Name, in.Body)
	if err == nil {
		err = s.auditPeople(ctx, "privacy.suppress", "suppressions", len(in.Body.People), in.Body.Source)
	}
	return answer(Changed{n}, err)
}

func (s *server) unsuppress(ctx context.Context, in *struct{ Body SuppressRequest }) (*body[Changed], error) {
	n, err := s.o.Hub.Unsuppress(ctx, in.Body)
	if err == nil {
		err = s.auditPeople(ctx, "privacy.unsuppress", "suppressions", len(in.Body.People), in.Body.Source)
	}
	return answer(Changed{n}, err)
}

func (s *server) deletePeople(ctx context.Context, in *struct{ Body DeleteRequest }) (*body[Deletion], error) {
	d, err := s.o.Hub.Delete(ctx, who(ctx).Name, in.Body)
	if err == nil {
		err = s.auditPeople(ctx, "privacy.delete", d.ID, len(in.Body.People), in.Body.Source)
	}
	return answer(d, err)
}

func (s *server) listDeletions(ctx context.Context, in *struct {
	Limit int `query:"limit" default:"20" minimum:"1" maximum:"1000"`
},
) (*body[list[Deletion]], error) {
	return answerList(s.o.Hub.Deletions(ctx, in.Limit))
}

func (s *server) getDeletion(ctx context.Context, in *JobAddress) (*body[Deletion], error) {
	return answer(s.o.Hub.DeletionOf(ctx, in.ID))
}

func (s *server) regulate(ctx context.Context, in *struct{ Body Regulation }) (*body[Regulated], error) {
	kind := privacy.UserID
	if in.Body.SubjectType == "ANONYMOUS_ID" {
		kind = privacy.AnonymousID
	}
	r := SuppressRequest{Source: in.Body.Source, Reason: in.Body.RegulationType}
	for _, id := range in.Body.SubjectIDs {
		r.People = append(r.People, privacy.Person{Kind: kind, ID: id})
	}
	var out Regulated
	var err error
	object := "suppressions"
	switch in.Body.RegulationType {
	case "SUPPRESS_ONLY":
		out.Suppressed, err = s.o.Hub.Suppress(ctx, who(ctx).Name, r)
	case "UNSUPPRESS":
		out.Unsuppressed, err = s.o.Hub.Unsuppress(ctx, r)
	default:
		d := DeleteRequest{SuppressRequest: r}
		d.Suppress = in.Body.RegulationType == "SUPPRESS_WITH_DELETE" || in.Body.RegulationType == "SUPPRESS_WITH_DELETE_INTERNAL"
		d.KeepDestinations = in.Body.RegulationType == "SUPPRESS_WITH_DELETE_INTERNAL" || in.Body.RegulationType == "DELETE_INTERNAL"
		var begun Deletion
		if begun, err = s.o.Hub.Delete(ctx, who(ctx).Name, d); err == nil {
			out.Deletion, object = &begun, begun.ID
		}
	}
	if err == nil {
		err = s.auditPeople(ctx, "privacy.regulation."+in.Body.RegulationType, object, len(r.People), r.Source)
	}
	return answer(out, err)
}

func (s *server) scanPrivacy(ctx context.Context, in *struct {
	Source string    `query:"source"`
	Since  time.Time `query:"since" doc:"The first arrival looked at; the oldest that the journal has when it is not given."`
	Limit  int       `query:"limit" default:"10000" minimum:"1" maximum:"1000000" doc:"At most so many events are looked at, spread over the period."`
},
) (*body[privacy.Report], error) {
	return answer(s.o.Hub.ScanPrivacy(ctx, ScanRequest{Source: in.Source, Since: in.Since, Limit: in.Limit}))
}

// Suppressions lists who is suppressed.
func (c *Client) Suppressions(ctx context.Context) ([]privacy.Entry, error) {
	return items(get[list[privacy.Entry]](ctx, c, "/v1/privacy/suppressions", nil))
}

// Suppress keeps nothing of people from now on.
func (c *Client) Suppress(ctx context.Context, r SuppressRequest) (int64, error) {
	out, err := post[Changed](ctx, c, "/v1/privacy/suppressions", nil, r)
	return out.Changed, err
}

// Unsuppress lets people's events in again.
func (c *Client) Unsuppress(ctx context.Context, r SuppressRequest) (int64, error) {
	out, err := post[Changed](ctx, c, "/v1/privacy/suppressions/remove", nil, r)
	return out.Changed, err
}

// DeletePeople begins a deletion.
func (c *Client) DeletePeople(ctx context.Context, r DeleteRequest) (Deletion, error) {
	return post[Deletion](ctx, c, "/v1/privacy/deletions", nil, r)
}

// Deletions lists deletions, newest first.
func (c *Client) Deletions(ctx context.Context, limit int) ([]Deletion, error) {
	return items(get[list[Deletion]](ctx, c, "/v1/privacy/deletions", url.Values{"limit": {strconv.Itoa(limit)}}))
}

// Deletion returns one deletion with its receipt.
func (c *Client) Deletion(ctx context.Context, id string) (Deletion, error) {
	return get[Deletion](ctx, c, "/v1/privacy/deletions/"+url.PathEscape(id), nil)
}

// ScanPrivacy looks for personal data in events.
func (c *Client) ScanPrivacy(ctx context.Context, r ScanRequest) (privacy.Report, error) {
	query := url.Values{"limit": {strconv.Itoa(r.Limit)}}
	setText(query, "source", r.Source)
	setTime(query, "since", r.Since)
	return get[privacy.Report](ctx, c, "/v1/privacy/scan", query)
}
