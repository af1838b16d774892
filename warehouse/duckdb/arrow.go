//go:build duckdb_arrow

package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate/warehouse"
)

var _ warehouse.ArrowQuerier = (*Warehouse)(nil)

// QueryArrow implements warehouse.ArrowQuerier. The columns have the Arrow types
// that the engine gives them: a decimal is a decimal, JSON is text.
func (w *Warehouse) QueryArrow(ctx context.Context, sql string, args ...any) (array.RecordReader, func() error, error) {
	s, err := w.session()
	if err != nil {
		return nil, nil, err
	}
	r, err := s.queryArrow(ctx, sql, args)
	if err != nil {
		err = fmt.Errorf("querying the warehouse: %w", err)
		s.end(err)
		return nil, nil, err
	}
	return r, r.done, nil
}

func (s *session) queryArrow(ctx context.Context, sql string, args []any) (*arrowReader, error) {
	res, st, err := s.startReading(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	r := &arrowReader{s: s, st: st, res: res, options: bindings.ResultGetArrowOptions(&res)}
	r.refs.Store(1)
	r.fetch = func() (arrow.RecordBatch, error) { return r.batch(ctx) }
	if r.schema, err = arrowSchema(r.options, &res); err != nil {
		r.destroy()
		s.rollback()
		return nil, err
	}
	return r, nil
}

func arrowSchema(options bindings.ArrowOptions, res *bindings.Result) (*arrow.Schema, error) {
	count := bindings.ColumnCount(res)
	names := make([]string, 0, count)
	types := make([]bindings.LogicalType, 0, count)
	defer func() {
		for i := range types {
			bindings.DestroyLogicalType(&types[i])
		}
	}()
	for i := range count {
		names = append(names, bindings.ColumnName(res, i))
		types = append(types, bindings.ColumnLogicalType(res, i))
	}
	schema, data := bindings.NewArrowSchema(options, types, names)
	if err := arrowError(data); err != nil {
		return nil, fmt.Errorf("naming the columns in Arrow: %w", err)
	}
	return schema, nil
}

// arrowError takes over data, which the engine makes for success too.
func arrowError(data bindings.ErrorData) error {
	defer bindings.DestroyErrorData(&data)
	if !bindings.ErrorDataHasError(data) {
		return nil
	}
	return fault(bindings.ErrorDataMessage(data))
}

// arrowReader streams one result as record batches, one per chunk of the engine.
type arrowReader struct {
	s       *session
	st      *stmt
	options bindings.ArrowOptions
	schema  *arrow.Schema
	fetch   func() (arrow.RecordBatch, error)
	closing atomic.Bool
	refs    atomic.Int64

	mu      sync.Mutex
	res     bindings.Result
	current arrow.RecordBatch
	err     error // why the reader ended; io.EOF at the end
}

func (r *arrowReader) Schema() *arrow.Schema { return r.schema }

func (r *arrowReader) Retain() { r.refs.Add(1) }

func (r *arrowReader) Release() {
	if r.refs.Add(-1) == 0 {
		r.close()
	}
}

// done ends the query, whether or not the reader was released, and returns what Err does.
func (r *arrowReader) done() error {
	r.close()
	return r.Err()
}

func (r *arrowReader) close() {
	r.closing.Store(true)
	if !r.mu.TryLock() {
		bindings.Interrupt(r.s.raw)
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	r.end(errReaderClosed)
	r.drop()
}

func (r *arrowReader) Next() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
	if r.err != nil {
		return false
	}
	batch, err := r.fetch()
	if err != nil {
		r.end(err)
		return false
	}
	r.current = batch
	return true
}

func (r *arrowReader) batch(ctx context.Context) (arrow.RecordBatch, error) {
	chunk, err := nextChunk(ctx, r.s.conn, &r.res, &r.closing)
	if err != nil {
		return nil, err
	}
	defer bindings.DestroyDataChunk(&chunk)
	batch, data := bindings.DataChunkToArrowArray(r.options, r.schema, chunk)
	if err := arrowError(data); err != nil {
		return nil, fmt.Errorf("reading rows as Arrow: %w", err)
	}
	return batch, nil
}

// drop releases the current batch. r.mu is held.
func (r *arrowReader) drop() {
	if r.current != nil {
		r.current.Release()
		r.current = nil
	}
}

// end gives the connection back and remembers why. r.mu is held.
func (r *arrowReader) end(err error) {
	if r.err != nil {
		return
	}
	r.err = err
	r.destroy()
	if errors.Is(err, io.EOF) || errors.Is(err, errReaderClosed) {
		err = nil
	}
	r.s.endReading(err)
}

func (r *arrowReader) destroy() {
	bindings.DestroyArrowOptions(&r.options)
	bindings.DestroyResult(&r.res)
	r.st.close()
}

func (r *arrowReader) RecordBatch() arrow.RecordBatch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

// Record is RecordBatch by its old name.
func (r *arrowReader) Record() arrow.RecordBatch { return r.RecordBatch() }

// Err is nil at the end of the rows and after a close; a cancelled query has an error (Invariant 6).
func (r *arrowReader) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(r.err, io.EOF) || errors.Is(r.err, errReaderClosed) {
		return nil
	}
	return r.err
}
