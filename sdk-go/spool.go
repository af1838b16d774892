package analytics

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

var (
	errSpoolBusy    = errors.New("another client uses this spool")
	errSpoolChanged = errors.New("analytics: the spool file was changed by someone else")
)

// spool is a queue in files (spool_segment.go): one folder, one process, one
// segment after the other. push returns after the event is written, so that it
// outlives the process; a goroutine syncs what was written, so that it outlives
// the machine. done writes how far it came before it returns, and a segment that
// is done is removed. What an earlier process left is read as it is and never
// written to, except for how far it came.
//
// What a crash does: while push writes, an event is torn that nobody was told of
// as accepted; before done has written, events that the server has are sent again
// under the same messageIds; before a file is removed, it is found finished and
// removed at the next start.
type spool struct {
	dir     string
	limit   int64
	context []byte
	log     *slog.Logger
	lock    io.Closer

	mu       sync.Mutex
	segments []*segment // oldest first; the last one of this process is written to
	active   *segment   // nil until something is written
	number   uint64     // of the newest segment
	size     size
	disk     int64 // bytes of all files
	dirty    []*segment
	stale    bool // the folder has entries that are not synced

	// Of the goroutine that calls next and done.
	from   *segment // where the last batch came from
	reach  []int64  // per event of that batch, the offset after it
	buffer []byte

	kick chan struct{} // something is dirty
	quit chan struct{}
	over sync.WaitGroup
}

const (
	minSegmentBytes = 16 << 10
	maxSegmentBytes = 8 << 20
)

// openSpool opens the folder, which is made when it is missing, and finds what
// an earlier process left there.
func openSpool(cfg *Config, context []byte) (*spool, error) {
	dir, err := filepath.Abs(cfg.SpoolDir)
	if err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	s := &spool{
		dir: dir, limit: cfg.SpoolBytes, context: context, log: cfg.Logger,
		kick: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	if s.lock, err = lockFolder(filepath.Join(dir, "lock")); err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	if err := s.recover(); err != nil {
		s.release()
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	s.over.Add(1)
	go s.syncLoop(cfg.SpoolSync)
	return s, nil
}

// recover opens the segments of earlier processes and removes the finished ones.
func (s *spool) recover() error {
	names, err := segmentNames(s.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		s.number = n.number
		g, damage, err := openSegment(filepath.Join(s.dir, n.name), n.number)
		if errors.Is(err, errNoSegment) {
			// Not ours, or its head is gone: look at nothing in it, lose nothing of it.
			aside := filepath.Join(s.dir, n.name+".damaged")
			s.log.Error("a spool file cannot be read and is set aside", "file", aside, "error", err)
			if err := os.Rename(filepath.Join(s.dir, n.name), aside); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if damage > 0 {
			s.log.Warn("a spool file is damaged, the messages in it that are whole will be sent", "file", g.file.Name(), "unreadable_bytes", damage)
		}
		if g.pending == 0 {
			if err := g.remove(); err != nil {
				return err
			}
			continue
		}
		s.segments = append(s.segments, g)
		s.size.events += g.pending
		s.size.bytes += g.end - g.acked
		s.disk += g.end
	}
	return nil
}

func (s *spool) release() {
	for _, g := range s.segments {
		_ = g.file.Close() // its content is synced or the machine may lose it: syncs said so
	}
	_ = s.lock.Close()
}

func (s *spool) push(room []byte, at int64) (size, error) {
	frame := sealFrame(room, at)
	s.mu.Lock()
	defer s.mu.Unlock()
	need := int64(len(frame))
	if s.active == nil || s.active.end+need > s.segmentBytes() && s.active.end > s.active.start {
		need += segmentHead + int64(len(s.context)) + frameHeader
	}
	if s.disk+need > s.limit {
		return s.size, ErrQueueFull
	}
	if need > int64(len(frame)) {
		if err := s.rotate(); err != nil {
			return s.size, fmt.Errorf("spooling a message: %w", err)
		}
	}
	g := s.active
	if err := g.append(frame); err != nil {
		return s.size, fmt.Errorf("spooling a message: %w", err)
	}
	s.size.events++
	s.size.bytes += int64(len(frame))
	s.disk += int64(len(frame))
	s.soil(g)
	return s.size, nil
}

func (s *spool) segmentBytes() int64 {
	return min(max(s.limit/16, minSegmentBytes), maxSegmentBytes)
}

// rotate begins a new segment.
func (s *spool) rotate() error {
	g, err := createSegment(filepath.Join(s.dir, segmentName(s.number+1)), s.number+1, s.context)
	if err != nil {
		return err
	}
	s.number++
	s.segments = append(s.segments, g)
	s.active = g
	s.disk += g.end
	s.stale = true
	return nil
}

func (s *spool) next(b *batch, maxEvents, maxBytes int) (lost int, err error) {
	b.reset()
	s.reach = s.reach[:0]
	s.mu.Lock()
	s.skipFinished()
	if len(s.segments) == 0 || s.segments[0].pending == 0 {
		s.mu.Unlock()
		return 0, nil
	}
	g := s.segments[0]
	from, end := g.acked, g.end
	s.mu.Unlock()

	s.from = g
	b.context = g.context
	// What lies between from and end does not change until done.
	for from < end && b.len() == 0 {
		n, err := s.gather(b, g, from, end, maxEvents, maxBytes)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			break
		}
		from += n
	}
	if b.len() > 0 {
		return 0, nil
	}
	return s.lose(g)
}

// gather adds what it can to the batch from one read and returns how far it came,
// damaged frames on its way included.
func (s *spool) gather(b *batch, g *segment, from, end int64, maxEvents, maxBytes int) (int64, error) {
	want := min(end-from, int64(max(maxBytes, 0))+int64(maxEvents+1)*frameHeader)
	if err := s.read(g, from, want); err != nil {
		return 0, err
	}
	if n, _ := frameSize(s.buffer); n > len(s.buffer) && from+int64(n) <= end {
		if err := s.read(g, from, int64(n)); err != nil { // one event, longer than a batch
			return 0, err
		}
	}
	rest, at := s.buffer, from
	for len(rest) > 0 {
		event, time, n, whole := cutFrame(rest)
		if n == 0 || whole && !b.fits(len(event), maxEvents, maxBytes) {
			break
		}
		at += int64(n)
		rest = rest[n:]
		if whole {
			b.add(event, time)
			s.reach = append(s.reach, at)
		}
	}
	return at - from, nil
}

// read fills the buffer from the segment.
func (s *spool) read(g *segment, from, n int64) error {
	if int64(cap(s.buffer)) < n {
		s.buffer = make([]byte, n)
	}
	s.buffer = s.buffer[:n]
	if _, err := g.file.ReadAt(s.buffer, from); err != nil {
		return fmt.Errorf("reading spool file %s: %w", g.file.Name(), err)
	}
	return nil
}

// lose gives up what a segment still holds when no event of it can be read any
// more, though it could when the spool was opened or written: someone else
// changed the file.
func (s *spool) lose(g *segment) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := g.pending
	s.size.events -= lost
	g.pending = 0
	return lost, s.finish(g)
}

func (s *spool) done(n int) error {
	if n == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.from
	to := s.reach[n-1]
	s.reach = s.reach[n:]
	s.size.events -= n
	s.size.bytes -= to - g.acked
	g.pending -= n
	g.acked = to
	if g.pending > 0 {
		return g.note()
	}
	return s.finish(g)
}

// finish lets go of a segment whose events are done: an old one is removed, the
// one that is written to begins anew.
func (s *spool) finish(g *segment) error {
	s.size.bytes -= g.end - g.acked // damaged frames at its end
	g.acked = g.end
	if g != s.active {
		err := g.note()
		s.skipFinished()
		return err
	}
	before := g.end
	err := g.rewind()
	s.disk -= before - g.end
	if err != nil {
		// Its note may be wrong now, so nothing more may be written below it.
		s.active = nil
		s.skipFinished()
	}
	return err
}

// skipFinished removes finished segments from the front.
func (s *spool) skipFinished() {
	for len(s.segments) > 0 {
		g := s.segments[0]
		if g == s.active || g.pending > 0 {
			return
		}
		s.segments = s.segments[1:]
		s.disk -= g.end
		s.clean(g)
		if err := g.remove(); err != nil {
			s.log.Error("cannot remove a spool file that is done", "error", err)
		}
	}
}

func (s *spool) held() (size, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		if g.pending > 0 {
			return s.size, g.oldest()
		}
	}
	return s.size, 0
}

func (s *spool) close() error {
	err := s.sweep()
	close(s.quit)
	s.over.Wait() // it syncs what stays
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
	return err
}

// sweep removes the segment that was written to when nothing in it is pending.
func (s *spool) sweep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active == nil || s.active.pending > 0 {
		return nil
	}
	g := s.active
	s.active = nil
	s.segments = s.segments[:len(s.segments)-1] // the newest is the last
	s.clean(g)
	return g.remove()
}

// soil notes that the segment has to be synced.
func (s *spool) soil(g *segment) {
	if g.dirty {
		return
	}
	g.dirty = true
	s.dirty = append(s.dirty, g)
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// clean takes a segment that is about to be removed off the list of soil.
func (s *spool) clean(g *segment) {
	g.dirty = false
	for i := range s.dirty {
		if s.dirty[i] == g {
			s.dirty = append(s.dirty[:i], s.dirty[i+1:]...)
			return
		}
	}
}

// syncLoop syncs what is dirty, at most once per interval, and a last time at the end.
func (s *spool) syncLoop(every time.Duration) {
	defer s.over.Done()
	for ended := false; !ended; {
		select {
		case <-s.kick:
		case <-s.quit:
			ended = true
		}
		if !ended {
			timer := time.NewTimer(every)
			select {
			case <-timer.C:
			case <-s.quit:
				timer.Stop()
				ended = true
			}
		}
		if err := s.sync(); err != nil {
			s.log.Error("cannot sync the spool: a power failure may lose messages", "error", err)
		}
	}
}

// sync makes what was written so far outlive a power failure.
func (s *spool) sync() error {
	s.mu.Lock()
	dirty, stale := s.dirty, s.stale
	s.dirty, s.stale = nil, false
	for _, g := range dirty {
		g.dirty = false
	}
	s.mu.Unlock()
	var errs []error
	for _, g := range dirty {
		// A segment may be done and removed meanwhile; then there is nothing to save.
		if err := g.file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if stale {
		errs = append(errs, syncFolder(s.dir))
	}
	return errors.Join(errs...)
}
