package clickhouse

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/ClickHouse/ch-go/compress"
	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Query implements warehouse.Warehouse: one statement, checked by its text, that the
// server runs read-only. Rows come as the server makes them; what is not
// read yet waits at the server.
func (w *Warehouse) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	q, err := compile(sql, args)
	if err != nil {
		return nil, fmt.Errorf("querying the warehouse: %w", err)
	}
	r, err := w.read(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("querying the warehouse: %w", err)
	}
	return r, nil
}

// reading are the settings of every query: it only reads, and its answer is
// what the rest of this package can read.
func (w *Warehouse) reading() map[string]string {
	s := map[string]string{
		"readonly": "2", "session_timezone": "UTC", "join_use_nulls": "1",
		"cancel_http_readonly_queries_on_client_close": "1", "wait_end_of_query": "0", "output_format_json_quote_64bit_integers": "0",
		"output_format_native_encode_types_in_binary_format": "0", "max_block_size": "32768",
	}
	if w.final {
		s["final"] = "1"
	}
	return s
}

// read runs a statement of which it is known that it reads.
func (w *Warehouse) read(ctx context.Context, q *query) (*reader, error) {
	if w.reads.native && q.plain {
		return w.readNative(ctx, q)
	}
	r, err := w.start(ctx, w.reads, q)
	if err != nil || !q.plain || r.readable() {
		return r, err
	}
	columns, err := w.describeQuery(ctx, q)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	list, changed, err := w.converted(columns)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if !changed { // there are no rows, and so the answer had no columns
		r.schema = schemaOf(columns)
		return r, nil
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	converted := &query{sql: string("SELECT "+list+" FROM (\n") + q.sql + "\n) AS q", params: q.params}
	if r, err = w.start(ctx, w.reads, converted); err != nil {
		return nil, err
	}
	r.schema, r.row = schemaOf(columns), make(tidegate.Row, len(columns))
	for i, v := range r.block.columns {
		v.typ = columns[i].typ
	}
	return r, nil
}

// readNative asks for the columns first, because the driver cannot give all values as they are.
func (w *Warehouse) readNative(ctx context.Context, q *query) (*reader, error) {
	columns, err := w.describeQuery(ctx, q)
	if err != nil {
		return nil, err
	}
	list, as, err := w.nativeList(columns)
	if err != nil {
		return nil, err
	}
	r, err := w.start(ctx, w.reads, &query{sql: string("SELECT "+list+" FROM (\n") + q.sql + "\n) AS q", params: q.params, as: as})
	if err != nil {
		return nil, err
	}
	r.schema, r.row = schemaOf(columns), make(tidegate.Row, len(columns))
	for i, v := range r.block.columns {
		v.typ = columns[i].typ
	}
	return r, nil
}

// readable says whether the first block told the columns, all of which are read as they are.
func (r *reader) readable() bool {
	for _, v := range r.block.columns {
		if v == nil || v.shape == shapeNone {
			return false
		}
	}
	return len(r.block.columns) > 0
}

// converted is the list of columns with those of foreign types made readable.
func (w *Warehouse) converted(columns []column) (list sqltext.Text, changed bool, err error) {
	names := make([]sqltext.Text, len(columns))
	for i, c := range columns {
		if names[i], err = w.dialect.Ident(c.name); err != nil {
			return "", false, err
		}
		if c.convert != "" {
			names[i] = sqltext.Text(c.convert) + "(q." + names[i] + ") AS " + names[i]
			changed = true
		}
	}
	return sqltext.Join(names, ", "), changed, nil
}

// describeQuery returns the columns of a query's result.
func (w *Warehouse) describeQuery(ctx context.Context, q *query) ([]column, error) {
	d := &query{sql: "DESCRIBE (\n" + q.sql + "\n)", params: q.params}
	rows, err := w.drained(ctx, w.reads, d)
	if err != nil {
		return nil, fmt.Errorf("describing a query: %w", err)
	}
	columns := make([]column, len(rows))
	for i, row := range rows {
		name, _ := row[0].(string)
		engine, _ := row[1].(string)
		columns[i] = parseColumn(name, engine)
	}
	return columns, nil
}

// rows runs one of the program's own queries and returns all of its result.
func (w *Warehouse) rows(ctx context.Context, sql string, args ...any) ([]tidegate.Row, error) {
	q, err := compile(sql, args)
	if err != nil {
		return nil, err
	}
	var all []tidegate.Row
	err = w.persist(ctx, func() (err error) {
		all, err = w.drained(ctx, w.writes, q)
		return err
	})
	return all, err
}

func (w *Warehouse) drained(ctx context.Context, c *client, q *query) (all []tidegate.Row, err error) {
	r, err := w.start(ctx, c, q)
	if err != nil {
		return nil, err
	}
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

// start sends a statement and waits for its first block.
func (w *Warehouse) start(ctx context.Context, c *client, q *query) (*reader, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r := &reader{w: w, c: c, cancel: cancel, run: run}
	r.call = call{sql: q.sql, params: q.params, settings: w.reading(), id: newID(w.now()), as: q.as}
	if r.c.packed && !r.c.native {
		r.call.settings["compress"] = "1"
	}
	r.watch(ctx)
	err := r.open()
	if err == nil && context.Cause(run) != nil {
		err = fmt.Errorf("reading rows: %w", context.Cause(run))
	}
	if err != nil {
		r.end(err)
		return nil, err
	}
	return r, nil
}

var errReaderClosed = errors.New("reading rows: the reader is closed")

// reader streams one result. It ends once.
type reader struct {
	w       *Warehouse
	c       *client
	call    call
	stream  io.ReadCloser
	body    *bufio.Reader
	tail    tail
	block   block
	at      int // next row of block
	schema  tidegate.Schema
	row     tidegate.Row
	run     context.Context //nolint:containedctx // of the statement at the server, which outlives each call
	cancel  context.CancelCauseFunc
	closing atomic.Bool

	mu      sync.Mutex // held by Next, and by Close once Next returned
	watched <-chan struct{}
	unwatch func() bool
	count   int64
	err     error // why the reader ended
}

// open sends the statement and reads the first block, which tells the columns.
func (r *reader) open() error {
	if err := context.Cause(r.run); err != nil {
		return fmt.Errorf("running a statement: %w", err)
	}
	stream, err := r.c.open(r.run, &r.call)
	if err != nil {
		return err
	}
	r.stream = stream
	var body io.Reader = stream
	if r.call.settings["compress"] == "1" {
		body = compress.NewReader(stream)
	}
	r.tail.from = body
	r.body = bufio.NewReaderSize(&r.tail, 64<<10)
	err = r.readBlock()
	if errors.Is(err, errForeign) {
		return nil // read begins anew
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	columns := make([]column, len(r.block.columns))
	for i, v := range r.block.columns {
		columns[i] = v.column
	}
	r.schema, r.row = schemaOf(columns), make(tidegate.Row, len(columns))
	return nil
}

// readBlock reads the next block that has rows. io.EOF is the end of a result that is whole.
func (r *reader) readBlock() error {
	r.at = 0
	for {
		err := readBlock(r.body, &r.block)
		switch {
		case err == nil && r.block.rows > 0, errors.Is(err, io.EOF), errors.Is(err, errForeign):
			if err != nil {
				r.block.rows = 0
			}
			return err
		case err == nil:
			continue
		}
		r.block.rows = 0
		return r.broken(err)
	}
}

// broken finds out what it means that the answer does not go on as it should: the
// server writes an error where the next block would be (Invariant 6).
func (r *reader) broken(err error) error {
	if cause := context.Cause(r.run); cause != nil {
		return fmt.Errorf("reading rows: %w", cause)
	}
	_, rest := io.CopyN(io.Discard, r.body, maxMessage)
	if cause := context.Cause(r.run); cause != nil {
		return fmt.Errorf("reading rows: %w", cause)
	}
	if f := told(r.tail.kept, r.call.sql, r.c.user); f != nil {
		return fmt.Errorf("reading rows: %w", f)
	}
	var server *driver.Exception
	if errors.As(rest, &server) {
		err = rest
	}
	return fmt.Errorf("reading rows: %w", r.c.failure(r.run, err, r.call.sql))
}

// tail remembers the end of what was read.
type tail struct {
	from io.Reader
	kept []byte
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.from.Read(p)
	const keep = 32 << 10
	t.kept = append(t.kept, p[max(0, n-keep):n]...)
	if over := len(t.kept) - keep; over > keep {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return n, err //nolint:wrapcheck // passes on
}

func (r *reader) Schema() tidegate.Schema { return r.schema }

// watch ties the statement to ctx, which is that of the latest call. r.mu is held.
func (r *reader) watch(ctx context.Context) {
	if done := ctx.Done(); done != r.watched || r.unwatch == nil {
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
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("reading rows: %w", err)
	}
	if r.closing.Load() {
		return errReaderClosed
	}
	if r.at >= r.block.rows {
		if r.block.columns == nil {
			return io.EOF
		}
		if err := r.readBlock(); err != nil {
			return err
		}
	}
	for i, v := range r.block.columns {
		value, err := v.cell(r.at)
		if err != nil {
			return celltext.Unreadable(v.name, r.count+1, err)
		}
		r.row[i] = value
	}
	r.at++
	r.count++
	return nil
}

// end releases everything and remembers why. r.mu is held, or nobody else knows r.
func (r *reader) end(err error) {
	if r.err != nil {
		return
	}
	r.err = err
	r.unwatch()
	if !errors.Is(err, io.EOF) {
		r.cancel(err) // first: to close an answer that is not read to its end is to wait for it
	}
	if r.stream != nil {
		_ = r.stream.Close()
	}
	if !errors.Is(err, io.EOF) && codeOf(err) == 0 {
		r.c.kill(r.run, r.call.id)
	}
	r.cancel(nil)
	r.w.door.Leave()
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
