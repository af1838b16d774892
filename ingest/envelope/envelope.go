// Package envelope is the payload format of a journal frame: the events of one
// request with what they share. It is pure: no I/O, no goroutine, no clock.
//
// Invariants: Decode(Append(nil, e)) gives e back byte for byte, packed or not; Decode
// of arbitrary bytes returns an error or a value, it never panics and never
// allocates more than the input's length would allow, or 64 MiB when it is packed. The
// bytes of an event are kept as the client sent them; nothing here parses JSON. An
// event that was withheld (tidegate.Withheld) comes out without what its request shared.
//
//	packed  := version(4) receivedAt(varint µs) source s2 block of a payload     version 2: without what stands before the block
//	        |  version(6) receivedAt(varint µs) source size(uvarint, of the payload) s2 block of it folded (fold.go)
//	payload := version(1, or 3 of a replay) receivedAt(varint µs) source sentAt requestIP context integrations count event*
//	event   := type(1) messageID refusal body          strings and bytes are uvarint length + bytes
package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
)

const (
	version  = 1
	replayed = 3 // the version of a payload of the same form that a replay appended
)

// ErrFormat is wrapped by every error of Decode.
var ErrFormat = errors.New("not an event envelope")

// Envelope is one request's worth of events.
type Envelope struct {
	Source       string
	ReceivedAt   time.Time // microseconds
	SentAt       string    // batch-level, as sent
	RequestIP    string
	Context      []byte // batch-level context object or nil
	Integrations []byte // batch-level integrations object or nil
	Events       []Event
	Replayed     bool // a replay's copy of events that were loaded
}

// Event is one event of an Envelope; see tidegate.Event for the fields.
type Event struct {
	Type      tidegate.EventType // empty when the body names it
	MessageID string             // empty when the body has one
	Refusal   string             // empty when accepted
	Body      []byte
	// RepeatFrom and RepeatTo are where in Body something lies that the events before or
	// after it may have too, byte for byte. It is a hint: Packer compares.
	RepeatFrom, RepeatTo int
}

var typeCodes = [...]tidegate.EventType{"", tidegate.Track, tidegate.Identify, tidegate.Page, tidegate.Screen, tidegate.Group, tidegate.Alias}

// Append appends the encoding of e to dst and returns the extended slice.
func Append(dst []byte, e *Envelope) []byte {
	dst = appendShared(dst, e)
	for i := range e.Events {
		ev := &e.Events[i]
		dst = appendIDs(dst, ev, 0)
		dst = appendBytes(dst, ev.Body)
	}
	return dst
}

// appendIDs appends what stands before the body of an event.
func appendIDs(dst []byte, ev *Event, form byte) []byte {
	dst = append(dst, typeCode(ev.Type)|form)
	dst = appendString(dst, ev.MessageID)
	return appendString(dst, ev.Refusal)
}

// appendShared appends what stands before the first event.
func appendShared(dst []byte, e *Envelope) []byte {
	if e.Replayed {
		dst = append(dst, replayed)
	} else {
		dst = append(dst, version)
	}
	dst = binary.AppendVarint(dst, e.ReceivedAt.UnixMicro())
	dst = appendString(dst, e.Source)
	dst = appendString(dst, e.SentAt)
	dst = appendString(dst, e.RequestIP)
	dst = appendBytes(dst, e.Context)
	dst = appendBytes(dst, e.Integrations)
	return binary.AppendUvarint(dst, uint64(len(e.Events)))
}

func typeCode(t tidegate.EventType) byte {
	for i, known := range typeCodes {
		if known == t {
			return byte(i)
		}
	}
	return 0
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// Decode reads one payload and appends its events to dst, numbering them from
// first. The events' bytes alias payload, unless it is packed.
func Decode(dst []tidegate.Event, payload []byte, first tidegate.Offset) ([]tidegate.Event, error) {
	payload, err := plain(payload)
	if err != nil {
		return dst, err
	}
	d := decoder{b: payload}
	v := d.byte()
	if d.err == nil && v != version && v != replayed {
		return dst, fmt.Errorf("%w: version %d", ErrFormat, v)
	}
	shared := tidegate.Event{ReceivedAt: time.UnixMicro(d.varint()).UTC(), Replayed: v == replayed}
	shared.Source = string(d.bytes())
	shared.SentAt = string(d.bytes())
	shared.RequestIP = string(d.bytes())
	shared.Context = d.bytes()
	shared.Integrations = d.bytes()
	count := d.uvarint()
	if d.err == nil && count > uint64(len(d.b)) {
		d.err = fmt.Errorf("%w: %d events in %d bytes", ErrFormat, count, len(d.b))
	}
	for i := uint64(0); i < count && d.err == nil; i++ {
		ev := shared
		ev.Offset = tidegate.Offset{Partition: first.Partition, Position: first.Position + int64(i)}
		code := d.byte()
		if int(code) >= len(typeCodes) {
			return dst, fmt.Errorf("%w: event type %d", ErrFormat, code)
		}
		ev.Type = typeCodes[code]
		ev.MessageID = string(d.bytes())
		ev.Refusal = string(d.bytes())
		ev.Body = d.bytes()
		if tidegate.Withheld(ev.Refusal) { // what others of its request said is no more to be kept with it than its own
			ev.SentAt, ev.RequestIP, ev.Context, ev.Integrations = "", "", nil, nil
		}
		if d.err == nil {
			dst = append(dst, ev)
		}
	}
	if d.err == nil && len(d.b) != 0 {
		d.err = fmt.Errorf("%w: %d bytes after the last event", ErrFormat, len(d.b))
	}
	return dst, d.err
}

// Head is what the events of a payload share, as far as books are kept by it.
type Head struct {
	Source     string
	ReceivedAt time.Time
}

// ReadHead reads the head of a payload without its events: the few bytes that it begins
// with, packed or not.
func ReadHead(payload []byte) (Head, error) {
	source, received, err := readHead(payload)
	return Head{string(source), time.UnixMicro(received).UTC()}, err
}

// Source returns the source of a payload without reading its events. It aliases payload,
// unless the payload is packed whole.
func Source(payload []byte) ([]byte, error) {
	source, _, err := readHead(payload)
	return source, err
}

func readHead(payload []byte) (source []byte, received int64, err error) {
	if len(payload) > 0 && payload[0] == packedBare {
		if payload, err = plain(payload); err != nil {
			return nil, 0, err
		}
	}
	d := decoder{b: payload}
	if v := d.byte(); d.err == nil && v != version && v != replayed && v != packed && v != packedFolded {
		return nil, 0, fmt.Errorf("%w: version %d", ErrFormat, v)
	}
	received = d.varint()
	source = d.bytes()
	return source, received, d.err
}

type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = fmt.Errorf("%w: it ends early", ErrFormat)
	}
}

func (d *decoder) byte() byte {
	if d.err != nil || len(d.b) == 0 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.err != nil || n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}
