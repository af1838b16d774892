package envelope

import (
	"fmt"

	"github.com/klauspost/compress/s2"
)

const (
	packed     = 4 // the version of a payload that is packed, with its head in front
	packedBare = 2 // the same without the head; journals that were written before have such

	// packFrom is the size below which a payload is left as it is: small ones share
	// their disk write with others and would shrink little.
	packFrom = 4 << 10
	// maxPlain bounds what a packed payload may unpack to; the surface and the journal
	// keep requests far below it.
	maxPlain = 64 << 20
)

// Pack compresses payload, which Append wrote, into dst and returns the result; where
// that does not pay it returns payload. Fewer bytes to make durable are what ingest
// gains, and a journal that takes a fifth of the room. The head is repeated in front,
// so that whoever counts requests unpacks none.
func Pack(dst, payload []byte) []byte {
	if len(payload) < packFrom {
		return payload
	}
	head := headOf(payload)
	if head == nil {
		return payload // not what Append wrote
	}
	if need := 1 + len(head) + s2.MaxEncodedLen(len(payload)); cap(dst) < need {
		dst = make([]byte, need)
	}
	dst = dst[:cap(dst)]
	dst[0] = packed
	at := 1 + copy(dst[1:], head)
	out := dst[:at+len(s2.Encode(dst[at:], payload))]
	if len(out) > len(payload)*7/8 {
		return payload
	}
	return out
}

// headOf returns what of payload lies between its version and the end of its source:
// nothing when it ends before.
func headOf(payload []byte) []byte {
	d := decoder{b: payload}
	d.byte()
	d.varint()
	d.bytes()
	if d.err != nil {
		return nil
	}
	return payload[1 : len(payload)-len(d.b)]
}

// block returns the compressed part of payload; ok is false when it is not packed.
func block(payload []byte) (b []byte, ok bool, err error) {
	switch {
	case len(payload) == 0:
		return nil, false, nil
	case payload[0] == packedBare:
		return payload[1:], true, nil
	case payload[0] != packed:
		return nil, false, nil
	}
	head := headOf(payload)
	if head == nil {
		return nil, false, fmt.Errorf("%w: a packed payload without a head", ErrFormat)
	}
	return payload[1+len(head):], true, nil
}

// PlainSize returns the size of payload once unpacked; of a plain one its own.
func PlainSize(payload []byte) (int, error) {
	b, ok, err := block(payload)
	if err != nil {
		return 0, err
	}
	if !ok {
		return len(payload), nil
	}
	return sizeOf(b)
}

// sizeOf returns the size of a block once unpacked.
func sizeOf(b []byte) (int, error) {
	n, err := s2.DecodedLen(b)
	if err != nil || n > maxPlain {
		return 0, fmt.Errorf("%w: a packed payload of %d bytes that unpacks to %d", ErrFormat, len(b), n)
	}
	return n, nil
}

// AppendPlain appends payload to dst, unpacked. With room for PlainSize bytes in dst it
// does not allocate.
func AppendPlain(dst, payload []byte) ([]byte, error) {
	b, ok, err := block(payload)
	if err != nil {
		return dst, err
	}
	if !ok {
		return append(dst, payload...), nil
	}
	size, err := sizeOf(b)
	if err != nil {
		return dst, err
	}
	start := len(dst)
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, start+size), dst...)
	}
	plain, err := s2.Decode(dst[start:start+size], b)
	if err != nil {
		return dst[:start], fmt.Errorf("%w: unpacking: %w", ErrFormat, err)
	}
	if len(plain) > 0 && isPacked(plain) {
		return dst[:start], fmt.Errorf("%w: packed twice", ErrFormat)
	}
	return dst[:start+size], nil
}

func isPacked(payload []byte) bool { return payload[0] == packed || payload[0] == packedBare }

// plain returns payload itself, or what it unpacks to.
func plain(payload []byte) ([]byte, error) {
	if len(payload) == 0 || !isPacked(payload) {
		return payload, nil
	}
	return AppendPlain(nil, payload)
}
