package transform

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A frame is a length (4 bytes, big-endian) and so many bytes. Numbers in it are
// varints, texts a length and bytes:
//
//	request := script name source timeout(ns) memory count task*
//	task    := event source messageID receivedAt(µs) requestIP seed(8) seed(8)
//	result  := event drop(1) code message count log*
const maxFrame = 32 << 20

var errFrame = errors.New("not a frame of a worker")

// request is what a worker is told: a script, when it does not know it yet, and
// events for it.
type request struct {
	Script  string // its id
	Name    string
	Source  string // empty: known already
	Timeout time.Duration
	Memory  int64
	Tasks   []task
}

// task is one event for a script.
type task struct {
	Event      []byte
	Source     string
	MessageID  string
	ReceivedAt int64 // microseconds
	RequestIP  string
	Seed       [2]uint64
}

// result is what a script makes of an event.
type result struct {
	Event   []byte
	Drop    bool
	Code    string // of a dead letter; empty: none
	Message string
	Logs    []string
}

func writeFrame(w io.Writer, body []byte) error {
	if len(body) > maxFrame {
		return fmt.Errorf("a frame of %d bytes, %d are allowed", len(body), maxFrame)
	}
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(body))) //nolint:gosec // bounded above
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(body)
	return err
}

// readFrame returns the next frame, or io.EOF before one begins.
func readFrame(r *bufio.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, fmt.Errorf("%w: it has %d bytes", errFrame, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("%w: it ends early: %v", errFrame, err) //nolint:errorlint // an end in here is no end of frames
	}
	return body, nil
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendRequest(b []byte, q *request) []byte {
	b = appendText(appendText(appendText(b, q.Script), q.Name), q.Source)
	b = binary.AppendVarint(binary.AppendVarint(b, int64(q.Timeout)), q.Memory)
	b = binary.AppendUvarint(b, uint64(len(q.Tasks)))
	for i := range q.Tasks {
		t := &q.Tasks[i]
		b = appendText(appendText(appendText(b, t.Event), t.Source), t.MessageID)
		b = appendText(binary.AppendVarint(b, t.ReceivedAt), t.RequestIP)
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, t.Seed[0]), t.Seed[1])
	}
	return b
}

func appendResult(b []byte, r *result) []byte {
	b = appendText(b, r.Event)
	drop := byte(0)
	if r.Drop {
		drop = 1
	}
	b = appendText(appendText(append(b, drop), r.Code), r.Message)
	b = binary.AppendUvarint(b, uint64(len(r.Logs)))
	for _, line := range r.Logs {
		b = appendText(b, line)
	}
	return b
}

// decoder reads a body; after the first mistake everything is empty.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }
func (d *decoder) text() string  { return string(d.bytes()) }

func (d *decoder) fixed() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// end is the error of a body that was not read to its end, or beyond it.
func (d *decoder) end() error {
	if d.bad || len(d.b) != 0 {
		return errFrame
	}
	return nil
}

func decodeRequest(body []byte) (request, error) {
	d := decoder{b: body}
	q := request{Script: d.text(), Name: d.text(), Source: d.text(), Timeout: time.Duration(d.varint()), Memory: d.varint()}
	n := d.uvarint()
	for i := uint64(0); i < n && !d.bad; i++ {
		t := task{Event: d.bytes(), Source: d.text(), MessageID: d.text(), ReceivedAt: d.varint(), RequestIP: d.text()}
		t.Seed = [2]uint64{d.fixed(), d.fixed()}
		q.Tasks = append(q.Tasks, t)
	}
	return q, d.end()
}

func decodeResult(body []byte) (result, error) {
	d := decoder{b: body}
	r := result{Event: d.bytes()}
	r.Drop = string(d.take(1)) == "\x01"
	r.Code, r.Message = d.text(), d.text()
	n := d.uvarint()
	for i := uint64(0); i < n && !d.bad; i++ {
		r.Logs = append(r.Logs, d.text())
	}
	return r, d.end()
}
