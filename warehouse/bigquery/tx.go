package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/turns"
	"github.com/tidegate/tidegate/internal/txstate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// loadsTable remembers the loads of transactions.
var loadsTable = warehouse.Table{Schema: "_tidegate", Name: "loads"}

func loadsSchema() tidegate.Schema {
	text := tidegate.Type{Kind: tidegate.String}
	return tidegate.Schema{
		{Name: "load_id", Type: text},
		{Name: "table_schema", Type: text},
		{Name: "table_name", Type: text},
		{Name: "rows", Type: tidegate.Type{Kind: tidegate.Int}},
		{Name: "loaded_at", Type: tidegate.Type{Kind: tidegate.Timestamp}},
	}
}

// Exec implements warehouse.Execer: one statement in a job of its own.
func (w *Warehouse) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	err := checkStatement(sql)
	if err == nil {
		err = w.door.Enter()
	}
	if err != nil {
		return 0, fmt.Errorf("executing a statement: %w", err)
	}
	defer w.door.Leave()
	bound, params, err := bind(sql, args)
	var res *result
	if err == nil {
		res, err = w.run(ctx, request{op: "exec", sql: bound, args: params})
	}
	if err != nil {
		return 0, fmt.Errorf("executing a statement: %w", err)
	}
	return res.changed, nil
}

// bookkeeping makes the table that remembers loads, once.
func (w *Warehouse) bookkeeping(ctx context.Context) error {
	w.mu.Lock()
	booked := w.booked
	w.mu.Unlock()
	if booked {
		return nil
	}
	if _, err := w.ensure(ctx, loadsTable, loadsSchema()); err != nil {
		return fmt.Errorf("making the table of loads: %w", err)
	}
	w.mu.Lock()
	w.booked = true
	w.mu.Unlock()
	return nil
}

// remembered says whether a load was done in a transaction. Without the table
// there was none; a query of it would not say so in words to be relied on.
func (w *Warehouse) remembered(ctx context.Context, l warehouse.Load) (bool, error) {
	w.mu.Lock()
	booked := w.booked
	w.mu.Unlock()
	if !booked {
		if _, err := w.describe(ctx, loadsTable); errors.Is(err, warehouse.ErrNoTable) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("asking for the load: %w", err)
		}
	}
	rows, _, err := w.all(ctx, lookup("", l.ID))
	if err != nil {
		return false, fmt.Errorf("asking for the load: %w", err)
	}
	return contains(rows, l.Table), nil
}

// lookup asks for the tables into which a load was done.
func lookup(session, id string) request {
	return request{
		op: "books", session: session, sql: "SELECT table_schema, table_name FROM `_tidegate`.`loads` WHERE load_id = @id",
		args: []argument{{"id", "STRING", id}},
	}
}

func contains(rows []tidegate.Row, t warehouse.Table) bool {
	for _, row := range rows {
		if row[0] == t.Schema && row[1] == t.Name {
			return true
		}
	}
	return false
}

// Begin implements warehouse.Execer: a transaction in a session.
func (w *Warehouse) Begin(ctx context.Context) (warehouse.Tx, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	t := &tx{w: w, done: make(map[string][]tidegate.Row)}
	err := w.bookkeeping(ctx)
	if err == nil {
		err = t.begin(ctx)
	}
	if err != nil {
		w.door.Leave()
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	return t, nil
}

const beginSQL = "BEGIN TRANSACTION"

// begin takes a free session, or a new one.
func (t *tx) begin(ctx context.Context) error {
	w := t.w
	for {
		w.mu.Lock()
		n := len(w.sessions)
		if n > 0 {
			t.session, w.sessions = w.sessions[n-1], w.sessions[:n-1]
		}
		w.mu.Unlock()
		if n == 0 {
			break
		}
		if _, err := w.run(ctx, request{op: "begin", sql: beginSQL, session: t.session}); err == nil {
			return nil
		} else if ctx.Err() != nil {
			return err
		}
		// Sessions end by themselves after a day without use.
	}
	res, err := w.run(ctx, request{op: "begin", sql: beginSQL, newSession: true})
	if err != nil {
		return err
	}
	if res.session == "" {
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.engine", Message: "BigQuery did not say in which session it began the transaction"}
	}
	t.session = res.session
	return nil
}

// abort ends a session, and with it a transaction that it holds, as well as can be:
// BigQuery ends it by itself after a day.
func (w *Warehouse) abort(ctx context.Context, session string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer done()
	if _, err := w.run(ctx, request{op: "end", sql: "CALL BQ.ABORT_SESSION()", session: session}); err != nil {
		w.log.DebugContext(ctx, "a session could not be ended; it ends by itself", "error", err)
	}
}

// tx is one transaction of a session.
type tx struct {
	txstate.State
	w       *Warehouse
	session string
	reader  *reader
	done    map[string][]tidegate.Row   // IDs of loads that were looked up: the tables they are in
	loads   []tidegate.Row              // of this transaction, for loadsTable
	held    turns.Held[warehouse.Table] // turns as a user of a table
	log     txstate.Log[request]        // BigQuery changes tables outside of transactions only
}

// run runs a statement in the session; those that write are remembered.
func (t *tx) run(ctx context.Context, r request, writes bool) (*result, error) {
	r.session = t.session
	res, err := t.w.run(ctx, r)
	if err == nil && writes {
		t.log.Add(r, r.size(), res.changed)
	}
	return res, err
}

func (t *tx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return 0, err
	}
	err := checkStatement(sql)
	var params []argument
	if err == nil {
		sql, params, err = bind(sql, args)
	}
	var res *result
	if err == nil {
		res, err = t.run(ctx, request{op: "exec", sql: sql, args: params}, true)
	}
	if err != nil {
		return 0, t.Fail(fmt.Errorf("executing in a transaction: %w", err))
	}
	return res.changed, nil
}

func (t *tx) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return nil, err
	}
	err := checkStatement(sql)
	var params []argument
	bound := sql
	if err == nil {
		bound, params, err = bind(sql, args)
	}
	reads := checkQuery(sql) == nil
	var res *result
	var r *reader
	if err == nil {
		res, err = t.run(ctx, request{op: "query", sql: bound, args: params, reads: reads}, !reads)
	}
	if err == nil {
		r, err = t.w.reader(ctx, res, bound)
	}
	if err != nil {
		return nil, t.Fail(fmt.Errorf("querying in a transaction: %w", err))
	}
	t.reader = r
	r.done = func(err error) { t.reader = nil; _ = t.Fail(err) }
	return r, nil
}

// Ensure changes the table outside of the transaction. When there is something
// to change, the transaction is rolled back before and done again after it: its
// snapshot is that of a later moment then.
func (t *tx) Ensure(ctx context.Context, table warehouse.Table, want tidegate.Schema) (tidegate.Schema, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return nil, err
	}
	have, err := t.ensure(ctx, table, want)
	if err != nil {
		return nil, t.Fail(fmt.Errorf("ensuring table %s in a transaction: %w", table, err))
	}
	return have, nil
}

func (t *tx) ensure(ctx context.Context, table warehouse.Table, want tidegate.Schema) (have tidegate.Schema, err error) {
	if err := sqltext.CheckDistinct(want); err != nil {
		return nil, err
	}
	if have, err := t.w.describe(ctx, table); err == nil && changeOf(have.columns, want).none() {
		return schemaOf(have.columns), nil
	}
	err = t.apart(ctx, func() error {
		have, err = t.w.ensure(ctx, table, want)
		return err
	})
	return have, err
}

// apart does what BigQuery does outside of transactions only.
func (t *tx) apart(ctx context.Context, change func() error) error {
	if err := t.log.Kept(); err != nil {
		return err
	}
	if err := t.rollback(ctx); err != nil {
		return err
	}
	held := t.held.Release()
	if err := change(); err != nil {
		return err
	}
	for _, table := range held {
		if err := t.held.Take(ctx, &t.w.tables, table); err != nil {
			return err
		}
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	return t.log.Again(ctx, func(ctx context.Context, r request) (int64, error) {
		res, err := t.run(ctx, r, true)
		if err != nil {
			return 0, err
		}
		return res.changed, nil
	})
}

// Load writes rows that travel with the statement, for a load job is no part of
// a transaction. The load is remembered when the transaction commits (Invariant 3).
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

func (t *tx) load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (n int64, err error) {
	if err := l.CheckID(); err != nil {
		return 0, err
	}
	if err := t.held.Take(ctx, &t.w.tables, l.Table); err != nil {
		return 0, err
	}
	found, err := t.w.describe(ctx, l.Table)
	if err != nil {
		return 0, err
	}
	p, err := t.w.planLoad(l, found, rows.Schema())
	if err != nil {
		return 0, err
	}
	if was, err := t.loaded(ctx, l); err != nil || was {
		return 0, err
	}
	sql := string(p.inline())
	for c := newChunks(p, rows); ; {
		chunk, err := c.next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		res, err := t.run(ctx, request{op: "load", sql: sql, args: []argument{chunk}}, true)
		if err != nil {
			return 0, err
		}
		n += res.changed
	}
	t.loads = append(t.loads, tidegate.Row{l.ID, l.Table.Schema, l.Table.Name, n, t.w.now().UTC()})
	return n, nil
}

// loaded says whether the load was done: by this transaction, by one that is
// committed, or by a job.
func (t *tx) loaded(ctx context.Context, l warehouse.Load) (bool, error) {
	for _, row := range t.loads {
		if row[0] == l.ID && row[1] == l.Table.Schema && row[2] == l.Table.Name {
			return true, nil
		}
	}
	rows, known := t.done[l.ID]
	if !known {
		var err error
		if rows, _, err = t.w.all(ctx, lookup(t.session, l.ID)); err != nil {
			return false, fmt.Errorf("asking for the load: %w", err)
		}
		t.done[l.ID] = rows
	}
	if contains(rows, l.Table) {
		return true, nil
	}
	_, was, err := t.w.unused(ctx, l)
	return was, err
}

// commitTimeout is how long a commit may take, the question for it included.
const commitTimeout = 10 * time.Minute

// Commit makes everything durable. A transaction in which a call failed is rolled
// back instead, and the error of that call is returned. When the answer is lost,
// the job that commits is asked for by its id.
func (t *tx) Commit() error {
	if err := t.Ready(t.reader != nil); err != nil {
		return t.GiveUp(err, t.Rollback)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	err := t.commit(ctx)
	t.finish(ctx, err == nil)
	if err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

func (t *tx) commit(ctx context.Context) error {
	r := request{op: "commit", sql: "COMMIT TRANSACTION", session: t.session}
	if len(t.loads) > 0 {
		insert, chunk, err := t.books(ctx)
		if err != nil {
			return err
		}
		r.sql, r.args = string(insert)+";\n"+r.sql, []argument{chunk}
	}
	_, err := t.w.run(ctx, r)
	return err
}

// books is the statement that remembers the loads. What a transaction loads is
// bounded by its callers; a chunk holds ten thousands of loads.
func (t *tx) books(ctx context.Context) (sqltext.Text, argument, error) {
	found, err := t.w.describe(ctx, loadsTable)
	if err != nil {
		return "", argument{}, err
	}
	p, err := t.w.planLoad(warehouse.Load{ID: "books", Table: loadsTable}, found, loadsSchema())
	if err != nil {
		return "", argument{}, err
	}
	c := newChunks(p, tidegate.Rows(loadsSchema(), t.loads...))
	chunk, err := c.next(ctx)
	if err != nil {
		return "", argument{}, err
	}
	if c.rows < int64(len(t.loads)) {
		return "", argument{}, errors.New("the transaction has " + strconv.Itoa(len(t.loads)) + " loads, more than one statement remembers")
	}
	return p.inline(), chunk, nil
}

// finish ends the transaction; a session that is clean is used again.
func (t *tx) finish(ctx context.Context, clean bool) {
	t.Over = true
	t.held.Release()
	w := t.w
	w.mu.Lock()
	if clean && t.session != "" && len(w.sessions) < maxSessions {
		w.sessions = append(w.sessions, t.session)
		t.session = ""
	}
	w.mu.Unlock()
	if t.session != "" {
		w.abort(ctx, t.session)
	}
	w.door.Leave()
}

// rollback gives up what the session holds, and the session with it when that does not work.
func (t *tx) rollback(ctx context.Context) error {
	session := t.session
	t.session = ""
	if _, err := t.w.run(ctx, request{op: "rollback", sql: "ROLLBACK TRANSACTION", session: session}); err != nil {
		t.w.abort(ctx, session)
		return err
	}
	t.w.mu.Lock()
	t.w.sessions = append(t.w.sessions, session)
	t.w.mu.Unlock()
	return nil
}

// Rollback gives everything up; after Commit or a first Rollback it does nothing.
func (t *tx) Rollback() error {
	if t.Over {
		return nil
	}
	if t.reader != nil {
		t.reader.done = nil
		_ = t.reader.Close() // it is given up
		t.reader = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelGrace)
	defer cancel()
	clean := false
	if t.Failed == nil && t.session != "" {
		_, err := t.w.run(ctx, request{op: "rollback", sql: "ROLLBACK TRANSACTION", session: t.session})
		clean = err == nil
	}
	t.finish(ctx, clean)
	return nil
}
