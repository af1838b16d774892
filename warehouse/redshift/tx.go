package redshift

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

var errFinished = errors.New("the transaction is over")

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

// The beginnings of a transaction. The server takes a snapshot at the first statement that reads or
// writes, and LOCK is none. The read of _tidegate.snapshots takes it and keeps rewrites of tables away.
const (
	beginSnapshot sqltext.Text = "BEGIN; SELECT count(*) FROM _tidegate.snapshots"
	beginLoading  sqltext.Text = "BEGIN; LOCK _tidegate.turns"
	beginSchema   sqltext.Text = "BEGIN; LOCK _tidegate.schemas"
)

// Begin implements warehouse.Execer.
func (w *Warehouse) Begin(ctx context.Context) (warehouse.Tx, error) {
	s, err := w.bookedSession(ctx)
	if err != nil {
		return nil, err
	}
	t, err := s.begin(ctx, beginSnapshot)
	if err != nil {
		s.End()
		return nil, err
	}
	return t, nil
}

// bookedSession is a session of a database that has the bookkeeping tables.
func (w *Warehouse) bookedSession(ctx context.Context) (*session, error) {
	s, err := w.session(ctx, w.pool)
	if err != nil {
		return nil, err
	}
	if err := w.bookkeeping(ctx, s); err != nil {
		s.Rollback(ctx)
		s.End()
		return nil, err
	}
	return s, nil
}

// begin begins a transaction on s, which it then owns.
func (s *session) begin(ctx context.Context, how sqltext.Text) (*tx, error) {
	if err := s.control(ctx, how); err != nil {
		s.Rollback(ctx)
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	return &tx{s: s, w: s.w}, nil
}

// tx is one transaction of the server.
type tx struct {
	w *Warehouse
	s *session // ended when over

	reader *pgwire.Reader // open reader, of which a connection has one
	wrote  bool           // something may have changed
	turn   bool           // it has the turn of loads
	marks  []mark         // what it put into the books
	loads  int
	// failed is the first error that left the transaction without its full
	// effect: it cannot be committed.
	failed error
	// growing are columns that a load found too short. They grow after the transaction.
	growing *growth
	// clean says that the connection can be used again once the transaction is committed, which drops what was dirty about it.
	clean bool
	over  bool
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
	if (&pgwire.Tokens{SQL: sql}).Lead() != "select" {
		t.wrote = true
	}
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
const commitTimeout = 5 * time.Minute

// Commit makes everything durable. A transaction in which a call failed is
// rolled back instead, and the error of that call is returned. When the answer
// is lost the books are asked what became of the transaction.
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
		t.s.Dirty = t.s.Dirty && (err != nil || !t.clean)
	}
	t.finish()
	if err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

func (t *tx) commit(ctx context.Context) error {
	if t.wrote && len(t.marks) == 0 { // so that its end can be looked up
		m := mark{id: "transaction " + rand.Text()}
		if err := t.s.remember(ctx, m, 0); err != nil {
			return err
		}
		t.marks = append(t.marks, m)
	}
	results, err := t.s.PG.Exec(ctx, "COMMIT").ReadAll()
	switch {
	case err == nil && len(results) == 1 && results[0].CommandTag.String() == "COMMIT":
		return nil
	case err == nil:
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.conflict", Message: "the server rolled the transaction back"}
	case len(t.marks) == 0 || !pgwire.Lost(err):
		return t.s.Fault(ctx, err, "")
	}
	t.s.Dirty = true
	t.s.End() // so that another connection can be had where they are few
	return t.w.outcome(ctx, t.marks[0], err)
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
	if t.growing != nil {
		ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
		defer cancel()
		if err := t.w.grow(ctx, t.growing); err != nil {
			return fmt.Errorf("rolling back: %w", err)
		}
	}
	return nil
}

const (
	outcomeAttempts = 12
	outcomeWait     = 50 * time.Millisecond
)

// outcome asks the books, over other connections, what became of the
// transaction that wrote m, whose COMMIT was not answered because of cause.
func (w *Warehouse) outcome(ctx context.Context, m mark, cause error) error {
	doubt := &tidegate.Fault{
		Action: tidegate.Retry, Code: "warehouse.in_doubt", Err: cause,
		Message: "the connection broke during a commit and the server cannot be asked what became of it: " + pgwire.Redacted(cause),
	}
	wait := outcomeWait
	for range outcomeAttempts {
		if there, err := w.committed(ctx, m); err == nil {
			if there {
				return nil
			}
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

// committed waits until nobody has the books locked, and then looks for m in them: a transaction that wrote m and
// is still under way holds them.
func (w *Warehouse) committed(ctx context.Context, m mark) (bool, error) {
	s, err := w.session(ctx, w.pool)
	if err != nil {
		return false, err
	}
	defer s.End()
	defer s.Rollback(ctx)
	if err := s.control(ctx, "BEGIN; LOCK _tidegate.loads"); err != nil {
		return false, err
	}
	return s.there(ctx, m)
}

// known says whether the transaction itself put m into the books.
func (t *tx) known(m mark) bool { return slices.Contains(t.marks, m) }
