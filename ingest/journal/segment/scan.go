package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const scanChunk = 128 << 10

// Damage is a range that does not verify although it had been durable. It is
// an error of Scanner.Next, after which the scanner stands behind the range.
type Damage struct {
	From, To    int64 // offsets: bytes From up to, without, To
	First, Next int64 // the positions lost: First up to, without, Next
}

// Error tells the range.
func (d *Damage) Error() string {
	return fmt.Sprintf("bytes %d to %d do not verify: positions %d to %d are lost", d.From, d.To, d.First, d.Next)
}

// Torn is the end of a segment that was being written when its writer died. It
// is an error of Scanner.Next, which stays where it is. What lies behind was
// never answered for.
type Torn struct {
	At    int64 // offset after the last whole frame
	Bytes int64 // of frames that were begun behind it
}

// Error tells the place.
func (t *Torn) Error() string {
	return fmt.Sprintf("the segment ends at byte %d, with %d bytes of frames begun behind it", t.At, t.Bytes)
}

// Scanner reads the frames of one segment in order.
type Scanner struct {
	r      io.ReaderAt
	seed   uint32
	marker [4]byte
	limit  int64 // nothing from here on is read
	end    int64 // position at limit; -1: not known, the tail may be torn

	off, next int64
	buf       []byte // bytes of the file from offset at
	at        int64
}

// NewScanner returns a scanner over the frames from the place on which lie
// before the offset limit. end is the position at limit if everything before
// it is known to be durable, and -1 if the tail may be torn.
func NewScanner(r io.ReaderAt, h Header, from Place, limit, end int64) *Scanner {
	s := &Scanner{r: r, seed: h.seed(), limit: limit, end: end, off: from.Offset, next: from.Position}
	binary.LittleEndian.PutUint32(s.marker[:], h.marker())
	return s
}

// Start returns the place of the segment's first frame.
func (h Header) Start() Place { return Place{Offset: DataStart, Position: h.Base} }

// Extend moves the limit of a scanner with a known end.
func (s *Scanner) Extend(limit, end int64) { s.limit, s.end = limit, end }

// Limit returns the offset that the scanner does not read beyond.
func (s *Scanner) Limit() int64 { return s.limit }

// Next returns the next frame. Its error is io.EOF at the limit, a *Damage, a
// *Torn, or that of reading.
func (s *Scanner) Next() (Frame, error) {
	if s.off >= s.limit {
		return Frame{}, io.EOF
	}
	f, ok, err := s.frameAt(s.off)
	if err != nil {
		return Frame{}, err
	}
	if !ok || f.First != s.next {
		return Frame{}, s.resync()
	}
	s.off, s.next = f.Offset+f.size(), f.End()
	return f, nil
}

// view returns the bytes from off on that are in memory, at least n of them
// unless the file or the limit ends before.
func (s *Scanner) view(off, n int64) ([]byte, error) {
	if off >= s.at && off+n <= s.at+int64(len(s.buf)) {
		return s.buf[off-s.at:], nil
	}
	want := min(s.limit-off, max(n, scanChunk))
	if int64(cap(s.buf)) < want {
		s.buf = make([]byte, want)
	}
	s.buf, s.at = s.buf[:want], off
	got, err := s.r.ReadAt(s.buf, off)
	s.buf = s.buf[:got]
	if err != nil && !errors.Is(err, io.EOF) {
		s.buf = s.buf[:0]
		return nil, fmt.Errorf("reading the segment at byte %d: %w", off, err)
	}
	return s.buf, nil
}

// frameAt returns the frame at off if one verifies there.
func (s *Scanner) frameAt(off int64) (f Frame, ok bool, err error) {
	if off+FrameHeaderSize > s.limit {
		return Frame{}, false, nil
	}
	b, err := s.view(off, FrameHeaderSize)
	if err != nil || len(b) < FrameHeaderSize || !bytes.Equal(b[:4], s.marker[:]) {
		return Frame{}, false, err
	}
	f, length := parse(b)
	if length > MaxPayload || off+FrameHeaderSize+length > s.limit || f.Events < 1 || f.First < 0 || f.End() < f.First {
		return Frame{}, false, nil
	}
	size := FrameHeaderSize + length
	b, err = s.view(off, size)
	if err != nil || int64(len(b)) < size {
		return Frame{}, false, err
	}
	if crc32.Update(s.seed, castagnoli, b[8:size]) != binary.LittleEndian.Uint32(b[4:]) {
		return Frame{}, false, nil
	}
	f.Offset, f.Payload = off, b[FrameHeaderSize:size:size]
	return f, true, nil
}

// find returns the first frame at off or behind it that verifies and is not
// older than the one missed.
func (s *Scanner) find(off int64) (Frame, bool, error) {
	for off+FrameHeaderSize <= s.limit {
		b, err := s.view(off, FrameHeaderSize)
		if err != nil {
			return Frame{}, false, err
		}
		if len(b) < FrameHeaderSize {
			break
		}
		i := bytes.Index(b, s.marker[:])
		if i < 0 {
			off += int64(len(b) - len(s.marker) + 1)
			continue
		}
		off += int64(i)
		f, ok, err := s.frameAt(off)
		if err != nil {
			return Frame{}, false, err
		}
		if ok && f.First >= s.next {
			return f, true, nil
		}
		off++
	}
	return Frame{}, false, nil
}

// resync is called where no frame verifies. It tells a torn tail from damage
// and, for damage, moves behind it.
func (s *Scanner) resync() error {
	first, found, err := s.find(s.off)
	if err != nil {
		return err
	}
	known := s.end >= 0
	if !found && !known {
		return s.torn(s.off)
	}
	d := &Damage{From: s.off, To: s.limit, First: s.next, Next: s.end}
	if found {
		d.To, d.Next = first.Offset, first.First
	}
	last := first
	for proven := known || first.Durable > s.next; !proven; {
		f, ok, err := s.find(last.Offset + last.size())
		if err != nil {
			return err
		}
		if !ok {
			return s.torn(last.Offset + last.size())
		}
		last, proven = f, f.Durable > s.next
	}
	s.off, s.next = d.To, d.Next
	return d
}

// torn says that the segment ends here; frames had been begun up to end, or as
// far as the header of the frame that does not verify says.
func (s *Scanner) torn(end int64) error {
	b, err := s.view(s.off, FrameHeaderSize)
	if err != nil {
		return err
	}
	if len(b) >= FrameHeaderSize && s.limit-s.off >= FrameHeaderSize && bytes.Equal(b[:4], s.marker[:]) {
		_, length := parse(b)
		end = max(end, min(s.limit, s.off+FrameHeaderSize+length))
	}
	return &Torn{At: s.off, Bytes: end - s.off}
}

// Recovered is what a segment without a seal holds.
type Recovered struct {
	Seal
	Index     Index
	Damage    []Damage
	TornBytes int64 // behind DataEnd
	// LastGroup is where the frames begin that may have been written without
	// having been synced; DataEnd if there are none.
	LastGroup int64
}

// maxDamage bounds the ranges that one segment reports one by one.
const maxDamage = 4096

// Recover reads a segment without a seal, of a file of the given size, up to
// its last whole frame.
func Recover(r io.ReaderAt, size int64, h Header) (Recovered, error) {
	s := NewScanner(r, h, h.Start(), size, -1)
	rec := Recovered{Seal: Seal{End: h.Base, DataEnd: DataStart}, LastGroup: DataStart}
	group := int64(-1)
	for {
		f, err := s.Next()
		var damage *Damage
		var torn *Torn
		switch {
		case err == nil:
			if rec.Frames == 0 {
				rec.FirstAt = f.Appended
			}
			if f.Durable != group {
				group, rec.LastGroup = f.Durable, f.Offset
			}
			rec.Frames++
			rec.LastAt = f.Appended
			rec.Index = rec.Index.Add(Place{Offset: f.Offset, Position: f.First, Appended: f.Appended})
			rec.End, rec.DataEnd = f.End(), f.Offset+f.size()
		case errors.As(err, &damage):
			rec.note(*damage)
		case errors.As(err, &torn):
			rec.TornBytes = torn.Bytes
			return rec, nil
		case errors.Is(err, io.EOF):
			return rec, nil
		default:
			return rec, err
		}
	}
}

// note keeps the list short: what comes after the last entry that it may have
// is counted into that entry, frames in between included.
func (r *Recovered) note(d Damage) {
	if len(r.Damage) < maxDamage {
		r.Damage = append(r.Damage, d)
		return
	}
	last := &r.Damage[maxDamage-1]
	last.To, last.Next = d.To, d.Next
}
