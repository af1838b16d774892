package duckdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse"
)

// Query implements warehouse.Warehouse. The statement is checked three ways:
// it is one statement of a reading type, it calls no function that changes the
// engine, and it runs in a read-only transaction.
func (w *Warehouse) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	s, err := w.session()
	if err != nil {
		return nil, err
	}
	r, err := s.query(ctx, sql, args)
	if err != nil {
		err = fmt.Errorf("querying the warehouse: %w", err)
		s.end(err)
		return nil, err
	}
	return r, nil
}

// query begins a read-only transaction that lasts as long as the reader, which ends the session.
func (s *session) query(ctx context.Context, sql string, args []any) (*reader, error) {
	res, st, err := s.startReading(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	r, err := newReader(s.conn, st, res, func(err error) { s.endReading(err) })
	if err != nil {
		s.rollback()
		return nil, err
	}
	return r, nil
}

// startReading checks sql and runs it in a read-only transaction.
func (s *session) startReading(ctx context.Context, sql string, args []any) (bindings.Result, *stmt, error) {
	if err := s.control(ctx, "BEGIN TRANSACTION READ ONLY"); err != nil {
		s.rollback() // an interrupt can come when the transaction has begun already
		return bindings.Result{}, nil, err
	}
	st, err := s.prepare(ctx, sql)
	if err == nil {
		err = s.onlyReads(ctx, st, sql)
		if err == nil {
			var res bindings.Result
			if res, err = st.run(ctx, true, args); err == nil {
				return res, st, nil
			}
		}
		st.close()
	}
	s.rollback()
	return bindings.Result{}, nil, err
}

func (s *session) endReading(err error) {
	s.rollback()
	s.end(err)
}

// rollback ends whatever transaction the connection is in.
func (s *session) rollback() {
	if err := s.control(context.Background(), "ROLLBACK"); err != nil {
		s.dirty = true // the connection is in a state that nobody knows
	}
}

var explainPrefix = regexp.MustCompile(`(?is)^(?:\s|--[^\n]*\n|/\*.*?\*/)*explain(?:\s+analyze)?(?:\s*\([^()]*\))?\s`)

// onlyReads refuses st unless it reads. The type of the statement tells most;
// the parsed text tells the table functions that change the engine although
// they stand in a SELECT.
func (s *session) onlyReads(ctx context.Context, st *stmt, sql string) error {
	switch bindings.PreparedStatementType(st.raw) {
	case bindings.StatementTypeSelect:
	case bindings.StatementTypeExplain:
		at := explainPrefix.FindStringIndex(sql)
		if at == nil {
			return refused("this form of EXPLAIN is not understood")
		}
		sql = sql[at[1]:]
	default:
		return refused("the statement is not a query")
	}
	parsed, err := s.parsed(ctx, sql)
	if err != nil {
		return err
	}
	return refuseFunctions(parsed)
}

// parsed returns the engine's syntax tree of a query as JSON.
func (c *conn) parsed(ctx context.Context, sql string) (string, error) {
	tree, err := c.text(ctx, "SELECT json_serialize_sql($1::VARCHAR)", sql)
	if err != nil {
		return "", fmt.Errorf("parsing the statement: %w", err)
	}
	if strings.HasPrefix(tree, `{"error":true`) {
		return "", refused("the statement is not a query")
	}
	return tree, nil
}

// functionMark precedes the name of every function in a serialized statement;
// inside a constant its quotes would be escaped.
const functionMark = `"function_name":`

func refuseFunctions(parsed string) error {
	for {
		at := strings.Index(parsed, functionMark)
		if at < 0 {
			return nil
		}
		parsed = parsed[at+len(functionMark):]
		var name string
		if err := json.NewDecoder(strings.NewReader(parsed)).Decode(&name); err != nil {
			return fmt.Errorf("reading the parsed statement: %w", err)
		}
		if changesEngine(strings.ToLower(name)) {
			return refused("the function " + name + " does more than read")
		}
	}
}

// changesEngine names the functions that a query may not call: they change
// settings, write files or logs, read memory, or run SQL that nobody checked.
func changesEngine(function string) bool {
	switch function {
	case "query", "json_execute_serialized_sql", "checkpoint", "force_checkpoint", "truncate_duckdb_logs",
		"write_log", askFunction, pureFunction, "arrow_scan", "arrow_scan_dumb", "seq_scan", "nextval", "setseed", "sleep_ms", "copy_database":
		return true
	}
	return strings.HasPrefix(function, "enable_") || strings.HasPrefix(function, "disable_")
}

// text runs a statement and returns its first cell.
func (c *conn) text(ctx context.Context, sql string, args ...any) (string, error) {
	rows, err := c.rows(ctx, sql, args...)
	if err != nil {
		return "", err
	}
	if len(rows) == 0 || len(rows[0]) == 0 {
		return "", errors.New("the statement returned nothing")
	}
	switch v := rows[0][0].(type) {
	case string:
		return v, nil
	case tidegate.JSONText:
		return string(v), nil
	}
	return fmt.Sprint(rows[0][0]), nil
}

// rows runs one of the program's own statements and returns all it returns.
func (c *conn) rows(ctx context.Context, sql string, args ...any) (all []tidegate.Row, err error) {
	st, err := c.prepare(ctx, sql)
	if err != nil {
		return nil, err
	}
	res, err := st.run(ctx, false, args)
	if err != nil {
		st.close()
		return nil, err
	}
	r, err := newReader(c, st, res, func(error) {})
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

// reader streams one result. It owns its statement and result, and ends once.
type reader struct {
	c       *conn
	st      *stmt
	res     bindings.Result
	schema  tidegate.Schema
	vectors []vector
	row     tidegate.Row
	closing atomic.Bool

	mu    sync.Mutex // held by Next, and by Close once Next returned
	chunk bindings.DataChunk
	size  int // rows of chunk
	at    int // next row of chunk
	read  int64
	err   error // why the reader ended
	done  func(error)
}

// newReader takes over st and res, also when it fails.
func newReader(c *conn, st *stmt, res bindings.Result, done func(error)) (*reader, error) {
	columns, schema, err := resultColumns(&res)
	if err != nil {
		bindings.DestroyResult(&res)
		st.close()
		return nil, err
	}
	r := &reader{c: c, st: st, res: res, schema: schema, done: done, row: make(tidegate.Row, len(columns)), vectors: make([]vector, len(columns))}
	for i := range columns {
		r.vectors[i].column = columns[i]
	}
	return r, nil
}

func (r *reader) Schema() tidegate.Schema { return r.schema }

func (r *reader) Next(ctx context.Context) (tidegate.Row, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, r.err
	}
	for r.at == r.size {
		if err := r.fetch(ctx); err != nil {
			r.end(err)
			return nil, err
		}
	}
	for i := range r.vectors {
		v, err := r.vectors[i].cell(r.at)
		if err != nil {
			err = celltext.Unreadable(r.vectors[i].name, r.read+1, err)
			r.end(err)
			return nil, err
		}
		r.row[i] = v
	}
	r.at++
	r.read++
	return r.row, nil
}

// fetch gets the next chunk; io.EOF after the last.
func (r *reader) fetch(ctx context.Context) error {
	chunk, err := nextChunk(ctx, r.c, &r.res, &r.closing)
	if err != nil {
		return err
	}
	bindings.DestroyDataChunk(&r.chunk)
	r.chunk, r.at = chunk, 0
	r.size = int(bindings.DataChunkGetSize(chunk))
	for i := range r.vectors {
		r.vectors[i].attach(bindings.DataChunkGetVector(chunk, bindings.IdxT(i)))
	}
	return nil
}

// nextChunk fetches one chunk of a result. The engine says "no chunk" at the
// end and after an error alike, so the result is asked which (Invariant 6).
func nextChunk(ctx context.Context, c *conn, res *bindings.Result, closing *atomic.Bool) (bindings.DataChunk, error) {
	var chunk bindings.DataChunk
	if err := ctx.Err(); err != nil {
		return chunk, fmt.Errorf("reading rows: %w", err)
	}
	if closing.Load() {
		return chunk, errReaderClosed
	}
	c.guard(ctx, func() { chunk = bindings.FetchChunk(*res) })
	if chunk.Ptr != nil {
		return chunk, nil
	}
	if msg := bindings.ResultError(res); msg != "" {
		return chunk, fmt.Errorf("reading rows: %w", engineError(ctx, msg))
	}
	if err := ctx.Err(); err != nil {
		return chunk, fmt.Errorf("reading rows: %w", err)
	}
	return chunk, io.EOF
}

var errReaderClosed = errors.New("reading rows: the reader is closed")

// end releases everything and remembers why. r.mu is held.
func (r *reader) end(err error) {
	if r.err != nil {
		return
	}
	r.err = err
	bindings.DestroyDataChunk(&r.chunk)
	bindings.DestroyResult(&r.res)
	r.st.close()
	if errors.Is(err, io.EOF) || errors.Is(err, errReaderClosed) {
		err = nil
	}
	r.done(err)
}

// Close interrupts a Next that is waiting in another goroutine.
func (r *reader) Close() error {
	r.closing.Store(true)
	if !r.mu.TryLock() {
		bindings.Interrupt(r.c.raw)
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	r.end(errReaderClosed)
	return nil
}

// Estimate implements warehouse.Estimator from the engine's plan; it does not
// tell bytes.
func (w *Warehouse) Estimate(ctx context.Context, sql string) (estimate warehouse.Estimate, err error) {
	r, err := w.Query(ctx, "EXPLAIN (FORMAT json) "+sql)
	if err != nil {
		return warehouse.Estimate{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	row, err := r.Next(ctx)
	if err != nil {
		return warehouse.Estimate{}, fmt.Errorf("reading the plan: %w", err)
	}
	estimate = warehouse.Estimate{Rows: -1, Bytes: -1}
	var plan []planNode
	if text, ok := row[len(row)-1].(string); ok && json.Unmarshal([]byte(text), &plan) == nil && len(plan) > 0 {
		estimate.Rows = plan[0].rows()
	}
	return estimate, nil
}

// planNode is the part of an operator of the engine's plan that is read.
type planNode struct {
	Info     map[string]any `json:"extra_info"`
	Children []planNode     `json:"children"`
}

// rows is the estimate of the topmost operator that has one, -1 for none.
func (n planNode) rows() int64 {
	if text, ok := n.Info["Estimated Cardinality"].(string); ok {
		if rows, err := strconv.ParseInt(strings.TrimPrefix(text, "~"), 10, 64); err == nil {
			return rows
		}
	}
	if len(n.Children) > 0 {
		return n.Children[0].rows()
	}
	return -1
}
