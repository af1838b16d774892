package envelope

import (
	"encoding/binary"
	"fmt"
)

// Folding leaves out of a payload what its events repeat: an SDK's batch says the same
// context in each of them, which is half of the bytes that would have to be packed,
// checksummed, written and synced.
//
//	folded := as a payload, with events in one of three forms, told by the high bits of type
//	event  := type      messageID refusal body
//	       |  type+0x40 messageID refusal at(uvarint) length(uvarint) body    the length bytes of body from at on are what later ones repeat
//	       |  type+0x80 messageID refusal at(uvarint) body                    those bytes belong into body, at
//
// A folded payload is never seen alone: it stands packed, behind the size that it has
// unfolded.
const (
	formWhole = 0x00
	formFirst = 0x40
	formAgain = 0x80
	formMask  = 0xc0

	// foldFrom is the size below which a repeated piece is left to the compression.
	foldFrom = 64
)

// piece returns what of the event others may have too, nil when it is too little.
func (ev *Event) piece() []byte {
	if ev.RepeatFrom < 0 || ev.RepeatTo > len(ev.Body) || ev.RepeatTo-ev.RepeatFrom < foldFrom {
		return nil
	}
	return ev.Body[ev.RepeatFrom:ev.RepeatTo]
}

// appendFolded appends e, folded, to dst. size is that of its payload; folds is how
// many events were shortened, without which the two are the same.
func appendFolded(dst []byte, e *Envelope) (out []byte, size, folds int) {
	start := len(dst)
	dst = appendShared(dst, e)
	saved := 0
	var shared []byte
	for i := range e.Events {
		ev := &e.Events[i]
		piece := ev.piece()
		switch {
		case piece != nil && string(piece) == string(shared):
			rest := len(ev.Body) - len(piece)
			dst = appendIDs(dst, ev, formAgain)
			dst = binary.AppendUvarint(dst, uint64(ev.RepeatFrom))
			dst = binary.AppendUvarint(dst, uint64(rest))
			dst = append(append(dst, ev.Body[:ev.RepeatFrom]...), ev.Body[ev.RepeatTo:]...)
			saved += len(piece) + uvarintLen(len(ev.Body)) - uvarintLen(rest) - uvarintLen(ev.RepeatFrom)
			folds++
		case piece != nil && i+1 < len(e.Events) && string(piece) == string(e.Events[i+1].piece()):
			shared = piece
			dst = appendIDs(dst, ev, formFirst)
			dst = binary.AppendUvarint(dst, uint64(ev.RepeatFrom))
			dst = binary.AppendUvarint(dst, uint64(len(piece)))
			dst = appendBytes(dst, ev.Body)
			saved -= uvarintLen(ev.RepeatFrom) + uvarintLen(len(piece))
		default:
			dst = appendIDs(dst, ev, formWhole)
			dst = appendBytes(dst, ev.Body)
		}
	}
	return dst, len(dst) - start + saved, folds
}

func uvarintLen(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// appendUnfolded appends to dst the payload that folded stands for, which must have
// exactly size bytes.
func appendUnfolded(dst, folded []byte, size int) ([]byte, error) {
	start := len(dst)
	d := decoder{b: folded}
	if v := d.byte(); d.err == nil && v != version && v != replayed {
		return dst, fmt.Errorf("%w: version %d, folded", ErrFormat, v)
	}
	d.varint()
	for range 5 { // source, sentAt, requestIP, context, integrations
		d.bytes()
	}
	count := d.uvarint() // of events; the payload is checked when it is decoded
	if d.err != nil {
		return dst, d.err
	}
	if len(folded)-len(d.b) > size {
		return dst, fmt.Errorf("%w: more than the %d bytes announced", ErrFormat, size)
	}
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, start+size), dst...)
	}
	u := unfolding{d: d, out: append(dst, folded[:len(folded)-len(d.b)]...), limit: start + size}
	for i := uint64(0); i < count && u.d.err == nil; i++ {
		u.event()
	}
	switch {
	case u.d.err != nil:
		return dst[:start], u.d.err
	case len(u.d.b) != 0 || len(u.out) != u.limit:
		return dst[:start], fmt.Errorf("%w: folded wrongly: %d bytes of %d, %d left", ErrFormat, len(u.out)-start, size, len(u.d.b))
	}
	return u.out, nil
}

type unfolding struct {
	d      decoder
	out    []byte
	limit  int    // that out must reach and not exceed
	shared []byte // what events leave out just now, nil before the first
}

// event reads one event and writes it whole.
func (u *unfolding) event() {
	form, ids := u.d.ids()
	var at, length uint64
	if form != formWhole {
		at = u.d.uvarint()
	}
	if form == formFirst {
		length = u.d.uvarint()
	}
	body := u.d.bytes()
	if u.d.err != nil {
		return
	}
	var again []byte
	right := form == formWhole || at <= uint64(len(body))
	switch form {
	case formFirst:
		if right = right && length <= uint64(len(body))-at; right {
			u.shared = body[at : at+length]
		}
	case formAgain:
		again = u.shared
		right = right && again != nil
	case formMask:
		right = false
	}
	whole := len(body) + len(again)
	if !right || len(u.out)+len(ids)+uvarintLen(whole)+whole > u.limit {
		u.d.err = fmt.Errorf("%w: an event is folded wrongly", ErrFormat)
		return
	}
	u.out = append(append(u.out, ids[0]&^formMask), ids[1:]...)
	u.out = binary.AppendUvarint(u.out, uint64(whole))
	u.out = append(append(append(u.out, body[:at]...), again...), body[at:]...)
}

// ids reads what stands before the body of a folded event, and tells its form.
func (d *decoder) ids() (form byte, ids []byte) {
	from := d.b
	form = d.byte() & formMask
	d.bytes()
	d.bytes()
	return form, from[:len(from)-len(d.b)]
}
