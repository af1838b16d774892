package snowflake

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/turns"
	"github.com/tidegate/tidegate/internal/txstate"
	"github.com/tidegate/tidegate/warehouse"
)

// Exec implements warehouse.Execer: one statement, which Snowflake commits.
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
	var n int64
	if err == nil {
		n, err = w.changed(ctx, on{}, request{op: "exec", sql: bound, args: params})
	}
	if err != nil {
		return 0, fmt.Errorf("executing a statement: %w", err)
	}
	return n, nil
}

// Begin implements warehouse.Execer: a transaction of a session that is its own until it ends.
func (w *Warehouse) Begin(ctx context.Context) (warehouse.Tx, error) {
	t, err := w.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	return t, nil
}

func (w *Warehouse) begin(ctx context.Context) (*tx, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	t := &tx{w: w, done: make(map[string][]tidegate.Row)}
	err := w.bookkeeping(ctx)
	if err == nil {
		err = t.begin(ctx)
	}
	if err != nil {
		if t.conn != nil {
			discard(t.conn)
		}
		w.door.Leave()
		return nil, err
	}
	return t, nil
}

// begin takes a session of the pool. One that is too old is replaced.
func (t *tx) begin(ctx context.Context) (err error) {
	for range sessionTries {
		if t.conn == nil {
			if t.conn, err = t.w.db.Conn(ctx); err != nil {
				return t.w.classify(ctx, on{}, err, "")
			}
		}
		if _, err = t.w.do(ctx, t.on(), request{op: "begin", sql: "BEGIN TRANSACTION"}); err == nil || !gone(err) {
			return err
		}
		discard(t.conn)
		t.conn = nil
	}
	return err
}

// tx is one transaction.
type tx struct {
	txstate.State
	w      *Warehouse
	conn   *sql.Conn
	reader *reader
	done   map[string][]tidegate.Row   // IDs of loads that were looked up: the tables they are in
	loads  []tidegate.Row              // of this transaction, for loadsTable
	paths  []string                    // of its files in the stage
	held   turns.Held[warehouse.Table] // turns as a user of a table
	log    txstate.Log[request]        // Snowflake commits before it changes a table
	wrote  bool
}

func (t *tx) on() on { return on{conn: t.conn} }

// run runs a statement that writes, and remembers it.
func (t *tx) run(ctx context.Context, r request) (int64, error) {
	t.wrote = true
	n, err := t.w.changed(ctx, t.on(), r)
	if err == nil {
		t.log.Add(r, r.size(), n)
	}
	return n, err
}

func (t *tx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return 0, err
	}
	n, err := t.exec(ctx, sql, args)
	if err != nil {
		return 0, t.Fail(fmt.Errorf("executing in a transaction: %w", err))
	}
	return n, nil
}

func (t *tx) exec(ctx context.Context, sql string, args []any) (int64, error) {
	if err := checkStatement(sql); err != nil {
		return 0, err
	}
	if changesCatalogue(sql) {
		return 0, &tidegate.Fault{
			Action: tidegate.Halt, Code: "sql.refused", Message: "Snowflake commits a transaction before it changes the catalogue",
			Hint: "run the statement before or after the transaction",
		}
	}
	bound, params, err := bind(sql, args)
	if err != nil {
		return 0, err
	}
	return t.run(ctx, request{op: "exec", sql: bound, args: params})
}

func (t *tx) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return nil, err
	}
	r, err := t.query(ctx, sql, args)
	if err != nil {
		return nil, t.Fail(fmt.Errorf("querying in a transaction: %w", err))
	}
	t.reader = r
	r.done = func(err error) { t.reader = nil; _ = t.Fail(err) }
	return r, nil
}

func (t *tx) query(ctx context.Context, sql string, args []any) (*reader, error) {
	if err := checkStatement(sql); err != nil {
		return nil, err
	}
	if changesCatalogue(sql) {
		_, err := t.exec(ctx, sql, args)
		return nil, err
	}
	bound, params, err := bind(sql, args)
	if err != nil {
		return nil, err
	}
	r := request{op: "query", sql: bound, args: params}
	a, err := t.w.do(ctx, t.on(), r)
	if err != nil {
		return nil, err
	}
	if checkQuery(sql) != nil {
		t.wrote = true
		t.log.Add(r, r.size(), -1) // how many rows it wrote, only its result says
	}
	return t.w.reader(ctx, t.on(), a), nil
}

// Ensure changes the table outside of the transaction. When there is something to
// change, the transaction is rolled back before and done again after it.
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
	if err := t.w.checkSchema(table, want); err != nil {
		return nil, err
	}
	if have, err := t.w.describe(ctx, t.on(), table); err == nil && changeOf(have.columns, want).none() {
		return schemaOf(have.columns), nil
	}
	err = t.apart(ctx, func(o on) error {
		have, err = t.w.ensure(ctx, o, table, want)
		return err
	})
	return have, err
}

// apart does what Snowflake does outside of transactions only.
func (t *tx) apart(ctx context.Context, change func(o on) error) error {
	if err := t.log.Kept(); err != nil {
		return err
	}
	if _, err := t.w.do(ctx, t.on(), request{op: "rollback", sql: "ROLLBACK"}); err != nil {
		return err
	}
	held := t.held.Release()
	if err := change(t.on()); err != nil {
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
	return t.log.Again(ctx, t.run)
}

// Load writes rows; the load is remembered when the transaction commits (Invariant 3).
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
