package analytics

import (
	"encoding/binary"
	"sync"
)

// queue holds accepted messages, in order, until it is known what became of
// them. Any number of goroutines may push, one at a time; one goroutine calls
// next and done.
type queue interface {
	// push appends an encoded event and returns what is held then. room has
	// frameHeader bytes for the queue's own use before the event.
	push(room []byte, at int64) (size, error)
	// next replaces what b holds by copies of the oldest events: at least one
	// when there is one, then as many as fit. lost is how many events it had to
	// give up because they cannot be read any more.
	next(b *batch, maxEvents, maxBytes int) (lost int, err error)
	// done forgets the n oldest events.
	done(n int) error
	// held returns how much there is and when the oldest event was enqueued.
	held() (s size, oldest int64)
	// close gives up what the queue owns. A queue that outlives the process
	// keeps what it holds.
	close() error
}

// size is how much a queue holds.
type size struct {
	events int
	bytes  int64
}

// frameHeader is the room that a queue needs before an event.
const frameHeader = 16

// batch is a run of events on its way out.
type batch struct {
	events  []byte  // the events with commas between them
	ends    []int   // per event, where it ends in events
	times   []int64 // per event, when it was enqueued, in Unix milliseconds
	context []byte  // the context that they share
}

func (b *batch) reset() {
	b.events, b.ends, b.times, b.context = b.events[:0], b.ends[:0], b.times[:0], nil
}

func (b *batch) len() int { return len(b.ends) }

// fits says whether an event of n bytes may join.
func (b *batch) fits(n, maxEvents, maxBytes int) bool {
	return b.len() == 0 || b.len() < maxEvents && len(b.events)+1+n <= maxBytes
}

func (b *batch) add(event []byte, at int64) {
	if b.len() > 0 {
		b.events = append(b.events, ',')
	}
	b.events = append(b.events, event...)
	b.ends = append(b.ends, len(b.events))
	b.times = append(b.times, at)
}

// event returns the text of the i-th event.
func (b *batch) event(i int) []byte {
	if i == 0 {
		return b.events[:b.ends[0]]
	}
	return b.events[b.ends[i-1]+1 : b.ends[i]]
}

// keep leaves the first n events in the batch.
func (b *batch) keep(n int) {
	b.events = b.events[:b.ends[n-1]]
	b.ends, b.times = b.ends[:n], b.times[:n]
}

// drop takes the first n events out of the batch.
func (b *batch) drop(n int) {
	if n == b.len() {
		b.reset()
		return
	}
	from := b.ends[n-1] + 1
	b.events = b.events[:copy(b.events, b.events[from:])]
	b.ends = b.ends[:copy(b.ends, b.ends[n:])]
	b.times = b.times[:copy(b.times, b.times[n:])]
	for i := range b.ends {
		b.ends[i] -= from
	}
}

// chunkBytes is how much memory a memoryQueue takes at a time; spareChunks is
// how many empty chunks it keeps for later.
const (
	chunkBytes  = 128 << 10
	spareChunks = 4
)

// memoryQueue is a queue in memory: frames (length, time, event) end to end in
// chunks, so that neither an event nor the collector costs an allocation each.
type memoryQueue struct {
	limit   int64
	context []byte

	mu     sync.Mutex
	chunks [][]byte // none is empty; frames do not straddle
	head   int      // where the oldest frame begins in chunks[0]
	spare  [][]byte
	size   size
}

const memoryHeader = 12

func newMemoryQueue(limit int64, context []byte) *memoryQueue {
	return &memoryQueue{limit: limit, context: context}
}

func (q *memoryQueue) push(room []byte, at int64) (size, error) {
	event := room[frameHeader:]
	q.mu.Lock()
	defer q.mu.Unlock()
	need := memoryHeader + len(event)
	if q.size.bytes+int64(need) > q.limit {
		return q.size, ErrQueueFull
	}
	last := len(q.chunks) - 1
	if last < 0 || len(q.chunks[last])+need > cap(q.chunks[last]) {
		q.chunks = append(q.chunks, q.chunk(need))
		last++
	}
	c := q.chunks[last]
	c = binary.LittleEndian.AppendUint32(c, uint32(len(event)))
	c = binary.LittleEndian.AppendUint64(c, uint64(at))
	q.chunks[last] = append(c, event...)
	q.size.events++
	q.size.bytes += int64(need)
	return q.size, nil
}

func (q *memoryQueue) chunk(need int) []byte {
	if n := len(q.spare); n > 0 && need <= cap(q.spare[n-1]) {
		c := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return c[:0]
	}
	return make([]byte, 0, max(need, chunkBytes))
}

// frame returns the event and time of the frame at the place, and the next place.
func (q *memoryQueue) frame(chunk, at int) (event []byte, time int64, nextChunk, nextAt int) {
	c := q.chunks[chunk][at:]
	n := int(binary.LittleEndian.Uint32(c))
	event, time = c[memoryHeader:memoryHeader+n], int64(binary.LittleEndian.Uint64(c[4:]))
	if at += memoryHeader + n; at == len(q.chunks[chunk]) {
		return event, time, chunk + 1, 0
	}
	return event, time, chunk, at
}

func (q *memoryQueue) next(b *batch, maxEvents, maxBytes int) (int, error) {
	b.reset()
	b.context = q.context
	q.mu.Lock()
	defer q.mu.Unlock()
	chunk, at := 0, q.head
	for chunk < len(q.chunks) {
		event, time, nextChunk, nextAt := q.frame(chunk, at)
		if !b.fits(len(event), maxEvents, maxBytes) {
			break
		}
		b.add(event, time)
		chunk, at = nextChunk, nextAt
	}
	return 0, nil
}

func (q *memoryQueue) done(n int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	chunk, at := 0, q.head
	for ; n > 0; n-- {
		event, _, nextChunk, nextAt := q.frame(chunk, at)
		q.size.events--
		q.size.bytes -= int64(memoryHeader + len(event))
		chunk, at = nextChunk, nextAt
	}
	for i := range chunk {
		if c := q.chunks[i]; cap(c) == chunkBytes && len(q.spare) < spareChunks {
			q.spare = append(q.spare, c)
		}
	}
	left := copy(q.chunks, q.chunks[chunk:])
	clear(q.chunks[left:])
	q.chunks, q.head = q.chunks[:left], at
	return nil
}

func (q *memoryQueue) held() (size, int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.size.events == 0 {
		return q.size, 0
	}
	_, at, _, _ := q.frame(0, q.head)
	return q.size, at
}

func (q *memoryQueue) close() error { return nil }
