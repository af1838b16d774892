package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	bq "google.golang.org/api/bigquery/v2"

	"github.com/tidegate/tidegate"
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
	if err := checkText(sql); err != nil {
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
	if err := w.enter(); err != nil {
		return nil, err
	}
	req := request{api: w.reading, op: "query", sql: bound, params: params, cap: w.cap}
	res, err := w.run(ctx, req)
	if err != nil {
		w.leave()
		return nil, err
	}
	r := w.reader(req, res)
	r.done = func(error) { w.leave() }
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
	api     *bq.Service
	id      string
	columns []column
	schema  tidegate.Schema
	row     tidegate.Row
	page    []*bq.TableRow
	token   string
	done    func(error) // may be nil

	closing atomic.Bool
	waiting sync.Mutex              // guards give
	give    context.CancelCauseFunc // gives the page up that is fetched; nil while none is

	mu   sync.Mutex // held by Next, and by Close once Next returned
	read int64
	err  error // why the reader ended
}

func (w *Warehouse) reader(req request, res *result) *reader {
	r := &reader{w: w, api: req.api, id: res.job.JobReference.JobId, page: res.first.Rows, token: res.first.PageToken}
	if res.first.Schema != nil {
		r.columns = columnsOf(res.first.Schema.Fields)
	}
	r.schema, r.row = schemaOf(r.columns), make(tidegate.Row, len(r.columns))
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
	for len(r.page) == 0 {
		if r.token == "" {
			return io.EOF // what BigQuery calls the last page has been read (Invariant 6)
		}
		if err := r.fetch(ctx); err != nil {
			return fmt.Errorf("reading rows: %w", err)
		}
	}
	cells := r.page[0].F
	r.page[0], r.page = nil, r.page[1:]
	if len(cells) != len(r.columns) {
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.engine", Message: fmt.Sprintf("row %d has %d cells and the result %d columns", r.read+1, len(cells), len(r.columns))}
	}
	for i, cell := range cells {
		v, err := r.columns[i].cell(cell.V)
		if err != nil {
			return cellFault(r.columns[i].name, r.read+1, err)
		}
		r.row[i] = v
	}
	r.read++
	return nil
}

// fetch gets the next page.
func (r *reader) fetch(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.givesUp(cancel)
	defer r.givesUp(nil)
	if r.closing.Load() {
		return errReaderClosed
	}
	var got *bq.GetQueryResultsResponse
	err := r.w.try(ctx, "", func(ctx context.Context) (err error) {
		got, err = r.w.service(r.api).Jobs.GetQueryResults(r.w.project, r.id).Location(r.w.location).PageToken(r.token).
			MaxResults(pageRows).FormatOptionsUseInt64Timestamp(true).Fields("rows", "pageToken").Context(ctx).Do()
		return err
	})
	if err != nil {
		return err
	}
	r.page, r.token = got.Rows, got.PageToken
	return nil
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
	r.err, r.page = err, nil
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
		Action: tidegate.Halt, Code: "warehouse.value", Subject: fmt.Sprintf("column %q", column), Message: fmt.Sprintf("the value in row %d %s", row, err),
		Hint: "correct it, or turn it into NULL or text in the query", Err: err,
	}
}
