package envelope

import (
	"fmt"

	"github.com/klauspost/compress/s2"
)

const (
	packed = 2 // the version of a payload that is packed

	// packFrom is the size below which a payload is left as it is: small ones share
	// their disk write with others and would shrink little.
	packFrom = 4 << 10
	// maxPlain bounds what a packed payload may unpack to; the surface and the journal
	// keep requests far below it.
	maxPlain = 64 << 20
)

// Pack compresses payload, which Append wrote, into dst and returns the result; where
// that does not pay it returns payload. Fewer bytes to make durable are what ingest
// gains, and a journal that takes a fifth of the room.
func Pack(dst, payload []byte) []byte {
	if len(payload) < packFrom {
		return payload
	}
	if need := 1 + s2.MaxEncodedLen(len(payload)); cap(dst) < need {
		dst = make([]byte, need)
	}
	dst = dst[:cap(dst)]
	dst[0] = packed
	out := dst[:1+len(s2.Encode(dst[1:], payload))]
	if len(out) > len(payload)*7/8 {
		return payload
	}
	return out
}

// PlainSize returns the size of payload once unpacked; of a plain one its own.
func PlainSize(payload []byte) (int, error) {
	if len(payload) == 0 || payload[0] != packed {
		return len(payload), nil
	}
	n, err := s2.DecodedLen(payload[1:])
	if err != nil || n > maxPlain {
		return 0, fmt.Errorf("%w: a packed payload of %d bytes that unpacks to %d", ErrFormat, len(payload), n)
	}
	return n, nil
}

// AppendPlain appends payload to dst, unpacked. With room for PlainSize bytes in dst it
// does not allocate.
func AppendPlain(dst, payload []byte) ([]byte, error) {
	size, err := PlainSize(payload)
	if err != nil {
		return dst, err
	}
	if len(payload) == 0 || payload[0] != packed {
		return append(dst, payload...), nil
	}
	start := len(dst)
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, start+size), dst...)
	}
	plain, err := s2.Decode(dst[start:start+size], payload[1:])
	if err != nil {
		return dst[:start], fmt.Errorf("%w: unpacking: %w", ErrFormat, err)
	}
	if len(plain) > 0 && plain[0] == packed {
		return dst[:start], fmt.Errorf("%w: packed twice", ErrFormat)
	}
	return dst[:start+size], nil
}

// plain returns payload itself, or what it unpacks to.
func plain(payload []byte) ([]byte, error) {
	if len(payload) == 0 || payload[0] != packed {
		return payload, nil
	}
	return AppendPlain(nil, payload)
}
