package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/ingest/teller"
)

var (
	_ teller.Books = (*Workspace)(nil)
	_ privacy.List = (*Workspace)(nil)
)

// TellerPlace implements teller.Books.
func (w *Workspace) TellerPlace(ctx context.Context) (next int64, found bool, err error) {
	err = w.s.read.QueryRowContext(ctx, "SELECT next FROM teller WHERE workspace = ?", w.id).Scan(&next)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return next, err == nil, w.s.classify("reading counts from", err)
}

// JournalEnd returns the end of the journal as far as places that are kept here tell; 0
// when none is.
func (w *Workspace) JournalEnd(ctx context.Context) (end int64, err error) {
	err = w.s.read.QueryRowContext(ctx, `SELECT max(
		coalesce((SELECT max(next) FROM teller WHERE workspace = ?1), 0),
		coalesce((SELECT max(position) + 1 FROM forward_letters WHERE workspace = ?1), 0),
		coalesce((SELECT max(below) FROM suppressions WHERE workspace = ?1), 0))`, w.id).Scan(&end)
	return end, w.s.classify("reading places in the journal from", err)
}

// AddAccepted implements teller.Books.
func (w *Workspace) AddAccepted(ctx context.Context, next int64, counts map[teller.Key]int64) error {
	return w.tx(ctx, "writing counts to", func(tx *sql.Tx) error {
		for k, n := range counts {
			_, err := tx.ExecContext(ctx, `INSERT INTO accepted_hourly (workspace, source, hour, events) VALUES (?, ?, ?, ?)
				ON CONFLICT (workspace, source, hour) DO UPDATE SET events = events + excluded.events`, w.id, k.Source, k.Hour.Unix()/3600, n)
			if err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO teller (workspace, next) VALUES (?, ?)", w.id, next)
		return err
	})
}

// Accepted implements teller.Books.
func (w *Workspace) Accepted(ctx context.Context, source string, from, to time.Time) (all map[teller.Key]int64, err error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT source, hour, events FROM accepted_hourly WHERE workspace = ? AND hour >= ? AND hour < ? AND (? = '' OR source = ?)",
		w.id, from.Unix()/3600, to.Unix()/3600, source, source)
	if err != nil {
		return nil, w.s.classify("reading counts from", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	all = map[teller.Key]int64{}
	for rows.Next() {
		var k teller.Key
		var hour, n int64
		if err := rows.Scan(&k.Source, &hour, &n); err != nil {
			return nil, w.s.classify("reading counts from", err)
		}
		k.Hour = time.Unix(hour*3600, 0).UTC()
		all[k] = n
	}
	return all, w.s.classify("reading counts from", rows.Err())
}

// Suppressions implements privacy.List.
func (w *Workspace) Suppressions(ctx context.Context) (list []privacy.Entry, err error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT source, kind, id, below, at, actor, reason FROM suppressions WHERE workspace = ? ORDER BY at, source, kind, id", w.id)
	if err != nil {
		return nil, w.s.classify("reading suppressions from", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var e privacy.Entry
		var at int64
		if err := rows.Scan(&e.Source, &e.Kind, &e.ID, &e.Below, &at, &e.Actor, &e.Reason); err != nil {
			return nil, w.s.classify("reading suppressions from", err)
		}
		e.At = fromMicros(at)
		list = append(list, e)
	}
	return list, w.s.classify("reading suppressions from", rows.Err())
}

// AddSuppressions implements privacy.List. The audit log names how many, never whom.
func (w *Workspace) AddSuppressions(ctx context.Context, entries []privacy.Entry) (added int64, err error) {
	err = w.tx(ctx, "writing suppressions to", func(tx *sql.Tx) error {
		for _, e := range entries {
			r, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO suppressions (workspace, source, kind, id, below, at, actor, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				w.id, e.Source, string(e.Kind), e.ID, e.Below, micros(e.At), e.Actor, e.Reason)
			if err != nil {
				return err
			}
			n, err := r.RowsAffected()
			if err != nil {
				return err
			}
			added += n
		}
		return nil
	})
	return added, err
}

// RemoveSuppressions implements privacy.List.
func (w *Workspace) RemoveSuppressions(ctx context.Context, entries []privacy.Entry) (removed int64, err error) {
	err = w.tx(ctx, "writing suppressions to", func(tx *sql.Tx) error {
		for _, e := range entries {
			r, err := tx.ExecContext(ctx, "DELETE FROM suppressions WHERE workspace = ? AND source = ? AND kind = ? AND id = ? AND below = ?", w.id, e.Source, string(e.Kind), e.ID, e.Below)
			if err != nil {
				return err
			}
			n, err := r.RowsAffected()
			if err != nil {
				return err
			}
			removed += n
		}
		return nil
	})
	return removed, err
}

// Job is work that outlives a process. Document is what its kind says.
type Job struct {
	ID        string
	Kind      string
	State     string // waiting, running, done, failed, canceled
	Document  json.RawMessage
	Actor     string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// PutJob creates a job or replaces its state and document.
func (w *Workspace) PutJob(ctx context.Context, j Job) error {
	_, err := w.s.write.ExecContext(ctx, `INSERT INTO jobs (workspace, id, kind, state, document, actor, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (workspace, id) DO UPDATE SET state = excluded.state, document = excluded.document, updated_at = excluded.updated_at`,
		w.id, j.ID, j.Kind, j.State, string(j.Document), j.Actor, micros(j.CreatedAt), micros(j.UpdatedAt))
	return w.s.classify("writing a job to", err)
}

// Job returns one job; fault "job.not_found" when there is none.
func (w *Workspace) Job(ctx context.Context, kind, id string) (Job, error) {
	list, err := w.jobs(ctx, "AND kind = ? AND id = ?", kind, id)
	if err != nil {
		return Job{}, err
	}
	if len(list) == 0 {
		return Job{}, &tidegate.Fault{Action: tidegate.Halt, Code: kind + ".not_found", Subject: kind + " " + id, Message: fmt.Sprintf("there is no %s %q", kind, id), Hint: listedBy(kind)}
	}
	return list[0], nil
}

// listedBy says which command lists the jobs of kind.
func listedBy(kind string) string {
	if kind == "deletion" {
		return "`tidegate privacy deletions` lists them"
	}
	return "`tidegate events " + kind + " list` lists them"
}

// Jobs lists the jobs of a kind, newest first.
func (w *Workspace) Jobs(ctx context.Context, kind string, limit int) ([]Job, error) {
	return w.jobs(ctx, "AND kind = ? ORDER BY created_at DESC, id LIMIT ?", kind, limit)
}

// OpenJobs lists the jobs of a kind that have not ended, oldest first.
func (w *Workspace) OpenJobs(ctx context.Context, kind string) ([]Job, error) {
	return w.jobs(ctx, "AND kind = ? AND state IN ('waiting', 'running') ORDER BY created_at, id", kind)
}

func (w *Workspace) jobs(ctx context.Context, where string, args ...any) (list []Job, err error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT id, kind, state, document, actor, created_at, updated_at FROM jobs WHERE workspace = ? "+where, append([]any{w.id}, args...)...)
	if err != nil {
		return nil, w.s.classify("reading jobs from", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var j Job
		var document string
		var created, updated int64
		if err := rows.Scan(&j.ID, &j.Kind, &j.State, &document, &j.Actor, &created, &updated); err != nil {
			return nil, w.s.classify("reading jobs from", err)
		}
		j.Document, j.CreatedAt, j.UpdatedAt = json.RawMessage(document), fromMicros(created), fromMicros(updated)
		list = append(list, j)
	}
	return list, w.s.classify("reading jobs from", rows.Err())
}
