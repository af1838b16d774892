// Package scan reads the body of a tracking request once: it checks that the
// whole of it is valid JSON and finds where its events and their few deciding
// fields are. It builds nothing: no map, no string, no copy.
//
// Invariants: Scan accepts exactly the texts that RFC 8259 allows and that are
// valid UTF-8, nested no deeper than MaxDepth (a stranger's bytes give an
// error, never a panic: Invariant 7). Names match exactly, escapes resolved; of
// a repeated name the last value counts. What it finds aliases the input.
// Escaped lone surrogates and \u0000 are valid JSON and pass; whoever stores
// the text replaces them.
//
// The events of a batch carry the same context again and again, half of their bytes.
// One that begins with the very bytes of the event before is known to be valid and to
// end where those did: comparing is ten times faster than scanning.
//
// It does not judge events: which fields they must have is the caller's
// business. A Document may be reused, but not by two goroutines at once.
//
// Why by hand: on the way in parsing is what costs, not fsync (a decoder into
// values is five to ten times slower; docs/benchmarks.md).
package scan

import (
	"bytes"
	"errors"
	"fmt"
)

// MaxDepth is how many objects and arrays may lie inside each other before the
// text is refused. It bounds the stack; the callers' limit on events is lower.
const MaxDepth = 512

// ErrTooManyEvents is returned when a batch holds more events than was allowed.
var ErrTooManyEvents = errors.New("more events in one batch than allowed")

// SyntaxError says where a text stops being JSON.
type SyntaxError struct {
	Offset  int // in bytes from the start
	Problem string
}

// Error returns the problem with its place, for the client that sent the text.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Problem, e.Offset) }

// Event holds the fields of one event that decide what becomes of it. Absent
// fields are nil.
type Event struct {
	Raw         Value // the whole item, an object or not
	Type        Value
	MessageID   Value
	UserID      Value
	AnonymousID Value
	PreviousID  Value
	Name        Value // "event", the name of a tracked event
	IP          Value // "ip" in "context"
	UserAgent   Value // "userAgent" in "context"
	// Depth is how many objects and arrays lie inside each other in Raw, itself included.
	Depth int
	// ContextFrom and ContextTo are where in Raw the object "context" lies, the last of
	// several; both are 0 without one.
	ContextFrom, ContextTo int
}

// Document is one scanned request body. The zero value is ready.
type Document struct {
	// Event is the top-level object seen as an event; of a batch it holds the
	// fields that the batch itself carries.
	Event
	WriteKey     Value
	SentAt       Value
	Context      Value
	Integrations Value
	// Batch is the value of "batch"; Events are its items when it is an array.
	Batch  Value
	Events []Event
}

// Scan reads body, which must be one JSON object, into d and forgets what d held
// before. At most maxEvents items are allowed in "batch". The error is a
// *SyntaxError or ErrTooManyEvents, and then d holds nothing of use.
func (d *Document) Scan(body []byte, maxEvents int) error {
	*d = Document{Events: d.Events[:0]}
	s := scanner{b: body, maxEvents: maxEvents}
	i := s.space(0)
	if s.at(i) != '{' {
		if i >= len(body) {
			return &SyntaxError{Offset: i, Problem: "the body is empty"}
		}
		return &SyntaxError{Offset: i, Problem: "the body is not a JSON object"}
	}
	end := s.fields(i, 1, &d.Event, d)
	if end < 0 {
		return s.err
	}
	if rest := s.space(end); rest < len(body) {
		return &SyntaxError{Offset: rest, Problem: "something follows the end of the JSON object"}
	}
	return nil
}

// fields scans the object that begins at i and keeps the deciding ones of its
// fields in ev; with top, those of the request as well. It returns the index
// after the object or -1.
func (s *scanner) fields(i, depth int, ev *Event, top *Document) int {
	start, outer := i, s.deepest
	s.deepest = depth
	i = s.space(i + 1)
	for first := true; ; first = false {
		if first && s.at(i) == '}' {
			break
		}
		nameStart := i
		afterName, valueStart := s.name(i)
		if valueStart < 0 {
			return -1
		}
		var end int
		switch c := s.at(valueStart); {
		case c == '"':
			end = s.text(valueStart + 1)
		case c == '[' && top != nil && isName(s.b[nameStart+1:afterName-1], "batch"):
			end = s.items(valueStart, depth+1, top)
		case c == '{' && isName(s.b[nameStart+1:afterName-1], "context"):
			if end = s.context(valueStart, depth+1, ev); end >= 0 {
				ev.ContextFrom, ev.ContextTo = valueStart-start, end-start
			}
		default:
			end = s.value(valueStart, depth+1)
		}
		if end < 0 {
			return -1
		}
		ev.keep(s.b[nameStart+1:afterName-1], s.b[valueStart:end:end], top)
		if s.dense(end, ',') {
			i = end + 1
			continue
		}
		if i = s.space(end); s.at(i) == '}' {
			break
		}
		if i = s.comma(i, "object"); i < 0 {
			return -1
		}
	}
	ev.Raw = s.b[start : i+1 : i+1]
	ev.Depth = s.deepest - depth + 1
	s.deepest = max(s.deepest, outer)
	return i + 1
}

// context is what is known of a context that was scanned, for the events after it.
type context struct {
	text          []byte // nil before the first
	ip, userAgent Value
	depth         int // where it began
	deepest       int // of what lies in it
}

// context scans the object that begins at i like any other, and keeps what of it
// decides about its event. An object ends where its bytes say, whatever follows, so
// that the same bytes are the same object.
func (s *scanner) context(i, depth int, ev *Event) int {
	known := &s.known
	if n := len(known.text); n == 0 || known.depth != depth || len(s.b)-i < n || string(s.b[i:i+n]) != string(known.text) {
		outer := s.deepest
		s.deepest = depth - 1
		*known = context{depth: depth}
		end := s.contextMembers(i, depth, known)
		if end < 0 {
			return -1
		}
		known.text, known.deepest = s.b[i:end], s.deepest
		s.deepest = outer
	}
	s.deepest = max(s.deepest, known.deepest)
	if known.ip != nil { // a second context adds to the first
		ev.IP = known.ip
	}
	if known.userAgent != nil {
		ev.UserAgent = known.userAgent
	}
	return i + len(known.text)
}

// contextMembers scans the object that begins at i and keeps what is looked for in found.
func (s *scanner) contextMembers(i, depth int, found *context) int {
	if !s.enter(i, depth) {
		return -1
	}
	i = s.space(i + 1)
	if s.at(i) == '}' {
		return i + 1
	}
	for {
		nameStart := i
		afterName, valueStart := s.name(i)
		if valueStart < 0 {
			return -1
		}
		if s.at(valueStart) == '"' {
			i = s.text(valueStart + 1)
		} else {
			i = s.value(valueStart, depth+1)
		}
		if i < 0 {
			return -1
		}
		switch first := s.at(nameStart + 1); {
		case first != 'i' && first != 'u' && first != '\\': // most
		case isName(s.b[nameStart+1:afterName-1], "ip"):
			found.ip = s.b[valueStart:i:i]
		case isName(s.b[nameStart+1:afterName-1], "userAgent"):
			found.userAgent = s.b[valueStart:i:i]
		}
		if s.dense(i, ',') {
			i++
			continue
		}
		if i = s.space(i); s.at(i) == '}' {
			return i + 1
		}
		if i = s.comma(i, "object"); i < 0 {
			return -1
		}
	}
}

// items scans the array that begins at i and notes each of its items in d. A
// later "batch" takes the place of an earlier one.
func (s *scanner) items(i, depth int, d *Document) int {
	d.Events = d.Events[:0]
	if !s.enter(i, depth) {
		return -1
	}
	i = s.space(i + 1)
	if s.at(i) == ']' {
		return i + 1
	}
	for {
		if len(d.Events) >= s.maxEvents {
			return s.stop(ErrTooManyEvents)
		}
		d.Events = append(d.Events, Event{})
		ev := &d.Events[len(d.Events)-1]
		var end int
		if s.at(i) == '{' {
			end = s.fields(i, depth+1, ev, nil)
		} else if end = s.value(i, depth+1); end >= 0 {
			ev.Raw = s.b[i:end:end]
		}
		if end < 0 {
			return -1
		}
		if i = s.space(end); s.at(i) == ']' {
			return i + 1
		}
		if i = s.comma(i, "array"); i < 0 {
			return -1
		}
	}
}

// keep notes the value of one field. name is raw, without its quotes.
func (ev *Event) keep(name, value []byte, top *Document) {
	if !ev.note(name, value, top) && bytes.IndexByte(name, '\\') >= 0 { // no name that is looked for has one in it
		ev.note(unescape(nil, name), value, top)
	}
}

// note notes the value of one field and says whether it is one of those that are kept.
func (ev *Event) note(name, value []byte, top *Document) bool {
	switch string(name) {
	case "type":
		ev.Type = value
	case "messageId":
		ev.MessageID = value
	case "userId":
		ev.UserID = value
	case "anonymousId":
		ev.AnonymousID = value
	case "previousId":
		ev.PreviousID = value
	case "event":
		ev.Name = value
	default:
		return top != nil && top.noteShared(name, value)
	}
	return true
}

// noteShared is note for the fields that only a request has.
func (d *Document) noteShared(name, value []byte) bool {
	switch string(name) {
	case "writeKey":
		d.WriteKey = value
	case "sentAt":
		d.SentAt = value
	case "context":
		d.Context = value
	case "integrations":
		d.Integrations = value
	case "batch":
		d.Batch = value
		if value[0] != '[' {
			d.Events = d.Events[:0]
		}
	default:
		return false
	}
	return true
}

// isName says whether the raw name means want, which has letters only: an escape
// for one of them is five bytes longer than the letter.
func isName(raw []byte, want string) bool {
	if len(raw) == len(want) {
		return string(raw) == want
	}
	return len(raw) >= len(want)+5 && isEscaped(raw, want)
}

func isEscaped(raw []byte, want string) bool {
	return bytes.IndexByte(raw, '\\') >= 0 && string(unescape(nil, raw)) == want
}
