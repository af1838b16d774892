package duckdb

import (
	"context"
	"fmt"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
	"github.com/tidegate/tidegate/internal/txstate"
	"github.com/tidegate/tidegate/warehouse"
)

// Exec implements warehouse.Execer: one statement in a transaction of its own.
func (w *Warehouse) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	s, err := w.session()
	if err != nil {
		return 0, err
	}
	n, err := s.execute(ctx, sql, args)
	if err != nil {
		err = fmt.Errorf("executing a statement: %w", err)
	}
	s.end(err)
	return n, err
}

// execute runs one statement that is not about transactions, which belong to Begin.
func (s *session) execute(ctx context.Context, sql string, args []any) (int64, error) {
	st, err := s.prepare(ctx, sql)
	if err != nil {
		return 0, err
	}
	defer st.close()
	switch bindings.PreparedStatementType(st.raw) {
	case bindings.StatementTypeTransaction:
		return 0, sqlcheck.NoTransactions()
	case bindings.StatementTypeCreate, bindings.StatementTypePrepare, bindings.StatementTypeAttach,
		bindings.StatementTypeVariableSet, bindings.StatementTypeSet, bindings.StatementTypePragma:
		s.dirty = true // what they leave on the connection is not for the next user
	}
	res, err := st.run(ctx, false, args)
	if err != nil {
		return 0, err
	}
	defer bindings.DestroyResult(&res)
	return int64(bindings.RowsChanged(&res)), nil
}

// Begin implements warehouse.Execer. The snapshot is taken here, not at the first read.
func (w *Warehouse) Begin(ctx context.Context) (warehouse.Tx, error) { return w.begin(ctx) }

func (w *Warehouse) begin(ctx context.Context) (*tx, error) {
	s, err := w.session()
	if err != nil {
		return nil, err
	}
	if err := s.control(ctx, "BEGIN TRANSACTION"); err != nil {
		err = fmt.Errorf("beginning a transaction: %w", err)
		s.rollback() // an interrupt can come when the transaction has begun already
		s.end(err)
		return nil, err
	}
	return &tx{s: s, w: w}, nil
}

// tx is one transaction of the engine.
type tx struct {
	txstate.State
	w *Warehouse
	s *session // ended when over

	reader *reader // open reader, which the engine allows one of
	loads  []string
	format string // of the file, as far as it was asked for
	// inserts are the statements that AppendArrow has compiled, by table.
	inserts map[warehouse.Table]interface{ close() }
}

func (t *tx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return 0, err
	}
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
	r, err := t.query(ctx, sql, args)
	if err != nil {
		return nil, t.Fail(fmt.Errorf("querying in a transaction: %w", err))
	}
	return r, nil
}

func (t *tx) query(ctx context.Context, sql string, args []any) (*reader, error) {
	st, err := t.s.prepare(ctx, sql)
	if err != nil {
		return nil, err
	}
	if bindings.PreparedStatementType(st.raw) == bindings.StatementTypeTransaction {
		st.close()
		return nil, sqlcheck.NoTransactions()
	}
	res, err := st.run(ctx, true, args)
	if err != nil {
		st.close()
		return nil, err
	}
	r, err := newReader(t.s.conn, st, res, func(err error) { t.reader = nil; _ = t.Fail(err) })
	if err != nil {
		return nil, err
	}
	t.reader = r
	return r, nil
}

// Commit makes everything durable. A transaction in which a call failed is
// rolled back instead, and the error of that call is returned.
func (t *tx) Commit() error {
	if err := t.Ready(t.reader != nil); err != nil {
		return t.GiveUp(err, t.Rollback)
	}
	err := t.s.settle(context.Background(), "COMMIT")
	if err != nil {
		err = fmt.Errorf("committing: %w", err)
		t.s.rollback() // a commit that failed has ended the transaction; this finds none, or ends it
	}
	t.finish(err)
	return err
}

// Rollback gives everything up; after Commit or a first Rollback it does nothing.
func (t *tx) Rollback() error {
	if t.Over {
		return nil
	}
	var err error
	if t.reader != nil {
		err = t.reader.Close()
	}
	t.s.rollback()
	t.finish(t.Failed)
	return err
}

func (t *tx) finish(err error) {
	t.Over = true
	t.w.loading.release(t.loads...)
	for _, in := range t.inserts {
		in.close()
	}
	t.s.end(err)
}
