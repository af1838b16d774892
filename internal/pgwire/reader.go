package pgwire

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
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

var errReaderClosed = errors.New("reading rows: the reader is closed")

// Reader streams one result. It ends once.
type Reader struct {
	s       *Session
	sql     string
	cell    func(i int, raw []byte) (any, error)
	schema  tidegate.Schema
	row     tidegate.Row
	res     *pgconn.ResultReader
	cancel  context.CancelCauseFunc // cancels the statement at the server
	cause   func() error            // why it was cancelled, nil if it was not
	closing atomic.Bool
	// Hurry: a result that is given up is cancelled rather than read to its end,
	// which in a transaction would be the end of that.
	Hurry bool
	Done  func(error) // told how the reader ended; may be nil

	mu      sync.Mutex // held by Next, and by Close once Next returned
	watched <-chan struct{}
	unwatch func() bool
	read    int64
	err     error // why the reader ended
}

// Columns describe a result: how each column is asked for (1 is binary, 0 text) and how a cell of it, which is not nil, is read.
type Columns struct {
	Schema  tidegate.Schema
	Formats []int16
	Cell    func(i int, raw []byte) (any, error)
}

// Start runs one statement and returns its rows. After an error the
// connection's transaction, if there is one, can only be rolled back.
func (s *Session) Start(ctx context.Context, sql string, args []any) (*Reader, error) {
	values, err := Args(args, s.speech.AppendArg)
	if err != nil {
		return nil, err
	}
	described, err := s.PG.Prepare(ctx, "", sql, nil)
	if err != nil {
		return nil, s.Fault(ctx, err, sql)
	}
	if len(described.ParamOIDs) != len(values) {
		return nil, sqlcheck.Arguments(len(described.ParamOIDs), len(values))
	}
	c := s.speech.Columns(described.Fields)
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r := &Reader{s: s, sql: sql, cell: c.Cell, schema: c.Schema, row: make(tidegate.Row, len(c.Schema)), cancel: cancel}
	r.cause = func() error { return context.Cause(run) }
	r.watch(ctx)
	r.res = s.PG.ExecStatement(run, described, values, nil, c.Formats)
	return r, nil
}

// Schema implements tidegate.RowReader.
func (r *Reader) Schema() tidegate.Schema { return r.schema }

// watch ties the statement to ctx, which is that of the latest call. r.mu is held.
func (r *Reader) watch(ctx context.Context) {
	if done := ctx.Done(); done != r.watched {
		if r.unwatch != nil {
			r.unwatch()
		}
		r.watched = done // nil for a context that never ends
		r.unwatch = context.AfterFunc(ctx, func() { r.cancel(context.Cause(ctx)) })
	}
}

// Next implements tidegate.RowReader.
func (r *Reader) Next(ctx context.Context) (tidegate.Row, error) {
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

func (r *Reader) next(ctx context.Context) error {
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
		v, err := r.cell(i, raw)
		if err != nil {
			return celltext.Unreadable(r.schema[i].Name, r.read+1, err)
		}
		r.row[i] = v
	}
	r.read++
	return nil
}

// result is what the statement ended with, io.EOF when that is well (Invariant 6).
func (r *Reader) result() error {
	_, err := r.res.Close()
	if err == nil {
		return io.EOF
	}
	if cause := r.cause(); cause != nil {
		return fmt.Errorf("reading rows: %w", cause)
	}
	return fmt.Errorf("reading rows: %w", r.s.Fault(context.Background(), err, r.sql))
}

// patience is how long a result that is given up may take to end by itself,
// before it is cancelled: most have ended already.
const patience = 20 * time.Millisecond

// end releases everything and remembers why. r.mu is held.
func (r *Reader) end(err error) {
	if r.err != nil {
		return
	}
	r.err = err
	if r.Hurry {
		impatient := time.AfterFunc(patience, func() { r.cancel(errReaderClosed) })
		defer impatient.Stop()
	}
	_, closeErr := r.res.Close() // reads what is left
	if !r.Hurry && closeErr != nil && errors.Is(err, errReaderClosed) {
		err = fmt.Errorf("closing a reader: %w", r.s.Fault(context.Background(), closeErr, r.sql))
	}
	if r.unwatch != nil {
		r.unwatch()
	}
	if r.cause() != nil {
		r.s.Dirty = true // a late request to cancel must not hit the next user's statement
	}
	r.cancel(nil)
	if errors.Is(err, io.EOF) || errors.Is(err, errReaderClosed) {
		err = nil
	}
	if r.Done != nil {
		r.Done(err)
	}
}

// Close stops a Next that is waiting in another goroutine.
func (r *Reader) Close() error {
	r.closing.Store(true)
	if !r.mu.TryLock() {
		r.cancel(errReaderClosed)
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	r.end(errReaderClosed)
	return nil
}

// Abandon ends a reader whose transaction is given up.
func (r *Reader) Abandon() {
	r.Hurry = true
	_ = r.Close()
}
