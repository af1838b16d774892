package shape

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tidegate/tidegate"
)

// ErrType is wrapped by the error of an event of an unknown type.
var ErrType = errors.New("not an event type")

// Codes of dead letters. An event that the surface refused keeps its own code.
const (
	CodeUndecodable = "event.undecodable" // the body is no JSON object
	CodeType        = "event.type"        // there are no tables for events of this type
	CodeUnloadable  = "event.unloadable"  // the warehouse refused the event's rows
)

// DeadCode returns the code under which an event with this error of Peek or Shape
// becomes a dead letter; empty when the error is not about the event.
func DeadCode(err error) string {
	switch {
	case errors.Is(err, ErrJSON):
		return CodeUndecodable
	case errors.Is(err, ErrType):
		return CodeType
	}
	return ""
}

// fields are the top-level members of an event that columns are made of.
type fields struct {
	anonymousID, userID, event, name, category Value
	groupID, previousID, channel               Value
	timestamp, originalTimestamp, sentAt       Value
	contextIP                                  Value
	extra                                      []pair // members that the protocol does not know
}

// pair is an entry of `_unmapped`.
type pair struct {
	key   string
	value Value
}

// Peeker reads ids and types. It belongs to one goroutine.
type Peeker struct {
	context []byte // the last one, valid; events of one request have it in common
}

// Peek reads what finding repeats needs: the event's messageId and type, with
// what the server supplied where the body has none. An event without any id gets
// one that depends on its offset only, so that reading it again gives the same.
func (k *Peeker) Peek(ev *tidegate.Event) (id string, kind tidegate.EventType, err error) {
	p := parser{b: ev.Body}
	id, kind = ev.MessageID, ev.Type
	p.peek()
	err = p.object(func(key []byte) error {
		switch string(key) {
		case "messageId":
			v, err := p.scalar()
			if v.Kind != tidegate.Unknown {
				id = string(v.Text)
			}
			return err
		case "type":
			v, err := p.scalar()
			if v.Kind != tidegate.Unknown {
				kind = kindOf(v.Text)
			}
			return err
		case "context":
			return k.skipContext(&p)
		}
		_, err := p.skip(1)
		return err
	})
	if err == nil {
		err = p.end()
	}
	if id == "" {
		sum := sha256.Sum256([]byte(ev.Source + "\x00" + ev.Offset.String()))
		made, _ := uuid.FromBytes(sum[:16])
		id = "auto-" + made.String()
	}
	return id, kind, err
}

func (k *Peeker) skipContext(p *parser) error {
	if p.peek() == '{' && len(k.context) > 0 && bytes.HasPrefix(p.b[p.i:], k.context) {
		p.i += len(k.context)
		return nil
	}
	raw, err := p.skip(1)
	k.context = k.context[:0]
	if err == nil && len(raw) <= maxAgain && bytes.HasPrefix(raw, []byte("{")) {
		k.context = append(k.context, raw...)
	}
	return err
}

// Peek is Peeker.Peek for one event.
func Peek(ev *tidegate.Event) (id string, kind tidegate.EventType, err error) {
	var k Peeker
	return k.Peek(ev)
}

func kindOf(text []byte) tidegate.EventType {
	if string(text) == string(tidegate.Track) { // nearly always
		return tidegate.Track
	}
	return tidegate.EventType(text)
}

// scalar reads a string, number or bool as a String; everything else is absent.
func (p *parser) scalar() (Value, error) {
	c := p.peek()
	from := p.i
	if c == '"' {
		decoded, err := p.str()
		if err != nil || len(decoded) == 0 {
			return Value{}, err
		}
		return Value{Kind: tidegate.String, Text: decoded, raw: p.b[from:p.i:p.i]}, nil
	}
	raw, err := p.skip(1)
	if err != nil || c == '{' || c == '[' || c == 'n' {
		return Value{}, err
	}
	return Value{Kind: tidegate.String, Text: raw, raw: raw}, nil
}

// read decodes ev into s.fields and s.leaves.
func (s *Shaper) read(ev *tidegate.Event) error {
	s.begin()
	tr := s.tree(s.kind)
	if len(ev.Context) > 0 {
		s.parser.b, s.parser.i = ev.Context, 0
		if s.parser.peek() == '{' {
			if err := s.group(tr.context, []byte("context"), &s.batchContext); err != nil {
				return fmt.Errorf("reading the batch's context: %w", err)
			}
			s.documents.batch, s.documents.context = s.documents.context, Value{}
		}
	}
	s.phase++
	s.parser.b, s.parser.i = ev.Body, 0
	s.parser.peek()
	if err := s.parser.object(func(key []byte) error { return s.member(tr, key) }); err != nil {
		return err
	}
	if err := s.parser.end(); err != nil {
		return err
	}
	if c, ok := tr.context.children["ip"]; ok && c.seen >= s.first && c.leaf >= 0 {
		s.fields.contextIP = s.leaves[c.leaf].value
	}
	if s.src.rules.Profile == Native {
		return s.layContext()
	}
	if s.kind == tidegate.Page || s.kind == tidegate.Screen {
		s.category(tr)
	}
	return nil
}

// category treats a page's or screen's own category as a property, which is
// where the SDKs that have both put a copy of it.
func (s *Shaper) category(tr *tree) {
	v := s.fields.category
	if v.Kind == tidegate.Unknown {
		return
	}
	s.enterIfNew(tr.properties)
	c := s.child(tr.properties, []byte("category"))
	switch {
	case c.seen < s.first:
		s.set(c, v)
	case c.leaf < 0 || !s.leaves[c.leaf].value.same(v):
		s.fields.extra = append(s.fields.extra, pair{"category", v})
	}
}

func (s *Shaper) enterIfNew(n *node) {
	if n.seen < s.first {
		s.enter(n)
	}
}

// member reads one top-level member of the event.
func (s *Shaper) member(tr *tree, key []byte) error {
	f := &s.fields
	switch string(key) {
	case "type", "messageId", "integrations", "_metadata", "writeKey", "version":
		// The first two were read by Peek; the others are about transport and
		// routing, not about what happened.
		_, err := s.parser.skip(1)
		return err
	case "context":
		return s.group(tr.context, key, &s.context)
	case "userProperties":
		if s.kind == tidegate.Identify {
			return s.group(tr.userProperties, key, nil)
		}
	case "properties", "traits":
		if tr.properties.path == string(key) {
			return s.group(tr.properties, key, nil)
		}
	case "anonymousId":
		return s.field(&f.anonymousID, key)
	case "userId":
		return s.field(&f.userID, key)
	case "channel":
		return s.field(&f.channel, key)
	case "timestamp":
		return s.field(&f.timestamp, key)
	case "originalTimestamp":
		return s.field(&f.originalTimestamp, key)
	case "sentAt":
		return s.field(&f.sentAt, key)
	case "event":
		if s.kind == tidegate.Track {
			return s.field(&f.event, key)
		}
	case "name", "category":
		if s.kind == tidegate.Page || s.kind == tidegate.Screen {
			if key[0] == 'n' {
				return s.field(&f.name, key)
			}
			return s.field(&f.category, key)
		}
	case "groupId":
		if s.kind == tidegate.Group {
			return s.field(&f.groupID, key)
		}
	case "previousId":
		if s.kind == tidegate.Alias {
			return s.field(&f.previousID, key)
		}
	}
	return s.extraMember(key)
}

// group reads an object whose members become columns; anything but an object
// (or nothing) is kept as it is. What a says of the last one spares reading it again.
func (s *Shaper) group(root *node, key []byte, a *again) error {
	if s.src.rules.Profile == Native {
		return s.document(root, key)
	}
	switch s.parser.peek() {
	case '{':
		var err error
		if a != nil {
			err = s.walkContext(a, root)
		} else {
			err = s.walk(root, 1)
		}
		if err == nil && root.leaf >= 0 { // a spread string
			if v := s.leaves[root.leaf].value; root.column == "" {
				s.drop(root)
				s.fields.extra = append(s.fields.extra, pair{string(key), v})
			}
		}
		return err
	case 'n':
		s.set(root, Value{})
		_, err := s.parser.skip(1)
		return err
	}
	s.set(root, Value{})
	return s.extraMember(key)
}

// field reads a scalar member; an object or array in its place is kept in `_unmapped`.
func (s *Shaper) field(to *Value, key []byte) error {
	if c := s.parser.peek(); c == '{' || c == '[' {
		*to = Value{}
		return s.extraMember(key)
	}
	v, err := s.parser.scalar()
	*to = v
	return err
}

// extraMember keeps a member that has no column of its own.
func (s *Shaper) extraMember(key []byte) error {
	raw, err := s.parser.skip(1)
	if err != nil {
		return err
	}
	compact, err := appendCompact(nil, raw)
	if err != nil || emptyJSON(compact) {
		return err
	}
	name := string(key)
	v := Value{Kind: tidegate.JSON, Text: compact, raw: compact}
	for i := range s.fields.extra {
		if s.fields.extra[i].key == name { // the last of equal names wins
			s.fields.extra[i].value = v
			return nil
		}
	}
	s.fields.extra = append(s.fields.extra, pair{name, v})
	return nil
}
