package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
)

// PlanRequest asks for the plan of one run.
type PlanRequest struct {
	RunID string
	// Epoch is the epoch of the lease under which the run works.
	Epoch   int64
	Model   *model.Model
	Mapping *mapping.Mapping
	// Mode decides when a change that an earlier run excluded is planned again:
	// when this mode lets it through. Empty means always. Full plans every row.
	Mode tidegate.Mode
	// IdempotencySalt separates the idempotency keys of one destination account
	// from those of another.
	IdempotencySalt string
	// Baseline takes what the model returns for confirmed, without sending it, when
	// nothing was ever delivered for this sync; otherwise it says nothing.
	Baseline bool
	// Partial says that the model's query returns only rows that changed lately: a key that it does
	// not return is unchanged, not removed.
	Partial bool
	// Note is kept with the plan for whoever reads Summary later; the ledger does not look at it.
	Note string
}

const (
	// listedBadKeys is how many NULL and how many repeated keys are listed; all are counted.
	listedBadKeys = 500
	// keptPlans is how many complete plans of which nothing has left may wait
	// (for an approval) beside a new one.
	keptPlans = 4
	// dirtyRuns: after so many plans in a row that found changes the checksum of the
	// model is not taken first, save at every eighth.
	dirtyRuns, dirtyEvery = 3, 8
)

// Plan reads the model's query once, in one snapshot, and stores what is to be
// sent. A complete plan of the same run is returned as it is. Results that an
// unfinished earlier run left behind are folded in first; what it intended
// without a result is in doubt and planned again.
func (l *Ledger) Plan(ctx context.Context, req PlanRequest) (Summary, error) {
	p := &planner{req: req, src: source{}}
	return l.plan(ctx, planWriter{Ledger: l, runID: req.RunID, salt: req.IdempotencySalt, kind: kindPlan}, req.Epoch, p)
}

// producer finds the rows of a plan in the transaction reading, which ends
// before the plan is committed and never writes.
type producer interface {
	produce(ctx context.Context, w *planWriter, reading, writing warehouse.Tx) error
}

// plan stores the plan of a run in one transaction: a crash before its commit
// leaves no trace of it. Before, in transactions of their own, it ends the runs
// that were given up.
func (l *Ledger) plan(ctx context.Context, w planWriter, epoch int64, p producer) (Summary, error) {
	if !runIDPattern.MatchString(w.runID) {
		return Summary{}, fmt.Errorf("planning: %q cannot be a run ID", w.runID)
	}
	if err := l.takeAim(ctx); err != nil {
		return Summary{}, fmt.Errorf("planning run %s: %w", w.runID, err)
	}
	switch stored, err := l.planOf(ctx, w.runID); {
	case err == nil && stored.state == runPlanned:
		return stored.summary, nil
	case err == nil:
		return Summary{}, l.gone(w.runID, "the run is "+stored.state)
	case !errors.Is(err, ErrNoPlan):
		return Summary{}, err
	}
	if err := l.supersede(ctx, epoch, w.runID); err != nil {
		return Summary{}, fmt.Errorf("planning run %s: %w", w.runID, err)
	}
	if err := l.settleHome(ctx); err != nil {
		return Summary{}, fmt.Errorf("planning run %s: %w", w.runID, err)
	}
	if err := l.proveHome(ctx); err != nil {
		return Summary{}, fmt.Errorf("planning run %s: %w", w.runID, err)
	}
	if l.home != nil { // another hub's ledger may have come meanwhile
		if err := l.takeAim(ctx); err != nil {
			return Summary{}, fmt.Errorf("planning run %s: %w", w.runID, err)
		}
	}
	w.now = l.opts.Now()
	w.sum = Summary{RunID: w.runID, PlannedAt: w.now}
	err := l.fenced(ctx, epoch, func(ctx context.Context, tx warehouse.Tx) error { return w.write(ctx, tx, epoch, p) })
	if err != nil {
		return Summary{}, fmt.Errorf("planning run %s: %w", w.runID, err)
	}
	return w.sum, nil
}

// supersede ends other unfinished runs as far as the new plan must know: those
// that sent something are folded in, those that did not may wait.
func (l *Ledger) supersede(ctx context.Context, epoch int64, runID string) error {
	var others []storedPlan
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) (err error) {
		others, err = l.unfinished(ctx, tx, runID)
		return err
	})
	if err != nil || len(others) == 0 {
		return err
	}
	return l.fenced(ctx, epoch, func(ctx context.Context, tx warehouse.Tx) error {
		others, err := l.unfinished(ctx, tx, runID)
		if err != nil {
			return err
		}
		folded := false
		for _, o := range others {
			if o.sent {
				if err := l.fold(ctx, tx, o, runSuperseded); err != nil {
					return fmt.Errorf("folding run %s in: %w", o.runID, err)
				}
				folded = true
			}
		}
		waiting := 0
		for _, o := range slices.DeleteFunc(others, func(o storedPlan) bool { return o.sent }) {
			if !folded && !o.stale() && waiting < keptPlans {
				waiting++
				continue
			}
			if err := l.endRun(ctx, tx, o, runSuperseded); err != nil {
				return err
			}
		}
		return nil
	})
}

// planner is the producer of Plan.
type planner struct {
	req   PlanRequest
	src   source
	home  *atHome  // nil when the comparison is made here
	pairs *pairing // nil when the engine compares
	// brought are pairs, too, but of a server; nil as above.
	brought *brought
	w       *planWriter
	fence   fence
	read    int64 // rows of the model
	bad     []badKey
	open    int64 // rows and keys that may have changed, about
	// absent: some key of the ledger is missing in the model.
	absent bool
	// scarce: the engine had not the memory for the comparison, which is made with less.
	scarce bool
	// joins: it is the engine that compares. unshared: it has refused to share a snapshot.
	joins, unshared bool
}

type badKey struct {
	key, reason string
	rows        int64
}

func (p *planner) produce(ctx context.Context, w *planWriter, reading, writing warehouse.Tx) (err error) {
	p.w = w
	defer p.giveUp()
	if err := p.settle(ctx, reading); err != nil {
		return err
	}
	if w.home == nil { // otherwise it shows later whose hash function it is
		if err := p.source(ctx, reading); err != nil {
			return err
		}
	}
	if err := p.verify(ctx, reading); err != nil {
		return err
	}
	w.sum.LedgerRows, w.sum.LastRead, w.sum.Partial, w.sum.Note = p.fence.confirmed, p.fence.lastRead, p.req.Partial, p.req.Note
	if err := p.findHome(ctx, reading); err != nil {
		return err
	}
	if w.home != nil {
		if err := p.source(ctx, reading); err != nil {
			return err
		}
	}
	if p.home != nil {
		err = p.compare(ctx, reading, writing)
	} else {
		err = w.modelRows(ctx, reading, &p.src, func(ctx context.Context) error {
			return p.compare(ctx, reading, writing)
		})
	}
	if err != nil {
		return fmt.Errorf("reading model %q: %w", p.req.Model.Name, err) // Invariant 6: never taken for an empty model
	}
	s := &w.sum
	s.Read = p.read
	s.Unchanged = s.Read - s.BadKeys - s.Added - s.Changed
	if s.Unchanged < 0 {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "model.unstable", Subject: "model " + p.req.Model.Name, Message: "the query returned other rows when it was read again to find repeated keys", Hint: "make the query deterministic: no random values, and an ORDER BY with every LIMIT"}
	}
	if w.looking {
		return nil
	}
	return p.note(ctx, writing)
}

// settle prepares a transaction for the comparison.
func (p *planner) settle(ctx context.Context, tx warehouse.Tx) error {
	for _, sql := range p.w.sql.e.settings(p.scarce) {
		if err := warehouse.Each(ctx, tx, sql, nil, func(tidegate.Row) error { return nil }); err != nil {
			return fmt.Errorf("preparing the comparison: %w", err)
		}
	}
	return nil
}

// compare finds what may have changed and hands it to the writer. It runs while
// the model's rows can be read.
func (p *planner) compare(ctx context.Context, reading, writing warehouse.Tx) error {
	c, err := p.w.sql.compare(p.src)
	if err != nil {
		return err
	}
	if p.home != nil {
		if err := p.home.prepare(p.src); err != nil {
			return err
		}
		p.src.args = nil // they are the home's
	}
	c.every, c.partial, c.twins = p.req.Mode == tidegate.Full, p.req.Partial, p.req.Partial
	c.keys, c.confirmed = p.fence.keys, checksums{p.fence.acked, p.fence.fingerprintXor, p.fence.fingerprint}
	if same, err := p.quick(ctx, reading, &c); err != nil || same {
		return err
	}
	if err := p.scratch(ctx, reading, c); err != nil {
		return err
	}
	if err := p.listBadKeys(ctx, reading); err != nil {
		return fmt.Errorf("listing bad keys: %w", err)
	}
	move := p.req.Mode == tidegate.Audience // a member whose identifier changes leaves by the old one
	isOpen, drop, err := keysAmong(ctx, reading, scratchTable+" WHERE open", p.open, p.fence.confirmed)
	if err != nil {
		return err
	}
	defer drop()
	if p.absent || move {
		for _, sql := range p.w.sql.owned(move, isOpen) {
			if _, err := reading.Exec(ctx, sql); err != nil {
				return fmt.Errorf("finding records that other keys own: %w", err)
			}
		}
	}
	rows, err := reading.Query(ctx, p.w.sql.candidates(len(p.src.columns), p.absent || move, isOpen))
	if err != nil {
		return fmt.Errorf("reading the candidates: %w", err)
	}
	m := &mapper{planner: p, in: rows, baseline: p.baseline()}
	return errors.Join(p.w.load(ctx, writing, m.next), rows.Close())
}

// baseline says whether this is the first result of a sync that takes it for confirmed.
func (p *planner) baseline() bool {
	return p.req.Baseline && p.fence.generation == 0 && p.fence.keys == 0
}

// quick says whether the model is exactly what the ledger holds, by checksum: one
// pass over the model without a join. It is skipped where it can only fail, unless the
// comparison after it needs the checksum.
func (p *planner) quick(ctx context.Context, reading warehouse.Tx, c *comparison) (bool, error) {
	f := p.fence
	hopeless := f.keys == 0 || f.keys != f.acked || f.dirty >= dirtyRuns && f.dirty%dirtyEvery != 0
	if c.every || c.partial || hopeless && p.pairs == nil && !p.w.sql.e.sumsFirst() {
		return false, nil
	}
	var sums checksums
	var kept int64
	more, drop := p.keepModel()
	defer drop()
	if p.home != nil {
		if err := p.home.quick(ctx, &sums); err != nil {
			return false, err
		}
	} else if p.broughtSums(&sums) {
		kept = sums.rows
	} else if err := one(ctx, reading, c.quick(more), p.src.args, &sums.rows, &sums.xor, &sums.sum, &kept); err != nil {
		return false, err
	}
	p.read = sums.rows
	c.model = &sums
	return f.keys > 0 && f.keys == f.acked && sums == c.confirmed, nil
}

// source fixes the columns that are read and the version of their fingerprint.
func (p *planner) source(ctx context.Context, tx warehouse.Tx) error {
	p.src = source{model: p.req.Model.SQL, args: p.req.Model.Args, keys: p.req.Mapping.KeyColumns()}
	for _, name := range p.req.Mapping.Columns() {
		at := p.req.Model.Schema.Index(name)
		if at < 0 {
			return &tidegate.Fault{Action: tidegate.Halt, Code: "mapping.invalid", Subject: "model " + p.req.Model.Name, Message: fmt.Sprintf("the model has no column %q", name), Hint: "compile the mapping against this model"}
		}
		p.src.columns = append(p.src.columns, p.req.Model.Schema[at])
	}
	var probe int64
	ask := func() error { return one(ctx, tx, string(p.w.sql.d.Hash().Probe), nil, &probe) }
	if p.home != nil {
		ask = func() error { return p.home.h.one(ctx, string(p.home.h.d.Hash().Probe), nil, &probe) }
	}
	if err := ask(); err != nil {
		return fmt.Errorf("probing the engine's hash function: %w", err)
	}
	sum := sha256.Sum256([]byte("fingerprint 2\x00" + strconv.FormatInt(probe, 10) + "\x00" + p.req.Mapping.Version()))
	p.src.version = int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
	return nil
}

func (p *planner) listBadKeys(ctx context.Context, tx warehouse.Tx) error {
	if p.w.sum.BadKeys == 0 {
		return nil
	}
	return warehouse.Each(ctx, tx, p.w.sql.badKeys(p.src.keys, listedBadKeys), nil, func(row tidegate.Row) error {
		var b badKey
		if err := scan(row, &b.reason, &b.rows); err != nil {
			return err
		}
		key, err := model.KeyOf(row[2:])
		b.key = string(key)
		p.bad = append(p.bad, b)
		return err
	})
}

// note writes what the plan says besides its changes.
func (p *planner) note(ctx context.Context, tx warehouse.Tx) error {
	if _, err := tx.Exec(ctx, string("DELETE FROM "+p.w.sql.of("bad_keys"))); err != nil {
		return fmt.Errorf("forgetting bad keys: %w", err)
	}
	values := p.w.sql.text(1) + ", " + p.w.sql.text(2) + ", " + p.w.sql.int(3) + ", " + p.w.sql.text(4) + ", " + p.w.sql.time(5)
	for _, b := range p.bad {
		if _, err := tx.Exec(ctx, string("INSERT INTO "+p.w.sql.of("bad_keys")+" VALUES ("+values+")"), b.key, b.reason, b.rows, p.w.runID, p.w.now); err != nil {
			return fmt.Errorf("listing bad keys: %w", err)
		}
	}
	if p.baseline() { // also when it was empty: the next result is no first one
		if _, err := tx.Exec(ctx, string("UPDATE "+p.w.sql.of("fence")+" SET generation = generation + 1")); err != nil {
			return fmt.Errorf("counting the generation: %w", err)
		}
	}
	dirty := int64(0)
	if s := p.w.sum; s.Added+s.Changed+s.Removed+s.BadKeys+p.w.house > 0 {
		dirty = p.fence.dirty + 1
	}
	if dirty == p.fence.dirty {
		return nil
	}
	if _, err := tx.Exec(ctx, string("UPDATE "+p.w.sql.of("fence")+" SET dirty = "+p.w.sql.int(1)), dirty); err != nil {
		return fmt.Errorf("noting how the plan came out: %w", err)
	}
	return nil
}

// planWriter stores one plan.
type planWriter struct {
	*Ledger
	runID, salt, kind string
	now               time.Time
	sum               Summary
	next              int64 // the next ordinal
	house             int64 // rows that are not changes
	refreshes         bool  // some of them change the ledger
	looking           bool  // nothing of it is kept
	stats             stats
	keyText           []byte // reused: what every idempotency key begins with (keyHead), and a key
	keyHead           int
}

// write is the transaction that stores the plan.
func (w *planWriter) write(ctx context.Context, tx warehouse.Tx, epoch int64, p producer) error {
	if err := w.find(ctx, tx, p); err != nil {
		return err
	}
	if w.refreshes {
		if err := w.refresh(ctx, tx); err != nil {
			return err
		}
	}
	text, err := json.Marshal(w.sum)
	if err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	columns := "SELECT " + w.sql.text(1) + ", " + w.sql.int(2) + ", " + w.sql.text(3) + ", " + w.sql.text(4) + ", " + w.sql.text(5) + ", " + w.sql.int(6) + ", generation, " + w.sql.time(7)
	_, err = tx.Exec(ctx, string("INSERT INTO "+w.sql.of("runs")+" (run_id, epoch, state, kind, summary, changes, generation, started_at) "+columns+" FROM "+w.sql.of("fence")),
		w.runID, epoch, runPlanned, w.kind, string(text), w.next, w.now)
	if err != nil {
		return fmt.Errorf("completing the plan: %w", err)
	}
	return nil
}

// find fills the table of the plan and its summary.
func (w *planWriter) find(ctx context.Context, tx warehouse.Tx, p producer) error {
	if _, err := tx.Ensure(ctx, w.names.ofRun(w.runID, "plan"), planSchema()); err != nil {
		return fmt.Errorf("creating the plan: %w", err)
	}
	produce := func(ctx context.Context, reading warehouse.Tx) error { return p.produce(ctx, w, reading, tx) }
	err := w.read(ctx, produce)
	for err != nil && ctx.Err() == nil && w.next+w.house == 0 {
		compared, _ := p.(*planner)
		other := compared.otherwise(err)
		if other == nil {
			break
		}
		p = other
		err = w.read(ctx, produce)
	}
	if err != nil {
		return err
	}
	w.stats.fill(&w.sum)
	return nil
}

// otherwise is a planner that may succeed where this one failed with err; nil where there is none.
func (p *planner) otherwise(err error) *planner {
	switch {
	case p == nil:
	case errors.Is(err, errAlone) && !p.joins:
		return &planner{req: p.req, scarce: p.scarce, joins: true}
	case tidegate.FaultOf(err).Code == "warehouse.memory" && !p.scarce:
		return &planner{req: p.req, scarce: true, joins: p.joins}
	}
	return nil
}

// refresh applies the housekeeping of the plan to the ledger.
func (w *planWriter) refresh(ctx context.Context, tx warehouse.Tx) error {
	for i, sql := range w.sql.refresh(w.runID) {
		var args []any
		if i == 4 {
			args = []any{w.runID, w.now}
		}
		if _, err := tx.Exec(ctx, sql, args...); err != nil {
			return fmt.Errorf("refreshing the ledger: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, w.sql.seal()); err != nil {
		return fmt.Errorf("sealing the ledger: %w", err)
	}
	return w.unpublish(ctx, tx, "SELECT NULL, key_hash, key_check FROM "+w.sql.ofRun(w.runID, "plan")+" WHERE ordinal < 0 AND op IN ('same', 'forget', 'baseline')")
}
