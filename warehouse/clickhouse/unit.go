package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/turns"
	"github.com/tidegate/tidegate/internal/txstate"
	"github.com/tidegate/tidegate/warehouse"
)

const (
	// unitMemory is how much of a unit is held in memory; what is more waits in _tidegate.units.
	unitMemory = 64 << 20
	// unitSteps bounds the statements and inserts of one unit.
	unitSteps = 100_000
	// commitTimeout is how long a commit may take before it counts as lost.
	commitTimeout = 10 * time.Minute
	// abandoned is the age at which a unit that was never committed is given up by others.
	abandoned = 24 * time.Hour
	// loadMemory is how long the ID of a load is remembered.
	loadMemory = "90 DAY"
)

// step is one thing that a unit does: an insert, or a statement.
type step struct {
	table warehouse.Table // of an insert
	sql   string
	token string
	data  []byte // packed; nil while it waits in _tidegate.units
	// statement steps have parameters and no data.
	statement bool
	params    []param
	stored    bool // in _tidegate.units
}

// loaded is a load that is part of a unit.
type loaded struct {
	id    string
	table warehouse.Table
	rows  int64
}

// unit gathers loads and statements, and does them on Commit: all or none.
type unit struct {
	txstate.State
	w     *Warehouse
	id    string
	steps []*step
	loads []loaded
	held  int // bytes in memory
	// alone is a unit of one load, which waits for one table. The others take turns
	// with each other first, so that no two wait for each other's tables.
	alone bool
	turns turns.Held[warehouse.Table]

	reader *unitReader
	stored bool // something of it is in _tidegate.units
}

// Begin implements warehouse.Execer: it begins a unit.
func (w *Warehouse) Begin(ctx context.Context) (warehouse.Tx, error) {
	u, err := w.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("beginning a unit: %w", err)
	}
	return u, nil
}

func (w *Warehouse) begin(ctx context.Context) (*unit, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	if err := w.settle(ctx); err != nil {
		w.door.Leave()
		return nil, err
	}
	return &unit{State: txstate.State{What: "unit"}, w: w, id: newID(w.now())}, nil
}

// turn waits until no other unit writes to the table.
func (u *unit) turn(ctx context.Context, t warehouse.Table) error {
	if u.turns.Empty() && !u.alone {
		if err := u.turns.TakeAlone(ctx, &u.w.tables, warehouse.Table{}); err != nil {
			return err
		}
	}
	return u.turns.TakeAlone(ctx, &u.w.tables, t)
}

// Exec adds a statement, which is run on Commit and, when a commit is cut short,
// perhaps a second time. Its rows are not counted.
func (u *unit) Exec(_ context.Context, sql string, args ...any) (int64, error) {
	if err := u.Ready(u.reader != nil); err != nil {
		return 0, err
	}
	q, err := u.w.statement(sql, args)
	if err == nil {
		t := &tokens{sql: sql}
		switch t.next() {
		case "insert", "delete", "truncate", "alter", "create", "drop":
		default:
			err = &tidegate.Fault{Action: tidegate.Halt, Code: "sql.refused", Message: "a unit takes statements that change rows or tables", Hint: "query with Query"}
		}
	}
	if err != nil {
		return 0, u.Fail(fmt.Errorf("executing in a unit: %w", err))
	}
	return 0, u.put(&step{sql: q.sql, params: q.params, statement: true})
}

// Query reads what is committed: nothing of the unit itself.
func (u *unit) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	if err := u.Ready(u.reader != nil); err != nil {
		return nil, err
	}
	r, err := u.w.Query(ctx, sql, args...)
	if err != nil {
		return nil, u.Fail(err)
	}
	u.reader = &unitReader{RowReader: r, u: u}
	return u.reader, nil
}

// unitReader tells its unit when it is closed, and how it ended.
type unitReader struct {
	tidegate.RowReader
	u *unit
}

func (r *unitReader) Next(ctx context.Context) (tidegate.Row, error) {
	row, err := r.RowReader.Next(ctx)
	if err != nil && !errors.Is(err, io.EOF) {
		_ = r.u.Fail(err)
	}
	return row, err
}

func (r *unitReader) Close() error {
	if r.u.reader == r {
		r.u.reader = nil
	}
	return r.RowReader.Close()
}

// Ensure is Warehouse's: it is additive, and not undone by a Rollback. What the unit
// gathered for the table before was made for its columns of then, and still fits.
func (u *unit) Ensure(ctx context.Context, t warehouse.Table, s tidegate.Schema) (tidegate.Schema, error) {
	if err := u.Ready(u.reader != nil); err != nil {
		return nil, err
	}
	u.turns.Give(t) // Ensure takes the turn itself
	have, err := u.w.Ensure(ctx, t, s)
	return have, u.Fail(err)
}

// add takes over the rows of a chunk, which is empty afterwards.
func (u *unit) add(ctx context.Context, p *loadPlan, c *chunk) error {
	if c.rows == 0 {
		return nil
	}
	data, err := u.w.writes.pack(c.encode(nil))
	if err != nil {
		return err
	}
	c.clear()
	number := strconv.Itoa(len(u.steps))
	token := tokenOf(u.id, number)
	if p.ID != "" { // the same load again is the same insert, whoever repeats it
		token = tokenOf(p.Table.Schema, p.Table.Name, p.ID, strconv.Itoa(u.chunksOf(p.Table, p.ID)))
	}
	s := &step{table: p.Table, sql: p.insert, token: token, data: data}
	if err := u.put(s); err != nil {
		return err
	}
	if u.held += len(data); u.held > unitMemory {
		return u.store(ctx, false)
	}
	return nil
}

// chunksOf counts the chunks of the load that is being added.
func (u *unit) chunksOf(t warehouse.Table, _ string) int {
	n := 0
	for i := len(u.steps) - 1; i >= 0 && u.steps[i].table == t && !u.steps[i].statement; i-- {
		n++
	}
	return n
}

func (u *unit) put(s *step) error {
	if len(u.steps) >= unitSteps {
		return u.Fail(&tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.limit", Message: fmt.Sprintf("a unit has more than %d steps", unitSteps), Hint: "split it"})
	}
	u.steps = append(u.steps, s)
	return nil
}

// Commit does everything that was gathered. When it returns an error that is a Retry, the unit
// may be done in part; then its end is brought about before anything else is written.
func (u *unit) Commit() error {
	if err := u.Ready(u.reader != nil); err != nil {
		return u.GiveUp(err, u.Rollback)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	if err := u.commit(ctx); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

func (u *unit) commit(ctx context.Context) error {
	defer u.finish()
	if len(u.steps) == 0 && len(u.loads) == 0 {
		return nil
	}
	if err := u.rememberLoads(); err != nil {
		return err
	}
	if u.single() {
		return u.w.apply(ctx, u.steps)
	}
	if err := u.store(ctx, true); err != nil {
		u.w.unsettle() // whether it is committed is not known
		return err
	}
	done, err := u.w.finishUnit(ctx, u.id, u.steps, 0)
	if err != nil && done == 0 && codeOf(err) != 0 && tidegate.FaultOf(err).Action != tidegate.Retry && u.w.forget(ctx, u.id) == nil {
		return err // the server refused the first step, so that nothing was done
	}
	if err != nil {
		u.w.unsettle()
	}
	return err
}

// single says that the unit is one insert with the name of its load, which needs no books: when it is cut short, the
// same load again is the same insert.
func (u *unit) single() bool {
	return !u.stored && len(u.loads) == 1 && len(u.steps) <= 2 && !u.steps[0].statement
}

// rememberLoads adds the insert that says which loads the unit has done, after the rows.
func (u *unit) rememberLoads() error {
	if len(u.loads) == 0 {
		return nil
	}
	columns := []column{
		parseColumn("load_id", "String"), parseColumn("table_schema", "String"), parseColumn("table_name", "String"),
		parseColumn("rows", "Int64"), parseColumn("loaded_at", "DateTime64(6, 'UTC')"),
	}
	c := newChunk(columns)
	p := &loadPlan{columns: columns}
	now := u.w.now().UTC()
	for i, l := range u.loads {
		if err := c.add(p, tidegate.Row{l.id, l.table.Schema, l.table.Name, l.rows, now}, int64(i+1)); err != nil {
			return err
		}
	}
	data, err := u.w.writes.pack(c.encode(nil))
	if err != nil {
		return err
	}
	return u.put(&step{
		table: warehouse.Table{Schema: "_tidegate", Name: "loads"}, token: tokenOf(u.id, "loads"), data: data,
		sql: "INSERT INTO _tidegate.loads (load_id, table_schema, table_name, rows, loaded_at) FORMAT Native",
	})
}

// finish gives back what the unit holds.
func (u *unit) finish() {
	if u.Over {
		return
	}
	u.Over = true
	u.turns.Release()
	u.steps = nil
	u.w.door.Leave()
}

// Rollback gives everything up; after Commit or a first Rollback it does nothing.
func (u *unit) Rollback() error {
	if u.Over {
		return nil
	}
	if u.reader != nil {
		_ = u.reader.Close()
	}
	var err error
	if u.stored {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		err = u.w.forget(ctx, u.id)
	}
	u.finish()
	if err != nil && !lost(err) { // what stays is dropped when it is old
		return fmt.Errorf("rolling back: %w", err)
	}
	return nil
}

// apply does steps in their order.
func (w *Warehouse) apply(ctx context.Context, steps []*step) error {
	for i, s := range steps {
		if err := w.applyStep(ctx, s); err != nil {
			return fmt.Errorf("doing step %d of %d: %w", i+1, len(steps), err)
		}
	}
	return nil
}

func (w *Warehouse) applyStep(ctx context.Context, s *step) error {
	if !s.statement {
		return w.send(ctx, s.sql, s.token, s.data)
	}
	settings := map[string]string{"insert_deduplicate": "0"}
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(s.sql)), "insert") {
		settings = map[string]string{"insert_deduplicate": "1", "insert_deduplication_token": s.token}
	}
	return w.exec(ctx, &call{sql: s.sql, params: s.params, settings: settings})
}
