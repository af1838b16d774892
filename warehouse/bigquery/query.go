package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	bq "cloud.google.com/go/bigquery"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/internal/sqlcheck"
)

// Query implements warehouse.Warehouse: one statement, checked by its text.
// BigQuery finishes a query before its first row can be read; the rows then come
// page by page.
func (w *Warehouse) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	r, err := w.query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("querying the warehouse: %w", err)
	}
	return r, nil
}

func (w *Warehouse) query(ctx context.Context, sql string, args []any) (tidegate.RowReader, error) {
	if err := sqlcheck.Text(sql); err != nil {
		return nil, err
	}
	if explained, ok := explains(sql); ok {
		return w.explain(ctx, explained, args)
	}
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
	var r *reader
	res, err := w.run(ctx, request{api: w.reading, op: "query", sql: bound, args: params, cap: w.cap, reads: true})
	if err == nil {
		r, err = w.reader(ctx, res, bound)
	}
	if err != nil {
		w.door.Leave()
		return nil, err
	}
	r.done = func(error) { w.door.Leave() }
	return r, nil
}

// explain is EXPLAIN, which GoogleSQL has not: what a dry run says of a query.
func (w *Warehouse) explain(ctx context.Context, sql string, args []any) (tidegate.RowReader, error) {
	stats, err := w.dryRun(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	integer, text := tidegate.Type{Kind: tidegate.Int}, tidegate.Type{Kind: tidegate.String}
	names := ""
	for _, t := range w.referenced(stats) {
		names += ", " + t.String()
	}
	return tidegate.Rows(tidegate.Schema{{Name: "bytes_processed", Type: integer}, {Name: "tables", Type: text}},
		tidegate.Row{stats.TotalBytesProcessed, strings.TrimPrefix(names, ", ")}), nil
}

var errReaderClosed = errors.New("reading rows: the reader is closed")

// reader gives the rows of a query that is done. It ends once.
type reader struct {
	w       *Warehouse
	job     *bq.Job
	pages   *pages
	columns []column
	schema  tidegate.Schema
	row     tidegate.Row
	done    func(error) // may be nil

	closing atomic.Bool
	waiting sync.Mutex              // guards give
	give    context.CancelCauseFunc // gives the page up that is fetched; nil while none is

	mu   sync.Mutex // held by Next, and by Close once Next returned
	read int64
	err  error // why the reader ended
}

// reader reads the result of a job that is done.
func (w *Warehouse) reader(ctx context.Context, res *result, sql string) (r *reader, err error) {
	r = &reader{w: w, job: res.job, pages: res.pages}
	if r.pages == nil {
		if r.pages, err = w.open(ctx, res.job, sql, ""); err != nil {
			return nil, err
		}
	}
	r.columns = r.pages.columns
	r.schema, r.row = schemaOf(r.columns), make(tidegate.Row, len(r.columns))
	return r, nil
}

func (r *reader) Schema() tidegate.Schema { return r.schema }

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
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("reading rows: %w", err)
	}
	if r.closing.Load() {
		return errReaderClosed
	}
	var cells []bq.Value
	var err error
	if r.pages.ready() {
		cells, err = r.pages.next(ctx)
	} else {
		cells, err = r.fetch(ctx)
	}
	switch {
	case err != nil:
		return fmt.Errorf("reading rows: %w", err)
	case cells == nil:
		return io.EOF
	case len(cells) != len(r.columns):
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.engine", Message: fmt.Sprintf("row %d has %d cells and the result %d columns", r.read+1, len(cells), len(r.columns))}
	}
	for i, cell := range cells {
		v, err := r.columns[i].cell(cell)
		if err != nil {
			return celltext.Unreadable(r.columns[i].name, r.read+1, err)
		}
		r.row[i] = v
	}
	r.read++
	return nil
}

// fetch gets the next page, and its first row.
func (r *reader) fetch(ctx context.Context) (row []bq.Value, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.givesUp(cancel)
	defer r.givesUp(nil)
	if r.closing.Load() {
		return nil, errReaderClosed
	}
	err = r.w.try(ctx, "", func(ctx context.Context) (err error) {
		if r.pages.life.Err() != nil { // it ended with the page that is asked for again
			again, err := openOnce(ctx, r.job, r.pages.at())
			if err != nil {
				return err
			}
			r.pages = again
		}
		row, err = r.pages.next(ctx)
		return err
	})
	return row, err
}

func (r *reader) givesUp(cancel context.CancelCauseFunc) {
	r.waiting.Lock()
	defer r.waiting.Unlock()
	r.give = cancel
}

// end releases everything and remembers why. r.mu is held.
func (r *reader) end(err error) {
	if r.err != nil {
		return
	}
	r.err = err
	r.pages.end(nil)
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
	r.waiting.Lock()
	if r.give != nil {
		r.give(errReaderClosed)
	}
	r.waiting.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(errReaderClosed)
	return nil
}
