package tidegate

import "encoding/json"

// DefaultWorkspace is the only workspace there is until the control plane
// grows more. Every stored thing is keyed by workspace all the same.
const DefaultWorkspace = "default"

// Source is where events come from: a website, an app, a server.
type Source struct {
	// Name is also the schema of the source's tables: `web` gives `web.tracks`.
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// WriteKey authenticates the source's SDKs.
	WriteKey string `json:"write_key"`
	// Disabled sources answer 404 and accept nothing.
	Disabled bool `json:"disabled,omitempty"`
}

// Connection is a configured warehouse or destination of some kind.
type Connection struct {
	// Name is how syncs refer to it.
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// Kind names the connector: `duckdb`, `hubspot`, `webhook`.
	Kind string `json:"kind"`
	// Config is the connector's own configuration, checked against its schema.
	Config json.RawMessage `json:"config,omitempty"`
}

// Model is a query whose result is what a sync sends. Exactly one of SQL and
// Table is set (a `models/NAME.sql` file fills SQL).
type Model struct {
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// SQL is a single SELECT statement.
	SQL string `json:"sql,omitempty"`
	// Table is `schema.table`.
	Table string `json:"table,omitempty"`
	// PrimaryKey names the columns that identify a row.
	PrimaryKey []string `json:"primary_key"`
}

// Mode says which operations a sync lets through.
type Mode string

// The modes and the operations each lets through.
const (
	Upsert Mode = "upsert" // added and changed create or update
	Update Mode = "update" // added and changed update records that exist
	Insert Mode = "insert" // added only, creates
	Mirror Mode = "mirror" // upsert, and removed deletes
)

// Lets says whether a change of kind op is delivered in mode m.
func (m Mode) Lets(op Op) bool {
	switch m {
	case Upsert, Update:
		return op == Added || op == Changed
	case Insert:
		return op == Added
	case Mirror:
		return true
	}
	return false
}

// FieldMapping fills one destination field. Exactly one of Column, Constant and
// Template is set.
type FieldMapping struct {
	// Field is the destination's field name.
	Field string `json:"field"`
	// Column is the model's column whose value is sent.
	Column string `json:"column,omitempty"`
	// Constant is a fixed JSON value.
	Constant json.RawMessage `json:"constant,omitempty"`
	// Template is a Liquid template over the row's columns: `{{ first_name }} {{ last_name }}`.
	Template string `json:"template,omitempty"`
	// SkipNull leaves the field out of the record when its value is null.
	SkipNull bool `json:"skip_null,omitempty"`
}

// Mapping says how a model row becomes a destination record.
type Mapping struct {
	// Identifier is the destination field by which records are matched. It must be mapped too.
	Identifier string         `json:"identifier"`
	Fields     []FieldMapping `json:"fields"`
}

// Schedule says when a sync runs. At most one of Cron and Every is set; AfterLoad
// may stand alone or beside either. An empty schedule runs by hand only.
type Schedule struct {
	// Cron is a five-field cron expression, read in Timezone.
	Cron string `json:"cron,omitempty"`
	// Timezone is an IANA zone name; UTC when empty.
	Timezone string `json:"timezone,omitempty"`
	// Every is an interval such as `15m`.
	Every string `json:"every,omitempty"`
	// AfterLoad runs the sync when tables its model reads were loaded.
	AfterLoad bool `json:"after_load,omitempty"`
}

// Guards hold a run's plan for approval when it looks like a mistake. Zero
// values mean the defaults that the field comments name; -1 switches a guard off.
type Guards struct {
	// MaxRemovedRows and MaxRemovedPercent: a plan that removes more than the larger of the two is held (100 rows, 5 %).
	MaxRemovedRows    int64   `json:"max_removed_rows,omitempty"`
	MaxRemovedPercent float64 `json:"max_removed_percent,omitempty"`
	// MaxChangedPercent: a plan that changes more of the ledger than this is held (off).
	MaxChangedPercent float64 `json:"max_changed_percent,omitempty"`
	// AllowEmpty lets an empty result through although the ledger has rows.
	AllowEmpty bool `json:"allow_empty,omitempty"`
}

// Sync sends the changed rows of a model to an object of a destination.
type Sync struct {
	Name        string   `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	Model       string   `json:"model"`
	Destination string   `json:"destination"`
	Object      string   `json:"object"`
	Mode        Mode     `json:"mode" default:"upsert" enum:"upsert,update,insert,mirror"`
	Mapping     Mapping  `json:"mapping"`
	Schedule    Schedule `json:"schedule,omitzero"`
	Guards      Guards   `json:"guards,omitzero"`
	// Paused syncs run by hand only.
	Paused bool `json:"paused,omitempty"`
}
