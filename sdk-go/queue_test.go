package analytics

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// framed returns an event with the room that a queue wants before it.
func framed(event string) []byte { return append(make([]byte, frameHeader), event...) }

// model is what a queue should hold.
type model struct {
	events []string
	times  []int64
}

// TestQueuesAgainstModel drives both queues with random pushes, batches and
// settlements, and a spool with restarts too, and compares with a list.
func TestQueuesAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		for _, kind := range []string{"memory", "spool"} {
			t.Run(fmt.Sprintf("%s/%d", kind, seed), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(seed, 7))
				dir := t.TempDir()
				open := func() queue {
					if kind == "memory" {
						return newMemoryQueue(300_000, []byte(`{"c":1}`))
					}
					return mustSpool(t, dir, 300_000, `{"c":1}`)
				}
				q := open()
				var m model
				for n := range 600 {
					switch rng.IntN(12) {
					default:
						pushOne(t, rng, q, &m, n)
					case 0, 1, 2:
						settleSome(t, rng, q, &m)
					case 3:
						if kind == "spool" && rng.IntN(4) == 0 {
							if err := q.close(); err != nil {
								t.Fatal(err)
							}
							q = open()
						}
					}
					mustHoldModel(t, q, &m)
				}
				for len(m.events) > 0 {
					settleSome(t, rng, q, &m)
				}
				if err := q.close(); err != nil {
					t.Fatal(err)
				}
				if kind == "spool" {
					mustBeEmpty(t, dir)
				}
			})
		}
	}
}

func pushOne(t *testing.T, rng *rand.Rand, q queue, m *model, n int) {
	t.Helper()
	length := rng.IntN(600)
	if rng.IntN(20) == 0 {
		length = rng.IntN(150_000)
	}
	event := fmt.Sprintf("%d:%s", n, strings.Repeat("x", length))
	at := int64(1_000_000 + n)
	_, err := q.push(framed(event), at)
	if errors.Is(err, ErrQueueFull) {
		if held, _ := q.held(); held.bytes+int64(len(event)) < 100_000 {
			t.Fatalf("full with %d bytes", held.bytes)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.events = append(m.events, event)
	m.times = append(m.times, at)
}

// settleSome takes a batch and settles it in one or two steps.
func settleSome(t *testing.T, rng *rand.Rand, q queue, m *model) {
	t.Helper()
	maxEvents, maxBytes := 1+rng.IntN(40), rng.IntN(20_000)
	var b batch
	if lost, err := q.next(&b, maxEvents, maxBytes); err != nil || lost > 0 {
		t.Fatal(lost, err)
	}
	if b.len() == 0 {
		if len(m.events) > 0 {
			t.Fatalf("no batch of %d events", len(m.events))
		}
		return
	}
	if string(b.context) != `{"c":1}` {
		t.Fatalf("the context is %q", b.context)
	}
	if b.len() > maxEvents || b.len() > 1 && len(b.events) > maxBytes {
		t.Fatalf("%d events of %d bytes, allowed are %d of %d", b.len(), len(b.events), maxEvents, maxBytes)
	}
	for i := range b.len() {
		if string(b.event(i)) != m.events[i] || b.times[i] != m.times[i] {
			t.Fatalf("event %d is %.30q at %d, want %.30q at %d", i, b.event(i), b.times[i], m.events[i], m.times[i])
		}
	}
	n := b.len()
	if rng.IntN(3) == 0 && n > 1 { // a batch of which only a part is settled
		n = 1 + rng.IntN(n-1)
		b.keep(n)
	}
	first := rng.IntN(n + 1)
	if first > 0 {
		if err := q.done(first); err != nil {
			t.Fatal(err)
		}
		b.drop(first)
		for i := range b.len() {
			if string(b.event(i)) != m.events[first+i] {
				t.Fatal("a batch of which the first are dropped has others left")
			}
		}
	}
	if n > first {
		if err := q.done(n - first); err != nil {
			t.Fatal(err)
		}
	}
	m.events, m.times = m.events[n:], m.times[n:]
}

func mustHoldModel(t *testing.T, q queue, m *model) {
	t.Helper()
	held, oldest := q.held()
	if held.events != len(m.events) {
		t.Fatalf("%d events are held, want %d", held.events, len(m.events))
	}
	if len(m.events) > 0 && oldest != m.times[0] {
		t.Fatalf("the oldest event is of %d, want %d", oldest, m.times[0])
	}
	if len(m.events) == 0 && held.bytes != 0 {
		t.Fatalf("%d bytes are held of no event", held.bytes)
	}
}

func TestMemoryQueueKeepsItsChunks(t *testing.T) {
	q := newMemoryQueue(10<<20, nil)
	event := framed(strings.Repeat("x", 500))
	var b batch
	cycle := func() {
		for range 1000 {
			if _, err := q.push(event, 1); err != nil {
				t.Fatal(err)
			}
		}
		for {
			if _, err := q.next(&b, 1000, 480_000); err != nil {
				t.Fatal(err)
			}
			if b.len() == 0 {
				return
			}
			if err := q.done(b.len()); err != nil {
				t.Fatal(err)
			}
		}
	}
	cycle()
	if per := testing.AllocsPerRun(20, cycle); per > 20 {
		t.Errorf("%v allocations per 1,000 events", per)
	}
}
