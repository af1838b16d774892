package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// ErrNoPlan is wrapped when a run has no stored plan.
var ErrNoPlan = errors.New("the run has no plan")

// The kinds of a run in __runs.
const (
	kindPlan   = "plan"
	kindRevert = "revert"
	kindDrift  = "drift"
)

// storedPlan is a row of __runs.
type storedPlan struct {
	runID, state, kind  string
	summary             Summary
	changes             int64
	generation, current int64 // of the ledger when it was planned, and now
	sent                bool  // it has intents or results
}

// stale says whether results of another run came in since. Such a plan may hold
// older values than the destination has (Invariant 5).
func (s storedPlan) stale() bool { return s.generation != s.current }

func (l *Ledger) planQuery(where sqltext.Text) sqltext.Text {
	return l.planColumns("EXISTS (SELECT 1 FROM "+l.sql.of("intents")+" AS i WHERE i.run_id = r.run_id) OR EXISTS (SELECT 1 FROM "+l.sql.of("results")+" AS g WHERE g.run_id = r.run_id)") + where
}

func (l *Ledger) planColumns(sent sqltext.Text) sqltext.Text {
	return "SELECT r.run_id, r.state, r.kind, r.summary, r.changes, r.generation, f.generation, " + sent +
		" FROM " + l.sql.of("runs") + " AS r CROSS JOIN " + l.sql.of("fence") + " AS f WHERE "
}

func storedPlanOf(row tidegate.Row) (storedPlan, error) {
	var s storedPlan
	var summary string
	if err := scan(row, &s.runID, &s.state, &s.kind, &summary, &s.changes, &s.generation, &s.current, &s.sent); err != nil {
		return s, err
	}
	if summary == "" {
		return s, nil
	}
	if err := json.Unmarshal([]byte(summary), &s.summary); err != nil {
		return s, fmt.Errorf("reading the summary of run %s: %w", s.runID, err)
	}
	return s, nil
}

func (l *Ledger) findPlan(ctx context.Context, tx warehouse.Tx, runID string) (storedPlan, error) {
	return l.queryPlan(ctx, tx, l.planQuery("r.run_id = $1"), runID)
}

func (l *Ledger) queryPlan(ctx context.Context, tx warehouse.Tx, sql sqltext.Text, runID string) (s storedPlan, err error) {
	found := false
	err = warehouse.Each(ctx, tx, string(sql), []any{runID}, func(row tidegate.Row) (err error) {
		found = true
		s, err = storedPlanOf(row)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("looking for run %s: %w", runID, ErrNoPlan)
	}
	return s, err
}

func (l *Ledger) planOf(ctx context.Context, runID string) (s storedPlan, err error) {
	err = l.read(ctx, func(ctx context.Context, tx warehouse.Tx) (err error) {
		s, err = l.findPlan(ctx, tx, runID)
		return err
	})
	return s, err
}

// Summary is what planning a run found, also after its end for as long as the
// log of runs is kept; ErrNoPlan when nothing is known of it.
func (l *Ledger) Summary(ctx context.Context, runID string) (Summary, error) {
	s, err := l.planOf(ctx, runID)
	return s.summary, err
}

// live returns the plan of a run that can still be delivered. It is asked for
// every window and page, so it does not look for what was sent.
func (l *Ledger) live(ctx context.Context, tx warehouse.Tx, runID string) (storedPlan, error) {
	s, err := l.queryPlan(ctx, tx, l.planColumns("false")+"r.run_id = $1", runID)
	switch {
	case err != nil:
		return s, err
	case s.state != runPlanned:
		return s, l.gone(runID, "the run is "+s.state)
	case s.stale():
		return s, l.gone(runID, "another run has delivered since it was made")
	}
	return s, nil
}

func (l *Ledger) gone(runID, why string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "plan.stale", Subject: "run " + runID, Message: "the plan cannot be used any more: " + why, Hint: "cancel the run when it is held still, and run the sync again; it plans from what the destination holds now"}
}

// Intend makes durable that the ordinals first to last, both included, may
// leave from now on. It returns before they do.
func (l *Ledger) Intend(ctx context.Context, runID string, epoch, first, last int64) error {
	err := l.fenced(ctx, epoch, func(ctx context.Context, tx warehouse.Tx) error {
		s, err := l.live(ctx, tx, runID)
		if err != nil {
			return err
		}
		if first < 0 || last < first || last >= s.changes {
			return fmt.Errorf("the plan has %d changes", s.changes)
		}
		_, err = tx.Exec(ctx, string("INSERT INTO "+l.sql.of("intents")+" VALUES ($1, $2, $3, $4, $5)"), runID, first, last, epoch, l.opts.Now())
		return err
	})
	if err != nil {
		return fmt.Errorf("intending ordinals %d to %d of run %s: %w", first, last, runID, err)
	}
	return nil
}

// resultRow is what became of the ordinals First to Last, both included, as
// statements.record takes it.
type resultRow struct {
	First         int64  `json:"first"`
	Last          int64  `json:"last"`
	Disposition   string `json:"disposition"`
	DestinationID string `json:"destination_id,omitempty"`
	NextAttempt   string `json:"next_attempt,omitempty"`
	Action        string `json:"action,omitempty"`
	Code          string `json:"code,omitempty"`
	Subject       string `json:"subject,omitempty"`
	Message       string `json:"message,omitempty"`
	Hint          string `json:"hint,omitempty"`
	Cluster       string `json:"cluster,omitempty"`
}

// Record makes results durable, all or none. A result for an ordinal that has
// one already is dropped: the first counts. Delivered results advance the
// ledger from here on (Invariant 4), although the tables follow at Finish. A
// Pending result is no result yet: its ticket is kept, and the result that
// Record is given later for the same ordinal settles it. One transaction: a
// crash before its commit leaves the ordinals intended, thus in doubt.
func (l *Ledger) Record(ctx context.Context, runID string, epoch int64, results []Result) error {
	if len(results) == 0 {
		return nil
	}
	now := l.opts.Now()
	rows := make([]resultRow, 0, len(results))
	seen := make(map[int64]struct{}, len(results))
	var open tickets
	for _, r := range results {
		if _, twice := seen[r.Ordinal]; twice {
			continue
		}
		seen[r.Ordinal] = struct{}{}
		if r.Disposition == destinations.Pending && !r.Excluded {
			open.add(r.Ticket, r.Ordinal)
			continue
		}
		rows = append(rows, resultRowOf(r, now))
	}
	rows = merge(rows)
	text, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("recording results of run %s: %w", runID, err)
	}
	err = l.fenced(ctx, epoch, func(ctx context.Context, tx warehouse.Tx) error {
		s, err := l.live(ctx, tx, runID)
		if err != nil {
			return err
		}
		for ordinal := range seen {
			if ordinal < 0 || ordinal >= s.changes {
				return fmt.Errorf("ordinal %d is not in the plan, which has %d changes", ordinal, s.changes)
			}
		}
		if err := l.keepTickets(ctx, tx, runID, open, now); err != nil || len(rows) == 0 {
			return err
		}
		_, err = tx.Exec(ctx, l.sql.record(), runID, string(text), now, rows[0].First, rows[len(rows)-1].Last)
		return err
	})
	if err != nil {
		return fmt.Errorf("recording %d results of run %s: %w", len(results), runID, err)
	}
	return nil
}

// merge returns rows in the order of their ordinals and makes one of those that
// follow one another and came to the same: most are delivered, and nothing else
// is to be said of them, so that the engine reads one row where there were thousands.
func merge(rows []resultRow) []resultRow {
	order := make([]*resultRow, len(rows))
	for i := range rows {
		order[i] = &rows[i]
	}
	slices.SortFunc(order, func(a, b *resultRow) int { return cmp.Compare(a.First, b.First) })
	same := func(a, b resultRow) bool {
		a.First, a.Last = b.First, b.Last
		return a == b
	}
	var kept []resultRow
	for _, r := range order {
		if n := len(kept); n > 0 && kept[n-1].Last+1 == r.First && same(kept[n-1], *r) {
			kept[n-1].Last = r.Last
			continue
		}
		kept = append(kept, *r)
	}
	return kept
}

func resultRowOf(r Result, now time.Time) resultRow {
	row := resultRow{First: r.Ordinal, Last: r.Ordinal, Disposition: string(r.Disposition), DestinationID: r.DestinationID}
	if r.Excluded {
		row.Disposition = stateExcluded
	}
	next := r.NextAttempt
	if next.IsZero() && row.Disposition == "deferred" {
		next = now // deferred means "by a later run": never stuck
	}
	if !next.IsZero() {
		row.NextAttempt = next.UTC().Format(time.RFC3339Nano)
	}
	if f := r.Fault; f != nil {
		stored := tidegate.StoredFault(f)
		row.Action, row.Code, row.Subject, row.Message, row.Hint, row.Cluster = stored.Action, stored.Code, stored.Subject, stored.Message, stored.Hint, f.Cluster()
	}
	return row
}

// Progress tells how far the delivery of a stored plan came. An error that
// wraps ErrNoPlan says that there is none.
func (l *Ledger) Progress(ctx context.Context, runID string) (Progress, error) {
	var p Progress
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		s, err := l.findPlan(ctx, tx, runID)
		if err != nil {
			return err
		}
		p.Summary = s.summary
		if p.Counts, err = l.counts(ctx, tx, s); err != nil {
			return err
		}
		if err := one(ctx, tx, string("SELECT coalesce(max(last) + 1, 0) FROM "+l.sql.of("intents")+" WHERE run_id = $1"), []any{runID}, &p.Intended); err != nil {
			return err
		}
		settled := make([]uint64, s.changes/64+1)
		p.Settled = func(ordinal int64) bool {
			return ordinal >= 0 && ordinal < s.changes && settled[ordinal/64]>>(ordinal%64)&1 == 1
		}
		err = warehouse.Each(ctx, tx, string("SELECT ordinal FROM "+l.sql.of("results")+" WHERE run_id = $1"), []any{runID}, func(row tidegate.Row) error {
			var ordinal int64
			if err := scan(row, &ordinal); err != nil {
				return err
			}
			if ordinal >= 0 && ordinal < s.changes {
				settled[ordinal/64] |= 1 << (ordinal % 64)
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.Tickets, err = l.openTickets(ctx, tx, runID, p.Settled)
		return err
	})
	if err != nil {
		return Progress{}, fmt.Errorf("reading the progress of run %s: %w", runID, err)
	}
	return p, nil
}

// counts joins what a plan found with the results recorded so far.
func (l *Ledger) counts(ctx context.Context, tx warehouse.Tx, s storedPlan) (tidegate.Counts, error) {
	m := s.summary
	c := tidegate.Counts{Read: m.Read, Unchanged: m.Unchanged, Added: m.Added, Changed: m.Changed, Removed: m.Removed, BadKeys: m.BadKeys, Waiting: m.Waiting}
	err := warehouse.Each(ctx, tx, string("SELECT disposition, count(*) FROM "+l.sql.of("results")+" WHERE run_id = $1 GROUP BY 1"), []any{s.runID}, func(row tidegate.Row) error {
		var disposition string
		var n int64
		if err := scan(row, &disposition, &n); err != nil {
			return err
		}
		switch disposition {
		case "delivered":
			c.Delivered = n
		case "rejected":
			c.Rejected = n
		case "in_doubt":
			c.InDoubt = n
		case "deferred":
			c.Deferred = n
		case stateExcluded:
			c.Excluded = n
		}
		return nil
	})
	return c, err
}

// Finish folds the results into the ledger, in one transaction, and drops the
// plan. What was intended and has no result is in doubt from now on. Finishing
// a finished or superseded run, or one without a plan, does nothing.
func (l *Ledger) Finish(ctx context.Context, runID string) error {
	epoch, err := l.lastEpoch(ctx)
	if err != nil {
		return fmt.Errorf("finishing run %s: %w", runID, err)
	}
	err = l.fenced(ctx, epoch, func(ctx context.Context, tx warehouse.Tx) error {
		s, err := l.findPlan(ctx, tx, runID)
		switch {
		case errors.Is(err, ErrNoPlan):
			return nil
		case err != nil:
			return err
		case s.state != runPlanned:
			return nil
		case !s.sent:
			return l.endRun(ctx, tx, s, runFinished)
		}
		return l.fold(ctx, tx, s, runFinished)
	})
	if err != nil {
		return fmt.Errorf("finishing run %s: %w", runID, err)
	}
	l.publishSoon(ctx)
	return nil
}

// lastEpoch is the epoch under which this Ledger wrote last, or, when it has not
// written (a resumed run whose results are all there), the fence's own.
func (l *Ledger) lastEpoch(ctx context.Context) (epoch int64, err error) {
	l.writes.Lock()
	epoch = l.epoch
	l.writes.Unlock()
	if epoch > 0 {
		return epoch, nil
	}
	err = l.read(ctx, func(ctx context.Context, tx warehouse.Tx) error {
		return one(ctx, tx, string("SELECT epoch FROM "+l.sql.of("fence")), nil, &epoch)
	})
	return epoch, err
}

// unfinished lists the runs that are planned, but not runID, newest first.
func (l *Ledger) unfinished(ctx context.Context, tx warehouse.Tx, runID string) ([]storedPlan, error) {
	var list []storedPlan
	err := warehouse.Each(ctx, tx, string(l.planQuery("r.run_id <> $1 AND r.state = 'planned' ORDER BY r.started_at DESC, r.run_id DESC")), []any{runID}, func(row tidegate.Row) error {
		s, err := storedPlanOf(row)
		list = append(list, s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing unfinished runs: %w", err)
	}
	return list, nil
}

// fold advances the ledger by the results of s and ends it. It is part of one
// transaction: a crash before its commit leaves the results where they are, and
// Finish or the next plan folds them again.
func (l *Ledger) fold(ctx context.Context, tx warehouse.Tx, s storedPlan, state string) error {
	lost := &tidegate.Fault{Code: "run.interrupted", Message: "the run ended before an answer came: the destination may hold this change or not"}
	if _, err := tx.Exec(ctx, l.sql.doubt(s.runID), s.runID, l.opts.Now(), lost.Code, lost.Message, lost.Cluster()); err != nil {
		return fmt.Errorf("noting what is in doubt: %w", err)
	}
	if _, err := tx.Exec(ctx, l.sql.touch(s.runID), s.runID); err != nil {
		return fmt.Errorf("gathering results: %w", err)
	}
	if err := l.unpublish(ctx, tx, "SELECT NULL, key_hash, key_check FROM "+touchedTable); err != nil {
		return err
	}
	isTouched, drop, err := keysAmong(ctx, tx, touchedTable, s.changes, s.summary.LedgerRows)
	if err != nil {
		return err
	}
	defer drop()
	if err := l.foldWith(ctx, tx, l.sql.fold(s.runID, !l.opts.HashOnly, isTouched), s); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("fence")+" SET generation = generation + 1")); err != nil {
		return fmt.Errorf("counting the generation: %w", err)
	}
	return l.endRun(ctx, tx, s, state)
}

// endRun drops what the run kept, notes its end and trims the old log. What it
// read is what the next run's guards compare with, unless the run was given up
// before anything left.
func (l *Ledger) endRun(ctx context.Context, tx warehouse.Tx, s storedPlan, state string) error {
	counts, err := l.counts(ctx, tx, s)
	if err != nil {
		return fmt.Errorf("counting results: %w", err)
	}
	text, err := json.Marshal(counts)
	if err != nil {
		return fmt.Errorf("writing counts: %w", err)
	}
	now := l.opts.Now()
	if _, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("runs")+" SET state = "+l.sql.text(2)+", counts = "+l.sql.text(3)+", finished_at = "+l.sql.time(4)+" WHERE run_id = $1"), s.runID, state, string(text), now); err != nil {
		return fmt.Errorf("ending the run: %w", err)
	}
	if s.kind == kindPlan && !s.summary.Partial && (s.sent || s.changes == 0) {
		if _, err := tx.Exec(ctx, string("UPDATE "+l.sql.of("fence")+" SET last_read = "+l.sql.int(1)), s.summary.Read); err != nil {
			return fmt.Errorf("noting what was read: %w", err)
		}
	}
	if err := l.logSkipped(ctx, tx, s, now); err != nil {
		return err
	}
	if err := l.drop(ctx, tx, s.runID, "plan"); err != nil {
		return err
	}
	if err := l.unpublish(ctx, tx, "SELECT "+l.sql.text(1)+", NULL, NULL", s.runID); err != nil {
		return err
	}
	return l.trim(ctx, tx, s.runID, now)
}

func (l *Ledger) drop(ctx context.Context, tx warehouse.Tx, runID string, kind string) error {
	if _, err := tx.Exec(ctx, string("DROP TABLE IF EXISTS "+l.sql.ofRun(runID, kind))); err != nil {
		return fmt.Errorf("dropping %s: %w", l.names.ofRun(runID, kind), err)
	}
	return nil
}

// trim deletes what only a running run needs, and what is older than KeepLog.
func (l *Ledger) trim(ctx context.Context, tx warehouse.Tx, runID string, now time.Time) error {
	old := now.Add(-l.opts.KeepLog)
	for _, trim := range []struct {
		sql sqltext.Text
		arg any
	}{
		{"DELETE FROM " + l.sql.of("intents") + " WHERE run_id = $1", runID},
		{"DELETE FROM " + l.sql.of("results") + " WHERE run_id = $1", runID},
		{"DELETE FROM " + l.sql.of("tickets") + " WHERE run_id = $1", runID},
		{"DELETE FROM " + l.sql.shared("loads") + " WHERE load_id = $1", loadID(runID)},
		{"DELETE FROM " + l.sql.of("log") + " WHERE recorded_at < $1", old},
		{"DELETE FROM " + l.sql.of("runs") + " WHERE finished_at < $1", old},
	} {
		if _, err := tx.Exec(ctx, string(trim.sql), trim.arg); err != nil {
			return fmt.Errorf("trimming the log: %w", err)
		}
	}
	return nil
}

// loadID names the load of a plan, of which nothing is kept when the run is over.
func loadID(runID string) string { return runID + "/plan" }
