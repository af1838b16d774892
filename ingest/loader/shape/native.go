package shape

import (
	"context"
	"strings"

	"github.com/tidegate/tidegate"
)

// documents are the parts of an event that the native profile stores as they are.
type documents struct {
	properties, traits, context Value
	batch                       Value // the batch's context, on which the event's own is laid
}

// hotPath is a path that has a column of its own.
type hotPath struct{ path, column string }

// hotContext are the paths of the context that nearly every query names. They are below
// "context", so that one is read while the document is.
func hotContext() []hotPath {
	return []hotPath{
		{"page.url", "page_url"},
		{"page.path", "page_path"},
		{"page.referrer", "page_referrer"},
		{"page.title", "page_title"},
		{"page.search", "page_search"},
		{"campaign.name", "campaign_name"},
		{"campaign.source", "campaign_source"},
		{"campaign.medium", "campaign_medium"},
		{"campaign.term", "campaign_term"},
		{"campaign.content", "campaign_content"},
		{"library.name", "library_name"},
		{"library.version", "library_version"},
		{"app.name", "app_name"},
		{"app.version", "app_version"},
		{"os.name", "os_name"},
		{"os.version", "os_version"},
		{"device.type", "device_type"},
		{"device.model", "device_model"},
		{"device.manufacturer", "device_manufacturer"},
		{"userAgent", "user_agent"},
		{"locale", "locale"},
		{"timezone", "timezone"},
		{"sessionId", "session_id"},
	}
}

// plant makes a tree of the paths that have columns. Nothing is added to it later.
func (s *Shaper) plant(tr *tree) {
	for _, hot := range hotContext() {
		tr.context.descend(hot.path).column = hot.column
	}
	tr.context.descend("ip")
	for _, path := range s.src.rules.HotColumns {
		head, rest, _ := strings.Cut(path, ".")
		column := s.columnName(strings.ReplaceAll(rest, ".", "_"))
		switch {
		case column == "":
		case head == "context":
			if n := tr.context.descend(rest); n.column == "" {
				n.column = column
			}
		case head == tr.properties.path:
			tr.properties.descend(rest).column = column
		}
	}
	tr.context.ripen()
	tr.properties.ripen()
}

// ripen makes the ends of the tree take objects whole.
func (n *node) ripen() {
	n.asJSON = n.column != "" && len(n.children) == 0
	for _, c := range n.children {
		c.ripen()
	}
}

// descend returns the node of a path below n, which is made where it is missing.
func (n *node) descend(path string) *node {
	for key := range strings.SplitSeq(path, ".") {
		c := n.children[key]
		if c == nil {
			c = n.grow(key)
		}
		n = c
	}
	return n
}

// document reads an object that is stored whole, and the paths in it that have columns.
func (s *Shaper) document(root *node, key []byte) error {
	to := &s.documents.context
	switch root.path {
	case "properties":
		to = &s.documents.properties
	case "traits":
		to = &s.documents.traits
	case "userProperties":
		return s.extraMember(key)
	}
	*to = Value{}
	switch s.parser.peek() {
	case '{':
		from := s.parser.i
		s.enter(root)
		if err := s.hot(root); err != nil {
			return err
		}
		v, err := s.stored(s.parser.b[from:s.parser.i])
		*to = v
		return err
	case 'n':
		s.undo(root)
		_, err := s.parser.skip(1)
		return err
	}
	s.undo(root)
	return s.extraMember(key)
}

// undo takes away what an earlier member of root's name held.
func (s *Shaper) undo(root *node) {
	s.set(root, Value{})
	if root.context {
		s.documents.batch = Value{}
	}
}

// hot reads the object at the parser, of which it keeps the paths that have columns.
func (s *Shaper) hot(root *node) error {
	p := &s.parser
	return p.object(func(key []byte) error {
		if c := root.children[string(key)]; c != nil {
			return s.walk(c, 2)
		}
		_, err := p.skip(2)
		return err
	})
}

// stored is an object as a JSON column holds it; absent when it is empty.
func (s *Shaper) stored(raw []byte) (Value, error) {
	start := len(s.parser.arena)
	var err error
	if s.parser.arena, err = appendCompact(s.parser.arena, raw); err != nil {
		return Value{}, err
	}
	compact := s.parser.arena[start:len(s.parser.arena):len(s.parser.arena)]
	if emptyJSON(compact) {
		return Value{}, nil
	}
	return Value{Kind: tidegate.JSON, Text: compact, raw: compact}, nil
}

// layContext lays the event's context over its batch's.
func (s *Shaper) layContext() error {
	d := &s.documents
	switch {
	case d.batch.Kind == tidegate.Unknown:
	case d.context.Kind == tidegate.Unknown:
		d.context = d.batch
	default:
		merged, err := mergeObjects(d.batch.Text, d.context.Text)
		d.context = Value{Kind: tidegate.JSON, Text: merged, raw: merged}
		return err
	}
	return nil
}

// native writes the one row of an event to events, and the person that an identify
// call speaks of to users.
func (s *Shaper) native(ctx context.Context, emit func(Row) error) error {
	t, err := s.table(ctx, EventsTable)
	if err != nil {
		return err
	}
	f, d := &s.fields, &s.documents
	s.start(t)
	s.give(t.base[atType], text(string(s.kind)))
	s.give(t.base[atEvent], f.event)
	s.give(t.base[atName], f.name)
	s.give(t.base[atCategory], f.category)
	s.give(t.base[atGroupID], f.groupID)
	s.give(t.base[atPreviousID], f.previousID)
	s.give(t.base[atProperties], d.properties)
	s.give(t.base[atTraits], d.traits)
	s.give(t.base[atContext], d.context)
	s.common(t)
	s.hotLeaves(true)
	s.extras()
	if err := s.finish(t.base[atUnmapped], emit); err != nil || s.kind != tidegate.Identify {
		return err
	}
	return s.user(ctx, emit)
}

// hotLeaves puts the values of paths that have columns there; without all only traits.
func (s *Shaper) hotLeaves(all bool) {
	for i := range s.leaves {
		if l := &s.leaves[i]; l.node != nil && l.node.column != "" && (all || !l.node.context) {
			s.leaf(l.node, &l.value)
		}
	}
}
