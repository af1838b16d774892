package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Exec implements warehouse.Execer: one statement in a transaction of its own.
func (w *Warehouse) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	s, err := w.session(ctx, w.pool)
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
	if err := pgwire.CheckText(sql); err != nil {
		return 0, err
	}
	if pgwire.EndsTransaction(sql) {
		return 0, &tidegate.Fault{Action: tidegate.Halt, Code: "sql.refused", Message: "a transaction is not begun or ended by a statement", Hint: "use Begin, Commit and Rollback"}
	}
	if pgwire.LeavesTraces(sql) {
		s.Dirty = true // what it leaves on the connection is not for the next user
	}
	return s.exec(ctx, sql, args...)
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
	s, err := w.session(ctx, w.pool)
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
	w        *Warehouse
	s        *session // ended when over
	snapshot bool     // it holds the lock of _tidegate.snapshots

	reader *pgwire.Reader // open reader, of which a connection has one
	wrote  bool           // something may have changed
	// failed is the first error that left the transaction without its full
	// effect: it cannot be committed.
	failed error
	over   bool
}

func (t *tx) ready() error {
	switch {
	case t.over:
		return errFinished
	case t.reader != nil:
		return errors.New("using a transaction: the reader of its last query is still open")
	case t.failed != nil:
		return fmt.Errorf("using a transaction after an error: %w", t.failed)
	}
	return nil
}

// fail remembers err, if it is one, as the reason why t cannot be committed.
func (t *tx) fail(err error) error {
	if err != nil && t.failed == nil {
		t.failed = err
	}
	return err
}

func (t *tx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := t.ready(); err != nil {
		return 0, err
	}
	t.wrote = true
	n, err := t.s.execute(ctx, sql, args)
	if err != nil {
		return 0, t.fail(fmt.Errorf("executing in a transaction: %w", err))
	}
	return n, nil
}

func (t *tx) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	if err := t.ready(); err != nil {
		return nil, err
	}
	t.wrote = true // INSERT … RETURNING is a query too
	err := pgwire.CheckText(sql)
	if err == nil && pgwire.EndsTransaction(sql) {
		err = pgwire.Refused("a transaction is not begun or ended by a statement")
	}
	var r *pgwire.Reader
	if err == nil {
		r, err = t.s.start(ctx, sql, args)
	}
	if err != nil {
		return nil, t.fail(fmt.Errorf("querying in a transaction: %w", err))
	}
	t.reader = r
	r.Done = func(err error) { t.reader = nil; _ = t.fail(err) }
	return r, nil
}

// commitTimeout is how long a commit may take before its connection counts as lost.
const commitTimeout = 2 * time.Minute

// Commit makes everything durable. A transaction in which a call failed is
// rolled back instead, and the error of that call is returned. When the answer
// is lost the server is asked what became of the transaction.
func (t *tx) Commit() error {
	if err := t.ready(); err != nil {
		if !t.over {
			err = errors.Join(fmt.Errorf("committing: %w", err), t.Rollback())
		}
		return err
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
		rows, err := t.s.rows(ctx, "SELECT txid_current_if_assigned()")
		if err != nil {
			return err
		}
		id = rows[0][0]
	}
	results, err := t.s.PG.Exec(ctx, "COMMIT").ReadAll()
	switch {
	case err == nil && len(results) == 1 && results[0].CommandTag.String() == "COMMIT":
		return nil
	case err == nil:
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.conflict", Message: "the server rolled the transaction back"}
	case id == nil || !pgwire.Lost(err):
		return t.s.Fault(ctx, err, "")
	}
	t.s.Dirty = true
	t.s.End() // so that another connection can be had where they are few
	return t.w.outcome(ctx, id, err)
}

func (t *tx) finish() {
	t.over = true
	t.s.End()
}

// Rollback gives everything up; after Commit or a first Rollback it does nothing.
func (t *tx) Rollback() error {
	if t.over {
		return nil
	}
	if t.reader != nil {
		t.reader.Abandon()
	}
	t.s.Rollback(context.Background())
	t.finish()
	return nil
}

const (
	outcomeAttempts = 12
	outcomeWait     = 50 * time.Millisecond
)

// outcome asks the server, over other connections, what became of the
// transaction id, whose COMMIT was not answered because of cause.
func (w *Warehouse) outcome(ctx context.Context, id any, cause error) error {
	doubt := &tidegate.Fault{
		Action: tidegate.Retry, Code: "warehouse.in_doubt", Err: cause,
		Message: "the connection broke during a commit and the server cannot be asked what became of it: " + pgwire.Redacted(cause),
	}
	wait := outcomeWait
	for range outcomeAttempts {
		switch w.status(ctx, id) {
		case "committed":
			return nil
		case "aborted":
			return pgwire.ConnectionLost(cause)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return doubt
		case <-timer.C:
		}
		wait = min(2*wait, 5*time.Second)
	}
	return doubt
}

// status is "committed", "aborted", "in progress", or "" when it cannot be had.
func (w *Warehouse) status(ctx context.Context, id any) string {
	s, err := w.session(ctx, w.pool)
	if err != nil {
		return "" // asked again
	}
	defer s.End()
	rows, err := s.rows(ctx, "SELECT txid_status($1::bigint)", id)
	if err != nil || len(rows) == 0 {
		return ""
	}
	text, _ := rows[0][0].(string)
	return text
}
