package ingest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/scan"
)

// The codes under which an event is refused. They are stable: they stand in
// answers, in the journal (tidegate.Event.Refusal) and in metrics.
const (
	RefusedNotObject    = "event.not_object"     // an item of a batch is not a JSON object
	RefusedTooLarge     = "event.too_large"      // larger than Limits.EventBytes
	RefusedTooDeep      = "event.too_deep"       // nested deeper than Limits.Depth
	RefusedNoType       = "event.no_type"        // neither the body nor the path names a type
	RefusedUnknownType  = "event.unknown_type"   // a type that is none of the six
	RefusedNoIdentity   = "event.no_identity"    // neither userId nor anonymousId
	RefusedNoName       = "event.no_name"        // a track without the name of what was tracked
	RefusedBadMerge     = "event.bad_merge"      // a merge that does not name two identifiers
	RefusedBadMessageID = "event.bad_message_id" // not a string, too long, or with characters that cannot be kept
)

// message is what is said of an event that is refused with code.
func (l *Limits) message(code string) string {
	switch code {
	case RefusedTooLarge:
		return fmt.Sprintf(refusalMessages[code], l.EventBytes)
	case RefusedTooDeep:
		return fmt.Sprintf(refusalMessages[code], l.Depth)
	}
	return refusalMessages[code]
}

// refusalMessages say to whoever wrote the event what is to be changed.
var refusalMessages = map[string]string{
	RefusedNotObject:    "the event is not a JSON object",
	RefusedTooLarge:     "the event is larger than the %d bytes that this server accepts",
	RefusedTooDeep:      "the event has objects or lists inside each other more than %d deep",
	RefusedNoType:       `the event has no "type": track, identify, page, screen, group or alias`,
	RefusedUnknownType:  `the event's "type" is none of track, identify, page, screen, group and alias`,
	RefusedNoIdentity:   `the event has neither "userId" nor "anonymousId" as a string or number that is not empty`,
	RefusedNoName:       `a track event needs "event", its name, as a string that is not empty`,
	RefusedBadMerge:     `a merge needs "mergeProperties", a list of two objects with "type" and "value"`,
	RefusedBadMessageID: `"messageId" is not a string, is too long or has control characters in it`,
}

// judge says with which code ev is refused, "" when it is accepted, and its type
// when only the path names it. byPath is empty for batches.
func (l *Limits) judge(ev *scan.Event, byPath tidegate.EventType) (refusal string, typ tidegate.EventType) {
	switch {
	case !ev.Raw.IsObject():
		return RefusedNotObject, ""
	case len(ev.Raw) > l.EventBytes:
		return RefusedTooLarge, ""
	case ev.Depth > l.Depth:
		return RefusedTooDeep, ""
	}
	kind := byPath
	if ev.Type.Empty() {
		if byPath == "" {
			return RefusedNoType, ""
		}
		if byPath != merge {
			typ = byPath
		}
	} else {
		text, _ := ev.Type.Text()
		if kind = typeOf(text); kind == "" {
			return RefusedUnknownType, ""
		}
	}
	switch {
	case kind == merge:
		if _, ok := identifiersOf(ev); !ok {
			return RefusedBadMerge, typ
		}
	case !identifies(ev.UserID) && !identifies(ev.AnonymousID):
		return RefusedNoIdentity, typ
	case kind == tidegate.Track && (ev.Name.Empty() || !ev.Name.IsString()):
		return RefusedNoName, typ
	}
	if !ev.MessageID.Empty() && !l.goodMessageID(ev.MessageID) {
		return RefusedBadMessageID, typ
	}
	return "", typ
}

// Judge says what the surface would make of one event that came on a path
// without a type, under the default limits: the event as a reader of the
// journal would see it, or the fault with which it would be refused. Nothing is
// kept. The event aliases body; its source and offset are empty.
func Judge(body []byte, at time.Time) (tidegate.Event, *tidegate.Fault) {
	limits, err := Limits{}.withDefaults()
	if err != nil {
		panic("ingest: the default limits contradict each other: " + err.Error()) // a broken invariant of our own
	}
	var d scan.Document
	if err := d.Scan(body, limits.Events); err != nil {
		return tidegate.Event{}, &tidegate.Fault{Action: tidegate.Reject, Code: codeBadJSON, Subject: "event", Message: "the event is not valid JSON: " + err.Error(), Err: err}
	}
	refusal, _ := limits.judge(&d.Event, "")
	if refusal != "" {
		return tidegate.Event{}, &tidegate.Fault{Action: tidegate.Reject, Code: refusal, Subject: "event", Message: limits.message(refusal)}
	}
	kept := []byte(d.Raw)
	if isMerge(&d.Event, "") {
		kept = unmerged(&d.Event)
	}
	return tidegate.Event{ReceivedAt: at.UTC().Truncate(time.Microsecond), Body: kept}, nil
}

// typeOf returns the type that text names, "" for none; it allocates nothing.
func typeOf(text []byte) tidegate.EventType {
	for _, t := range [...]tidegate.EventType{tidegate.Track, tidegate.Page, tidegate.Identify, tidegate.Screen, tidegate.Group, tidegate.Alias, merge} {
		if string(text) == string(t) {
			return t
		}
	}
	return ""
}

// identifies says whether v can stand for a person: some senders use numbers.
func identifies(v scan.Value) bool { return !v.Empty() && (v.IsString() || v.IsNumber()) }

// goodMessageID says whether v can serve to tell repeats apart. What storing
// would change (control characters, lone surrogates) could make two ids one.
func (l *Limits) goodMessageID(v scan.Value) bool {
	text, ok := v.Text()
	if !ok || len(text) == 0 || len(text) > l.MessageIDBytes {
		return false
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return true // the scanner lets control characters pass as escapes only
	}
	for _, c := range text {
		if c < ' ' {
			return false
		}
	}
	return !bytes.Contains(text, []byte("\ufffd"))
}
