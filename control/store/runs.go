package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/runner"
)

var _ runner.Runs = (*Store)(nil)

const runColumns = "workspace, id, sync, state, cause, created_at, started_at, ended_at, epoch, counts, fault"

// CreateRun implements runner.Runs.
func (s *Store) CreateRun(ctx context.Context, run tidegate.Run) error {
	counts, fault, err := encodeRun(run)
	if err != nil {
		return err
	}
	_, err = s.write.ExecContext(ctx, "INSERT INTO runs ("+runColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		run.Workspace, run.ID, run.Sync, string(run.State), run.Trigger, micros(run.CreatedAt), nullMicros(run.StartedAt), nullMicros(run.EndedAt), run.Epoch, counts, fault)
	var se *sqlite.Error
	if errors.As(err, &se) && se.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
		return fmt.Errorf("creating run %s: it exists: %w", run.ID, runner.ErrConflict)
	}
	return s.classify("writing a run to", err)
}

// UpdateRun implements runner.Runs.
func (s *Store) UpdateRun(ctx context.Context, run tidegate.Run, from tidegate.RunState) error {
	counts, fault, err := encodeRun(run)
	if err != nil {
		return err
	}
	res, err := s.write.ExecContext(ctx, `UPDATE runs SET state = ?, counts = ?, started_at = ?, ended_at = ?, fault = ?, epoch = ?
		WHERE workspace = ? AND id = ? AND state = ? AND epoch <= ?
		AND NOT EXISTS (SELECT 1 FROM leases WHERE workspace = runs.workspace AND name = runs.sync AND epoch > ?)`,
		string(run.State), counts, nullMicros(run.StartedAt), nullMicros(run.EndedAt), fault, run.Epoch,
		run.Workspace, run.ID, string(from), run.Epoch, run.Epoch)
	if err != nil {
		return s.classify("writing a run to", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return s.classify("writing a run to", err)
	}
	if n == 0 {
		return fmt.Errorf("updating run %s from %s at epoch %d: %w", run.ID, from, run.Epoch, runner.ErrConflict)
	}
	return nil
}

// Run implements runner.Runs. The error of an unknown run is also the fault "run.not_found".
func (s *Store) Run(ctx context.Context, workspace, id string) (tidegate.Run, error) {
	run, err := scanRun(s.read.QueryRowContext(ctx, "SELECT "+runColumns+" FROM runs WHERE workspace = ? AND id = ?", workspace, id))
	if errors.Is(err, sql.ErrNoRows) {
		return tidegate.Run{}, &tidegate.Fault{
			Action: tidegate.Halt, Code: "run.not_found", Subject: "run " + id, Message: "there is no such run",
			Hint: "`tidegate sync runs NAME` lists the runs of a sync", Err: runner.ErrNoRun,
		}
	}
	return run, s.classify("reading", err)
}

// ListRuns implements runner.Runs.
func (s *Store) ListRuns(ctx context.Context, workspace, sync, before string, limit int) ([]tidegate.Run, error) {
	query, args := "SELECT "+runColumns+" FROM runs WHERE workspace = ?", []any{workspace}
	if sync != "" {
		query, args = query+" AND sync = ?", append(args, sync)
	}
	if before != "" {
		query, args = query+" AND id < ?", append(args, before)
	}
	return s.runs(ctx, query+" ORDER BY id DESC LIMIT ?", append(args, limit)...)
}

// UnfinishedRuns implements runner.Runs.
func (s *Store) UnfinishedRuns(ctx context.Context, workspace string) ([]tidegate.Run, error) {
	return s.runs(ctx, "SELECT "+runColumns+" FROM runs WHERE workspace = ? AND state IN ('queued', 'running', 'held') ORDER BY id", workspace)
}

// LastFinished returns the newest finished run of a sync; ok is false when there is none.
func (s *Store) LastFinished(ctx context.Context, workspace, sync string) (run tidegate.Run, ok bool, err error) {
	list, err := s.runs(ctx, "SELECT "+runColumns+` FROM runs WHERE workspace = ? AND sync = ?
		AND state NOT IN ('queued', 'running', 'held') ORDER BY id DESC LIMIT 1`, workspace, sync)
	if err != nil || len(list) == 0 {
		return tidegate.Run{}, false, err
	}
	return list[0], true, nil
}

// LastSuccess returns when the last run of a sync that succeeded ended; zero
// when there was none.
func (s *Store) LastSuccess(ctx context.Context, workspace, sync string) (time.Time, error) {
	var ended sql.NullInt64
	err := s.read.QueryRowContext(ctx, "SELECT max(ended_at) FROM runs WHERE workspace = ? AND sync = ? AND state = 'succeeded'", workspace, sync).Scan(&ended)
	return fromNullMicros(ended), s.classify("reading runs from", err)
}

// LastComplete is LastSuccess of the runs after which nothing of earlier ones waited for another try.
func (s *Store) LastComplete(ctx context.Context, workspace, sync string) (time.Time, error) {
	var ended sql.NullInt64
	err := s.read.QueryRowContext(ctx, "SELECT max(ended_at) FROM runs WHERE workspace = ? AND sync = ? AND "+complete, workspace, sync).Scan(&ended)
	return fromNullMicros(ended), s.classify("reading runs from", err)
}

const complete = "state = 'succeeded' AND coalesce(json_extract(counts, '$.waiting'), 0) = 0"

// PruneRuns deletes runs that ended before the given time, except the newest
// finished, successful and complete run of each sync, and returns how many.
func (s *Store) PruneRuns(ctx context.Context, workspace string, before time.Time) (int64, error) {
	res, err := s.write.ExecContext(ctx, `DELETE FROM runs WHERE workspace = ?1 AND ended_at < ?2 AND id NOT IN
		(SELECT max(id) FROM runs WHERE workspace = ?1 AND ended_at IS NOT NULL GROUP BY sync
		UNION SELECT max(id) FROM runs WHERE workspace = ?1 AND state = 'succeeded' GROUP BY sync
		UNION SELECT max(id) FROM runs WHERE workspace = ?1 AND `+complete+` GROUP BY sync)`, workspace, micros(before))
	if err != nil {
		return 0, s.classify("pruning runs in", err)
	}
	n, err := res.RowsAffected()
	return n, s.classify("pruning runs in", err)
}

func (s *Store) runs(ctx context.Context, query string, args ...any) (list []tidegate.Run, err error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.classify("reading runs from", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		run, err := scanRun(rows)
		if err != nil {
			return nil, s.classify("reading runs from", err)
		}
		list = append(list, run)
	}
	return list, s.classify("reading runs from", rows.Err())
}

func encodeRun(run tidegate.Run) (counts string, fault sql.NullString, err error) {
	c, err := json.Marshal(run.Counts)
	if err != nil {
		return "", fault, fmt.Errorf("encoding the counts of run %s: %w", run.ID, err)
	}
	if run.Fault != nil {
		f, err := json.Marshal(run.Fault)
		if err != nil {
			return "", fault, fmt.Errorf("encoding the fault of run %s: %w", run.ID, err)
		}
		fault = sql.NullString{String: string(f), Valid: true}
	}
	return string(c), fault, nil
}

func scanRun(row interface{ Scan(...any) error }) (run tidegate.Run, err error) {
	var state, counts string
	var created int64
	var started, ended sql.NullInt64
	var fault sql.NullString
	if err := row.Scan(&run.Workspace, &run.ID, &run.Sync, &state, &run.Trigger, &created, &started, &ended, &run.Epoch, &counts, &fault); err != nil {
		return tidegate.Run{}, err
	}
	run.State, run.CreatedAt, run.StartedAt, run.EndedAt = tidegate.RunState(state), fromMicros(created), fromNullMicros(started), fromNullMicros(ended)
	if err := json.Unmarshal([]byte(counts), &run.Counts); err != nil {
		return tidegate.Run{}, fmt.Errorf("decoding the counts of run %s: %w", run.ID, err)
	}
	if fault.Valid {
		if err := json.Unmarshal([]byte(fault.String), &run.Fault); err != nil {
			return tidegate.Run{}, fmt.Errorf("decoding the fault of run %s: %w", run.ID, err)
		}
	}
	return run, nil
}

// AcquireLease implements runner.Runs.
func (s *Store) AcquireLease(ctx context.Context, workspace, sync, holder string, now time.Time, ttl time.Duration) (runner.Lease, error) {
	lease := runner.Lease{Workspace: workspace, Sync: sync, Holder: holder, Expires: now.Add(ttl)}
	err := s.In(workspace).tx(ctx, "acquiring a lease in", func(tx *sql.Tx) error {
		var held runner.Lease
		var expires int64
		err := tx.QueryRowContext(ctx, "SELECT holder, epoch, expires_at FROM leases WHERE workspace = ? AND name = ?", workspace, sync).Scan(&held.Holder, &held.Epoch, &expires)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if held.Holder != "" && held.Holder != holder && micros(now) < expires {
			held.Workspace, held.Sync, held.Expires = workspace, sync, fromMicros(expires)
			return &runner.LeaseHeldError{Lease: held}
		}
		lease.Epoch = held.Epoch + 1 // the row outlives a release, and with it the epoch
		_, err = tx.ExecContext(ctx, `INSERT INTO leases (workspace, name, holder, epoch, expires_at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (workspace, name) DO UPDATE SET holder = excluded.holder, epoch = excluded.epoch, expires_at = excluded.expires_at`,
			workspace, sync, holder, lease.Epoch, micros(lease.Expires))
		return err
	})
	if err != nil {
		return runner.Lease{}, err
	}
	return lease, nil
}

// RenewLease implements runner.Runs.
func (s *Store) RenewLease(ctx context.Context, l runner.Lease, until time.Time) (runner.Lease, error) {
	res, err := s.write.ExecContext(ctx, "UPDATE leases SET expires_at = ? WHERE workspace = ? AND name = ? AND holder = ? AND epoch = ?",
		micros(until), l.Workspace, l.Sync, l.Holder, l.Epoch)
	if err != nil {
		return runner.Lease{}, s.classify("renewing a lease in", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return runner.Lease{}, s.classify("renewing a lease in", err)
	}
	if n == 0 {
		return runner.Lease{}, fmt.Errorf("renewing the lease of sync %s at epoch %d: %w", l.Sync, l.Epoch, runner.ErrLeaseLost)
	}
	l.Expires = until
	return l, nil
}

// ReleaseLease implements runner.Runs.
func (s *Store) ReleaseLease(ctx context.Context, l runner.Lease) error {
	_, err := s.write.ExecContext(ctx, "UPDATE leases SET holder = '', expires_at = 0 WHERE workspace = ? AND name = ? AND holder = ? AND epoch = ?",
		l.Workspace, l.Sync, l.Holder, l.Epoch)
	return s.classify("releasing a lease in", err)
}
