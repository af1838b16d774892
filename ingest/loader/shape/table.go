package shape

import (
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// The tables that a source has besides its events' own.
const (
	TracksTable      = "tracks"
	IdentifiesTable  = "identifies"
	UsersTable       = "users"
	PagesTable       = "pages"
	ScreensTable     = "screens"
	GroupsTable      = "groups"
	AliasesTable     = "aliases"
	DiscardsTable    = "tidegate_discards"
	DeadLettersTable = "tidegate_dead_letters"
	ViolationsTable  = "tidegate_violations"
)

// The columns that every event table has for Tidegate's own use.
const (
	UnmappedColumn = "_unmapped"
	OffsetColumn   = "_tidegate_offset"
	LoadIDColumn   = "_tidegate_load_id"
)

// Table is what the Shaper knows of one table: its columns as they are in the
// warehouse, and behind them those that rows shaped since then need.
type Table struct {
	Name    warehouse.Table
	Columns tidegate.Schema
	// Known is how many of Columns the warehouse has, or has been asked for; the rest
	// must be ensured before rows of this table are loaded.
	Known int

	index    map[string]int // by lower-case name
	base     []int          // the table's reserved columns, in the order of its layout
	lay      *layout
	slot     int    // of node.at: 0 for tracks, 1 for the others
	rows     uint64 // so far, the one at hand included
	reserved []bool // per column, whether it is one of base
	stamps   []stamp
}

// stamp is, per column, the row that last set it, and the cell of that row.
type stamp struct {
	row  uint64
	cell int
}

// NewTable returns the table called name, which has existing as its columns in
// the warehouse; none when there is no such table yet.
func NewTable(name warehouse.Table, existing tidegate.Schema) *Table {
	t := &Table{Name: name, Known: len(existing), index: make(map[string]int, len(existing)+16), lay: layoutOf(name.Name)}
	if name.Name != TracksTable {
		t.slot = 1
	}
	for _, c := range existing {
		t.grow(c)
	}
	for _, c := range t.lay.columns {
		i := t.column(c.Name)
		if i < 0 {
			i = t.grow(c)
		}
		t.base = append(t.base, i)
		t.reserved[i] = true
	}
	return t
}

// column returns the index of the column called name (lower-case), or -1.
func (t *Table) column(name string) int {
	if i, ok := t.index[name]; ok {
		return i
	}
	return -1
}

func (t *Table) grow(c tidegate.Column) int {
	i := len(t.Columns)
	t.Columns = append(t.Columns, c)
	t.reserved = append(t.reserved, false)
	t.stamps = append(t.stamps, stamp{})
	t.index[strings.ToLower(c.Name)] = i
	return i
}

// layout is the reserved columns of a kind of table. A property of the same
// final name never reaches them.
type layout struct {
	columns  tidegate.Schema
	reserved map[string]bool
}

func column(name string, kind tidegate.Kind) tidegate.Column {
	return tidegate.Column{Name: name, Type: tidegate.Type{Kind: kind}}
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
)

func layoutOf(table string) *layout {
	var columns tidegate.Schema
	switch table {
	case DiscardsTable:
		columns = discardsColumns()
	case DeadLettersTable:
		columns = deadLettersColumns()
	case ViolationsTable:
		columns = violationsColumns()
	case UsersTable:
		columns = tidegate.Schema{
			column("id", tidegate.String), column("received_at", tidegate.Timestamp),
			column("context_ip", tidegate.String), column("context_request_ip", tidegate.String), column("context_passed_ip", tidegate.String),
			column("uuid_ts", tidegate.Timestamp), column(OffsetColumn, tidegate.String), column(LoadIDColumn, tidegate.String),
		}
	case IdentifiesTable:
		columns = commonColumns()
	case PagesTable, ScreensTable:
		columns = append(commonColumns(), column("name", tidegate.String))
	case GroupsTable:
		columns = append(commonColumns(), column("group_id", tidegate.String))
	case AliasesTable:
		columns = append(commonColumns(), column("previous_id", tidegate.String))
	default:
		columns = append(commonColumns(), column("event", tidegate.String), column("event_text", tidegate.String))
	}
	lay := &layout{columns: columns, reserved: make(map[string]bool)}
	for _, c := range columns {
		lay.reserved[c.Name] = true
	}
	if table == UsersTable { // what identifies reserves is no trait there either
		for _, c := range commonColumns() {
			lay.reserved[c.Name] = true
		}
	}
	return lay
}

func discardsColumns() tidegate.Schema {
	return tidegate.Schema{
		column("table_name", tidegate.String), column("row_id", tidegate.String), column("column_name", tidegate.String),
		column("column_value", tidegate.String), column("column_type", tidegate.String), column("value_type", tidegate.String),
		column("reason", tidegate.String), column("message_id", tidegate.String), column("journal_offset", tidegate.String),
		column("received_at", tidegate.Timestamp), column("uuid_ts", tidegate.Timestamp),
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

func deadLettersColumns() tidegate.Schema {
	return tidegate.Schema{
		column("source", tidegate.String), column("journal_offset", tidegate.String), column("message_id", tidegate.String),
		column("received_at", tidegate.Timestamp), column("code", tidegate.String), column("reason", tidegate.String),
		column("body", tidegate.String), column("context", tidegate.String), column("uuid_ts", tidegate.Timestamp),
	}
}

// Reasons for which a value is in tidegate_discards.
const (
	TypeConflict  = "type_conflict"  // the column's type cannot hold the value
	NeedsWidening = "needs_widening" // a fraction, or a whole number beyond 64 bits, for an integer column
	NameCollision = "name_collision" // another property of the event has the same column
	ReservedName  = "reserved_name"  // the column is one that the server fills
	NoName        = "no_name"        // no column name can be made of the property's
	BadTime       = "bad_time"       // timestamp, originalTimestamp or sentAt cannot be read
)

// fit converts v to a column of type t, or says why it cannot be.
func fit(t tidegate.Type, v Value) (Value, string) {
	if t.Kind == v.Kind && t.Kind != tidegate.Decimal {
		return v, ""
	}
	out := v
	out.Kind = t.Kind
	switch t.Kind {
	case tidegate.String:
		out.Text, out.rounded = v.AppendText(nil), false
		return out, ""
	case tidegate.JSON:
		out.Text, out.rounded = v.appendJSON(nil), false
		return out, ""
	case tidegate.Float:
		if !v.number {
			break
		}
		return fitFloat(out)
	case tidegate.Decimal:
		if !v.number {
			break
		}
		if d := parseDecimal(v.raw); d.fits(t.Precision, t.Scale) {
			out.Text, out.rounded = d.plain(), false
			return out, ""
		}
		return v, NeedsWidening
	case tidegate.Int:
		if v.number {
			return v, NeedsWidening
		}
	case tidegate.Date:
		const day = int64(24 * time.Hour / time.Microsecond)
		if v.Kind == tidegate.Timestamp && v.Int%day == 0 && len(v.Text) == len(time.DateOnly) {
			out.Int = v.Int / day
			return out, ""
		}
	case tidegate.Bool, tidegate.Timestamp, tidegate.Bytes, tidegate.Unknown:
	}
	return v, TypeConflict
}

func fitFloat(v Value) (Value, string) {
	d := parseDecimal(v.raw)
	f, ok := d.float()
	if !ok {
		return v, NeedsWidening
	}
	v.Float, v.rounded = f, !d.equalsFloat(f)
	return v, ""
}

// Fixed says whether every source may have the table called name, whatever its
// events are called.
func Fixed(name string) bool { return takenTables[name] }
