package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate"
)

// Query implements warehouse.Warehouse: one statement, checked by its text, in
// a read-only transaction that lasts as long as the reader. Rows come as the
// server makes them; what is not read yet waits at the server.
func (w *Warehouse) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	if err := checkQuery(sql); err != nil {
		return nil, fmt.Errorf("querying the warehouse: %w", err)
	}
	r, err := w.read(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("querying the warehouse: %w", err)
	}
	return r, nil
}

// read runs a statement of which it is known that it reads.
func (w *Warehouse) read(ctx context.Context, sql string, args []any) (*reader, error) {
	s, err := w.session(ctx, w.reading)
	if err != nil {
		return nil, err
	}
	// READ COMMITTED, so that the snapshot is taken after the locks; see the package comment.
	err = s.control(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
	var r *reader
	if err == nil {
		r, err = s.start(ctx, sql, args)
	}
	if err != nil {
		s.endReading(ctx)
		return nil, err
	}
	r.hurry = true
	r.done = func(error) { s.endReading(context.WithoutCancel(ctx)) }
	return r, nil
}

// endReading ends the transaction and what a query could leave behind it.
func (s *session) endReading(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer cancel()
	if s.control(ctx, "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()") != nil {
		s.dirty = true
	}
	s.end()
}

// start runs one statement and returns its rows. After an error the
// connection's transaction, if there is one, can only be rolled back.
func (s *session) start(ctx context.Context, sql string, args []any) (*reader, error) {
	values, err := encodeArgs(args)
	if err != nil {
		return nil, err
	}
	described, err := s.pg.Prepare(ctx, "", sql, nil)
	if err != nil {
		return nil, s.fault(ctx, err, sql)
	}
	if len(described.ParamOIDs) != len(args) {
		return nil, wrongArguments(len(described.ParamOIDs), len(args))
	}
	columns := columnsOf(described.Fields)
	formats := make([]int16, len(columns))
	for i := range columns {
		formats[i] = columns[i].format()
	}
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r := &reader{s: s, sql: sql, columns: columns, schema: schemaOf(columns), row: make(tidegate.Row, len(columns)), cancel: cancel}
	r.cause = func() error { return context.Cause(run) }
	r.watch(ctx)
	r.res = s.pg.ExecStatement(run, described, values, nil, formats)
	return r, nil
}

var errReaderClosed = errors.New("reading rows: the reader is closed")

// reader streams one result. It ends once.
type reader struct {
	s       *session
	sql     string
	columns []column
	schema  tidegate.Schema
	row     tidegate.Row
	res     *pgconn.ResultReader
	cancel  context.CancelCauseFunc // cancels the statement at the server
	cause   func() error            // why it was cancelled, nil if it was not
	closing atomic.Bool
	// hurry: a result that is given up is cancelled rather than read to its end,
	// which in a transaction would be the end of that.
	hurry bool
	done  func(error) // may be nil

	mu      sync.Mutex // held by Next, and by Close once Next returned
	watched <-chan struct{}
	unwatch func() bool
	read    int64
	err     error // why the reader ended
}

func (r *reader) Schema() tidegate.Schema { return r.schema }

// watch ties the statement to ctx, which is that of the latest call. r.mu is held.
func (r *reader) watch(ctx context.Context) {
	if done := ctx.Done(); done != r.watched {
		if r.unwatch != nil {
			r.unwatch()
		}
		r.watched = done // nil for a context that never ends
		r.unwatch = context.AfterFunc(ctx, func() { r.cancel(context.Cause(ctx)) })
	}
}

func (r *reader) Next(ctx context.Context) (tidegate.Row, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, r.err
	}
	if err := r.next(ctx); err != nil {
		r.end(err)
		return nil, err
	}
	return r.row, nil
}

func (r *reader) next(ctx context.Context) error {
	r.watch(ctx)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading rows: %w", err)
	}
	if r.closing.Load() {
		return errReaderClosed
	}
	if !r.res.NextRow() {
		return r.result()
	}
	for i, raw := range r.res.Values() {
		v, err := r.columns[i].cell(raw)
		if err != nil {
			return cellFault(r.columns[i].name, r.read+1, err)
		}
		r.row[i] = v
	}
	r.read++
	return nil
}

// result is what the statement ended with, io.EOF when that is well (Invariant 6).
func (r *reader) result() error {
	_, err := r.res.Close()
	if err == nil {
		return io.EOF
	}
	if cause := r.cause(); cause != nil {
		return fmt.Errorf("reading rows: %w", cause)
	}
	return fmt.Errorf("reading rows: %w", r.s.fault(context.Background(), err, r.sql))
}

// patience is how long a result that is given up may take to end by itself,
// before it is cancelled: most have ended already.
const patience = 20 * time.Millisecond

// end releases everything and remembers why. r.mu is held.
func (r *reader) end(err error) {
	if r.err != nil {
		return
	}
	r.err = err
	if r.hurry {
		impatient := time.AfterFunc(patience, func() { r.cancel(errReaderClosed) })
		defer impatient.Stop()
	}
	_, closeErr := r.res.Close() // reads what is left
	if !r.hurry && closeErr != nil && errors.Is(err, errReaderClosed) {
		err = fmt.Errorf("closing a reader: %w", r.s.fault(context.Background(), closeErr, r.sql))
	}
	if r.unwatch != nil {
		r.unwatch()
	}
	if r.cause() != nil {
		r.s.dirty = true // a late request to cancel must not hit the next user's statement
	}
	r.cancel(nil)
	if errors.Is(err, io.EOF) || errors.Is(err, errReaderClosed) {
		err = nil
	}
	if r.done != nil {
		r.done(err)
	}
}

// Close stops a Next that is waiting in another goroutine.
func (r *reader) Close() error {
	r.closing.Store(true)
	if !r.mu.TryLock() {
		r.cancel(errReaderClosed)
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	r.end(errReaderClosed)
	return nil
}

// abandon ends a reader whose transaction is given up.
func (r *reader) abandon() {
	r.hurry = true
	_ = r.Close()
}

// drain returns all rows of a small result.
func drain(ctx context.Context, r *reader) (all []tidegate.Row, err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		row, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, append(tidegate.Row{}, row...))
	}
}

func cellFault(column string, row int64, err error) error {
	return &tidegate.Fault{
		Action:  tidegate.Halt,
		Code:    "warehouse.value",
		Subject: fmt.Sprintf("column %q", column),
		Message: fmt.Sprintf("the value in row %d %s", row, err),
		Hint:    "correct it, or turn it into NULL or text in the query",
		Err:     err,
	}
}
