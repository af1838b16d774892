package analytics

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
)

// A segment is one file of a spool, numbers in little-endian:
//
//	 0  magic "TGSPOOL1"
//	 8  acked: the offset up to which events are done      8 bytes
//	16  checksum of the 16 bytes before                    4 bytes
//	20  zero                                               4 bytes
//	24  frame: the context that the events share
//	    frame: event
//	    …
//
// A frame is the length of its text (4), a checksum of what follows (4), the time
// of Enqueue in Unix milliseconds (8) and the text. A file may end in the middle
// of a frame: that is the event whose write a crash interrupted.
type segment struct {
	number  uint64
	file    *os.File
	context []byte
	start   int64 // offset of the first event
	acked   int64 // offset up to which events are done
	end     int64 // offset after the last event
	pending int   // events between acked and end
	dirty   bool
	head    int64 // time of the event at acked, when known
	headAt  int64 // the acked for which head holds, 0 for none
}

const (
	segmentMagic  = "TGSPOOL1"
	segmentHead   = 24
	segmentSuffix = ".spool"
	// maxFrameText is longer than any event or context; a longer one is damage.
	maxFrameText = 4 << 20
)

var (
	errNoSegment = errors.New("not a spool file of this version")
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
)

func segmentName(number uint64) string { return fmt.Sprintf("%016d%s", number, segmentSuffix) }

type namedSegment struct {
	name   string
	number uint64
}

// segmentNames lists the segments of a folder, oldest first.
func segmentNames(dir string) ([]namedSegment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []namedSegment
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if number, err := strconv.ParseUint(digits, 10, 64); ok && err == nil {
			names = append(names, namedSegment{e.Name(), number})
		}
	}
	sort.Slice(names, func(i, j int) bool { return names[i].number < names[j].number })
	return names, nil
}

// sealFrame fills the room before an event and returns the whole frame.
func sealFrame(room []byte, at int64) []byte {
	binary.LittleEndian.PutUint32(room, uint32(len(room)-frameHeader))
	binary.LittleEndian.PutUint64(room[8:], uint64(at))
	binary.LittleEndian.PutUint32(room[4:], crc32.Checksum(room[8:], castagnoli))
	return room
}

// frameSize returns the size of the frame that b begins with; ok is false when b
// does not begin with a frame's head.
func frameSize(b []byte) (n int, ok bool) {
	if len(b) < frameHeader {
		return 0, false
	}
	text := binary.LittleEndian.Uint32(b)
	if text == 0 || text > maxFrameText {
		return 0, false
	}
	return frameHeader + int(text), true
}

// cutFrame reads the frame that b begins with. n is its size, 0 when b ends
// before it does or what stands there is no frame; whole is false when its
// checksum does not agree.
func cutFrame(b []byte) (text []byte, at int64, n int, whole bool) {
	n, ok := frameSize(b)
	if !ok || n > len(b) {
		return nil, 0, 0, false
	}
	if crc32.Checksum(b[8:n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, 0, n, false
	}
	return b[frameHeader:n], int64(binary.LittleEndian.Uint64(b[8:])), n, true
}

func createSegment(path string, number uint64, context []byte) (*segment, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	g := &segment{number: number, file: f, context: context}
	frame := sealFrame(append(make([]byte, frameHeader), context...), 0)
	g.start = segmentHead + int64(len(frame))
	g.acked, g.end = g.start, g.start
	if _, err = f.WriteAt(append(g.header(), frame...), 0); err != nil {
		_ = f.Close()
		return nil, errors.Join(err, os.Remove(path))
	}
	return g, nil
}

func (g *segment) header() []byte {
	h := make([]byte, segmentHead)
	copy(h, segmentMagic)
	binary.LittleEndian.PutUint64(h[8:], uint64(g.acked))
	binary.LittleEndian.PutUint32(h[16:], crc32.Checksum(h[:16], castagnoli))
	return h
}

// openSegment opens a segment of an earlier process and counts what is pending
// in it. damage is how many bytes of it cannot be read, a torn event at its end
// left out.
func openSegment(path string, number uint64) (g *segment, damage int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	g = &segment{number: number, file: f}
	if damage, err = g.scan(); err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("reading spool file %s: %w", path, err)
	}
	return g, damage, nil
}

// scan reads the whole file once.
func (g *segment) scan() (damage int64, err error) {
	r := bufio.NewReaderSize(g.file, 256<<10)
	head := make([]byte, segmentHead)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:8]) != segmentMagic {
		return 0, errNoSegment
	}
	var frame []byte
	if frame, err = readFrame(r, frame); err != nil {
		return 0, errNoSegment
	}
	text, _, n, whole := cutFrame(frame)
	if !whole {
		return 0, errNoSegment
	}
	g.context = append([]byte(nil), text...)
	g.start = segmentHead + int64(n)
	g.acked, g.end = g.start, g.start
	if crc32.Checksum(head[:16], castagnoli) == binary.LittleEndian.Uint32(head[16:]) {
		// Beyond the end of a file that was rewound and not noted: nothing is pending.
		g.acked = max(int64(binary.LittleEndian.Uint64(head[8:])), g.start)
	}
	for {
		frame, err = readFrame(r, frame)
		if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // readFrame returns them as they are
			return damage, nil
		}
		if errors.Is(err, errNoFrame) {
			// The length is wrong, so nothing after it can be found.
			info, err := g.file.Stat()
			if err != nil {
				return damage, err
			}
			return damage + max(info.Size()-g.end, 0), nil
		}
		if err != nil {
			return damage, err
		}
		_, _, n, whole := cutFrame(frame)
		g.end += int64(n)
		switch {
		case g.end <= g.acked:
		case whole:
			g.pending++
		default:
			damage += int64(n)
		}
	}
}

var errNoFrame = errors.New("no frame")

// readFrame reads one frame into buf. The error is io.EOF between frames,
// io.ErrUnexpectedEOF within one, and errNoFrame when there is none.
func readFrame(r *bufio.Reader, buf []byte) ([]byte, error) {
	head, err := r.Peek(frameHeader)
	if err != nil {
		if len(head) > 0 && err == io.EOF {
			return buf, io.ErrUnexpectedEOF
		}
		return buf, err
	}
	n, ok := frameSize(head)
	if !ok {
		return buf, errNoFrame
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err = io.ReadFull(r, buf)
	return buf, err
}

// append writes a frame at the end. A write that fails leaves bytes that the next
// one covers.
func (g *segment) append(frame []byte) error {
	if _, err := g.file.WriteAt(frame, g.end); err != nil {
		return err
	}
	g.end += int64(len(frame))
	g.pending++
	return nil
}

// note writes how far the segment is done.
func (g *segment) note() error {
	_, err := g.file.WriteAt(g.header(), 0)
	return err
}

// rewind empties a segment that is done, to write to it from its start again.
// The events go before the note: a crash between finds nothing pending.
func (g *segment) rewind() error {
	if err := g.file.Truncate(g.start); err != nil {
		return errors.Join(err, g.note())
	}
	g.acked, g.end, g.headAt = g.start, g.start, 0
	return g.note()
}

// oldest returns the time of the event at acked.
func (g *segment) oldest() int64 {
	if g.headAt == g.acked {
		return g.head
	}
	var head [frameHeader]byte
	if _, err := g.file.ReadAt(head[:], g.acked); err != nil {
		return 0 // sent at once; reading it will tell what is wrong
	}
	g.head, g.headAt = int64(binary.LittleEndian.Uint64(head[8:])), g.acked
	return g.head
}

// remove closes and deletes the file.
func (g *segment) remove() error {
	err := g.file.Close()
	return errors.Join(err, os.Remove(g.file.Name()))
}

// syncFolder makes new and removed files of a folder outlive a power failure.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there, and need not be
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
