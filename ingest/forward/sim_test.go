package forward

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/ingest/judge"
)

// world is one simulated history: a journal that grows, a destination with
// faults, a store that is away now and then, and a forward that is killed and
// started again. What the world remembers is compared with what must hold.
type world struct {
	rng     *rand.Rand
	log     *log
	cursor  *cursor
	shelf   *shelf
	bend    mutant
	started time.Time

	mu     sync.Mutex
	life   int // of the forward; calls of earlier lives change nothing
	down   bool
	events map[string]*fact // by message id
	byUser map[string][]*fact
	fired  map[string]int
	wrong  []string
}

// fact is what became of one event.
type fact struct {
	id, user  string
	position  int64
	fate      string // send, skip, bad: what the mapper does; refuse: what the destination does
	poison    int    // how often the destination puts the record off
	delivered int
	key       string
}

func (w *world) wronged(format string, args ...any) {
	if len(w.wrong) < 5 {
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	}
}

func (w *world) fire(kind string) { w.fired[kind]++ }

func newWorld(seed uint64, bend mutant) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 7)), log: newLog(), cursor: &cursor{}, shelf: newShelf(), bend: bend, started: time.Now(),
		events: map[string]*fact{}, byUser: map[string][]*fact{}, fired: map[string]int{},
	}
	w.cursor.onCommit = w.committed
	return w
}

// produce appends a frame of random events, some of them repeats.
func (w *world) produce() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var bodies []string
	for range 1 + w.rng.IntN(6) {
		if len(w.events) > 0 && w.rng.IntN(12) == 0 {
			id := "m" + strconv.Itoa(w.rng.IntN(len(w.events)))
			bodies = append(bodies, w.bodyOf(w.events[id]))
			w.fire("repeat")
			continue
		}
		e := &fact{id: "m" + strconv.Itoa(len(w.events)), user: "u" + strconv.Itoa(w.rng.IntN(6)), position: w.log.end + int64(len(bodies)), fate: "send"}
		switch w.rng.IntN(20) {
		case 0:
			e.fate = "skip"
		case 1:
			e.fate = "bad"
		case 2:
			e.fate = "refuse"
		case 3:
			e.poison = 1 + w.rng.IntN(8)
		}
		w.events[e.id] = e
		if e.fate == "send" {
			w.byUser[e.user] = append(w.byUser[e.user], e)
		}
		bodies = append(bodies, w.bodyOf(e))
	}
	w.log.append("web", time.Now(), bodies...)
}

func (w *world) bodyOf(e *fact) string {
	return fmt.Sprintf(`{"type":"track","event":"E","messageId":%q,"userId":%q,"properties":{"n":%d,"skip":%t,"bad":%t}}`, e.id, e.user, e.position, e.fate == "skip", e.fate == "bad")
}

// write is the destination's side of one call.
func (w *world) write(ctx context.Context, life int, b destinations.Batch) ([]destinations.Outcome, error) {
	w.mu.Lock()
	roll, slow := w.rng.IntN(100), time.Duration(w.rng.IntN(300))*time.Millisecond
	w.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if life != w.life {
		return nil, errKilled
	}
	w.oncePerKey(b)
	switch {
	case w.down:
		w.fire("down")
		return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "http.503"}
	case roll < 5:
		w.fire("throttle")
		return nil, &tidegate.Fault{Action: tidegate.Throttle, Code: "http.429", After: time.Second}
	case roll < 8:
		w.fire("timeout before")
		return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "timeout"}
	case roll < 11:
		w.fire("timeout after")
		w.receive(b.Items)
		return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "timeout"}
	case roll < 13:
		w.fire("halt")
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "auth.expired"}
	case roll < 18 && w.refuses(b):
		w.fire("refused as a whole")
		return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "batch.invalid"}
	case roll < 21 && len(b.Items) > 1:
		w.fire("short answer")
		outcomes := w.receive(b.Items[:len(b.Items)-1])
		return outcomes, nil
	}
	return w.receive(b.Items), nil
}

func (w *world) refuses(b destinations.Batch) bool {
	for _, item := range b.Items {
		if w.events[item.Record["id"].(string)].fate == "refuse" {
			return true
		}
	}
	return false
}

func (w *world) oncePerKey(b destinations.Batch) {
	keys, users := map[tidegate.Key]bool{}, map[any]bool{}
	for _, item := range b.Items {
		if keys[item.Key] || users[item.Record["user"]] {
			w.wronged("a batch holds two events of %v", item.Record["user"])
		}
		keys[item.Key], users[item.Record["user"]] = true, true
	}
}

// receive takes records, and holds them to the order of their users.
func (w *world) receive(items []destinations.Item) []destinations.Outcome {
	outcomes := make([]destinations.Outcome, len(items))
	for i, item := range items {
		e := w.events[item.Record["id"].(string)]
		switch {
		case e.fate == "refuse":
			w.fire("refused")
			outcomes[i] = destinations.Outcome{Disposition: destinations.Rejected, Fault: &tidegate.Fault{Action: tidegate.Reject, Code: "record.invalid", Message: "no"}}
			continue
		case e.fate != "send":
			w.wronged("%s was sent, which the mapping leaves out", e.id)
		case e.poison > 0:
			w.fire("put off")
			e.poison--
			outcomes[i] = destinations.Outcome{Disposition: destinations.Deferred, Fault: &tidegate.Fault{Action: tidegate.Retry, Code: "record.locked"}}
			continue
		}
		if e.key != "" && e.key != item.IdempotencyKey {
			w.wronged("%s has two idempotency keys", e.id)
		}
		e.key = item.IdempotencyKey
		if e.delivered == 0 {
			w.inOrder(e)
		} else {
			w.fire("again")
		}
		e.delivered++
		outcomes[i].Disposition = destinations.Delivered
	}
	return outcomes
}

func (w *world) inOrder(e *fact) {
	for _, before := range w.byUser[e.user] {
		if before.position >= e.position {
			return
		}
		if before.delivered == 0 && !w.isDead(before.position) {
			w.wronged("%s of %s was delivered before %s", e.id, e.user, before.id)
		}
	}
}

func (w *world) isDead(position int64) bool {
	w.shelf.mu.Lock()
	defer w.shelf.mu.Unlock()
	return w.shelf.letters[position].Dead
}

// committed holds every cursor to the promise that nothing below it is needed.
func (w *world) committed(next int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.position >= next || e.fate == "skip" || e.delivered > 0 {
			continue
		}
		w.shelf.mu.Lock()
		_, kept := w.shelf.letters[e.position]
		w.shelf.mu.Unlock()
		if !kept {
			w.wronged("the cursor is at %d, and %s at %d (%s) is neither delivered nor kept", next, e.id, e.position, e.fate)
		}
	}
}

// start starts a life of the forward; the returned function ends it, politely or not.
func (w *world) start(t *testing.T, retryFor time.Duration) (f *Forward, stop func(kill bool)) {
	w.mu.Lock()
	w.life++
	life := w.life
	w.mu.Unlock()
	killed := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return life != w.life
	}
	store := &lifeStore{Store: w.shelf, killed: killed, fails: func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		fails := w.rng.IntN(15) == 0
		if fails {
			w.fire("store away")
		}
		return fails
	}}
	dest := &sink{object: destinations.Object{Name: "events", Limit: destinations.Limit{Records: 1 + life%4, Concurrency: 3}}}
	dest.write = func(ctx context.Context, b destinations.Batch) ([]destinations.Outcome, error) {
		outcomes, err := w.write(ctx, life, b)
		if w.bend.answer != nil {
			outcomes, err = w.bend.answer(b, outcomes, err)
		}
		return outcomes, err
	}
	past := openReader(w.log, &cursor{}, killed)
	opened := &Opened{Destination: dest, Object: dest.object, Mapper: plainMapper{}, Integration: "sim", Account: "sim", Close: func() error { return nil }}
	o := Options{
		Def: tidegate.Forward{Name: "sim", Mode: tidegate.Append}, Reader: openReader(w.log, w.cursor, killed), Past: past, Judge: judge.Chain{},
		Open:  func(context.Context) (*Opened, error) { return opened, nil },
		Store: store, Quotas: free{}, Now: time.Now, Random: rand.New(rand.NewPCG(uint64(life), 3)).Float64, Log: quiet(),
		Limits: Limits{Units: 40, Waiting: 30, Retry: retryFor},
	}
	o.Random = locked(o.Random)
	if w.bend.options != nil {
		w.bend.options(&o)
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if w.bend.forward != nil {
		w.bend.forward(f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	return f, func(kill bool) {
		if kill {
			w.mu.Lock()
			w.life++
			w.mu.Unlock()
		}
		cancel()
		if err := <-done; err != nil {
			w.mu.Lock()
			w.wronged("running: %v", err)
			w.mu.Unlock()
		}
	}
}

func locked(random func() float64) func() float64 {
	var mu sync.Mutex
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return random()
	}
}

// lifeStore ends with its process, and is away now and then.
type lifeStore struct {
	Store
	killed, fails func() bool
}

func (s *lifeStore) gone() error {
	if s.killed() {
		return errKilled
	}
	if s.fails() {
		return &tidegate.Fault{Action: tidegate.Retry, Code: "store.unavailable"}
	}
	return nil
}

func (s *lifeStore) Put(ctx context.Context, letters []Letter) error {
	if err := s.gone(); err != nil {
		return err
	}
	return s.Store.Put(ctx, letters)
}

func (s *lifeStore) Remove(ctx context.Context, positions []int64) error {
	if err := s.gone(); err != nil {
		return err
	}
	return s.Store.Remove(ctx, positions)
}

// history runs one world to its end and returns what was wrong.
func history(t *testing.T, seed uint64, bend mutant) *world {
	t.Helper()
	w := newWorld(seed, bend)
	const window = 24 * time.Hour // longer than the history: nothing is given up
	f, stop := w.start(t, window)
	for range 40 {
		for range w.intN(4) {
			w.produce()
		}
		time.Sleep(time.Duration(w.intN(4000)) * time.Millisecond)
		switch w.intN(10) {
		case 0:
			stop(true)
			w.fire("kill")
			f, stop = w.start(t, window)
		case 1:
			stop(false)
			w.fire("stop")
			f, stop = w.start(t, window)
		case 2:
			w.mu.Lock()
			w.down = !w.down
			w.mu.Unlock()
		case 4:
			for range 60 {
				w.produce()
			}
		case 3:
			f.Pause(true)
			time.Sleep(3 * time.Second)
			f.Pause(false)
		}
		if loaded := f.Status().InMemory; loaded > 40+6+dueUnits {
			w.mu.Lock()
			w.wronged("%d events are in memory", loaded)
			w.mu.Unlock()
		}
	}
	w.mu.Lock()
	w.down = false
	w.mu.Unlock()
	for range 30 { // until every wait is over
		time.Sleep(10 * time.Minute)
		if letters, _ := w.shelf.Count(t.Context()); letters.Waiting == 0 && w.cursor.at() == w.log.end {
			break
		}
	}
	stop(false)
	w.verdict()
	return w
}

func (w *world) intN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// verdict holds the end to the model.
func (w *world) verdict() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		letter, kept := w.shelf.letters[e.position]
		switch {
		case e.fate == "send" && e.delivered == 0:
			w.wronged("%s at %d was never delivered (letter %v %+v)", e.id, e.position, kept, letter.Code)
		case e.fate == "send" && kept:
			w.wronged("%s was delivered and is still a letter (dead %v, %s)", e.id, letter.Dead, letter.Code)
		case (e.fate == "bad" || e.fate == "refuse") && (!letter.Dead || letter.Code == ""):
			w.wronged("%s (%s) is no dead letter with a reason", e.id, e.fate)
		}
	}
	if at := w.cursor.at(); at != w.log.end {
		w.wronged("the cursor ends at %d of %d", at, w.log.end)
	}
}

// TestHistories runs random histories; TIDEGATE_LONG runs many more.
func TestHistories(t *testing.T) {
	t.Parallel()
	n := uint64(24)
	switch {
	case os.Getenv("TIDEGATE_LONG") != "":
		n = 3000
	case testing.Short():
		n = 8
	}
	fired, events := map[string]int{}, 0
	for seed := range n {
		synctest.Test(t, func(t *testing.T) {
			w := history(t, seed, mutant{})
			for _, what := range w.wrong {
				t.Errorf("seed %d: %s", seed, what)
			}
			for kind, times := range w.fired {
				fired[kind] += times
			}
			events += len(w.events)
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d histories, %d events, faults %v", n, events, fired)
	for _, kind := range []string{"kill", "stop", "down", "throttle", "timeout before", "timeout after", "halt", "refused as a whole", "short answer", "refused", "put off", "repeat", "store away", "again"} {
		if fired[kind] < int(n)/4 {
			t.Errorf("the fault %q fired %d times only", kind, fired[kind])
		}
	}
}
