package shape

import (
	"cmp"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// Rules say how the events of a source become rows. The zero value is RudderStack's
// profile.
type Rules struct {
	Profile Profile
	// MaxColumns bounds the columns of one table; what goes beyond is kept in
	// `_unmapped`. 0 means DefaultMaxColumns.
	MaxColumns int
	// JSONPaths are paths that are not flattened but stored as JSON:
	// "track.properties.cart", "identify.traits.address". A path without a type is
	// one of track's properties.
	JSONPaths []string
	// ContextTraits makes identifies and users have the members of
	// context.traits without the prefix too.
	ContextTraits bool
	// DivideNumbers makes digits words of their own in names: abc123 is abc_123. The
	// profile Segment has its own way.
	DivideNumbers bool
	// SkipTracks leaves out the row of tracks that an event with a table of its own has too.
	SkipTracks bool
	// SkipUsers leaves out users.
	SkipUsers bool
	// HotColumns are paths that get a column of their own in the profile Native:
	// "properties.total", "traits.plan", "context.app.build".
	HotColumns []string
}

// source is what a Shaper remembers of one source.
type source struct {
	name      string
	schema    string
	given     *Rules // as RulesOf returned them
	rules     Rules
	jsonPaths map[string]bool
	trees     map[tidegate.EventType]*tree
	tables    map[string]string // event name → table name
	named     map[string]string // table name → the first event that has it
}

// snake is the source's way of naming.
func (src *source) snake(name string) string {
	switch {
	case src.rules.Profile == Segment:
		return segmentSnake(name)
	case src.rules.DivideNumbers:
		return snake(name, dividedLen)
	}
	return Snake(name)
}

// of makes name the source at hand.
func (s *Shaper) of(name string) {
	var given *Rules
	if s.opts.RulesOf != nil {
		given = s.opts.RulesOf(name)
	}
	if s.src != nil && s.src.name == name && s.src.given == given && s.nodes <= maxNodes {
		return
	}
	if s.nodes > maxNodes {
		clear(s.sources)
		s.nodes = 0
	}
	src := s.sources[name]
	if src == nil || src.given != given {
		src = s.newSource(strings.Clone(name), given)
		s.sources[src.name] = src
		s.nodes++
	}
	s.src = src
}

func (s *Shaper) newSource(name string, given *Rules) *source {
	src := &source{
		name: name, schema: s.schemaName(name), given: given, rules: s.opts.Rules, jsonPaths: make(map[string]bool),
		trees: make(map[tidegate.EventType]*tree), tables: make(map[string]string), named: make(map[string]string),
	}
	if given != nil {
		src.rules = *given
	}
	src.rules.MaxColumns = cmp.Or(src.rules.MaxColumns, s.opts.MaxColumns, DefaultMaxColumns)
	for _, path := range src.rules.JSONPaths {
		if head, _, _ := strings.Cut(path, "."); !tidegate.EventType(head).Valid() {
			path = "track.properties." + path
		}
		src.jsonPaths[path] = true
	}
	return src
}

// Collision is two names that became one: two paths in one column, or two events in one
// table.
type Collision struct {
	Source string
	Table  warehouse.Table
	Column string // empty: the table itself
	// Kept and Other are the two names as they were sent. When one event has both paths,
	// the value of Kept is in the column and the other in `_unmapped`.
	Kept, Other string
	MessageID   string // of the event in which it was noticed
	Offset      tidegate.Offset
}

// maxMeetings bounds the collisions that a Shaper remembers; those beyond are not told.
const maxMeetings = 10_000

// meetings are the collisions so far.
type meetings struct {
	met   map[[4]string]struct{}
	fresh []Collision
}

// meetPath notes that path fills the i-th column of t, as another one may do.
func (s *Shaper) meetPath(t *Table, i int, path string) {
	switch first := t.paths[i]; {
	case t.reserved[i]: // what becomes of it is told by a discard
	case first == "":
		t.paths[i] = path
	default:
		s.meet(t.Name, t.Columns[i].Name, first, path)
	}
}

func (s *Shaper) meet(t warehouse.Table, column, a, b string) {
	kept, other := max(a, b), min(a, b)
	key := [4]string{t.String(), column, kept, other}
	if _, known := s.met[key]; known || len(s.met) >= maxMeetings {
		return
	}
	if s.met == nil {
		s.met = make(map[[4]string]struct{})
	}
	s.met[key] = struct{}{}
	s.fresh = append(s.fresh, Collision{Source: s.src.name, Table: t, Column: column, Kept: kept, Other: other, MessageID: s.id, Offset: s.ev.Offset})
}

// Collisions returns the collisions found since the last call, each once.
func (s *Shaper) Collisions() []Collision {
	found := s.fresh
	s.fresh = nil
	return found
}
