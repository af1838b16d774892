package redshift

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
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
	s, err := w.session(ctx, w.pools.Write)
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
	txstate.State
	w *Warehouse
	s *session // ended when over

	reader *pgwire.Reader // open reader, of which a connection has one
	wrote  bool           // something may have changed
	turn   bool           // it has the turn of loads
	marks  []mark         // what it put into the books
	loads  int
	// growing are columns that a load found too short. They grow after the transaction.
	growing *growth
	// clean says that the connection can be used again once the transaction is committed, which drops what was dirty about it.
	clean bool
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
	if (&pgwire.Tokens{SQL: sql}).Lead() != "select" {
		t.wrote = true
	}
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
const commitTimeout = 5 * time.Minute

// Commit makes everything durable. A transaction in which a call failed is
// rolled back instead, and the error of that call is returned. When the answer
// is lost the books are asked what became of the transaction.
func (t *tx) Commit() error {
	if err := t.Ready(t.reader != nil); err != nil {
		return t.GiveUp(err, t.Rollback)
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
	return t.s.Commit(ctx, len(t.marks) > 0, func(ctx context.Context) (committed, known bool) {
		there, err := t.w.committed(ctx, t.marks[0])
		return there, err == nil
	})
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
	if t.growing != nil {
		ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
		defer cancel()
		if err := t.w.grow(ctx, t.growing); err != nil {
			return fmt.Errorf("rolling back: %w", err)
		}
	}
	return nil
}

// committed waits until nobody has the books locked, and then looks for m in them: a transaction that wrote m and
// is still under way holds them.
func (w *Warehouse) committed(ctx context.Context, m mark) (bool, error) {
	s, err := w.session(ctx, w.pools.Write)
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
