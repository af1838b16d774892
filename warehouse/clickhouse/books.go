package clickhouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// The books of this adapter. A unit is a partition of _tidegate.units, so that it goes as a whole.
// A row is a step; "commit" is the last and makes the unit one that is to be done; "applied" says how far that is.
const (
	kindInsert    = "insert"
	kindStatement = "statement"
	kindCommit    = "commit"
	kindApplied   = "applied"
)

var unitColumns = []column{
	parseColumn("unit", "String"), parseColumn("seq", "Int64"), parseColumn("kind", "String"), parseColumn("at", "DateTime64(6, 'UTC')"),
	parseColumn("table_schema", "String"), parseColumn("table_name", "String"), parseColumn("statement", "String"), parseColumn("token", "String"),
	parseColumn("params", "String"), parseColumn("data", "SimpleAggregateFunction("+bytesTag+", Nullable(String))"),
}

const unitInsert = "INSERT INTO _tidegate.units (unit, seq, kind, at, table_schema, table_name, statement, token, params, data) FORMAT Native"

// bookkeeping makes the tables that this adapter needs.
func (w *Warehouse) bookkeeping(ctx context.Context) error {
	replicated, window, on := w.replicated(), w.window(), w.onCluster()
	for _, sql := range []string{
		string("CREATE DATABASE IF NOT EXISTS _tidegate" + on),
		string("CREATE TABLE IF NOT EXISTS _tidegate.loads" + on + " (load_id String, table_schema String, table_name String, rows Int64, loaded_at DateTime64(6, 'UTC')) ENGINE = " +
			replicated + "MergeTree ORDER BY (load_id, table_schema, table_name) TTL toDateTime(loaded_at) + INTERVAL " + loadMemory + " SETTINGS " + window +
			" COMMENT '" + ours + " Loads that are in their tables; a load of the same ID is not done again.'"),
		string("CREATE TABLE IF NOT EXISTS _tidegate.units" + on + " (unit String, seq Int64, kind LowCardinality(String), at DateTime64(6, 'UTC'), table_schema String, table_name String, statement String, token String, params String" +
			", data SimpleAggregateFunction(" + bytesTag + ", Nullable(String)) CODEC(NONE)) ENGINE = " + replicated + "MergeTree PARTITION BY unit ORDER BY seq SETTINGS old_parts_lifetime = 30, " + window +
			" COMMENT '" + ours + " Loads that belong together, on their way to their tables.'"),
	} {
		if err := w.exec(ctx, &call{sql: sql, repeat: true}); err != nil {
			return fmt.Errorf("making the bookkeeping tables: %w", err)
		}
	}
	return nil
}

// settle makes the books and ends the units that were committed and cut short, once after Open and
// after each commit whose end is not known.
func (w *Warehouse) settle(ctx context.Context) error {
	w.settling.Lock()
	defer w.settling.Unlock()
	w.mu.Lock()
	settled := w.settled
	w.mu.Unlock()
	if settled {
		return nil
	}
	if err := w.bookkeeping(ctx); err != nil {
		return err
	}
	rows, err := w.rows(ctx, "SELECT unit, max(kind = 'commit'), max(at) FROM _tidegate.units GROUP BY unit ORDER BY unit")
	if err != nil {
		return fmt.Errorf("looking for units without an end: %w", err)
	}
	for _, row := range rows {
		id, _ := row[0].(string)
		if committed, _ := row[1].(int64); committed == 1 {
			err = w.resume(ctx, id)
		} else if at, ok := timeOf(row[2]); ok && w.now().Sub(at) > abandoned {
			err = w.forget(ctx, id)
		}
		if err != nil {
			return fmt.Errorf("ending unit %s: %w", id, err)
		}
	}
	w.mu.Lock()
	w.settled = true
	w.mu.Unlock()
	return nil
}

// unsettle makes the next writer look for units without an end.
func (w *Warehouse) unsettle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settled = false
}

// store writes what is held in memory to _tidegate.units, with the row that commits
// the unit when it is whole. All of it is one insert, and so is seen as a whole.
func (u *unit) store(ctx context.Context, whole bool) error {
	c := newChunk(unitColumns)
	p := &loadPlan{columns: unitColumns}
	now := u.w.now().UTC()
	add := func(seq int, kind string, s *step) error {
		values, err := json.Marshal(stored(s.params))
		if err != nil {
			return fmt.Errorf("writing the parameters of a statement: %w", err)
		}
		var data any
		if s.data != nil {
			data = s.data
		}
		return c.add(p, tidegate.Row{u.id, int64(seq), kind, now, s.table.Schema, s.table.Name, s.sql, s.token, string(values), data}, int64(seq))
	}
	for i, s := range u.steps {
		if s.stored {
			continue
		}
		kind := kindInsert
		if s.statement {
			kind = kindStatement
			s.token = tokenOf(u.id, fmt.Sprint(i))
		}
		if err := add(i, kind, s); err != nil {
			return err
		}
		s.stored = true
	}
	if whole {
		if err := add(len(u.steps), kindCommit, &step{}); err != nil {
			return err
		}
	}
	data, err := u.w.writes.pack(c.encode(nil))
	if err != nil {
		return err
	}
	u.stored = true
	if err := u.w.send(ctx, unitInsert, tokenOf(u.id, "store", fmt.Sprint(len(u.steps)), fmt.Sprint(whole)), data); err != nil {
		return fmt.Errorf("writing unit %s to the books: %w", u.id, err)
	}
	if !whole {
		for _, s := range u.steps {
			s.data = nil
		}
		u.held = 0
	}
	return nil
}

// storedParam is a parameter in the books.
type storedParam struct{ Name, Type, Value string }

func stored(params []param) []storedParam {
	out := make([]storedParam, len(params))
	for i, p := range params {
		out[i] = storedParam{p.name, p.typ, p.value}
	}
	return out
}

// finishUnit does the steps of a committed unit from the one at from on, and then takes it out of the books.
//
// Inserts carry names and can be repeated. A statement can not be repeated once later steps were
// done, so that it is noted before they are. The result is the step at which it ended.
func (w *Warehouse) finishUnit(ctx context.Context, id string, steps []*step, from int) (int, error) {
	for i := from; i < len(steps); i++ {
		s := steps[i]
		if s.data == nil && !s.statement {
			data, err := w.dataOf(ctx, id, i)
			if err != nil {
				return i, err
			}
			s = &step{table: s.table, sql: s.sql, token: s.token, data: data}
		}
		if err := w.applyStep(ctx, s); err != nil {
			return i, fmt.Errorf("doing step %d of %d: %w", i+1, len(steps), err)
		}
		if s.statement {
			if err := w.note(ctx, id, i); err != nil {
				return i + 1, fmt.Errorf("noting step %d: %w", i+1, err)
			}
		}
	}
	return len(steps), w.forget(ctx, id)
}

// note says in the books that a unit is done up to step seq.
func (w *Warehouse) note(ctx context.Context, id string, seq int) error {
	c := newChunk(unitColumns)
	if err := c.add(&loadPlan{columns: unitColumns}, tidegate.Row{id, int64(seq), kindApplied, w.now().UTC(), "", "", "", "", "", nil}, 1); err != nil {
		return err
	}
	data, err := w.writes.pack(c.encode(nil))
	if err != nil {
		return err
	}
	return w.send(ctx, unitInsert, tokenOf(id, "applied", fmt.Sprint(seq)), data)
}

func (w *Warehouse) dataOf(ctx context.Context, id string, seq int) ([]byte, error) {
	rows, err := w.rows(ctx, "SELECT data FROM _tidegate.units WHERE unit = $1 AND seq = $2 AND kind = 'insert'", id, seq)
	if err != nil {
		return nil, fmt.Errorf("reading step %d: %w", seq+1, err)
	}
	if len(rows) != 1 {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "warehouse.books", Subject: "table _tidegate.units", Message: fmt.Sprintf("unit %s is damaged: step %d is there %d times", id, seq+1, len(rows)),
			Hint: "nobody but Tidegate may change this table; restore it, or compare the tables of the unit by hand and drop its partition",
		}
	}
	data, _ := rows[0][0].([]byte)
	return data, nil
}

// forget takes a unit out of the books.
func (w *Warehouse) forget(ctx context.Context, id string) error {
	// The name is our own: letters, digits and hyphens.
	err := w.exec(ctx, &call{repeat: true, sql: string("ALTER TABLE _tidegate.units"+w.onCluster()+" DROP PARTITION '") + id + "'"})
	if err != nil {
		return fmt.Errorf("taking unit %s out of the books: %w", id, err)
	}
	return nil
}

// resume ends a unit that was committed and not done.
func (w *Warehouse) resume(ctx context.Context, id string) (err error) {
	q, err := compile("SELECT seq, kind, table_schema, table_name, statement, token, params FROM _tidegate.units WHERE unit = $1 ORDER BY seq, kind", []any{id})
	if err != nil {
		return err
	}
	r, err := w.start(ctx, w.writes, q)
	if err != nil {
		return fmt.Errorf("reading the unit: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var steps []*step
	from := 0
	for {
		row, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the unit: %w", err)
		}
		s, kind, seq, err := stepOf(row)
		if err != nil {
			return err
		}
		switch kind {
		case kindApplied:
			from = max(from, seq+1)
		case kindInsert, kindStatement:
			if seq != len(steps) {
				return &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.books", Subject: "table _tidegate.units", Message: fmt.Sprintf("unit %s lacks step %d", id, len(steps)+1), Hint: "nobody but Tidegate may change this table; restore it, or drop the unit's partition"}
			}
			steps = append(steps, s)
		}
	}
	w.log.WarnContext(ctx, "a unit of loads was cut short and is brought to its end", "unit", id, "steps", len(steps))
	_, err = w.finishUnit(ctx, id, steps, from)
	return err
}

func stepOf(row tidegate.Row) (s *step, kind string, seq int, err error) {
	texts := make([]string, len(row))
	for i, v := range row {
		texts[i], _ = v.(string)
	}
	n, _ := row[0].(int64)
	s = &step{table: warehouse.Table{Schema: texts[2], Name: texts[3]}, sql: texts[4], token: texts[5], statement: texts[1] == kindStatement, stored: true}
	if texts[6] != "" {
		var params []storedParam
		if err := json.Unmarshal([]byte(texts[6]), &params); err != nil {
			return nil, "", 0, fmt.Errorf("reading the parameters of a statement: %w", err)
		}
		for _, p := range params {
			s.params = append(s.params, param{p.Name, p.Type, p.Value})
		}
	}
	return s, texts[1], int(n), nil
}
