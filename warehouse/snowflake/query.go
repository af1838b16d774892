package snowflake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
)

// Query implements warehouse.Warehouse: one statement, checked by its text.
// Snowflake finishes a query before its first row can be read; the rows then come
// part by part.
func (w *Warehouse) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	r, err := w.query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("querying the warehouse: %w", err)
	}
	return r, nil
}

func (w *Warehouse) query(ctx context.Context, sql string, args []any) (*reader, error) {
	if err := checkQuery(sql); err != nil {
		return nil, err
	}
	bound, params, err := bind(sql, args)
	if err != nil {
		return nil, err
	}
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	o := on{db: w.reading}
	a, err := w.do(ctx, o, request{op: "query", sql: bound, args: params})
	if err != nil {
		w.door.Leave()
		return nil, err
	}
	r := w.reader(ctx, o, a)
	r.done = func(error) { w.door.Leave() }
	return r, nil
}

var errReaderClosed = errors.New("reading rows: the reader is closed")

// reader gives the rows of a statement that has run. It ends once.
type reader struct {
	columns []column
	schema  tidegate.Schema
	row     tidegate.Row
	parts   *parts
	life    context.Context //nolint:containedctx // of the fetching of parts, which Close ends
	end     context.CancelCauseFunc
	done    func(error) // may be nil

	mu   sync.Mutex // held by Next, and by Close once Next returned
	read int64
	err  error // why the reader ended
}

func (w *Warehouse) reader(ctx context.Context, o on, a *answer) *reader {
	r := &reader{columns: a.columns, schema: schemaOf(a.columns), row: make(tidegate.Row, len(a.columns))}
	r.life, r.end = context.WithCancelCause(context.WithoutCancel(ctx))
	r.parts = &parts{w: w, on: o, loader: a.loader, columns: a.columns}
	return r
}

func (r *reader) Schema() tidegate.Schema { return r.schema }

func (r *reader) Next(ctx context.Context) (tidegate.Row, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, r.err
	}
	if err := r.next(ctx); err != nil {
		r.finish(err)
		return nil, err
	}
	return r.row, nil
}

func (r *reader) next(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading rows: %w", err)
	}
	if cause := context.Cause(r.life); cause != nil {
		return cause
	}
	if !r.parts.ready() {
		stop := context.AfterFunc(ctx, func() { r.end(context.Cause(ctx)) })
		err := r.parts.fetch(r.life)
		if !stop() && ctx.Err() != nil {
			err = fmt.Errorf("reading rows: %w", context.Cause(ctx))
		}
		if err != nil {
			return err
		}
	}
	for i := range r.columns {
		v, err := r.parts.cell(i)
		if err != nil {
			return celltext.Unreadable(r.columns[i].name, r.read+1, err)
		}
		r.row[i] = v
	}
	r.parts.advance()
	r.read++
	return nil
}

// finish releases everything and remembers why. r.mu is held.
func (r *reader) finish(err error) {
	if r.err != nil {
		return
	}
	r.err = err
	r.parts.close()
	r.end(errReaderClosed)
	if errors.Is(err, io.EOF) || errors.Is(err, errReaderClosed) {
		err = nil
	}
	if r.done != nil {
		r.done(err)
	}
}

// Close stops a Next that is waiting in another goroutine.
func (r *reader) Close() error {
	r.end(errReaderClosed)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finish(errReaderClosed)
	return nil
}
