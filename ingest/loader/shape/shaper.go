package shape

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/clock"
	"github.com/tidegate/tidegate/warehouse"
)

// DefaultMaxColumns and DefaultMaxTables bound what strangers can create.
const (
	DefaultMaxColumns = 500
	DefaultMaxTables  = 2000
)

// Options say how events become rows. The zero value is the default profile.
type Options struct {
	// Reserved says whether a lower-case name is a reserved word of the
	// warehouse's SQL; such names get a "_" in front. Nil: none is.
	Reserved func(name string) bool
	// MaxName is the longest name that the warehouse takes, in bytes, at least 32;
	// names are never longer than 127. 0 means 127.
	MaxName int
	// Rules hold for sources for which RulesOf has none.
	Rules
	// RulesOf returns the rules of a source, or nil. The same rules must be the same
	// pointer: another one makes the Shaper forget what it remembers of the source.
	RulesOf func(source string) *Rules
}

// Lookup returns the table called name. It is asked once for every row, so it
// should remember; the same name must give the same *Table until the caller
// starts anew. A nil table with a nil error says that the source has as many
// tables as it may have.
type Lookup func(ctx context.Context, name warehouse.Table) (*Table, error)

// Row is one row of one table; columns without a cell are NULL. It is valid until
// the Shaper's next call.
type Row struct {
	Table *Table
	Cells []Cell
}

// Cell is one value of a Row, already of its column's type.
type Cell struct {
	Column int // index into Table.Columns
	Value  Value
}

// Value returns the value of the row's column called name; absent when it has none.
func (r Row) Value(name string) Value {
	at := r.Table.column(name)
	for _, c := range r.Cells {
		if c.Column == at {
			return c.Value
		}
	}
	return Value{}
}

// Batch is what the rows of one load share.
type Batch struct {
	LoadID   string
	LoadedAt time.Time
}

// Shaper makes rows of events. It belongs to one goroutine.
type Shaper struct {
	opts    Options
	lookup  Lookup
	sources map[string]*source
	nodes   int // of all sources' trees, with the names of their events
	meetings

	// The event at hand.
	ev           *tidegate.Event
	id           string
	offset       Value
	kind         tidegate.EventType
	src          *source
	batch        Batch
	phase, first uint64
	parser       parser
	fields       fields
	leaves       []leaf
	times        clock.Times
	flag         clock.Flag
	documents    documents
	discards     []discard

	context, batchContext again
	noted                 []step // while a context is read for the second time; else nil

	row rowBuilder
}

// New returns a Shaper that finds its tables with lookup.
func New(opts Options, lookup Lookup) *Shaper {
	return &Shaper{opts: opts, lookup: lookup, sources: make(map[string]*source), phase: 1}
}

// begin makes room for the next event.
func (s *Shaper) begin() {
	s.phase++
	s.first = s.phase
	s.fields = fields{extra: s.fields.extra[:0]}
	s.documents = documents{}
	s.leaves = s.leaves[:0]
	s.discards = s.discards[:0]
	if cap(s.parser.arena) > 1<<20 {
		s.parser.arena = nil
	}
	s.parser.arena = s.parser.arena[:0]
}

// Shape gives emit the rows of an event whose id and type are what Peek
// returned. An error that wraps ErrJSON or ErrType concerns this event alone; any
// other is emit's or the lookup's.
func (s *Shaper) Shape(ctx context.Context, ev *tidegate.Event, id string, kind tidegate.EventType, batch Batch, emit func(Row) error) error {
	if !kind.Valid() {
		return fmt.Errorf("%w: %q", ErrType, string(kind))
	}
	s.ev, s.id, s.kind, s.batch = ev, id, kind, batch
	s.of(ev.Source)
	if err := s.read(ev); err != nil {
		return err
	}
	s.offset = s.offsetText(ev.Offset)
	f := &s.fields
	sentAt := ev.SentAt
	if f.sentAt.Kind != tidegate.Unknown {
		sentAt = string(f.sentAt.Text)
	}
	s.times, s.flag = clock.Correct(ev.ReceivedAt, sentAt, string(f.originalTimestamp.Text), string(f.timestamp.Text))
	if err := s.rowsOf(ctx, emit); err != nil {
		return err
	}
	return s.emitDiscards(ctx, emit)
}

// rowsOf hands out the event's rows, in the profile of its source.
func (s *Shaper) rowsOf(ctx context.Context, emit func(Row) error) error {
	if s.src.rules.Profile == Native {
		return s.native(ctx, emit)
	}
	switch f := &s.fields; s.kind {
	case tidegate.Track:
		return s.track(ctx, emit)
	case tidegate.Identify:
		return s.identify(ctx, emit)
	case tidegate.Page:
		return s.own(ctx, PagesTable, s.pageName(), emit)
	case tidegate.Screen:
		return s.own(ctx, ScreensTable, s.pageName(), emit)
	case tidegate.Group:
		return s.own(ctx, GroupsTable, f.groupID, emit)
	case tidegate.Alias:
		return s.own(ctx, AliasesTable, f.previousID, emit)
	}
	return nil
}

// offsetText writes an offset as Offset.String does, without an allocation.
func (s *Shaper) offsetText(o tidegate.Offset) Value {
	start := len(s.parser.arena)
	out := strconv.AppendInt(s.parser.arena, int64(o.Partition), 10)
	out = strconv.AppendInt(append(out, ':'), o.Position, 10)
	s.parser.arena = out
	return Value{Kind: tidegate.String, Text: out[start:len(out):len(out)]}
}

// pageName is the event's own name, else its properties'.
func (s *Shaper) pageName() Value {
	if s.fields.name.Kind != tidegate.Unknown {
		return s.fields.name
	}
	if c, ok := s.tree(s.kind).properties.children["name"]; ok && c.seen >= s.first && c.leaf >= 0 {
		return s.leaves[c.leaf].value
	}
	return Value{}
}

// track writes a row with the common columns to tracks and one with everything
// to the event's own table. An event that can have no table of its own keeps its
// properties in tracks' `_unmapped`; then there is such a row also with Rules.SkipTracks.
func (s *Shaper) track(ctx context.Context, emit func(Row) error) error {
	f := &s.fields
	name := s.eventTable(string(f.event.Text))
	var own *Table
	var err error
	if name != "" {
		if own, err = s.table(ctx, name); err != nil {
			return err
		}
	}
	slug := text(name)
	if own == nil || !s.src.rules.SkipTracks {
		if err := s.tracksRow(ctx, slug, own == nil, emit); err != nil {
			return err
		}
	}
	if own == nil {
		return nil
	}
	s.start(own)
	s.give(own.base[atFirstOwn], slug)
	s.give(own.base[atFirstOwn+1], f.event)
	s.common(own)
	s.leavesOf(false)
	s.extras()
	return s.finish(own.base[atUnmapped], emit)
}

// tracksRow writes the row of tracks; with all it keeps what other tables would.
func (s *Shaper) tracksRow(ctx context.Context, slug Value, all bool, emit func(Row) error) error {
	t, err := s.table(ctx, TracksTable)
	if err != nil {
		return err
	}
	s.start(t)
	s.give(t.base[atFirstOwn], slug)
	s.give(t.base[atFirstOwn+1], s.fields.event)
	s.common(t)
	s.leavesOf(true)
	if all {
		s.unmapProperties()
		s.extras()
	}
	return s.finish(t.base[atUnmapped], emit)
}

// own writes the one row of a page, screen, group or alias; value is what the
// table's own reserved column holds.
func (s *Shaper) own(ctx context.Context, name string, value Value, emit func(Row) error) error {
	t, err := s.table(ctx, name)
	if err != nil {
		return err
	}
	s.start(t)
	s.give(t.base[atFirstOwn], value)
	s.common(t)
	s.leavesOf(false)
	s.extras()
	return s.finish(t.base[atUnmapped], emit)
}

// identify writes the row of identifies and, when there is a user id, the row that
// is to be merged into users.
func (s *Shaper) identify(ctx context.Context, emit func(Row) error) error {
	t, err := s.table(ctx, IdentifiesTable)
	if err != nil {
		return err
	}
	s.start(t)
	s.common(t)
	s.leavesOf(false)
	s.extras()
	if err := s.finish(t.base[atUnmapped], emit); err != nil {
		return err
	}
	return s.user(ctx, emit)
}

// user writes the row that is to be merged into users.
func (s *Shaper) user(ctx context.Context, emit func(Row) error) error {
	user := s.fields.userID
	if user.Kind == tidegate.Unknown || s.src.rules.SkipUsers {
		return nil
	}
	t, err := s.table(ctx, UsersTable)
	if err != nil {
		return err
	}
	s.start(t)
	// What does not fit was kept with the identify call's own row, which this one repeats.
	s.row.quiet = true
	s.give(t.base[userID], user)
	s.give(t.base[userReceivedAt], moment(s.times.ReceivedAt))
	s.addresses(t.base[userContextIP], t.base[userContextRequestIP], t.base[userContextPassedIP])
	s.give(t.base[userUUIDTS], moment(s.batch.LoadedAt))
	s.give(t.base[userOffset], s.offset)
	s.give(t.base[userLoadID], text(s.batch.LoadID))
	if s.src.rules.Profile == Native {
		s.give(t.base[userTraits], s.documents.traits)
		s.hotLeaves(false)
	} else {
		s.leavesOf(false)
	}
	return s.finish(-1, emit)
}

func (s *Shaper) eventTable(event string) string {
	if name, ok := s.src.tables[event]; ok {
		return name
	}
	name := s.tableName(event)
	event = strings.Clone(event)
	s.src.tables[event] = name
	s.nodes++
	if name != "" {
		if first, ok := s.src.named[name]; ok {
			s.meet(warehouse.Table{Schema: s.src.schema, Name: name}, "", first, event)
		} else {
			s.src.named[name] = event
		}
	}
	return name
}

// table returns a table of the event's source. Only an event's own table may be
// missing, when the source has too many.
func (s *Shaper) table(ctx context.Context, name string) (*Table, error) {
	t, err := s.lookup(ctx, warehouse.Table{Schema: s.src.schema, Name: name})
	if err != nil {
		return nil, fmt.Errorf("finding table %s.%s: %w", s.src.schema, name, err)
	}
	if t == nil && Fixed(name) {
		return nil, fmt.Errorf("finding table %s.%s: the lookup refused a table that every source has", s.src.schema, name)
	}
	if t != nil && (t.lay == nil || t.profile != s.src.rules.Profile) {
		t.layOut(s.src.rules.Profile, Origin{Source: s.src.name, MessageID: s.id, Offset: s.ev.Offset})
	}
	return t, nil
}
