package runner

import (
	"context"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// row is what the model says about one key.
type row struct {
	identifier string
	value      int // grows with every change of anything: the version
	poisoned   bool
	unmappable bool
	sick       bool // the destination defers it again and again
}

func (r row) record() tidegate.Record {
	return tidegate.Record{"id": r.identifier, "value": int64(r.value)}
}

// source is the model's query: what it returns now.
type source struct {
	rows    map[tidegate.Key]row
	gone    map[tidegate.Key]int // version at which a key went away
	bad     int64                // rows with a bad key
	version int
}

func newSource() *source {
	return &source{rows: map[tidegate.Key]row{}, gone: map[tidegate.Key]int{}}
}

func (s *source) put(key tidegate.Key, identifier string) {
	s.version++
	s.rows[key] = row{identifier: identifier, value: s.version}
}

func (s *source) remove(key tidegate.Key) {
	s.version++
	s.gone[key] = s.version
	delete(s.rows, key)
}

// held is what the ledger knows of a key.
type held struct {
	acked     tidegate.Record // nil: nothing confirmed
	id        any             // identifier of acked
	at        int             // when it was confirmed, counted
	open      string          // "", "failed", "in_doubt"
	attempted tidegate.Record // what a failed or doubtful attempt carried
	attemptID any
	next      time.Time
	attempts  int
	first     time.Time // of its failures
}

type storedPlan struct {
	summary  ledger.Summary
	changes  []ledger.Planned
	intended int64
	results  map[int64]ledger.Result
	finished bool
	reverts  string
	tickets  map[int64]ledger.OpenTicket // by ordinal
	order    []destinations.Ticket
}

// modelLedger is the reference ledger: plain maps, every write checked.
type modelLedger struct {
	mu    sync.Mutex
	src   *source
	now   func() time.Time
	epoch int64
	keys  map[tidegate.Key]*held
	plans map[string]*storedPlan
	// planErr and failures are consulted before (and after) a call takes effect.
	planErr func() error
	calls   map[string]int
	wrong   []string // misuse that the checker reports
	trace   func(format string, args ...any)
	acks    int // confirmations so far
}

// owner says whether the record of h, which is key's, is another key's by now:
// confirmed for it later, or perhaps, because a delivery for it ended in doubt.
func (l *modelLedger) owner(key tidegate.Key, h *held) (owned, claimed bool) {
	if h.acked == nil {
		return false, false
	}
	for other, o := range l.keys {
		if other != key {
			owned = owned || o.acked != nil && o.at > h.at && o.id == h.id
			claimed = claimed || o.open == "in_doubt" && o.attempted != nil && o.attemptID == h.id
		}
	}
	return owned, claimed
}

func newModelLedger(src *source, now func() time.Time) *modelLedger {
	return &modelLedger{src: src, now: now, keys: map[tidegate.Key]*held{}, plans: map[string]*storedPlan{}, calls: map[string]int{}}
}

func (l *modelLedger) misuse(text string) {
	if l.trace != nil {
		l.trace("VIOLATION %s", text)
	}
	l.wrong = append(l.wrong, text)
}

func leaseLost() error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "lease.lost", Message: "stale epoch"}
}

func (l *modelLedger) fence(epoch int64) error {
	if epoch < l.epoch {
		return leaseLost()
	}
	l.epoch = epoch
	return nil
}

func (l *modelLedger) Plan(_ context.Context, req ledger.PlanRequest) (ledger.Summary, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls["plan"]++
	if err := l.fence(req.Epoch); err != nil {
		return ledger.Summary{}, err
	}
	if p := l.plans[req.RunID]; p != nil {
		if p.finished {
			l.misuse("planned a finished run again")
		}
		return p.summary, nil
	}
	if l.planErr != nil {
		if err := l.planErr(); err != nil {
			return ledger.Summary{}, err
		}
	}
	l.adopt()
	p := l.compute(req)
	l.plans[req.RunID] = p
	return p.summary, nil
}

func (l *modelLedger) compute(req ledger.PlanRequest) *storedPlan {
	p := newPlan()
	p.summary = ledger.Summary{RunID: req.RunID, PlannedAt: l.now(), BadKeys: l.src.bad, Read: l.src.bad}
	for _, h := range l.keys {
		if h.acked != nil {
			p.summary.LedgerRows++
		}
	}
	for _, key := range slices.Sorted(maps.Keys(l.src.rows)) {
		l.planRow(p, key, l.src.rows[key], req.Mode)
	}
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		if _, present := l.src.rows[key]; !present {
			l.planRemoval(p, key)
		}
	}
	return p
}

// adopt takes what older runs intended and never settled as in doubt.
func (l *modelLedger) adopt() {
	for _, id := range slices.Sorted(maps.Keys(l.plans)) {
		p := l.plans[id]
		if p.finished {
			continue
		}
		for o := range p.intended {
			if _, done := p.results[o]; !done {
				l.apply(&p.changes[o], ledger.Result{Ordinal: o, Outcome: destinations.Outcome{Disposition: destinations.InDoubt}, NextAttempt: l.now()})
			}
		}
		p.finished = true
	}
}

func newPlan() *storedPlan {
	return &storedPlan{results: map[int64]ledger.Result{}, tickets: map[int64]ledger.OpenTicket{}}
}

func (l *modelLedger) planRow(p *storedPlan, key tidegate.Key, r row, mode tidegate.Mode) {
	p.summary.Read++
	h := l.keys[key]
	if h == nil {
		h = &held{}
	}
	after := r.record()
	equal := reflect.DeepEqual(h.acked, after)
	due := h.open != "" && (!reflect.DeepEqual(h.attempted, after) || !h.next.IsZero() && !l.now().Before(h.next))
	if mode != tidegate.Full && (equal && h.open == "" || h.open != "" && !due) {
		p.summary.Unchanged++
		return
	}
	op := tidegate.Changed
	owned, claimed := l.owner(key, h)
	if h.acked == nil || mode == tidegate.Audience && (owned || claimed) && h.id != r.identifier && !r.unmappable {
		op = tidegate.Added
		p.summary.Added++
	} else {
		p.summary.Changed++
	}
	c := ledger.Planned{
		Change: tidegate.Change{Op: op, Key: key, Before: h.acked, After: after}, Identifier: r.identifier,
		Attempts: h.attempts, IdempotencyKey: strconv.Itoa(r.value),
	}
	if reflect.DeepEqual(h.attempted, after) {
		c.FirstFailedAt = h.first
	}
	if r.unmappable {
		c.Fault = &tidegate.Fault{Action: tidegate.Reject, Code: "mapping.failed", Message: "unmappable"}
		p.summary.BadRows++
	}
	p.add(c)
}

func (l *modelLedger) planRemoval(p *storedPlan, key tidegate.Key) {
	h := l.keys[key]
	before, id := h.acked, h.id
	if before == nil {
		if h.open != "in_doubt" { // never arrived
			delete(l.keys, key)
			return
		}
		before, id = h.attempted, h.attemptID
	}
	switch owned, claimed := l.owner(key, h); {
	case owned:
		delete(l.keys, key)
		return
	case claimed:
		return
	}
	due := h.open == "" || h.attempted != nil || !h.next.IsZero() && !l.now().Before(h.next)
	if !due {
		return
	}
	p.summary.Removed++
	p.add(ledger.Planned{
		Change: tidegate.Change{Op: tidegate.Removed, Key: key, Before: before}, Identifier: id,
		Attempts: h.attempts, IdempotencyKey: strconv.Itoa(l.src.gone[key]),
	})
}

func (p *storedPlan) add(c ledger.Planned) {
	c.Ordinal = int64(len(p.changes))
	p.changes = append(p.changes, c)
}

func (l *modelLedger) Changes(_ context.Context, runID string, from int64) (ledger.PlannedReader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.plans[runID]
	if p == nil {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "plan.missing"}
	}
	return &planReader{changes: p.changes[min(from, int64(len(p.changes))):]}, nil
}

// Identities lacks what the real one lacks: whoever looks at a payload finds none.
func (l *modelLedger) Identities(ctx context.Context, runID string) (ledger.PlannedReader, error) {
	r, err := l.Changes(ctx, runID, 0)
	if err != nil {
		return nil, err
	}
	changes := r.(*planReader).changes
	bare := make([]ledger.Planned, len(changes))
	for i, c := range changes {
		bare[i] = ledger.Planned{Ordinal: c.Ordinal, Change: tidegate.Change{Op: c.Op, Key: c.Key}, Identifier: c.Identifier, Fault: c.Fault}
	}
	return &planReader{changes: bare}, nil
}

func (l *modelLedger) Look(_ context.Context, req ledger.PlanRequest, n int) (ledger.Look, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.plans[req.RunID]
	if p == nil {
		keys := l.keys
		l.keys = maps.Clone(keys)
		p = l.compute(req)
		l.keys = keys
	}
	look := ledger.Look{Summary: p.summary, First: p.changes[:min(100, len(p.changes))]}
	for _, c := range p.changes[:min(n, len(p.changes))] {
		look.Sample = append(look.Sample, ledger.Preview{Op: c.Op, Key: c.Key})
	}
	return look, nil
}

type planReader struct{ changes []ledger.Planned }

func (r *planReader) Read(ctx context.Context, into []ledger.Planned) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(r.changes) == 0 {
		return 0, io.EOF
	}
	n := copy(into, r.changes)
	r.changes = r.changes[n:]
	return n, nil
}

func (r *planReader) Close() error { return nil }

func (l *modelLedger) Intend(_ context.Context, runID string, epoch, first, last int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fence(epoch); err != nil {
		return err
	}
	p := l.plans[runID]
	if first > p.intended || last < first || last >= int64(len(p.changes)) {
		l.misuse(fmt.Sprintf("intended %d..%d after %d", first, last, p.intended))
	}
	p.intended = max(p.intended, last+1)
	return nil
}

func (l *modelLedger) Record(_ context.Context, runID string, epoch int64, results []ledger.Result) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fence(epoch); err != nil {
		return err
	}
	p := l.plans[runID]
	for _, r := range results {
		if r.Ordinal >= p.intended {
			l.misuse(fmt.Sprintf("recorded %d, intended below %d", r.Ordinal, p.intended))
			continue
		}
		if r.Disposition == destinations.Pending {
			p.accept(r, l.now())
			continue
		}
		delete(p.tickets, r.Ordinal)
		if old, done := p.results[r.Ordinal]; done {
			if old.Disposition != r.Disposition {
				l.misuse(fmt.Sprintf("recorded %d as %s and then as %s", r.Ordinal, old.Disposition, r.Disposition))
			}
			continue
		}
		p.results[r.Ordinal] = r
		l.apply(&p.changes[r.Ordinal], r)
	}
	return nil
}

func (l *modelLedger) apply(c *ledger.Planned, r ledger.Result) {
	if r.Excluded {
		return
	}
	h := l.keys[c.Key]
	if h == nil {
		h = &held{}
		l.keys[c.Key] = h
	}
	h.next, h.attempts = r.NextAttempt, h.attempts+1
	if h.first.IsZero() || !reflect.DeepEqual(h.attempted, c.After) {
		h.first = l.now()
	}
	switch r.Disposition {
	case destinations.Delivered:
		l.acks++
		*h = held{acked: c.After, id: c.Identifier, at: l.acks}
		if c.Op == tidegate.Removed {
			delete(l.keys, c.Key)
		}
	case destinations.InDoubt:
		h.open, h.attempted, h.attemptID = "in_doubt", c.After, c.Identifier
		if c.Op == tidegate.Removed {
			h.attempted = nil
			if h.acked == nil {
				h.acked, h.id = c.Before, c.Identifier
			}
		}
	case destinations.Pending: // decided later
	case destinations.Rejected, destinations.Deferred:
		if h.open != "in_doubt" { // a doubt stays one until an answer clears it
			h.open = "failed"
		}
		h.attempted, h.attemptID = c.After, c.Identifier
		if c.Op == tidegate.Removed {
			h.attempted = nil
		}
	}
}

func (l *modelLedger) Progress(_ context.Context, runID string) (ledger.Progress, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.plans[runID]
	if p == nil {
		return ledger.Progress{}, &tidegate.Fault{Action: tidegate.Halt, Code: "plan.missing"}
	}
	settled := map[int64]bool{}
	pr := ledger.Progress{Summary: p.summary, Intended: p.intended, Settled: func(o int64) bool { return settled[o] }, Tickets: p.open()}
	for o, r := range p.results {
		settled[o] = true
		switch {
		case r.Excluded:
			pr.Counts.Excluded++
		case r.Disposition == destinations.Delivered:
			pr.Counts.Delivered++
		case r.Disposition == destinations.Rejected:
			pr.Counts.Rejected++
		case r.Disposition == destinations.InDoubt:
			pr.Counts.InDoubt++
		case r.Disposition == destinations.Deferred:
			pr.Counts.Deferred++
		}
	}
	return pr, nil
}

func (l *modelLedger) Finish(_ context.Context, runID string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.plans[runID]
	if p == nil {
		return nil
	}
	if int64(len(p.results)) != p.intended {
		l.misuse(fmt.Sprintf("finished with %d of %d intended changes settled", len(p.results), p.intended))
	}
	p.finished = true
	return nil
}

// retryNow makes everything that failed due.
func (l *modelLedger) retryNow(doubts bool) {
	for _, h := range l.keys {
		if h.open == "failed" || h.open == "in_doubt" && (doubts || !h.next.IsZero()) {
			h.next = l.now()
		}
	}
}

// memoryRuns keeps runs and leases as control/store does.
type memoryRuns struct {
	mu     sync.Mutex
	runs   map[string]tidegate.Run
	leases map[string]Lease
	epochs map[string]int64
}

func newMemoryRuns() *memoryRuns {
	return &memoryRuns{runs: map[string]tidegate.Run{}, leases: map[string]Lease{}, epochs: map[string]int64{}}
}

func (m *memoryRuns) CreateRun(_ context.Context, run tidegate.Run) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, exists := m.runs[run.ID]; exists {
		return fmt.Errorf("creating run %s: %w", run.ID, ErrConflict)
	}
	m.runs[run.ID] = run
	return nil
}

func (m *memoryRuns) UpdateRun(_ context.Context, run tidegate.Run, from tidegate.RunState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.runs[run.ID]
	if old.State != from || old.Epoch > run.Epoch || m.epochs[run.Sync] > run.Epoch {
		return fmt.Errorf("updating run %s from %s: it is %s: %w", run.ID, from, old.State, ErrConflict)
	}
	m.runs[run.ID] = run
	return nil
}

func (m *memoryRuns) Run(_ context.Context, _, id string) (tidegate.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	run, exists := m.runs[id]
	if !exists {
		return run, ErrNoRun
	}
	return run, nil
}

func (m *memoryRuns) ListRuns(_ context.Context, _, sync, before string, limit int) ([]tidegate.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []tidegate.Run
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(m.runs))) {
		if run := m.runs[id]; (sync == "" || run.Sync == sync) && (before == "" || strings.Compare(id, before) < 0) && len(list) < limit {
			list = append(list, run)
		}
	}
	return list, nil
}

func (m *memoryRuns) UnfinishedRuns(_ context.Context, _ string) ([]tidegate.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []tidegate.Run
	for _, id := range slices.Sorted(maps.Keys(m.runs)) {
		if run := m.runs[id]; !run.State.Finished() {
			list = append(list, run)
		}
	}
	return list, nil
}

func (m *memoryRuns) AcquireLease(_ context.Context, workspace, sync, holder string, now time.Time, ttl time.Duration) (Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l, taken := m.leases[sync]; taken && l.Holder != holder && now.Before(l.Expires) {
		return Lease{}, &LeaseHeldError{Lease: l}
	}
	m.epochs[sync]++
	l := Lease{Workspace: workspace, Sync: sync, Holder: holder, Epoch: m.epochs[sync], Expires: now.Add(ttl)}
	m.leases[sync] = l
	return l, nil
}

func (m *memoryRuns) RenewLease(_ context.Context, l Lease, until time.Time) (Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now, taken := m.leases[l.Sync]; !taken || now.Epoch != l.Epoch {
		return l, ErrLeaseLost
	}
	l.Expires = until
	m.leases[l.Sync] = l
	return l, nil
}

func (m *memoryRuns) ReleaseLease(_ context.Context, l Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leases[l.Sync].Epoch == l.Epoch {
		delete(m.leases, l.Sync)
	}
	return nil
}
