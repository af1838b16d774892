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
	EventsTable      = "events" // native profile only
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

	// Origins says, per column, what brought it; nothing of columns that were there before.
	Origins []Origin

	index    map[string]int // by lower-case name
	profile  Profile        // of lay
	lay      *layout        // nil until the Shaper first uses the table
	base     []int          // the table's own columns, in the order of its layout; -1 for one that the profile lacks
	slot     int            // of node.at: 0 for tracks, 1 for the others
	rows     uint64         // so far, the one at hand included
	reserved []bool         // per column, whether it is one of base
	paths    []string       // per column, the first path of an event that was found to fill it
	stamps   []stamp
}

// Origin is where a column came from.
type Origin struct {
	Source    string
	Name      string // the path as the client wrote it; empty for the columns that every table of its kind has
	MessageID string
	Offset    tidegate.Offset
}

// stamp is, per column, the row that last set it, and the cell of that row.
type stamp struct {
	row  uint64
	cell int
}

// NewTable returns the table called name, which has existing as its columns in
// the warehouse; none when there is no such table yet.
func NewTable(name warehouse.Table, existing tidegate.Schema) *Table {
	t := &Table{Name: name, Known: len(existing), index: make(map[string]int, len(existing)+16)}
	if name.Name != TracksTable {
		t.slot = 1
	}
	for _, c := range existing {
		t.grow(c, Origin{})
	}
	return t
}

// layOut gives t the columns that tables of its kind have in the profile.
func (t *Table) layOut(profile Profile, from Origin) {
	t.profile, t.lay = profile, layoutOf(t.Name.Name, profile)
	t.base = t.base[:0]
	clear(t.reserved)
	for _, c := range t.lay.columns {
		i := -1
		if c.Name != "" {
			i = t.have(c, from)
			t.reserved[i] = true
		}
		t.base = append(t.base, i)
	}
	for _, c := range t.lay.hot {
		t.have(c, from)
	}
}

// have returns the index of the column called as c, which is added where it is missing.
func (t *Table) have(c tidegate.Column, from Origin) int {
	if i := t.column(c.Name); i >= 0 {
		return i
	}
	return t.grow(c, from)
}

// Document returns the index of the JSON column of users whose members are merged one
// by one, or -1.
func (t *Table) Document() int {
	if t.profile != Native || t.Name.Name != UsersTable || t.Columns[t.base[userTraits]].Type.Kind != tidegate.JSON {
		return -1
	}
	return t.base[userTraits]
}

// column returns the index of the column called name (lower-case), or -1.
func (t *Table) column(name string) int {
	if i, ok := t.index[name]; ok {
		return i
	}
	return -1
}

func (t *Table) grow(c tidegate.Column, from Origin) int {
	i := len(t.Columns)
	t.Columns = append(t.Columns, c)
	t.Origins = append(t.Origins, from)
	t.paths = append(t.paths, from.Name)
	t.reserved = append(t.reserved, false)
	t.stamps = append(t.stamps, stamp{})
	t.index[strings.ToLower(c.Name)] = i
	return i
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
func Fixed(name string) bool { return takenTables[name] || name == EventsTable }
