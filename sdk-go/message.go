package analytics

import "time"

// Message is one of Track, Identify, Page, Screen, Group and Alias, or a pointer
// to one. The set is closed: no other package can add to it.
type Message interface {
	// Validate returns the FieldError for which Enqueue would refuse the message.
	Validate() error

	flatten(*event)
}

// Track says that a user did something.
type Track struct {
	// Type is set by the library; what the caller puts here is ignored.
	Type string `json:"type,omitempty"`

	MessageId    string       `json:"messageId,omitempty"`
	AnonymousId  string       `json:"anonymousId,omitempty"`
	UserId       string       `json:"userId,omitempty"`
	Event        string       `json:"event"`
	Timestamp    time.Time    `json:"timestamp,omitempty"`
	Context      *Context     `json:"context,omitempty"`
	Properties   Properties   `json:"properties,omitempty"`
	Integrations Integrations `json:"integrations,omitempty"`
}

// Identify says who a user is.
type Identify struct {
	// Type is set by the library; what the caller puts here is ignored.
	Type string `json:"type,omitempty"`

	MessageId    string       `json:"messageId,omitempty"`
	AnonymousId  string       `json:"anonymousId,omitempty"`
	UserId       string       `json:"userId,omitempty"`
	Timestamp    time.Time    `json:"timestamp,omitempty"`
	Context      *Context     `json:"context,omitempty"`
	Traits       Traits       `json:"traits,omitempty"`
	Integrations Integrations `json:"integrations,omitempty"`
}

// Page says that a user saw a page of a website.
type Page struct {
	// Type is set by the library; what the caller puts here is ignored.
	Type string `json:"type,omitempty"`

	MessageId    string       `json:"messageId,omitempty"`
	AnonymousId  string       `json:"anonymousId,omitempty"`
	UserId       string       `json:"userId,omitempty"`
	Name         string       `json:"name,omitempty"`
	Category     string       `json:"category,omitempty"`
	Timestamp    time.Time    `json:"timestamp,omitempty"`
	Context      *Context     `json:"context,omitempty"`
	Properties   Properties   `json:"properties,omitempty"`
	Integrations Integrations `json:"integrations,omitempty"`
}

// Screen says that a user saw a screen of an app.
type Screen struct {
	// Type is set by the library; what the caller puts here is ignored.
	Type string `json:"type,omitempty"`

	MessageId    string       `json:"messageId,omitempty"`
	AnonymousId  string       `json:"anonymousId,omitempty"`
	UserId       string       `json:"userId,omitempty"`
	Name         string       `json:"name,omitempty"`
	Category     string       `json:"category,omitempty"`
	Timestamp    time.Time    `json:"timestamp,omitempty"`
	Context      *Context     `json:"context,omitempty"`
	Properties   Properties   `json:"properties,omitempty"`
	Integrations Integrations `json:"integrations,omitempty"`
}

// Group says that a user belongs to a group: an account, a company, a team.
type Group struct {
	// Type is set by the library; what the caller puts here is ignored.
	Type string `json:"type,omitempty"`

	MessageId    string       `json:"messageId,omitempty"`
	AnonymousId  string       `json:"anonymousId,omitempty"`
	UserId       string       `json:"userId,omitempty"`
	GroupId      string       `json:"groupId"`
	Timestamp    time.Time    `json:"timestamp,omitempty"`
	Context      *Context     `json:"context,omitempty"`
	Traits       Traits       `json:"traits,omitempty"`
	Integrations Integrations `json:"integrations,omitempty"`
}

// Alias says that two identifiers are one user.
type Alias struct {
	// Type is set by the library; what the caller puts here is ignored.
	Type string `json:"type,omitempty"`

	MessageId    string       `json:"messageId,omitempty"`
	PreviousId   string       `json:"previousId"`
	UserId       string       `json:"userId"`
	Timestamp    time.Time    `json:"timestamp,omitempty"`
	Context      *Context     `json:"context,omitempty"`
	Integrations Integrations `json:"integrations,omitempty"`
}

// Validate implements Message: Event is needed, and UserId or AnonymousId.
func (m Track) Validate() error { return validate(&m) }

// Validate implements Message: UserId or AnonymousId is needed.
func (m Identify) Validate() error { return validate(&m) }

// Validate implements Message: UserId or AnonymousId is needed.
func (m Page) Validate() error { return validate(&m) }

// Validate implements Message: UserId or AnonymousId is needed.
func (m Screen) Validate() error { return validate(&m) }

// Validate implements Message: GroupId is needed, and UserId or AnonymousId.
func (m Group) Validate() error { return validate(&m) }

// Validate implements Message: UserId and PreviousId are needed.
func (m Alias) Validate() error { return validate(&m) }

func validate(m Message) error {
	var e event
	m.flatten(&e)
	return e.validate()
}

// event is what the six types have in common with everything that only some of
// them have. It borrows the maps of the message and lives for one Enqueue.
type event struct {
	kind                            kind
	messageID, userID, anonymousID  string
	previousID, groupID             string
	event, name, category           string
	timestamp                       time.Time
	context                         *Context
	properties, traits, integration map[string]any
}

// kind is one of the six types under both its names.
type kind struct {
	wire  string // "track"
	named string // "analytics.Track"
}

func (m Track) flatten(e *event) {
	*e = event{
		kind: kind{"track", "analytics.Track"}, messageID: m.MessageId, userID: m.UserId, anonymousID: m.AnonymousId, event: m.Event,
		timestamp: m.Timestamp, context: m.Context, properties: m.Properties, integration: m.Integrations,
	}
}

func (m Identify) flatten(e *event) {
	*e = event{
		kind: kind{"identify", "analytics.Identify"}, messageID: m.MessageId, userID: m.UserId, anonymousID: m.AnonymousId,
		timestamp: m.Timestamp, context: m.Context, traits: m.Traits, integration: m.Integrations,
	}
}

func (m Page) flatten(e *event) {
	*e = event{
		kind: kind{"page", "analytics.Page"}, messageID: m.MessageId, userID: m.UserId, anonymousID: m.AnonymousId, name: m.Name, category: m.Category,
		timestamp: m.Timestamp, context: m.Context, properties: m.Properties, integration: m.Integrations,
	}
}

func (m Screen) flatten(e *event) {
	*e = event{
		kind: kind{"screen", "analytics.Screen"}, messageID: m.MessageId, userID: m.UserId, anonymousID: m.AnonymousId, name: m.Name, category: m.Category,
		timestamp: m.Timestamp, context: m.Context, properties: m.Properties, integration: m.Integrations,
	}
}

func (m Group) flatten(e *event) {
	*e = event{
		kind: kind{"group", "analytics.Group"}, messageID: m.MessageId, userID: m.UserId, anonymousID: m.AnonymousId, groupID: m.GroupId,
		timestamp: m.Timestamp, context: m.Context, traits: m.Traits, integration: m.Integrations,
	}
}

func (m Alias) flatten(e *event) {
	*e = event{
		kind: kind{"alias", "analytics.Alias"}, messageID: m.MessageId, userID: m.UserId, previousID: m.PreviousId,
		timestamp: m.Timestamp, context: m.Context, integration: m.Integrations,
	}
}

// set fills e from msg without a call through the interface, so that the
// compiler sees that msg does not outlive the call and need not be allocated.
func (e *event) set(msg Message) bool {
	switch m := msg.(type) {
	case Track:
		m.flatten(e)
	case Identify:
		m.flatten(e)
	case Page:
		m.flatten(e)
	case Screen:
		m.flatten(e)
	case Group:
		m.flatten(e)
	case Alias:
		m.flatten(e)
	default:
		return e.setPointer(msg)
	}
	return true
}

func (e *event) setPointer(msg Message) bool {
	switch m := msg.(type) {
	case *Track:
		return m != nil && e.set(*m)
	case *Identify:
		return m != nil && e.set(*m)
	case *Page:
		return m != nil && e.set(*m)
	case *Screen:
		return m != nil && e.set(*m)
	case *Group:
		return m != nil && e.set(*m)
	case *Alias:
		return m != nil && e.set(*m)
	}
	return false // nil
}

// maxMessageID is the longest messageId that every server of the protocol takes.
const maxMessageID = 99

// validate holds the event to what the server would refuse it for, so that the
// caller hears of it at the call.
func (e *event) validate() error {
	switch {
	case e.kind.wire == "track" && e.event == "":
		return e.bad("Event", e.event, "must not be empty")
	case e.kind.wire == "group" && e.groupID == "":
		return e.bad("GroupId", e.groupID, "must not be empty")
	case e.kind.wire == "alias" && e.userID == "":
		return e.bad("UserId", e.userID, "must not be empty")
	case e.kind.wire == "alias" && e.previousID == "":
		return e.bad("PreviousId", e.previousID, "must not be empty")
	case e.userID == "" && e.anonymousID == "":
		return e.bad("UserId", e.userID, "must not be empty when AnonymousId is")
	case len(e.messageID) > maxMessageID:
		return e.bad("MessageId", e.messageID, "must be shorter than 100 bytes")
	case !e.timestamp.IsZero() && (e.timestamp.UTC().Year() < 0 || e.timestamp.UTC().Year() > 9999):
		return e.bad("Timestamp", e.timestamp, "must lie in the years 0 to 9999")
	}
	return nil
}

func (e *event) bad(name string, value any, reason string) error {
	return FieldError{Type: e.kind.named, Name: name, Value: value, Reason: reason}
}
