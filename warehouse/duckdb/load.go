package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Load implements warehouse.Warehouse: one transaction of its own.
func (w *Warehouse) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	t, err := w.begin(ctx)
	if err != nil {
		return 0, err
	}
	n, err := t.Load(ctx, l, rows)
	if err != nil {
		return 0, errors.Join(err, t.Rollback())
	}
	if err := t.Commit(); err != nil {
		return 0, fmt.Errorf("loading into %s: %w", l.Table, err)
	}
	return n, nil
}

// Load writes rows and remembers the load in one transaction (Invariant 3).
// After an error the transaction can only be rolled back.
func (t *tx) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return 0, err
	}
	n, err := t.load(ctx, l, rows)
	if err != nil {
		return 0, t.Fail(fmt.Errorf("loading into %s: %w", l.Table, err))
	}
	return n, nil
}

func (t *tx) load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := l.CheckID(); err != nil {
		return 0, err
	}
	seen, err := t.reserve(ctx, l)
	if err != nil || seen {
		return 0, err
	}
	columns, err := t.s.describe(ctx, t.w.dialect, l.Table)
	if err != nil {
		return 0, err
	}
	p, err := planLoad(t.w.dialect, l, columns, rows.Schema())
	if err != nil {
		return 0, err
	}
	n, err := t.write(ctx, p, rows)
	if err != nil {
		return 0, err
	}
	_, err = t.s.exec(ctx, `INSERT INTO _tidegate.loads VALUES ($1, $2, $3, $4, $5)`,
		l.ID, sqltext.Fold(l.Table.Schema), sqltext.Fold(l.Table.Name), n, t.w.opts.Now())
	if err != nil {
		return 0, fmt.Errorf("remembering the load: %w", err)
	}
	if err := t.forget(ctx); err != nil {
		return 0, fmt.Errorf("forgetting old loads: %w", err)
	}
	return n, nil
}

// loadMemory is how long the ID of a load is remembered: longer than anybody repeats one, and
// short enough to bound the table. What is older goes with the first load of a process and
// with one a day after it; a transaction that is rolled back leaves it to the next day.
const loadMemory, forgetEvery = 90 * 24 * time.Hour, 24 * time.Hour

func (t *tx) forget(ctx context.Context) error {
	now := t.w.opts.Now()
	last := t.w.forgot.Load()
	if last != nil && now.Sub(*last) < forgetEvery || !t.w.forgot.CompareAndSwap(last, &now) {
		return nil
	}
	_, err := t.s.exec(ctx, `DELETE FROM _tidegate.loads WHERE loaded_at < $1`, now.Add(-loadMemory))
	return err
}

// reserve says whether the load is already in the table. If not, it keeps other
// transactions from running the same load until this one is over.
func (t *tx) reserve(ctx context.Context, l warehouse.Load) (seen bool, err error) {
	schema, name := sqltext.Fold(l.Table.Schema), sqltext.Fold(l.Table.Name)
	key := l.ID + "\x00" + schema + "\x00" + name
	own := false
	for _, held := range t.loads {
		own = own || held == key
	}
	if !own {
		if !t.w.loading.take(key) {
			return false, &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.conflict", Subject: "load " + l.ID, Message: "the same load is under way in another transaction"}
		}
		t.loads = append(t.loads, key)
	}
	// The transaction's snapshot may be older than a commit of the same load that
	// released the reservation just now, so the question is put to a fresh one.
	const find = `SELECT 1 FROM _tidegate.loads WHERE load_id = $1 AND table_schema = $2 AND table_name = $3 LIMIT 1`
	rows, err := t.s.rows(ctx, find, l.ID, schema, name)
	if err != nil || len(rows) > 0 {
		return len(rows) > 0, err
	}
	fresh, err := t.s.db.take()
	if err != nil {
		return false, err
	}
	rows, err = fresh.rows(ctx, find, l.ID, schema, name)
	t.s.db.put(fresh, err != nil)
	return len(rows) > 0, err
}

// loadPlan is a load with its names quoted and its columns matched.
type loadPlan struct {
	warehouse.Load
	table   sqltext.Text
	names   []string       // of the table's columns that are written, in the reader's order
	columns []*column      // their shapes
	quoted  []sqltext.Text // their quoted names
	key     []sqltext.Text
	isKey   []bool // per written column
}

func planLoad(d sqltext.Dialect, l warehouse.Load, have []*column, rows tidegate.Schema) (*loadPlan, error) {
	table, err := d.Table(l.Table.Schema, l.Table.Name)
	if err != nil {
		return nil, err
	}
	m, err := sqltext.Match(schemaOf(have), rows, l.Key)
	if err != nil {
		return nil, err
	}
	p := &loadPlan{Load: l, table: table, isKey: m.IsKey}
	for _, at := range m.At {
		name, err := d.Ident(have[at].name)
		if err != nil {
			return nil, err
		}
		p.names = append(p.names, have[at].name)
		p.columns = append(p.columns, have[at])
		p.quoted = append(p.quoted, name)
	}
	for _, i := range m.Keys {
		p.key = append(p.key, p.quoted[i])
	}
	return p, nil
}

// ordinal is a name for the number of a staged row that no column of the rows has.
func (p *loadPlan) ordinal(d sqltext.Dialect) (sqltext.Text, error) {
	name := "_tidegate_ordinal"
	for slices.ContainsFunc(p.names, func(have string) bool { return sqltext.Same(have, name) }) {
		name += "_"
	}
	return d.Ident(name)
}

// write brings the rows into the table: directly when they are appended, by
// way of a temporary table when they have a key.
func (t *tx) write(ctx context.Context, p *loadPlan, rows tidegate.RowReader) (int64, error) {
	if len(p.Key) == 0 {
		return t.s.append(ctx, target{schema: p.Table.Schema, table: p.Table.Name, columns: p.names}, p, rows)
	}
	ordinal, err := p.ordinal(t.w.dialect)
	if err != nil {
		return 0, err
	}
	const staging = sqltext.Text(`temp.main."_tidegate_load"`)
	quoted := sqltext.Join(p.quoted, ", ")
	// The staging table takes its types from the table; rows are numbered as they come.
	create := "CREATE TEMP TABLE _tidegate_load AS SELECT " + quoted + ", 0::BIGINT AS " + ordinal + " FROM " + p.table + " LIMIT 0"
	if _, err := t.s.exec(ctx, string(create)); err != nil {
		return 0, fmt.Errorf("staging: %w", err)
	}
	n, err := t.s.append(ctx, target{catalog: "temp", schema: "main", table: "_tidegate_load", numbered: true}, p, rows)
	if err != nil {
		return 0, err
	}
	keys := sqltext.Join(p.key, ", ")
	best := sqltext.Text("max")
	if p.KeepExisting {
		best = "min"
	}
	dedupe := "DELETE FROM " + staging + " WHERE " + ordinal + " NOT IN (SELECT " + best + "(" + ordinal + ") FROM " + staging + " GROUP BY " + keys + ")"
	dropped, err := t.s.exec(ctx, string(dedupe))
	if err != nil {
		return 0, fmt.Errorf("dropping repeats: %w", err)
	}
	match := make([]sqltext.Text, len(p.key))
	for i, k := range p.key {
		match[i] = "t." + k + " = s." + k
	}
	on := sqltext.Join(match, " AND ")
	merge := "DELETE FROM " + p.table + " AS t USING " + staging + " AS s WHERE " + on
	if p.KeepExisting {
		merge = "DELETE FROM " + staging + " AS s USING " + p.table + " AS t WHERE " + on
	}
	touched, err := t.s.exec(ctx, string(merge))
	if err != nil {
		return 0, fmt.Errorf("matching keys: %w", err)
	}
	if p.KeepExisting {
		dropped += touched
	}
	if _, err := t.s.exec(ctx, string("INSERT INTO "+p.table+" ("+quoted+") SELECT "+quoted+" FROM "+staging)); err != nil {
		return 0, fmt.Errorf("inserting: %w", err)
	}
	if _, err := t.s.exec(ctx, string("DROP TABLE "+staging)); err != nil {
		return 0, fmt.Errorf("unstaging: %w", err)
	}
	return n - dropped, nil
}

// target is a table that the engine's appender writes to.
type target struct {
	catalog, schema, table string
	columns                []string // those written; nil means all
	numbered               bool     // a last column numbers the rows
}

// append feeds rows into target and returns how many there were.
func (c *conn) append(ctx context.Context, to target, p *loadPlan, rows tidegate.RowReader) (int64, error) {
	a, err := newAppender(c, to, p.columns)
	if err != nil {
		return 0, err
	}
	n, err := fill(ctx, a, p, rows)
	if err != nil {
		a.discard()
		return 0, err
	}
	return n, a.close(ctx)
}

func fill(ctx context.Context, a *appender, p *loadPlan, rows tidegate.RowReader) (int64, error) {
	var n int64
	for {
		row, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("reading row %d: %w", n+1, err)
		}
		if len(row) != len(p.columns) {
			return 0, fmt.Errorf("reading row %d: it has %d cells and its schema %d", n+1, len(row), len(p.columns))
		}
		for i, v := range row {
			if err := a.put(i, v, p.isKey[i]); err != nil {
				return 0, &tidegate.Fault{
					Action:  tidegate.Reject,
					Code:    "warehouse.value",
					Subject: fmt.Sprintf("column %q", p.names[i]),
					Message: fmt.Sprintf("row %d: %s", n+1, err),
					Hint:    "correct the value, or widen the column with Ensure",
					Err:     err,
				}
			}
		}
		if err := a.next(ctx, n); err != nil {
			return 0, err
		}
		n++
	}
}

// appender writes rows into the engine's own chunks.
type appender struct {
	c        *conn
	raw      bindings.Appender
	types    []bindings.LogicalType
	chunk    bindings.DataChunk
	writers  []writer
	numbers  *writer // of the ordinal column
	at, full int
}

func newAppender(c *conn, to target, columns []*column) (*appender, error) {
	a := &appender{c: c, full: int(bindings.VectorSize())}
	if bindings.AppenderCreateExt(c.raw, to.catalog, to.schema, to.table, &a.raw) == bindings.StateError {
		err := appenderError(a.raw)
		bindings.AppenderDestroy(&a.raw)
		return nil, fmt.Errorf("opening the appender: %w", err)
	}
	for _, name := range to.columns {
		if bindings.AppenderAddColumn(a.raw, name) == bindings.StateError {
			err := appenderError(a.raw)
			a.discard()
			return nil, fmt.Errorf("opening the appender: %w", err)
		}
	}
	for _, col := range columns {
		w, typ := newWriter(col)
		a.writers = append(a.writers, w)
		a.types = append(a.types, typ)
	}
	if to.numbered {
		w, typ := newWriter(&column{id: bindings.TypeBigInt})
		a.numbers = &w
		a.types = append(a.types, typ)
	}
	a.chunk = bindings.CreateDataChunk(a.types)
	a.attach()
	return a, nil
}

func appenderError(raw bindings.Appender) error { return fault(bindings.AppenderError(raw)) }

// attach points the writers at the chunk, whose memory moves when it is reset.
func (a *appender) attach() {
	a.at = 0
	for i := range a.writers {
		a.writers[i].attach(bindings.DataChunkGetVector(a.chunk, bindings.IdxT(i)))
	}
	if a.numbers != nil {
		a.numbers.attach(bindings.DataChunkGetVector(a.chunk, bindings.IdxT(len(a.writers))))
	}
}

func (a *appender) put(column int, v any, key bool) error {
	if v == nil {
		if key {
			return celltext.ErrNullKey
		}
		a.writers[column].null(a.at)
		return nil
	}
	return a.writers[column].put(a.at, v)
}

// next ends the row with the given ordinal.
func (a *appender) next(ctx context.Context, ordinal int64) error {
	if a.numbers != nil {
		store(a.numbers.data, a.at, ordinal)
	}
	if a.at++; a.at < a.full {
		return nil
	}
	return a.flushChunk(ctx)
}

func (a *appender) flushChunk(ctx context.Context) error {
	if a.at == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("appending rows: %w", err)
	}
	bindings.DataChunkSetSize(a.chunk, bindings.IdxT(a.at))
	var state bindings.State
	a.c.guard(ctx, func() { state = bindings.AppendDataChunk(a.raw, a.chunk) })
	if state == bindings.StateError {
		return fmt.Errorf("appending rows: %w", a.failure(ctx))
	}
	bindings.DataChunkReset(a.chunk)
	a.attach()
	return nil
}

func (a *appender) failure(ctx context.Context) error {
	msg := bindings.AppenderError(a.raw)
	// The appender leaves the kind of an error out of its message.
	if what, ok := strings.CutPrefix(msg, "Failed to append: "); ok && strings.Contains(what, "constraint") {
		msg = "Constraint Error: " + what
	}
	return engineError(ctx, msg)
}

// close hands the last rows over; the rows are in the table when it returns nil.
func (a *appender) close(ctx context.Context) error {
	if err := a.flushChunk(ctx); err != nil {
		a.discard()
		return err
	}
	var state bindings.State
	a.c.guard(ctx, func() { state = bindings.AppenderFlush(a.raw) })
	if state == bindings.StateError {
		err := fmt.Errorf("appending rows: %w", a.failure(ctx))
		a.discard()
		return err
	}
	a.release()
	return nil
}

// discard drops the rows that the engine has not taken over yet.
func (a *appender) discard() {
	bindings.AppenderClear(a.raw)
	a.release()
}

func (a *appender) release() {
	bindings.DestroyDataChunk(&a.chunk)
	for i := range a.types {
		bindings.DestroyLogicalType(&a.types[i])
	}
	bindings.AppenderDestroy(&a.raw)
}
