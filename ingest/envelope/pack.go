package envelope

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/s2"
)

const (
	packedFolded = 6 // the version of a payload that is folded and packed, with its head and size in front
	packed       = 4 // packed alone, with its head in front
	packedBare   = 2 // the same without the head; journals that were written before have such

	// packFrom is the size below which a payload is left as it is: small ones share
	// their disk write with others and would shrink little.
	packFrom = 4 << 10
	// maxPlain bounds what a packed payload may unpack to; the surface and the journal
	// keep requests far below it.
	maxPlain = 64 << 20
)

// Packer writes envelopes in as few bytes as pay: fewer to make durable are what ingest
// gains, and a journal that takes a fifth of the room. It keeps the memory that it needs
// for it. The zero value is ready; it is one goroutine's.
type Packer struct {
	folded, packed []byte
}

// Pack returns the encoding of e, folded where its events repeat themselves and
// compressed where that pays. The head is repeated in front of what is compressed, so
// that whoever counts requests unpacks none. The result is the Packer's until its next
// call.
func (p *Packer) Pack(e *Envelope) []byte {
	var size, folds int
	p.folded, size, folds = appendFolded(p.folded[:0], e)
	if size >= packFrom {
		if out := p.compress(size, folds > 0); len(out) <= size*7/8 {
			return out
		}
	}
	if folds > 0 {
		p.folded = Append(p.folded[:0], e)
	}
	return p.folded
}

// compress packs what was folded; size is that of the payload it stands for.
func (p *Packer) compress(size int, folds bool) []byte {
	d := decoder{b: p.folded}
	d.byte()
	d.varint()
	d.bytes()
	head := p.folded[1 : len(p.folded)-len(d.b)]
	if need := 1 + len(head) + binary.MaxVarintLen32 + s2.MaxEncodedLen(len(p.folded)); cap(p.packed) < need {
		p.packed = make([]byte, need)
	}
	out := append(append(p.packed[:0], packed), head...)
	if folds {
		out[0] = packedFolded
		out = binary.AppendUvarint(out, uint64(size))
	}
	return out[:len(out)+len(s2.Encode(out[len(out):cap(out)], p.folded))]
}

// Held is how much memory the Packer keeps.
func (p *Packer) Held() int { return cap(p.folded) + cap(p.packed) }

// block is the compressed part of a payload.
type block struct {
	b      []byte
	packed bool // false: the payload is plain
	folded bool
	size   int // of the payload once unpacked, when it is folded
}

func blockOf(payload []byte) (block, error) {
	switch {
	case len(payload) == 0 || !isPacked(payload):
		return block{}, nil
	case payload[0] == packedBare:
		return block{b: payload[1:], packed: true}, nil
	}
	d := decoder{b: payload[1:]}
	d.varint()
	d.bytes()
	found := block{packed: true, folded: payload[0] == packedFolded}
	if found.folded {
		size := d.uvarint()
		if size > maxPlain {
			return found, fmt.Errorf("%w: a folded payload that unpacks to %d bytes", ErrFormat, size)
		}
		found.size = int(size)
	}
	if d.err != nil {
		return found, fmt.Errorf("%w: a packed payload without a head", ErrFormat)
	}
	found.b = d.b
	return found, nil
}

// PlainSize returns the size of payload once unpacked; of a plain one its own.
func PlainSize(payload []byte) (int, error) {
	found, err := blockOf(payload)
	switch {
	case err != nil:
		return 0, err
	case !found.packed:
		return len(payload), nil
	case found.folded:
		return found.size, nil
	}
	return sizeOf(found.b)
}

// sizeOf returns the size of a block once unpacked.
func sizeOf(b []byte) (int, error) {
	n, err := s2.DecodedLen(b)
	if err != nil || n > maxPlain {
		return 0, fmt.Errorf("%w: a packed payload of %d bytes that unpacks to %d", ErrFormat, len(b), n)
	}
	return n, nil
}

// Unpacker unpacks payloads and keeps the memory that it needs for it. The zero value is
// ready; it is one goroutine's.
type Unpacker struct {
	folded []byte
}

// Append appends payload to dst, unpacked. With room for PlainSize bytes in dst it
// does not allocate, except the first time.
func (u *Unpacker) Append(dst, payload []byte) ([]byte, error) {
	found, err := blockOf(payload)
	if err != nil {
		return dst, err
	}
	if !found.packed {
		return append(dst, payload...), nil
	}
	size, err := sizeOf(found.b)
	if err != nil {
		return dst, err
	}
	if found.folded {
		if cap(u.folded) < size {
			u.folded = make([]byte, size)
		}
		folded, err := s2.Decode(u.folded[:size], found.b)
		if err != nil {
			return dst, fmt.Errorf("%w: unpacking: %w", ErrFormat, err)
		}
		return appendUnfolded(dst, folded, found.size)
	}
	start := len(dst)
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, start+size), dst...)
	}
	plain, err := s2.Decode(dst[start:start+size], found.b)
	if err != nil {
		return dst[:start], fmt.Errorf("%w: unpacking: %w", ErrFormat, err)
	}
	if len(plain) > 0 && isPacked(plain) {
		return dst[:start], fmt.Errorf("%w: packed twice", ErrFormat)
	}
	return dst[:start+size], nil
}

// AppendPlain is Unpacker.Append for one payload.
func AppendPlain(dst, payload []byte) ([]byte, error) { return new(Unpacker).Append(dst, payload) }

func isPacked(payload []byte) bool {
	return payload[0] == packed || payload[0] == packedBare || payload[0] == packedFolded
}

// plain returns payload itself, or what it unpacks to.
func plain(payload []byte) ([]byte, error) {
	if len(payload) == 0 || !isPacked(payload) {
		return payload, nil
	}
	return AppendPlain(nil, payload)
}
