package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
)

const (
	indexEvery     = 64 << 10
	indexEntrySize = 24
	maxIndex       = 1 << 20 // entries; 64 GiB of frames
)

// Place is where a frame begins.
type Place struct {
	Offset   int64 // in the file
	Position int64
	Appended int64 // Unix nanoseconds
}

// Index is a sparse list of places in ascending order. It is append-only: a
// copy of the slice stays valid while the original grows.
type Index []Place

// Add notes a frame if it lies far enough behind the last one noted.
func (x Index) Add(p Place) Index {
	if len(x) > 0 && p.Offset-x[len(x)-1].Offset < indexEvery {
		return x
	}
	return append(x, p)
}

// AtPosition returns the last noted place at or before position, ok false if
// there is none.
func (x Index) AtPosition(position int64) (p Place, ok bool) {
	i := sort.Search(len(x), func(i int) bool { return x[i].Position > position })
	if i == 0 {
		return Place{}, false
	}
	return x[i-1], true
}

// BeforeTime returns the last noted place of which the frame was appended
// before t, ok false if there is none.
func (x Index) BeforeTime(t int64) (p Place, ok bool) {
	i := sort.Search(len(x), func(i int) bool { return x[i].Appended >= t })
	if i == 0 {
		return Place{}, false
	}
	return x[i-1], true
}

// Seal is what the trailer says about a finished segment.
type Seal struct {
	End         int64 // position after the last event
	DataEnd     int64 // offset after the last frame
	Frames      int64
	FirstAt     int64 // Unix nanoseconds, 0 without frames
	LastAt      int64
	indexLength int
	indexCRC    uint32
}

// Encode returns the bytes to write at s.DataEnd and those to write at the
// trailer's offset, which TrailerOffset tells. Once they stand there, ReadIndex
// of s finds the index.
func (s *Seal) Encode(h Header, x Index) (index, trailer []byte) {
	index = make([]byte, 0, len(x)*indexEntrySize)
	for _, p := range x {
		index = binary.LittleEndian.AppendUint64(index, uint64(p.Offset))
		index = binary.LittleEndian.AppendUint64(index, uint64(p.Position))
		index = binary.LittleEndian.AppendUint64(index, uint64(p.Appended))
	}
	s.indexLength, s.indexCRC = len(x), crc32.Update(h.seed(), castagnoli, index)
	t := make([]byte, TrailerSize)
	copy(t, trailerMagic[:])
	for i, v := range []uint64{h.Nonce, uint64(h.Base), uint64(s.End), uint64(s.DataEnd), uint64(s.Frames), uint64(s.FirstAt), uint64(s.LastAt)} {
		binary.LittleEndian.PutUint64(t[8+8*i:], v)
	}
	binary.LittleEndian.PutUint32(t[64:], uint32(s.indexLength))
	binary.LittleEndian.PutUint32(t[68:], s.indexCRC)
	binary.LittleEndian.PutUint32(t[76:], crc32.Update(h.seed(), castagnoli, t[:76]))
	return index, t
}

// TrailerOffset returns where the trailer goes in a file of the given size: at
// the end of the space claimed in advance, or behind the index if there is no
// room before.
func (s Seal) TrailerOffset(size int64, indexBytes int) int64 {
	return max(size-TrailerSize, s.DataEnd+int64(indexBytes))
}

// IndexEnd returns the offset after the index of a seal that was read.
func (s Seal) IndexEnd() int64 { return s.DataEnd + int64(s.indexLength)*indexEntrySize }

// ReadSeal reads the trailer at the end of a file of the given size. Its error
// wraps ErrNoSeal if there is none that verifies.
func ReadSeal(r io.ReaderAt, size int64, h Header) (Seal, error) {
	if size < DataStart+TrailerSize {
		return Seal{}, ErrNoSeal
	}
	t := make([]byte, TrailerSize)
	if _, err := r.ReadAt(t, size-TrailerSize); err != nil {
		return Seal{}, fmt.Errorf("reading the segment trailer: %w", err)
	}
	u := func(i int) int64 { return int64(binary.LittleEndian.Uint64(t[8+8*i:])) }
	s := Seal{
		End: u(2), DataEnd: u(3), Frames: u(4), FirstAt: u(5), LastAt: u(6),
		indexLength: int(binary.LittleEndian.Uint32(t[64:])),
		indexCRC:    binary.LittleEndian.Uint32(t[68:]),
	}
	switch {
	case !bytes.Equal(t[:8], trailerMagic[:]),
		crc32.Update(h.seed(), castagnoli, t[:76]) != binary.LittleEndian.Uint32(t[76:]),
		uint64(u(0)) != h.Nonce, u(1) != h.Base, s.End < h.Base,
		s.DataEnd < DataStart, s.indexLength > maxIndex,
		s.IndexEnd() > size-TrailerSize:
		return Seal{}, ErrNoSeal
	}
	return s, nil
}

// ReadIndex reads the index that the seal speaks of. Its error wraps ErrIndex
// if it does not verify; the segment is then to be read from its start.
func (s Seal) ReadIndex(r io.ReaderAt, h Header) (Index, error) {
	b := make([]byte, s.indexLength*indexEntrySize)
	if n, err := r.ReadAt(b, s.DataEnd); n < len(b) {
		if errors.Is(err, io.EOF) {
			err = ErrIndex
		}
		return nil, fmt.Errorf("reading the segment index: %w", err)
	}
	if crc32.Update(h.seed(), castagnoli, b) != s.indexCRC {
		return nil, ErrIndex
	}
	x := make(Index, s.indexLength)
	for i := range x {
		e := b[i*indexEntrySize:]
		x[i] = Place{
			Offset:   int64(binary.LittleEndian.Uint64(e)),
			Position: int64(binary.LittleEndian.Uint64(e[8:])),
			Appended: int64(binary.LittleEndian.Uint64(e[16:])),
		}
	}
	return x, nil
}
