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
	// when this mode lets it through. Empty means always.
	Mode tidegate.Mode
	// IdempotencySalt separates the idempotency keys of one destination account
	// from those of another.
	IdempotencySalt string
	// Baseline takes what the model returns for confirmed, without sending it, when
	// nothing was ever planned or confirmed for this sync; otherwise it says nothing.
	Baseline bool
	// Partial says that the model's query returns only rows that changed lately: a key that it does
	// not return is unchanged, not removed.
	Partial bool
}

const (
	// listedBadKeys is how many NULL and how many repeated keys are listed; all are counted.
	listedBadKeys = 500
	// keptPlans is how many complete plans of which nothing has left may wait
	// (for an approval) beside a new one.
	keptPlans = 4
)

// Plan reads the model's query once, in one snapshot, and stores what is to be
// sent. A complete plan of the same run is returned as it is; an incomplete one
// is replaced. Results that an unfinished earlier run left behind are folded in
// first; what it intended without a result is in doubt and planned again.
func (l *Ledger) Plan(ctx context.Context, req PlanRequest) (Summary, error) {
	if !runIDPattern.MatchString(req.RunID) {
		return Summary{}, fmt.Errorf("planning: %q cannot be a run ID", req.RunID)
	}
	p := &planner{Ledger: l, req: req, now: l.opts.Now()}
	switch stored, err := l.planOf(ctx, req.RunID); {
	case err == nil && stored.state == runPlanned:
		return stored.summary, nil
	case err == nil && stored.state != runReading:
		return Summary{}, l.gone(req.RunID, "the run is "+stored.state)
	case err != nil && !errors.Is(err, ErrNoPlan):
		return Summary{}, err
	}
	if err := l.fenced(ctx, req.Epoch, p.diff); err != nil {
		return Summary{}, fmt.Errorf("planning run %s: reading model %q: %w", req.RunID, req.Model.Name, err)
	}
	if err := l.fenced(ctx, req.Epoch, p.store); err != nil {
		return Summary{}, fmt.Errorf("planning run %s: storing the plan: %w", req.RunID, err)
	}
	return p.sum, nil
}

// planner is one Plan on its way.
type planner struct {
	*Ledger
	req PlanRequest
	now time.Time
	src source
	sum Summary
}

// diff is the first transaction: everything that must be of one snapshot.
func (p *planner) diff(ctx context.Context, tx warehouse.Tx) error {
	if err := p.supersede(ctx, tx); err != nil {
		return err
	}
	if err := p.dropRun(ctx, tx, p.req.RunID); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, string("DELETE FROM "+p.sql.of("runs")+" WHERE run_id = $1"), p.req.RunID); err != nil {
		return fmt.Errorf("replacing the incomplete plan: %w", err)
	}
	_, err := tx.Exec(ctx, string("INSERT INTO "+p.sql.of("runs")+" (run_id, epoch, state, generation, started_at) SELECT $1, $2, $3, generation, $4 FROM "+p.sql.of("fence")),
		p.req.RunID, p.req.Epoch, runReading, p.now)
	if err != nil {
		return fmt.Errorf("noting the run: %w", err)
	}
	if err := p.source(ctx, tx); err != nil {
		return err
	}
	sql, err := p.sql.diff(p.req.RunID, p.src)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sql); err != nil {
		return err // Invariant 6: never taken for an empty model
	}
	return p.count(ctx, tx)
}

// source fixes the columns that are read and the version of their fingerprint.
func (p *planner) source(ctx context.Context, tx warehouse.Tx) error {
	p.src = source{model: p.req.Model.SQL, keys: p.req.Mapping.KeyColumns()}
	for _, name := range p.req.Mapping.Columns() {
		at := p.req.Model.Schema.Index(name)
		if at < 0 {
			return &tidegate.Fault{Action: tidegate.Halt, Code: "mapping.invalid", Subject: "model " + p.req.Model.Name, Message: fmt.Sprintf("the model has no column %q", name), Hint: "compile the mapping against this model"}
		}
		p.src.columns = append(p.src.columns, p.req.Model.Schema[at])
	}
	var probe int64
	if err := one(ctx, tx, p.sql.hashProbe(), nil, &probe); err != nil {
		return fmt.Errorf("probing the engine's hash function: %w", err)
	}
	sum := sha256.Sum256([]byte("fingerprint 1\x00" + strconv.FormatInt(probe, 10) + "\x00" + p.req.Mapping.Version()))
	p.src.version = int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
	return nil
}

// count fills what the summary knows from the diff alone and takes rows without
// a usable key out of it.
func (p *planner) count(ctx context.Context, tx warehouse.Tx) error {
	var matched, absent, nullRows, openRepeats, known int64
	s := &p.sum
	s.RunID, s.PlannedAt = p.req.RunID, p.now
	if err := one(ctx, tx, p.sql.totals(p.req.RunID), nil, &s.Read, &matched, &absent, &nullRows, &openRepeats, &known, &s.LedgerRows); err != nil {
		return fmt.Errorf("counting: %w", err)
	}
	// Each ledger row that is not absent is matched exactly once, unless a key
	// repeats among rows that look unchanged: then the model is read again.
	repeats := p.sql.repeatsInScratch(p.req.RunID, p.src.keys)
	if matched != known-absent {
		var err error
		if repeats, err = p.sql.repeatsInModel(p.req.RunID, p.src); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, repeats); err != nil {
		return fmt.Errorf("finding repeated keys: %w", err)
	}
	var repeatedRows int64
	if err := one(ctx, tx, p.sql.repeatedRows(p.req.RunID), nil, &repeatedRows); err != nil {
		return fmt.Errorf("counting repeated keys: %w", err)
	}
	s.BadKeys = nullRows + repeatedRows
	if err := p.listBadKeys(ctx, tx); err != nil {
		return fmt.Errorf("listing bad keys: %w", err)
	}
	if _, err := tx.Exec(ctx, p.sql.dropBadKeys(p.req.RunID)); err != nil {
		return fmt.Errorf("taking bad keys out: %w", err)
	}
	return nil
}

func (p *planner) listBadKeys(ctx context.Context, tx warehouse.Tx) error {
	if _, err := tx.Exec(ctx, string("DELETE FROM "+p.sql.of("bad_keys"))); err != nil {
		return err
	}
	if p.sum.BadKeys == 0 {
		return nil
	}
	type badKey struct {
		key, reason string
		rows        int64
	}
	var bad []badKey
	err := each(ctx, tx, p.sql.badKeys(p.req.RunID, p.src.keys, listedBadKeys), nil, func(row tidegate.Row) error {
		var b badKey
		if err := scan(row, &b.reason, &b.rows); err != nil {
			return err
		}
		key, err := model.KeyOf(row[2:])
		b.key = string(key)
		bad = append(bad, b)
		return err
	})
	if err != nil {
		return err
	}
	for _, b := range bad {
		if _, err := tx.Exec(ctx, string("INSERT INTO "+p.sql.of("bad_keys")+" VALUES ($1, $2, $3, $4, $5)"), b.key, b.reason, b.rows, p.req.RunID, p.now); err != nil {
			return err
		}
	}
	return nil
}

// store is the second transaction: the candidates are read from a transaction
// of their own, mapped on the way and written as the plan. Nothing of them is
// held in memory but the row at hand.
func (p *planner) store(ctx context.Context, tx warehouse.Tx) error {
	if _, err := tx.Ensure(ctx, p.names.ofRun(p.req.RunID, "plan"), planSchema()); err != nil {
		return fmt.Errorf("creating the plan: %w", err)
	}
	m := &mapper{planner: p}
	err := p.read(ctx, func(ctx context.Context, reading warehouse.Tx) (err error) {
		if m.in, err = reading.Query(ctx, p.sql.candidates(p.req.RunID, len(p.src.columns))); err != nil {
			return fmt.Errorf("reading the candidates: %w", err)
		}
		defer func() { err = errors.Join(err, m.in.Close()) }()
		load := warehouse.Load{ID: p.req.RunID + "/plan", Table: p.names.ofRun(p.req.RunID, "plan")}
		_, err = tx.Load(ctx, load, m)
		return err
	})
	if err != nil {
		return err
	}
	for _, sql := range p.sql.refresh(p.req.RunID) {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("refreshing the ledger: %w", err)
		}
	}
	s := &p.sum
	s.Unchanged = s.Read - s.BadKeys - s.Added - s.Changed
	if s.Unchanged < 0 {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "model.unstable", Subject: "model " + p.req.Model.Name, Message: "the query returned other rows when it was read again to find repeated keys", Hint: "make the query deterministic: no random values, and an ORDER BY with every LIMIT"}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	if _, err := tx.Exec(ctx, string("UPDATE "+p.sql.of("runs")+" SET state = $2, summary = $3, changes = $4 WHERE run_id = $1"), p.req.RunID, runPlanned, string(text), m.next); err != nil {
		return fmt.Errorf("completing the plan: %w", err)
	}
	return p.drop(ctx, tx, p.req.RunID, "scratch", "repeats")
}

func (l *Ledger) drop(ctx context.Context, tx warehouse.Tx, runID string, kinds ...string) error {
	for _, kind := range kinds {
		if _, err := tx.Exec(ctx, string("DROP TABLE IF EXISTS "+l.sql.ofRun(runID, kind))); err != nil {
			return fmt.Errorf("dropping %s: %w", l.names.ofRun(runID, kind), err)
		}
	}
	return nil
}

// dropRun drops what a run keeps while it lasts.
func (l *Ledger) dropRun(ctx context.Context, tx warehouse.Tx, runID string) error {
	return l.drop(ctx, tx, runID, "scratch", "repeats", "plan")
}

// supersede ends other unfinished runs as far as the new plan must know: those
// that sent something are folded in, those that did not may wait.
func (p *planner) supersede(ctx context.Context, tx warehouse.Tx) error {
	var others []storedPlan
	err := each(ctx, tx, string(p.planQuery("r.run_id <> $1 AND r.state IN ('reading', 'planned') ORDER BY r.started_at DESC, r.run_id DESC")), []any{p.req.RunID}, func(row tidegate.Row) error {
		s, err := storedPlanOf(row)
		others = append(others, s)
		return err
	})
	if err != nil {
		return fmt.Errorf("listing unfinished runs: %w", err)
	}
	folded := false
	for _, o := range others {
		if o.state == runPlanned && o.sent {
			if err := p.fold(ctx, tx, o, runSuperseded); err != nil {
				return fmt.Errorf("folding run %s in: %w", o.runID, err)
			}
			folded = true
		}
	}
	waiting := 0
	for _, o := range slices.DeleteFunc(others, func(o storedPlan) bool { return o.state == runPlanned && o.sent }) {
		if o.state == runPlanned && !folded && !o.stale() && waiting < keptPlans {
			waiting++
			continue
		}
		if err := p.endRun(ctx, tx, o, runSuperseded); err != nil {
			return err
		}
	}
	return nil
}
