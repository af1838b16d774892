package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
	"github.com/tidegate/tidegate/internal/txstate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Exec implements warehouse.Execer: one statement in a transaction of its own.
func (w *Warehouse) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	s, err := w.session(ctx, w.pools.Write)
	if err != nil {
		return 0, err
	}
	defer s.End()
	n, err := s.execute(ctx, sql, args)
	if err != nil {
		s.Rollback(ctx)
		return 0, fmt.Errorf("executing a statement: %w", err)
	}
	return n, nil
}

// execute runs one statement that is not about transactions, which belong to Begin.
func (s *session) execute(ctx context.Context, sql string, args []any) (int64, error) {
	if err := pgwire.CheckStatement(sql); err != nil {
		return 0, err
	}
	if pgwire.LeavesTraces(sql) {
		s.Dirty = true // what it leaves on the connection is not for the next user
	}
	return s.Exec(ctx, sql, args...)
}

// The beginnings of a transaction. A snapshot is taken here, not at the first
// read; LOCK is one of the few statements that come before it.
const (
	beginSnapshot sqltext.Text = "BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE _tidegate.snapshots IN ACCESS SHARE MODE; SELECT 1"
	beginWriting  sqltext.Text = "BEGIN ISOLATION LEVEL READ COMMITTED"
)

// Begin implements warehouse.Execer.
func (w *Warehouse) Begin(ctx context.Context) (warehouse.Tx, error) {
	t, err := w.begin(ctx, beginSnapshot)
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (w *Warehouse) begin(ctx context.Context, how sqltext.Text) (*tx, error) {
	s, err := w.session(ctx, w.pools.Write)
	if err != nil {
		return nil, err
	}
	if err = w.bookkeeping(ctx, s); err == nil {
		err = s.control(ctx, how)
	}
	if err != nil {
		s.Rollback(ctx)
		s.End()
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	return &tx{s: s, w: w, snapshot: how == beginSnapshot}, nil
}

// tx is one transaction of the server.
type tx struct {
	txstate.State
	w        *Warehouse
	s        *session // ended when over
	snapshot bool     // it holds the lock of _tidegate.snapshots

	reader *pgwire.Reader // open reader, of which a connection has one
	wrote  bool           // something may have changed
}

func (t *tx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return 0, err
	}
	t.wrote = true
	n, err := t.s.execute(ctx, sql, args)
	if err != nil {
		return 0, t.Fail(fmt.Errorf("executing in a transaction: %w", err))
	}
	return n, nil
}

func (t *tx) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return nil, err
	}
	t.wrote = true // INSERT … RETURNING is a query too
	err := pgwire.CheckStatement(sql)
	var r *pgwire.Reader
	if err == nil {
		r, err = t.s.Start(ctx, sql, args)
	}
	if err != nil {
		return nil, t.Fail(fmt.Errorf("querying in a transaction: %w", err))
	}
	t.reader = r
	r.Done = func(err error) { t.reader = nil; _ = t.Fail(err) }
	return r, nil
}

// commitTimeout is how long a commit may take before its connection counts as lost.
const commitTimeout = 2 * time.Minute

// Commit makes everything durable. A transaction in which a call failed is
// rolled back instead, and the error of that call is returned. When the answer
// is lost the server is asked what became of the transaction.
func (t *tx) Commit() error {
	if err := t.Ready(t.reader != nil); err != nil {
		return t.GiveUp(err, t.Rollback)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	err := t.commit(ctx)
	if !t.s.Ended {
		t.s.Rollback(ctx)
	}
	t.finish()
	if err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

func (t *tx) commit(ctx context.Context) error {
	var id any // nil: nothing was written, so nothing can be in doubt
	if t.wrote {
		rows, err := t.s.Rows(ctx, "SELECT txid_current_if_assigned()")
		if err != nil {
			return err
		}
		id = rows[0][0]
	}
	return t.s.Commit(ctx, id != nil, func(ctx context.Context) (committed, known bool) { return t.w.committed(ctx, id) })
}

func (t *tx) finish() {
	t.Over = true
	t.s.End()
}

// Rollback gives everything up; after Commit or a first Rollback it does nothing.
func (t *tx) Rollback() error {
	if t.Over {
		return nil
	}
	if t.reader != nil {
		t.reader.Abandon()
	}
	t.s.Rollback(context.Background())
	t.finish()
	return nil
}

// committed says whether the transaction id has been committed, as far as that is known.
func (w *Warehouse) committed(ctx context.Context, id any) (yes, known bool) {
	s, err := w.session(ctx, w.pools.Write)
	if err != nil {
		return false, false // asked again
	}
	defer s.End()
	rows, err := s.Rows(ctx, "SELECT txid_status($1::bigint)", id)
	if err != nil || len(rows) == 0 {
		return false, false
	}
	return rows[0][0] == "committed", rows[0][0] == "committed" || rows[0][0] == "aborted"
}
