package tidegate

import "encoding/json"

// DefaultWorkspace is the only workspace there is until the control plane
// grows more. Every stored thing is keyed by workspace all the same.
const DefaultWorkspace = "default"

// Source is where events come from: a website, an app, a server.
type Source struct {
	// Name is also the schema of the source's tables: `web` gives `web.tracks`.
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// WriteKey authenticates the source's SDKs. That of a browser is public; one that servers keep to
	// themselves may be a reference: `${secret:SHOP_KEY}`.
	WriteKey string `json:"write_key"`
	// Disabled sources answer 404 and accept nothing.
	Disabled bool `json:"disabled,omitempty"`
	// AllowedOrigins bind the write key to websites: `https://shop.example.com`, `https://*.example.com`.
	// A request from elsewhere, or from no page at all, is answered 403. Any origin when empty.
	AllowedOrigins []string `json:"allowed_origins,omitempty"`
	// EventsPerSecond is the rate above which requests are answered 429; 0 means the hub's own limit.
	EventsPerSecond float64 `json:"events_per_second,omitempty" min:"0"`
	// IP says what is kept of the senders' addresses: all (when empty), the network only, or nothing.
	IP string `json:"ip,omitempty" enum:"keep,anonymize,drop"`
	// Bots says what becomes of events from programs that read the web, such as search engines: they are
	// kept (when empty), kept with `context_is_bot` and `context_bot_name`, or counted only.
	Bots string `json:"bots,omitempty" enum:"keep,mark,drop"`
	// SchemaProfile says which tables and columns the source's events become: those of RudderStack's
	// warehouse schema when empty, of Segment's, or one table `events` with JSON columns.
	SchemaProfile string `json:"schema_profile,omitempty" enum:"rudderstack,segment,native"`
	// Tables are details of the source's event tables.
	Tables EventTables `json:"tables,omitzero"`
	// Webhook makes events of another service's calls to `/v1/webhook?writeKey=`.
	Webhook *WebhookSource `json:"webhook,omitempty"`
	// TrackingPlan names the plan to which the source's events are held; none when empty.
	TrackingPlan string `json:"tracking_plan,omitempty"`
}

// EventTables are details of how events become rows.
type EventTables struct {
	// JSONPaths are stored as JSON, not flattened: `track.properties.cart`, `identify.traits.address`.
	// A path without a type is one of track's properties.
	JSONPaths []string `json:"json_paths,omitempty"`
	// HotColumns are paths that get a column of their own in profile `native`: `properties.total`, `traits.plan`.
	HotColumns []string `json:"hot_columns,omitempty"`
	// ContextTraits gives identifies and users the members of `context.traits` without the prefix too.
	ContextTraits bool `json:"context_traits,omitempty"`
	// UnderscoreDivideNumbers makes digits words of their own in names: `abc123` is `abc_123`. Not of profile `segment`.
	UnderscoreDivideNumbers bool `json:"underscore_divide_numbers,omitempty"`
	// SkipTracksTable leaves out the row in tracks of an event that has a table of its own.
	SkipTracksTable bool `json:"skip_tracks_table,omitempty"`
	// SkipUsersTable leaves out users.
	SkipUsersTable bool `json:"skip_users_table,omitempty"`
	// MaxColumns is how many columns a table has at most; further properties are kept in `_unmapped`: 500 when 0.
	MaxColumns int `json:"max_columns,omitempty" min:"0" max:"1600"`
}

// WebhookSource says how the calls of a service are proven and become track
// events. The expressions are CEL over body, headers (in lower case) and query.
type WebhookSource struct {
	// Scheme is how the service signs: `hmac` signs the body, `token` is a bearer token.
	Scheme string `json:"scheme" enum:"stripe,github,shopify,slack,segment,hmac,token,none"`
	// Secret is the service's signing secret.
	Secret string `json:"secret,omitempty" secret:"true"`
	// Header holds the signature of scheme `hmac`, after Prefix.
	Header string `json:"header,omitempty"`
	// Prefix stands before the signature in Header: `sha256=`.
	Prefix string `json:"prefix,omitempty"`
	// Algorithm is the digest of scheme `hmac`: `sha256` when empty.
	Algorithm string `json:"algorithm,omitempty" enum:"sha1,sha256,sha512"`
	// Encoding is how scheme `hmac` writes the signature: `hex` when empty.
	Encoding string `json:"encoding,omitempty" enum:"hex,base64"`
	// Event names the event: what the service calls it when empty, or `webhook`.
	Event string `json:"event,omitempty"`
	// UserID says whose event it is; nobody's when AnonymousID is empty too.
	UserID string `json:"user_id,omitempty"`
	// AnonymousID says whose event it is, where UserID does not.
	AnonymousID string `json:"anonymous_id,omitempty"`
	// MessageID tells repeats apart: the service's id of the delivery when empty, else the body's digest.
	MessageID string `json:"message_id,omitempty"`
	// Timestamp is when it happened: when it came when empty.
	Timestamp string `json:"timestamp,omitempty"`
	// Properties is an object: the body when empty.
	Properties string `json:"properties,omitempty"`
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

// Model is a query whose result is what a sync sends. Exactly one of SQL,
// Table, File and Dbt is set (a `models/NAME.sql` file fills SQL).
type Model struct {
	// Name is how syncs and other models refer to it.
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// Warehouse names one of the project's further warehouses; empty: the one that events go to.
	Warehouse string `json:"warehouse,omitempty"`
	// SQL is a single SELECT statement.
	SQL string `json:"sql,omitempty"`
	// Table is `schema.table`.
	Table string `json:"table,omitempty"`
	// File is a CSV, NDJSON or Parquet file beside the project.
	File string `json:"file,omitempty"`
	// Dbt names a dbt model: its name, or `package.name`.
	Dbt string `json:"dbt,omitempty"`
	// Uses names other models that SQL reads by their names, as if they were tables.
	Uses []string `json:"uses,omitempty"`
	// Params are the values of `{{ name }}` in SQL; they are bound, never pasted.
	Params map[string]json.RawMessage `json:"params,omitempty"`
	// PrimaryKey names the columns that identify a row. A dbt model may tell it by its tests.
	PrimaryKey []string `json:"primary_key,omitempty"`
	// Incremental is a column that grows whenever a row changes. It lets a run read only newer rows;
	// removals and rows that moved back are found by the full read of FullEvery.
	Incremental string `json:"incremental,omitempty"`
	// FullEvery is how often an incremental model is read whole: `24h` when empty.
	FullEvery string `json:"full_every,omitempty" format:"duration"`
}

// Mode says which operations a sync lets through.
type Mode string

// The modes and the operations each lets through.
const (
	Upsert   Mode = "upsert"   // added and changed create or update
	Update   Mode = "update"   // added and changed update records that exist
	Insert   Mode = "insert"   // added only, creates
	Mirror   Mode = "mirror"   // upsert, and removed deletes, archives or clears
	Append   Mode = "append"   // every version of a key is sent once, as a new record
	Audience Mode = "audience" // added joins the audience, removed leaves it
	Full     Mode = "full"     // every row in every run, changed or not; removals never
)

// Modes lists every mode.
func Modes() []Mode { return []Mode{Upsert, Update, Insert, Mirror, Append, Audience, Full} }

// Lets says whether a change of kind op is delivered in mode m.
func (m Mode) Lets(op Op) bool {
	switch m {
	case Upsert, Update, Append, Full:
		return op == Added || op == Changed
	case Insert:
		return op == Added
	case Mirror:
		return true
	case Audience:
		return op == Added || op == Removed
	}
	return false
}

// Removal says what Removed does to a record.
type Removal string

// The removals.
const (
	Delete  Removal = "delete"
	Archive Removal = "archive" // the destination keeps it out of sight, and can bring it back
	Clear   Removal = "clear"   // the record stays and its mapped fields become null
)

// FieldPolicy says when a mapped field is sent.
type FieldPolicy string

// The policies. All but Always and OnCreate need a destination that can be read.
const (
	Always   FieldPolicy = "always"
	IfEmpty  FieldPolicy = "if_empty"  // only while the destination's field is empty
	OnCreate FieldPolicy = "on_create" // only with the change that adds the record
	IfNewer  FieldPolicy = "if_newer"  // never over a value that somebody else wrote since it was last confirmed
)

// FieldMapping fills one destination field. Exactly one of Column, Constant,
// Template, Expression, Lookup, Object and Items is set.
type FieldMapping struct {
	// Field is the destination's field name.
	Field string `json:"field,omitempty"`
	// Column is the model's column whose value is sent.
	Column string `json:"column,omitempty"`
	// Constant is a fixed JSON value.
	Constant json.RawMessage `json:"constant,omitempty"`
	// Template is a Liquid template over the row's columns: `{{ first_name }} {{ last_name }}`.
	Template string `json:"template,omitempty"`
	// Expression is a typed CEL expression over the row's columns: `score > 80 ? "hot" : "cold"`.
	Expression string `json:"expression,omitempty"`
	// Lookup takes the value from the row of another model.
	Lookup *Lookup `json:"lookup,omitempty"`
	// Object builds a nested object of the fields it maps.
	Object []FieldMapping `json:"object,omitempty"`
	// Items builds an array; the entries have no field names.
	Items []FieldMapping `json:"items,omitempty"`
	// Normalize brings the value into the form that ad platforms hash, before Hash.
	Normalize string `json:"normalize,omitempty" enum:"email,phone,first_name,last_name,city,state,postal_code,country,gender,birth_date,lower,trim"`
	// Rules names the platform whose rules Normalize follows; the destination's own when empty.
	Rules string `json:"rules,omitempty" enum:"google,linkedin,meta,pinterest,snap,tiktok"`
	// Country is the ISO code by which `normalize: phone` reads numbers without a country code.
	Country string `json:"country,omitempty"`
	// Hash sends the hexadecimal digest of the value.
	Hash string `json:"hash,omitempty" enum:"sha256,sha512,sha1,md5"`
	// Policy says when the field is sent; always when empty.
	Policy FieldPolicy `json:"policy,omitempty" enum:"always,if_empty,on_create,if_newer"`
	// SkipNull leaves the field out of the record when its value is null.
	SkipNull bool `json:"skip_null,omitempty"`
}

// Lookup finds a value in another model.
type Lookup struct {
	// Model is the other model; it has a primary key of one column.
	Model string `json:"model"`
	// Key is the column of this model that holds the other's primary key.
	Key string `json:"key"`
	// Column is the other model's column that is sent.
	Column string `json:"column"`
}

// Mapping says how a model row becomes a destination record.
type Mapping struct {
	// Identifier is the destination field by which records are matched. It must be mapped too.
	Identifier string `json:"identifier" write:"email"`
	// Fields are the destination's fields that are filled, each from one source.
	Fields []FieldMapping `json:"fields" write:"[{field: email, column: email}]"`
	// CreateFields lets a run create mapped fields that the destination lacks.
	CreateFields bool `json:"create_fields,omitempty"`
}

// Schedule says when a sync runs. At most one of Cron and Every is set; the
// After fields may stand alone or beside either. An empty schedule runs by hand only.
type Schedule struct {
	// Cron is a five-field cron expression, read in Timezone.
	Cron string `json:"cron,omitempty"`
	// Timezone is an IANA zone name; UTC when empty.
	Timezone string `json:"timezone,omitempty"`
	// Every is an interval such as `15m`.
	Every string `json:"every,omitempty"`
	// AfterLoad runs the sync when tables its model reads were loaded.
	AfterLoad bool `json:"after_load,omitempty"`
	// AfterDbt runs the sync when a dbt invocation rebuilt its model and the model's tests passed.
	AfterDbt bool `json:"after_dbt,omitempty"`
	// AfterSync runs the sync when a run of that sync has succeeded.
	AfterSync string `json:"after_sync,omitempty"`
	// WebhookSecret lets `POST /v1/hooks/syncs/NAME` start the sync: as a bearer token, or as the
	// key of the `Tidegate-Signature` header.
	WebhookSecret string `json:"webhook_secret,omitempty" secret:"true"`
	// Freshness is how old the last success may become before the sync counts as late: `1h`.
	Freshness string `json:"freshness,omitempty" format:"duration"`
}

// Guards hold a run's plan for approval when it looks like a mistake. Zero
// values mean the defaults that the field comments name; -1 switches a guard off.
type Guards struct {
	// MaxRemovedRows and MaxRemovedPercent: a plan that removes more than the larger of the two is held (100 rows, 5 %).
	MaxRemovedRows int64 `json:"max_removed_rows,omitempty"`
	// MaxRemovedPercent is the share beside MaxRemovedRows: 5 when 0.
	MaxRemovedPercent float64 `json:"max_removed_percent,omitempty"`
	// MaxChangedPercent: a plan that changes more of the ledger than this is held (off).
	MaxChangedPercent float64 `json:"max_changed_percent,omitempty"`
	// MaxRowsPercent: a plan whose row count differs by more than this from the last run's is held (off).
	MaxRowsPercent float64 `json:"max_rows_percent,omitempty"`
	// MaxNullPercent: a plan in which a mapped field is null in more of its changes than this, and was not before, is held (off).
	MaxNullPercent float64 `json:"max_null_percent,omitempty"`
	// AllowEmpty lets an empty result through although the ledger has rows.
	AllowEmpty bool `json:"allow_empty,omitempty"`
}

// Delivery says how a sync's changes leave.
type Delivery struct {
	// RetryFor is how long a record that fails is tried again before it waits for a change or a person: `72h` when empty.
	RetryFor string `json:"retry_for,omitempty" format:"duration"`
	// Priority is the sync's share when several want one account's quota: 1 to 100, 10 when 0.
	Priority int `json:"priority,omitempty" min:"0" max:"100"`
	// CanaryRecords are sent first; the rest follows after CanaryWait when none of them failed.
	CanaryRecords int `json:"canary_records,omitempty" min:"0"`
	// CanaryWait is how long the rest waits after CanaryRecords: `15m`.
	CanaryWait string `json:"canary_wait,omitempty" format:"duration"`
	// QuotaPercent leaves the rest of the account's quota to others: 100 when 0.
	QuotaPercent int `json:"quota_percent,omitempty" min:"0" max:"100"`
}

// DriftCheck compares what the destination holds with what it confirmed.
type DriftCheck struct {
	// Every is how often; by hand only when empty.
	Every string `json:"every,omitempty" format:"duration"`
	// Policy says what happens to a field that somebody else changed: it is reported (when empty), or the model's value is sent again.
	Policy string `json:"policy,omitempty" enum:"report,restore"`
}

// LedgerSettings say what a sync remembers and where.
type LedgerSettings struct {
	// Placement is the model's own warehouse, or a database of the hub's where that warehouse is read-only to it. When empty it is the warehouse, but for ClickHouse, BigQuery, Redshift and Snowflake: there runs work in the hub's database, and `warehouse` publishes what they leave.
	Placement string `json:"placement,omitempty" enum:"warehouse,local"`
	// Payloads is `full` when empty; `hash` keeps fingerprints only: no before-images, so no undo and no values in plans.
	Payloads string `json:"payloads,omitempty" enum:"full,hash"`
	// KeepLog is how long rows of the run log and the change log stay: `720h` when empty.
	KeepLog string `json:"keep_log,omitempty" format:"duration"`
}

// Sync sends the changed rows of a model to an object of a destination.
type Sync struct {
	// Name is how commands, alerts and logs call it.
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// Model is the model whose rows are sent.
	Model string `json:"model"`
	// Destination is the destination to which they go.
	Destination string `json:"destination"`
	// Object is what they become there: `contacts`.
	Object string `json:"object" write:"contacts"`
	// Audience is the audience that mode `audience` fills; it is created when it is absent.
	Audience string `json:"audience,omitempty"`
	// Mode says which changes are delivered: `upsert` what is new or changed, `update` only to records that exist, `insert`
	// only what is new, `mirror` removals too, `append` every version of a key once as a new record, `audience` who joins
	// and who leaves, `full` every row in every run.
	Mode Mode `json:"mode" default:"upsert" enum:"upsert,update,insert,mirror,append,audience,full"`
	// OnRemoved says what mode `mirror` does with a record whose row is gone: delete when empty.
	OnRemoved Removal `json:"on_removed,omitempty" enum:"delete,archive,clear"`
	// FirstRun `baseline` takes the first result as confirmed without sending it; `backfill`, the default, sends all of it.
	FirstRun string `json:"first_run,omitempty" enum:"backfill,baseline"`
	// Mapping says how a row becomes a record.
	Mapping Mapping `json:"mapping"`
	// Schedule says when it runs; by hand only when empty.
	Schedule Schedule `json:"schedule,omitzero"`
	// Guards hold a run that looks like a mistake until somebody approves it.
	Guards Guards `json:"guards,omitzero"`
	// Delivery says how the changes leave.
	Delivery Delivery `json:"delivery,omitzero"`
	// Drift says how often the destination is compared with what it confirmed.
	Drift DriftCheck `json:"drift,omitzero"`
	// Ledger says what is remembered of what the destination confirmed, and where.
	Ledger LedgerSettings `json:"ledger,omitzero"`
	// Paused syncs run by hand only.
	Paused bool `json:"paused,omitempty"`
}

// Forward sends events of the journal to an object of a destination within
// seconds. The event is the row of its filter and mapping: `event`, `userId`,
// `properties.total`, `context.page.url`.
type Forward struct {
	// Name is how commands, alerts and logs call it.
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// Sources are the sources whose events are forwarded; all when empty.
	Sources []string `json:"sources,omitempty"`
	// Types are the types of events; all when empty.
	Types []EventType `json:"types,omitempty" enum:"track,identify,page,screen,group,alias"`
	// Events are the names of track events; all when empty. With names, other types are left out.
	Events []string `json:"events,omitempty"`
	// Filter is a CEL expression over the event that says whether it is sent: `properties.total > 100.0`.
	Filter string `json:"filter,omitempty"`
	// Destination is the destination to which the events go.
	Destination string `json:"destination"`
	// Object is what they become there: `contacts`.
	Object string `json:"object" write:"contacts"`
	// Mode is how records are written; `append` writes every event as a record of its own.
	Mode Mode `json:"mode" default:"upsert" enum:"upsert,update,insert,append"`
	// Mapping says how an event becomes a record.
	Mapping Mapping `json:"mapping" write:"{identifier: email, fields: [{field: email, column: traits.email}]}"`
	// Start says where a new forward begins: with what comes `now`, the default, or with the `oldest` event that is kept.
	Start string `json:"start,omitempty" default:"now" enum:"now,oldest"`
	// ConsentCategories are the categories that a person must have agreed to.
	ConsentCategories []string `json:"consent_categories,omitempty"`
	// Integration is the name by which events' `integrations` objects mean this forward: the kind of its destination when empty.
	Integration string `json:"integration,omitempty"`
	// Delivery says how the events leave.
	Delivery ForwardDelivery `json:"delivery,omitzero"`
	// Paused forwards read no events; they wait in the journal.
	Paused bool `json:"paused,omitempty"`
}

// ForwardDelivery says how a forward's events leave.
type ForwardDelivery struct {
	// RetryFor is how long an event is tried, and how long a destination that is down holds events back, before they are dead letters: `72h` when empty.
	RetryFor string `json:"retry_for,omitempty" format:"duration"`
	// HoldBytes is how much of the journal the forward may hold back before its oldest events are dead letters: 10 GiB when 0.
	HoldBytes int64 `json:"hold_bytes,omitempty" min:"0"`
	// Priority is the forward's share when several want one account's quota: 1 to 100, 10 when 0.
	Priority int `json:"priority,omitempty" min:"0" max:"100"`
	// QuotaPercent leaves the rest of the account's quota to others: 100 when 0.
	QuotaPercent int `json:"quota_percent,omitempty" min:"0" max:"100"`
}

// DbtProject is where the artefacts of a dbt project are read from.
type DbtProject struct {
	// Name tells several dbt projects apart.
	Name string `json:"name,omitempty" default:"dbt" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// Warehouse names the further warehouse in which dbt builds; empty: the one that events go to.
	Warehouse string `json:"warehouse,omitempty"`
	// Target is the folder that dbt writes manifest.json and run_results.json to, a URL
	// (`https://`, `s3://`, `gs://`), or empty with Cloud.
	Target string `json:"target,omitempty"`
	// Token is sent to `https://` and `gs://` as a bearer token; a reference.
	Token string `json:"token,omitempty" secret:"true"`
	// S3 is how `s3://` is reached; without it the bucket must be public.
	S3 *DbtS3 `json:"s3,omitempty"`
	// Cloud reads the artefacts of the last run of a dbt Cloud job.
	Cloud *DbtCloud `json:"cloud,omitempty"`
	// Select offers every dbt model that one of these selections names as a model: `tag:crm`.
	Select []string `json:"select,omitempty"`
	// Gate `tests`, the default, runs a sync only while the last invocation that touched its model built it and all
	// its tests passed; `none` runs it whatever dbt says.
	Gate string `json:"gate,omitempty" default:"tests" enum:"tests,none"`
	// IgnoreMeta leaves the syncs alone that `meta.tidegate` of its models declares.
	IgnoreMeta bool `json:"ignore_meta,omitempty"`
	// Exposures is the file into which the syncs are written back, so that dbt's lineage shows them.
	Exposures string `json:"exposures,omitempty"`
}

// Clone returns a copy that shares nothing with p.
func (p DbtProject) Clone() DbtProject {
	if p.S3 != nil {
		s3 := *p.S3
		p.S3 = &s3
	}
	if p.Cloud != nil {
		cloud := *p.Cloud
		p.Cloud = &cloud
	}
	p.Select = append([]string(nil), p.Select...)
	return p
}

// DbtS3 is the access to a bucket of S3 or of a store that speaks its protocol.
type DbtS3 struct {
	// Region is the bucket's.
	Region string `json:"region,omitempty" default:"us-east-1"`
	// Endpoint is the address of a store that is not AWS: `https://minio.example.com`.
	Endpoint string `json:"endpoint,omitempty"`
	// AccessKeyID is a reference.
	AccessKeyID string `json:"access_key_id,omitempty" secret:"true"`
	// SecretAccessKey is a reference.
	SecretAccessKey string `json:"secret_access_key,omitempty" secret:"true"`
	// SessionToken is a reference; only temporary keys have one.
	SessionToken string `json:"session_token,omitempty" secret:"true"`
}

// DbtCloud names a job of dbt Cloud.
type DbtCloud struct {
	// URL is the access URL of the account.
	URL string `json:"url,omitempty" default:"https://cloud.getdbt.com"`
	// AccountID is the number behind `/accounts/` in the job's address.
	AccountID int64 `json:"account_id"`
	// JobID is the number behind `/jobs/` in the job's address.
	JobID int64 `json:"job_id"`
	// Token is a service token that may read the job's artefacts; a reference such as `${env:DBT_TOKEN}`.
	Token string `json:"token" secret:"true"`
	// WebhookSecret is what dbt Cloud signs the job's webhooks with; a reference.
	WebhookSecret string `json:"webhook_secret,omitempty" secret:"true"`
}

// Alert tells somebody when a sync, a source or the hub needs them.
type Alert struct {
	// Name is how `tidegate alerts` calls it.
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// Syncs are the syncs it watches, and forwards as `forward NAME`; when empty all of both, the sources and the hub itself.
	Syncs []string `json:"syncs,omitempty"`
	// On lists what raises it; everything when empty.
	On []string `json:"on,omitempty" enum:"failed,partial,held,late,deviation,gap,loading,journal"`
	// PartialPercent is how much of a run must be left behind for `partial`: any when 0.
	PartialPercent float64 `json:"partial_percent,omitempty"`
	// DeviationPercent is how far the number of rows may differ from the last runs' median for `deviation`: 50 when 0.
	DeviationPercent float64 `json:"deviation_percent,omitempty"`
	// LoadingAfter is how long events may wait to be loaded before `loading`: `10m` when empty.
	LoadingAfter string `json:"loading_after,omitempty" format:"duration"`
	// Exactly one of the following says where it goes.

	// Webhook posts a JSON document.
	Webhook *AlertWebhook `json:"webhook,omitempty"`
	// Slack posts to a channel.
	Slack *AlertSlack `json:"slack,omitempty"`
	// Email sends a mail.
	Email *AlertEmail `json:"email,omitempty"`
	// PagerDuty opens and resolves incidents.
	PagerDuty *AlertPagerDuty `json:"pagerduty,omitempty"`
}

// AlertWebhook posts JSON, signed with HMAC-SHA256 when Secret is set.
type AlertWebhook struct {
	// URL is where the document is posted.
	URL string `json:"url" format:"url" write:"https://HOST/PATH"`
	// Secret is the key of the signature in `Tidegate-Signature`; a reference.
	Secret string `json:"secret,omitempty" secret:"true"`
}

// AlertSlack posts to an incoming webhook of Slack.
type AlertSlack struct {
	// URL is that of an incoming webhook; a reference, because whoever has it can post.
	URL string `json:"url" secret:"true"`
}

// AlertEmail sends mail through an SMTP server.
type AlertEmail struct {
	// To are the addresses it is sent to.
	To []string `json:"to" write:"[ADDRESS]"`
	// From is the sender's address.
	From string `json:"from" write:"ADDRESS"`
	// Server is the SMTP server, `HOST:PORT`.
	Server string `json:"server" write:"HOST:587"`
	// Username is for servers that ask for one.
	Username string `json:"username,omitempty"`
	// Password goes with Username; a reference.
	Password string `json:"password,omitempty" secret:"true"`
}

// AlertPagerDuty sends events of the Events API v2.
type AlertPagerDuty struct {
	// RoutingKey is the integration key of a service; a reference.
	RoutingKey string `json:"routing_key" secret:"true"`
	// URL is the address of the Events API: that of PagerDuty's US region when empty, in the EU https://events.eu.pagerduty.com/v2/enqueue.
	URL string `json:"url,omitempty" format:"uri"`
}
