package evolve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Request is a widening that somebody accepts.
type Request struct {
	Table  warehouse.Table
	Column string
	To     tidegate.Type // Unknown: what Survey proposes
	By     string        // who accepts it
	At     time.Time
}

// WidenResult is what a widening did, or would do.
type WidenResult struct {
	Schema  string `json:"schema"`
	Table   string `json:"table"`
	Column  string `json:"column"`
	OldType string `json:"old_type"`
	NewType string `json:"new_type"`
	// Values is how many values were set aside, Backfilled how many of them are in their
	// rows now, Left how many stay where they were.
	Values     int64 `json:"values"`
	Backfilled int64 `json:"backfilled"`
	Left       int64 `json:"left"`
	// Users is how many rows of users have another value now.
	Users int64 `json:"users,omitempty"`
	// Done is false for a mere proposal.
	Done bool `json:"done"`
}

// Plan says what Widen would do, and changes nothing. Backfilled is not known before.
func (l Log) Plan(ctx context.Context, wh Warehouse, r Request) (WidenResult, error) {
	w, err := l.prepare(ctx, wh, r)
	if err != nil {
		return WidenResult{}, err
	}
	return w.result, nil
}

// Widen gives a column a type that has room for what was set aside and puts that into its
// rows, in one transaction. Where the type is not a part of the transaction (Snowflake, BigQuery), a
// widening that is cut short leaves the column with it, and everything else undone. Widening again is
// fine: what is left is tried again.
func (l Log) Widen(ctx context.Context, wh Warehouse, r Request) (WidenResult, error) {
	w, err := l.prepare(ctx, wh, r)
	if err != nil {
		return WidenResult{}, err
	}
	fail := func(err error) (WidenResult, error) {
		if w.d.Units() {
			w.unstage(context.WithoutCancel(ctx), wh)
		}
		return WidenResult{}, fmt.Errorf("widening %s.%s: %w", w.table, w.column, err)
	}
	begin := w.begin
	if w.d.Units() {
		begin = w.stageAhead
	}
	if err := begin(ctx, wh); err != nil {
		return fail(err)
	}
	if w.tx, err = wh.Begin(ctx); err != nil {
		return fail(err)
	}
	if err := w.run(ctx); err != nil {
		return fail(errors.Join(err, w.tx.Rollback()))
	}
	if err := w.tx.Commit(); err != nil { // Invariant 3
		return fail(err)
	}
	w.result.Left = w.result.Values - w.result.Backfilled
	w.result.Done = true
	w.unstage(ctx, wh)
	return w.result, nil
}

// widening is one on its way.
type widening struct {
	d       sqltext.Dialect
	log     Log
	tx      warehouse.Tx
	wh      Warehouse // of a unit (see unit.go)
	request Request
	table   warehouse.Table
	column  string        // as the table has it
	from    tidegate.Type // of the column
	was     tidegate.Type // of the column before this widening, also when it was cut short once
	to      tidegate.Type
	users   bool // the table is merged into users, which has the column too
	result  WidenResult
	attempt string // no load of another try is taken for one of this

	sharpened int64 // values that are exact now
	staged    bool  // the table of restored values may be there
}

// prepare checks a request against the tables as they are.
func (l Log) prepare(ctx context.Context, wh Warehouse, r Request) (*widening, error) {
	d, err := dialectOf(wh)
	if err != nil {
		return nil, err
	}
	w := &widening{d: d, log: l, request: r, table: r.Table, to: r.To, attempt: rand.Text()}
	if shape.Own(r.Column) {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "schema.own_column", Subject: r.Table.String() + "." + r.Column,
			Message: "the loader fills this column itself", Hint: "what clients sent under this name is in " + shape.UnmappedColumn,
		}
	}
	if r.Table.Name == shape.UsersTable { // its values are those of the identify calls
		if w.table, err = callsOf(ctx, wh, r.Table.Schema); err != nil {
			return nil, err
		}
	}
	c, err := columnOf(ctx, wh, w.table, r.Column)
	if err != nil {
		return nil, err
	}
	w.column, w.from = c.Name, c.Type
	if w.was, err = w.cutShort(ctx, wh); err != nil {
		return nil, err
	}
	merged, ok, err := usersColumn(ctx, wh, w.table, c.Name)
	if err != nil {
		return nil, err
	}
	w.users = ok
	if w.to.Kind == tidegate.Unknown {
		if w.to, err = propose(ctx, wh, w.table, c); err != nil {
			return nil, err
		}
	}
	for _, from := range []tidegate.Type{w.from, merged.Type} {
		if from.Kind != tidegate.Unknown && !warehouse.Holds(w.to, from) {
			return nil, warehouse.Narrows(w.table, w.column, from, w.to)
		}
	}
	if err := w.exact(ctx, wh); err != nil {
		return nil, err
	}
	w.result = WidenResult{Schema: w.table.Schema, Table: w.table.Name, Column: w.column, OldType: w.was.String(), NewType: w.to.String()}
	return w, w.count(ctx, wh)
}

// exact refuses a float for whole numbers that it would round.
func (w *widening) exact(ctx context.Context, wh Warehouse) error {
	if w.from.Kind != tidegate.Int || w.to.Kind != tidegate.Float {
		return nil
	}
	ok, err := exactInts(ctx, wh, w.d, w.table, w.column)
	if err == nil && !ok {
		err = &tidegate.Fault{
			Action: tidegate.Halt, Code: "schema.rounds", Subject: w.table.String() + "." + w.column,
			Message: "the column holds whole numbers that a float would round", Hint: "choose decimal(38,9), string or json",
		}
	}
	return err
}

// callsOf is the table whose identify calls make users.
func callsOf(ctx context.Context, wh Warehouse, schema string) (warehouse.Table, error) {
	for _, name := range []string{shape.IdentifiesTable, shape.EventsTable} {
		t := warehouse.Table{Schema: schema, Name: name}
		_, err := wh.Describe(ctx, t)
		if err == nil || !errors.Is(err, warehouse.ErrNoTable) {
			return t, err
		}
	}
	return warehouse.Table{Schema: schema, Name: shape.IdentifiesTable}, nil
}

func columnOf(ctx context.Context, wh Warehouse, t warehouse.Table, name string) (tidegate.Column, error) {
	columns, err := wh.Describe(ctx, t)
	if errors.Is(err, warehouse.ErrNoTable) {
		return tidegate.Column{}, &tidegate.Fault{Action: tidegate.Halt, Code: "table.not_found", Subject: t.String(), Message: "there is no such table", Err: err}
	}
	if err != nil {
		return tidegate.Column{}, fmt.Errorf("describing %s: %w", t, err)
	}
	for _, c := range columns {
		if sqltext.Same(c.Name, name) {
			return c, nil
		}
	}
	return tidegate.Column{}, &tidegate.Fault{Action: tidegate.Halt, Code: "column.not_found", Subject: t.String() + "." + name, Message: "the table has no such column"}
}

// count says how many values are set aside.
func (w *widening) count(ctx context.Context, wh Warehouse) error {
	discards := warehouse.Table{Schema: w.table.Schema, Name: shape.DiscardsTable}
	if _, err := wh.Describe(ctx, discards); errors.Is(err, warehouse.ErrNoTable) {
		return nil
	}
	name, err := w.d.Table(discards.Schema, discards.Name)
	if err != nil {
		return err
	}
	p := w.d.Placeholder
	err = warehouse.Each(ctx, wh, string("SELECT count(*) FROM "+name+" WHERE table_name = "+p(1)+" AND column_name = "+p(2)+" AND reason IN "+bothReasons),
		[]any{w.table.Name, w.column}, func(row tidegate.Row) error {
			w.result.Values, _ = row[0].(int64)
			return nil
		})
	if err != nil {
		return fmt.Errorf("counting what was set aside: %w", err)
	}
	return nil
}

// cutShort is the type that the column had before a widening that was cut short, or the one that it has.
func (w *widening) cutShort(ctx context.Context, wh Warehouse) (tidegate.Type, error) {
	was := w.from
	if w.d.Units() { // where the type is a part of the unit
		return was, nil
	}
	if _, err := wh.Describe(ctx, w.log.widenings()); errors.Is(err, warehouse.ErrNoTable) {
		return was, nil
	}
	name, err := w.d.Table(w.log.Schema, w.log.widenings().Name)
	if err != nil {
		return was, err
	}
	where, args := w.itself()
	err = warehouse.Each(ctx, wh, string("SELECT old_type FROM "+name+where), args, func(row tidegate.Row) (err error) {
		was, err = ParseType(str(row[0]))
		return err
	})
	if err != nil {
		return was, fmt.Errorf("looking for a widening that was cut short: %w", err)
	}
	return was, nil
}

// itself finds the column among the widenings under way.
func (w *widening) itself() (where sqltext.Text, args []any) {
	p := w.d.Placeholder
	return " WHERE table_schema = " + p(1) + " AND table_name = " + p(2) + " AND column_name = " + p(3), []any{w.table.Schema, w.table.Name, w.column}
}

// begin writes down that the widening is under way, when it changes a type.
func (w *widening) begin(ctx context.Context, wh Warehouse) error {
	if w.from == w.to {
		return nil
	}
	if _, err := wh.Ensure(ctx, w.log.widenings(), wideningsSchema()); err != nil {
		return fmt.Errorf("making sure of the list of widenings: %w", err)
	}
	l := warehouse.Load{ID: w.id() + " from " + w.from.String(), Table: w.log.widenings(), Key: []string{"table_schema", "table_name", "column_name"}, KeepExisting: true}
	if _, err := wh.Load(ctx, l, tidegate.Rows(wideningsSchema(), tidegate.Row{w.table.Schema, w.table.Name, w.column, w.was.String()})); err != nil {
		return fmt.Errorf("writing down that it is under way: %w", err)
	}
	return nil
}

// fills says that there may be values to put into rows.
func (w *widening) fills() bool { return w.result.Values > 0 || w.rounds() }

// run does everything inside the transaction. Tables are altered before anything is
// written, which is how an engine may want it.
func (w *widening) run(ctx context.Context) error {
	changes := []ColumnChange{w.change(w.table, w.was)}
	if w.from != w.to || w.users {
		widener, ok := w.tx.(warehouse.Widener)
		if !ok {
			return &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.no_widening", Message: "this warehouse cannot change the type of a column"}
		}
		tables := []warehouse.Table{w.table}
		if w.users {
			tables = append(tables, warehouse.Table{Schema: w.table.Schema, Name: shape.UsersTable})
			changes = append(changes, w.change(tables[1], w.was))
		}
		for _, t := range tables {
			if err := widener.Widen(ctx, t, tidegate.Column{Name: w.column, Type: w.to}); err != nil {
				return err
			}
		}
	}
	if w.fills() {
		if err := w.backfill(ctx); err != nil {
			return err
		}
	}
	if w.was == w.to && w.result.Backfilled == 0 {
		return nil
	}
	changes[0].Backfilled = w.result.Backfilled
	if len(changes) > 1 {
		changes[1].Backfilled = w.result.Users
	}
	if err := w.log.Record(ctx, w.tx, w.id(), changes); err != nil {
		return err
	}
	if w.was == w.to || w.d.Units() {
		return nil
	}
	name, err := w.d.Table(w.log.Schema, w.log.widenings().Name)
	if err != nil {
		return err
	}
	where, args := w.itself()
	if _, err := w.tx.Exec(ctx, string("DELETE FROM "+name+where), args...); err != nil {
		return fmt.Errorf("writing down that it is done: %w", err)
	}
	return nil
}

func (w *widening) change(t warehouse.Table, from tidegate.Type) ColumnChange {
	return ColumnChange{At: w.request.At, Schema: t.Schema, Table: t.Name, Column: w.column, Change: Widened, OldType: from.String(), NewType: w.to.String(), By: w.request.By}
}

// id names the loads of this widening.
func (w *widening) id() string {
	return fmt.Sprintf("widen %s.%s at %d", w.table, w.column, w.request.At.UnixMicro())
}
