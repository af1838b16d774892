// Package segment is the format of the journal's files: pure functions over
// bytes and io.ReaderAt. It creates, names, syncs and deletes nothing.
//
//	0      header, 64 bytes, and at 512 a second copy of it
//	1024   frames, one after the other
//	       index: one entry for about every 64 KiB of frames        } written when
//	EOF-80 trailer: end position, times, where the index is         } the segment is sealed
//
// Between the last frame (or the index) and the end of the file there may be
// anything: zeros written in advance, or the frames of the file's earlier life.
//
//	frame: marker 4 · crc 4 · length 4 · events 4 · first 8 · appended 8 · durable 8 · payload
//
// All numbers are little-endian. A position counts events. The header holds a
// nonce that is random for every life of the file; marker and CRC32C of each
// frame depend on it, so that neither a frame of an earlier life nor bytes that
// a client sent as payload ever verify as a frame.
//
// durable is the position below which everything was durable when the frame was
// written. It tells a torn tail from damage: a hole is damage if a later frame
// proves that what is missing had been durable, and otherwise it is the rest of
// a group that nobody was answered for.
//
// Invariants: a frame that verifies is a frame that was written, whole, in this
// life of the file. Positions within a segment have no gaps but damage.
//
// Concurrency: values are not shared; a Scanner belongs to one goroutine.
package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// Sizes of the format.
const (
	DataStart       = 1024 // offset of the first frame
	FrameHeaderSize = 40
	TrailerSize     = 80
	MaxPayload      = 1 << 30

	headerSize = 64
	secondCopy = 512 // a header sector that went bad takes one copy only
	version    = 1
)

var (
	headerMagic  = [8]byte{'T', 'G', 'J', 'O', 'U', 'R', 'N', 'L'}
	trailerMagic = [8]byte{'T', 'G', 'J', 'S', 'E', 'A', 'L', '1'}
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
)

// Errors of reading a segment's ends.
var (
	ErrHeader  = errors.New("neither copy of the segment's header verifies")
	ErrVersion = errors.New("the segment was written by a newer version of tidegate")
	ErrNoSeal  = errors.New("the segment is not sealed")
	ErrIndex   = errors.New("the segment's index does not verify")
)

// Header begins a segment.
type Header struct {
	Base    int64 // position of the first event
	Created time.Time
	Nonce   uint64 // different in every life of a file
}

// Encode returns the first DataStart bytes of the segment.
func (h Header) Encode() []byte {
	b := make([]byte, DataStart)
	c := b[:headerSize]
	copy(c, headerMagic[:])
	binary.LittleEndian.PutUint32(c[8:], version)
	binary.LittleEndian.PutUint64(c[16:], h.Nonce)
	binary.LittleEndian.PutUint64(c[24:], uint64(h.Base))
	binary.LittleEndian.PutUint64(c[32:], uint64(h.Created.UnixNano()))
	binary.LittleEndian.PutUint32(c[60:], crc32.Checksum(c[:60], castagnoli))
	copy(b[secondCopy:], c)
	return b
}

// ReadHeader reads a header from whichever copy verifies.
func ReadHeader(r io.ReaderAt) (Header, error) {
	b := make([]byte, DataStart)
	n, err := r.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Header{}, fmt.Errorf("reading the segment header: %w", err)
	}
	clear(b[n:])
	for _, c := range [][]byte{b[:headerSize], b[secondCopy : secondCopy+headerSize]} {
		if !bytes.Equal(c[:8], headerMagic[:]) || crc32.Checksum(c[:60], castagnoli) != binary.LittleEndian.Uint32(c[60:]) {
			continue
		}
		if v := binary.LittleEndian.Uint32(c[8:]); v != version {
			return Header{}, fmt.Errorf("%w: format %d, this is %d", ErrVersion, v, version)
		}
		return Header{
			Nonce:   binary.LittleEndian.Uint64(c[16:]),
			Base:    int64(binary.LittleEndian.Uint64(c[24:])),
			Created: time.Unix(0, int64(binary.LittleEndian.Uint64(c[32:]))),
		}, nil
	}
	return Header{}, ErrHeader
}

// marker begins every frame of this life of the file.
func (h Header) marker() uint32 { return uint32(h.Nonce>>32) ^ uint32(h.Nonce) | 1 }

// seed is the CRC that all checksums of this life of the file start from.
func (h Header) seed() uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], h.Nonce)
	return crc32.Checksum(b[:], castagnoli)
}

// AppendFrame appends to buf a frame that holds payload and lacks what only
// Stamp knows.
func AppendFrame(buf, payload []byte, events int) []byte {
	var head [FrameHeaderSize]byte
	binary.LittleEndian.PutUint32(head[8:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(head[12:], uint32(events))
	return append(append(buf, head[:]...), payload...)
}

// Stamper completes frames for one segment.
type Stamper struct {
	marker, seed uint32
}

// Stamper returns the stamper of h's segment.
func (h Header) Stamper() Stamper { return Stamper{marker: h.marker(), seed: h.seed()} }

// Stamp completes the first frame in buf, which AppendFrame began: its first
// position, the time of appending (Unix nanoseconds) and the position below
// which everything is durable. It returns the frame's events and size.
func (s Stamper) Stamp(buf []byte, first, appended, durable int64) (events int64, size int) {
	length := int(binary.LittleEndian.Uint32(buf[8:]))
	events = int64(binary.LittleEndian.Uint32(buf[12:]))
	size = FrameHeaderSize + length
	binary.LittleEndian.PutUint64(buf[16:], uint64(first))
	binary.LittleEndian.PutUint64(buf[24:], uint64(appended))
	binary.LittleEndian.PutUint64(buf[32:], uint64(durable))
	binary.LittleEndian.PutUint32(buf[0:], s.marker)
	binary.LittleEndian.PutUint32(buf[4:], crc32.Update(s.seed, castagnoli, buf[8:size]))
	return events, size
}

// Frame is one frame as read.
type Frame struct {
	Offset   int64 // in the file
	First    int64 // position of the first event
	Events   int
	Appended int64 // Unix nanoseconds
	Durable  int64
	Payload  []byte // valid until the scanner's next call
}

// End returns the position after the frame's last event.
func (f Frame) End() int64 { return f.First + int64(f.Events) }

// size is the frame's length in the file.
func (f Frame) size() int64 { return FrameHeaderSize + int64(len(f.Payload)) }

// parse reads the frame header b without looking at marker and CRC.
func parse(b []byte) (f Frame, length int64) {
	f.Events = int(binary.LittleEndian.Uint32(b[12:]))
	f.First = int64(binary.LittleEndian.Uint64(b[16:]))
	f.Appended = int64(binary.LittleEndian.Uint64(b[24:]))
	f.Durable = int64(binary.LittleEndian.Uint64(b[32:]))
	return f, int64(binary.LittleEndian.Uint32(b[8:]))
}
