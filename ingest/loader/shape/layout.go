package shape

import (
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
)

// Profile says which tables and columns a source's events become.
type Profile string

// The profiles.
const (
	RudderStack Profile = ""        // the default: tables and columns of RudderStack's warehouse schema
	Segment     Profile = "segment" // those of Segment's
	Native      Profile = "native"  // one table `events` with JSON columns, and `users`
)

// layout is the columns that a kind of table has from the start.
type layout struct {
	// columns are filled by position; one without a name is not there in the profile.
	columns  tidegate.Schema
	reserved map[string]bool // a property of such a name never reaches its column
	// hot are columns that paths of the event fill.
	hot tidegate.Schema
}

func column(name string, kind tidegate.Kind) tidegate.Column {
	c := tidegate.Column{Name: name, Type: tidegate.Type{Kind: kind}}
	if kind == tidegate.String {
		c.Cardinality = cardinality(name)
	}
	return c
}

// WithCardinality is the schema of a table of events as a warehouse describes it, with what a
// loader would say of its columns if it made the table.
func WithCardinality(described tidegate.Schema) tidegate.Schema {
	s := slices.Clone(described)
	for i, c := range s {
		if c.Type.Kind == tidegate.String {
			s[i].Cardinality = cardinality(c.Name)
		}
	}
	return s
}

// cardinality knows the columns of texts whose values come from a vocabulary, or are
// different in every row. Columns of which some teams' repeat and others' do not, such as
// addresses of pages, are left to the engine.
func cardinality(name string) tidegate.Cardinality {
	switch strings.TrimPrefix(name, "context_") { // the native profile has none of its prefix
	case "id", OffsetColumn:
		return tidegate.UniqueValues
	case "channel", "event", "event_text", "type", LoadIDColumn,
		"library_name", "library_version", "locale", "timezone", "user_agent",
		"app_name", "app_version", "app_build", "app_namespace", "os_name", "os_version",
		"device_type", "device_manufacturer", "device_model", "network_carrier",
		"campaign_source", "campaign_medium", "campaign_name":
		return tidegate.FewValues
	}
	return tidegate.UnknownCardinality
}

// Positions in every event table's layout; what a kind of table adds follows.
const (
	atID = iota
	atAnonymousID
	atUserID
	atReceivedAt
	atSentAt
	atOriginalTimestamp
	atTimestamp
	atChannel
	atContextIP
	atContextRequestIP
	atContextPassedIP
	atUUIDTS
	atOffset
	atLoadID
	atUnmapped
	atFirstOwn
)

// Positions of what the table of the native profile adds.
const (
	atType = iota + atFirstOwn
	atEvent
	atName
	atCategory
	atGroupID
	atPreviousID
	atProperties
	atTraits
	atContext
)

func commonColumns() tidegate.Schema {
	return tidegate.Schema{
		column("id", tidegate.String), column("anonymous_id", tidegate.String), column("user_id", tidegate.String),
		column("received_at", tidegate.Timestamp), column("sent_at", tidegate.Timestamp),
		column("original_timestamp", tidegate.Timestamp), column("timestamp", tidegate.Timestamp),
		column("channel", tidegate.String), column("context_ip", tidegate.String),
		column("context_request_ip", tidegate.String), column("context_passed_ip", tidegate.String),
		column("uuid_ts", tidegate.Timestamp), column(OffsetColumn, tidegate.String),
		column(LoadIDColumn, tidegate.String), column(UnmappedColumn, tidegate.JSON),
	}
}

// commonOf is commonColumns as the profile has them.
func commonOf(profile Profile) tidegate.Schema {
	columns := commonColumns()
	switch profile {
	case Segment:
		columns[atChannel].Name, columns[atContextRequestIP].Name, columns[atContextPassedIP].Name = "", "", ""
	case Native:
		columns[atContextIP].Name, columns[atContextRequestIP].Name, columns[atContextPassedIP].Name = "ip", "request_ip", ""
	case RudderStack:
	}
	return columns
}

// Positions in the layout of users.
const (
	userID = iota
	userReceivedAt
	userContextIP
	userContextRequestIP
	userContextPassedIP
	userUUIDTS
	userOffset
	userLoadID
	userTraits // native only
)

func usersColumns(profile Profile) tidegate.Schema {
	columns := tidegate.Schema{
		column("id", tidegate.String), column("received_at", tidegate.Timestamp),
		column("context_ip", tidegate.String), column("context_request_ip", tidegate.String), column("context_passed_ip", tidegate.String),
		column("uuid_ts", tidegate.Timestamp), column(OffsetColumn, tidegate.String), column(LoadIDColumn, tidegate.String),
	}
	switch profile {
	case Segment:
		columns[userContextRequestIP].Name, columns[userContextPassedIP].Name = "", ""
	case Native:
		columns[userContextIP].Name, columns[userContextRequestIP].Name, columns[userContextPassedIP].Name = "ip", "request_ip", ""
		columns = append(columns, column("traits", tidegate.JSON))
	case RudderStack:
	}
	return columns
}

func layoutOf(table string, profile Profile) *layout {
	lay := &layout{reserved: make(map[string]bool)}
	switch common := commonOf(profile); {
	case table == DiscardsTable:
		lay.columns = discardsColumns()
	case table == ViolationsTable:
		lay.columns = violationsColumns()
	case table == DeadLettersTable:
		lay.columns = deadLettersColumns()
	case table == UsersTable:
		lay.columns = usersColumns(profile)
	case profile == Native:
		lay.columns = append(common, column("type", tidegate.String), column("event", tidegate.String), column("name", tidegate.String),
			column("category", tidegate.String), column("group_id", tidegate.String), column("previous_id", tidegate.String),
			column("properties", tidegate.JSON), column("traits", tidegate.JSON), column("context", tidegate.JSON))
		for _, hot := range hotContext() {
			lay.hot = append(lay.hot, column(hot.column, tidegate.String))
		}
	case table == IdentifiesTable:
		lay.columns = common
	case table == PagesTable || table == ScreensTable:
		lay.columns = append(common, column("name", tidegate.String))
	case table == GroupsTable:
		lay.columns = append(common, column("group_id", tidegate.String))
	case table == AliasesTable:
		lay.columns = append(common, column("previous_id", tidegate.String))
	default:
		lay.columns = append(common, column("event", tidegate.String), column("event_text", tidegate.String))
	}
	lay.reserve(lay.columns)
	if table == UsersTable { // what identifies reserves is no trait there either
		lay.reserve(commonOf(profile))
	}
	return lay
}

func (l *layout) reserve(columns tidegate.Schema) {
	for _, c := range columns {
		if c.Name != "" {
			l.reserved[c.Name] = true
		}
	}
}

func discardsColumns() tidegate.Schema {
	return tidegate.Schema{
		column("table_name", tidegate.String), column("row_id", tidegate.String), column("column_name", tidegate.String),
		column("column_value", tidegate.String), column("column_type", tidegate.String), column("value_type", tidegate.String),
		column("reason", tidegate.String), column("message_id", tidegate.String), column("journal_offset", tidegate.String),
		column("received_at", tidegate.Timestamp), column("uuid_ts", tidegate.Timestamp),
	}
}

func deadLettersColumns() tidegate.Schema {
	return tidegate.Schema{
		column("source", tidegate.String), column("journal_offset", tidegate.String), column("message_id", tidegate.String),
		column("received_at", tidegate.Timestamp), column("code", tidegate.String), column("reason", tidegate.String),
		column("body", tidegate.String), column("context", tidegate.String), column("uuid_ts", tidegate.Timestamp),
	}
}

func violationsColumns() tidegate.Schema {
	return tidegate.Schema{
		column("plan", tidegate.String), column("plan_version", tidegate.Int), column("event", tidegate.String),
		column("kind", tidegate.String), column("path", tidegate.String), column("message", tidegate.String), column("action", tidegate.String),
		column("message_id", tidegate.String), column("journal_offset", tidegate.String),
		column("received_at", tidegate.Timestamp), column("uuid_ts", tidegate.Timestamp),
	}
}
