package shape

import (
	"bytes"
	"strings"

	"github.com/tidegate/tidegate"
)

// maxNodes bounds the names that a Shaper remembers. Whoever sends more than
// this makes it forget and start again, which costs time, not memory.
const maxNodes = 50_000

// node is one path that events have had. The trees are per event type because
// what a path means depends on it; they spare the loader from deriving the same
// column names for every event.
type node struct {
	children map[string]*node
	column   string // name of the column, "" when none can be made of the path
	alias    string // second, un-prefixed name of context.traits.* (Options.ContextTraits)
	path     string // as the client wrote it, with dots: "context.page.url"
	joined   string // as the column's name is derived from it: "context_page_url"
	context  bool   // the path is in the event's context
	asJSON   bool   // the path is one of Options.JSONPaths
	seen     uint64 // phase in which an event last had the path
	leaf     int    // index into Shaper.leaves, or -1; valid when seen belongs to the event
	at       [2]struct {
		table *Table // by Table.slot
		index int    // of column there
	}
}

// leaf is one value of the event at hand.
type leaf struct {
	node  *node // nil when a later value took its place
	value Value
}

// tree holds the roots of one event type.
type tree struct{ context, properties, userProperties *node }

func (s *Shaper) tree(t tidegate.EventType) *tree {
	if tr, ok := s.src.trees[t]; ok {
		return tr
	}
	properties := "properties"
	if t == tidegate.Identify || t == tidegate.Group || t == tidegate.Alias {
		properties = "traits"
	}
	tr := &tree{
		context:        &node{path: "context", joined: "context", context: true, leaf: -1},
		properties:     &node{path: properties, leaf: -1},
		userProperties: &node{path: "userProperties", leaf: -1},
	}
	if s.src.rules.Profile == Native {
		s.plant(tr)
	}
	s.src.trees[t] = tr
	return tr
}

// child returns the node below n, or nil when the profile makes no column of it.
func (s *Shaper) child(n *node, key []byte) *node {
	if c, ok := n.children[string(key)]; ok {
		return c
	}
	if s.src.rules.Profile == Native {
		return nil
	}
	c := n.grow(string(key))
	c.column = s.columnName(c.joined)
	if s.kind == tidegate.Identify && c.column == "user_id" {
		c.column = "_user_id" // users.id is the user id; the trait must not shadow it
	}
	if rest, ok := strings.CutPrefix(c.path, "context.traits."); ok && s.src.rules.ContextTraits && s.kind == tidegate.Identify {
		c.alias = s.columnName(strings.ReplaceAll(rest, ".", "_"))
	}
	c.asJSON = s.src.jsonPaths[string(s.kind)+"."+c.path]
	s.nodes++
	return c
}

// grow adds a node without a column below n.
func (n *node) grow(key string) *node {
	c := &node{path: n.path + "." + key, joined: key, context: n.context, leaf: -1}
	if n.joined != "" {
		c.joined = n.joined + "_" + key
	}
	if n.children == nil {
		n.children = make(map[string]*node)
	}
	n.children[key] = c
	return c
}

// walk reads the value at the parser into n and the nodes below it.
func (s *Shaper) walk(n *node, depth int) error {
	p := &s.parser
	switch c := p.peek(); c {
	case '{':
		if n.asJSON || depth > maxDepth {
			return s.walkJSON(n, depth, tidegate.JSON)
		}
		if joined, ok := s.spreadString(n); ok {
			s.set(n, joined)
			return nil
		}
		s.enter(n)
		return p.object(func(key []byte) error {
			c := s.child(n, key)
			if c == nil {
				_, err := p.skip(depth + 1)
				return err
			}
			return s.walk(c, depth+1)
		})
	case '[':
		kind := tidegate.String
		if n.asJSON {
			kind = tidegate.JSON
		}
		return s.walkJSON(n, depth, kind)
	case '"':
		from := p.i
		decoded, err := p.str()
		if err != nil {
			return err
		}
		s.set(n, inferString(decoded, p.b[from:p.i:p.i]))
		return nil
	default:
		raw, err := p.skip(depth)
		if err != nil {
			return err
		}
		s.set(n, inferLiteral(raw))
		return nil
	}
}

// inferLiteral types a null, a bool or a number.
func inferLiteral(raw []byte) Value {
	switch raw[0] {
	case 'n':
		return Value{}
	case 't':
		return Value{Kind: tidegate.Bool, Int: 1, Text: raw, raw: raw}
	case 'f':
		return Value{Kind: tidegate.Bool, Text: raw, raw: raw}
	}
	return inferNumber(raw)
}

// walkJSON stores the object or array at the parser as JSON text in one column.
func (s *Shaper) walkJSON(n *node, depth int, kind tidegate.Kind) error {
	raw, err := s.parser.skip(depth)
	if err != nil {
		return err
	}
	start := len(s.parser.arena)
	if s.parser.arena, err = appendCompact(s.parser.arena, raw); err != nil {
		return err
	}
	compact := s.parser.arena[start:len(s.parser.arena):len(s.parser.arena)]
	if emptyJSON(compact) {
		s.set(n, Value{})
		return nil
	}
	s.set(n, Value{Kind: kind, Text: compact, raw: raw})
	return nil
}

// emptyJSON says whether a compact JSON text says nothing.
func emptyJSON(compact []byte) bool {
	switch string(compact) {
	case "[]", `[""]`, "{}", `""`, "null":
		return true
	}
	return false
}

// spreadString recognises a string that a client spread into an object, as
// `{...traits}` of a string does in JavaScript: {"0":"a","1":"b"} under traits
// becomes "ab" again. The parser moves only when it is one.
func (s *Shaper) spreadString(n *node) (Value, bool) {
	if n.path != "traits" && n.path != "context.traits" {
		return Value{}, false
	}
	p := s.parser
	p.i++
	if p.peek() != '"' || !bytes.HasPrefix(p.b[p.i:], []byte(`"0"`)) {
		return Value{}, false
	}
	p.i = s.parser.i
	var joined []byte
	count := 0
	err := p.object(func(key []byte) error {
		number, ok := digits(key)
		if !ok || number != count || p.peek() != '"' {
			return ErrJSON
		}
		count++
		part, err := p.str()
		if len([]rune(string(part))) != 1 {
			return ErrJSON
		}
		joined = append(joined, part...)
		return err
	})
	if err != nil {
		return Value{}, false
	}
	s.parser.i, s.parser.arena = p.i, p.arena
	return Value{Kind: tidegate.String, Text: joined, raw: appendQuoted(nil, joined)}, true
}

// enter marks n as an object of the event. What an earlier, equal member held is
// gone (the last of equal names wins), except that an event's context is laid
// over its batch's, member by member.
func (s *Shaper) enter(n *node) {
	if s.noted != nil {
		s.noted = append(s.noted, step{node: n, enter: true})
	}
	if n.seen == s.phase {
		s.clear(n)
	} else if n.seen >= s.first && n.leaf >= 0 {
		s.drop(n)
	} else if n.seen < s.first {
		n.leaf = -1
	}
	n.seen = s.phase
}

// set gives n the value v and takes away what n and the paths below it held.
func (s *Shaper) set(n *node, v Value) {
	if s.noted != nil {
		s.noted = append(s.noted, step{node: n, value: v})
	}
	if n.seen >= s.first {
		s.clear(n)
	}
	n.seen, n.leaf = s.phase, -1
	if v.Kind != tidegate.Unknown {
		n.leaf = len(s.leaves)
		s.leaves = append(s.leaves, leaf{n, v})
	}
}

func (s *Shaper) clear(n *node) {
	if n.seen < s.first {
		return
	}
	s.drop(n)
	for _, c := range n.children {
		s.clear(c)
	}
}

func (s *Shaper) drop(n *node) {
	if n.leaf >= 0 {
		s.leaves[n.leaf] = leaf{}
		n.leaf = -1
	}
}
