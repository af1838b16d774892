package clickhouse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

const (
	// chunkRows and chunkBytes end a chunk: one block of one insert, which the server takes as a whole or not at all.
	chunkRows  = 131_072
	chunkBytes = 32 << 20
	// keyedRows bounds a load by key, whose rows are held in memory until each key has its last one.
	keyedRows = 4_000_000
)

// loadPlan is a load with its names quoted and its columns matched.
type loadPlan struct {
	warehouse.Load
	into    *table
	columns []column // of the table that are written, in the reader's order
	insert  string   // INSERT … FORMAT Native
	keys    []int    // written columns that are the key
	key     []string // their names in the table
}

func (w *Warehouse) planLoad(into *table, l warehouse.Load, rows tidegate.Schema) (*loadPlan, error) {
	name, err := w.dialect.Table(into.name.Schema, into.name.Name)
	if err != nil {
		return nil, err
	}
	m, err := sqltext.Match(schemaOf(into.columns), rows, l.Key)
	if err != nil {
		return nil, err
	}
	p := &loadPlan{Load: l, into: into, keys: m.Keys}
	var quoted []sqltext.Text
	for i, at := range m.At {
		if !into.columns[at].writable() {
			return nil, sqltext.ColumnFault(rows[i].Name, "rows cannot be loaded into a column of type "+into.columns[at].engine, "load into another column")
		}
		q, err := w.dialect.Ident(into.columns[at].name)
		if err != nil {
			return nil, err
		}
		p.columns, quoted = append(p.columns, into.columns[at]), append(quoted, q)
	}
	p.insert = string("INSERT INTO " + name + " (" + sqltext.Join(quoted, ", ") + ") FORMAT Native")
	for _, i := range m.Keys {
		p.key = append(p.key, p.columns[i].name)
	}
	return p, nil
}

// Load implements warehouse.Warehouse. Rows that fit in one block are one insert
// with a name that the server remembers; more are a unit.
func (w *Warehouse) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	u, err := w.begin(ctx)
	if err != nil {
		return 0, fmt.Errorf("loading into %s: %w", l.Table, err)
	}
	u.alone = true
	n, err := u.Load(ctx, l, rows)
	if err == nil {
		err = u.commit(ctx)
	}
	if err != nil {
		return 0, errors.Join(err, u.Rollback())
	}
	return n, nil
}

// Load adds rows to the unit (Invariant 3).
func (u *unit) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := u.Ready(u.reader != nil); err != nil {
		return 0, err
	}
	n, err := u.load(ctx, l, rows)
	if err != nil {
		return 0, u.Fail(fmt.Errorf("loading into %s: %w", l.Table, err))
	}
	return n, nil
}

func (u *unit) load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := l.CheckID(); err != nil {
		return 0, err
	}
	if err := u.turn(ctx, l.Table); err != nil {
		return 0, err
	}
	known, err := u.known(ctx, l)
	if err != nil || known {
		return 0, err
	}
	into, err := u.w.describe(ctx, l.Table)
	if err != nil {
		return 0, err
	}
	p, err := u.w.planLoad(into, l, rows.Schema())
	if err != nil {
		return 0, err
	}
	var n int64
	if len(p.keys) > 0 {
		n, err = u.loadKeyed(ctx, p, rows)
	} else {
		n, err = u.appendRows(ctx, p, rows)
	}
	if err != nil {
		return 0, err
	}
	u.loads = append(u.loads, loaded{l.ID, l.Table, n})
	return n, nil
}

// known says whether a load was done before, or is part of the unit.
func (u *unit) known(ctx context.Context, l warehouse.Load) (bool, error) {
	for _, done := range u.loads {
		if done.id == l.ID && done.table == l.Table {
			return true, nil
		}
	}
	rows, err := u.w.rows(ctx, "SELECT count() FROM _tidegate.loads WHERE load_id = $1 AND table_schema = $2 AND table_name = $3", l.ID, l.Table.Schema, l.Table.Name)
	if err != nil {
		return false, fmt.Errorf("looking for earlier loads: %w", err)
	}
	return rows[0][0] != int64(0), nil
}

// appendRows encodes rows into chunks of the unit.
func (u *unit) appendRows(ctx context.Context, p *loadPlan, rows tidegate.RowReader) (int64, error) {
	c := newChunk(p.columns)
	for n := int64(0); ; n++ {
		row, err := nextRow(ctx, p, rows, n+1)
		if errors.Is(err, io.EOF) {
			return n, u.add(ctx, p, c)
		}
		if err != nil {
			return 0, err
		}
		if err := c.add(p, row, n+1); err != nil {
			return 0, err
		}
		if c.full() {
			if err := u.add(ctx, p, c); err != nil {
				return 0, err
			}
		}
	}
}

func (c *chunk) full() bool {
	return c.rows >= chunkRows || c.rows%1024 == 0 && c.size() >= chunkBytes
}

func (c *chunk) add(p *loadPlan, row tidegate.Row, n int64) error {
	for i, v := range row {
		if err := c.columns[i].append(v); err != nil {
			return celltext.Misfit(p.columns[i].name, n, err)
		}
	}
	c.rows++
	return nil
}

func nextRow(ctx context.Context, p *loadPlan, rows tidegate.RowReader, n int64) (tidegate.Row, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("reading row %d: %w", n, err)
	}
	row, err := rows.Next(ctx)
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("reading row %d: %w", n, err)
	}
	if len(row) != len(p.columns) {
		return nil, fmt.Errorf("reading row %d: it has %d cells and its schema %d", n, len(row), len(p.columns))
	}
	for _, k := range p.keys {
		if row[k] == nil {
			return nil, celltext.Misfit(p.columns[k].name, n, celltext.ErrNullKey)
		}
	}
	return row, nil
}

// keyed is the rows of a load by key: one per key, in the order in which the keys came.
type keyed struct {
	rows  []tidegate.Row
	at    map[string]int
	first bool // of several the first counts
}

func (k *keyed) add(id string, row tidegate.Row) {
	at, there := k.at[id]
	switch {
	case !there:
		k.at[id] = len(k.rows)
		k.rows = append(k.rows, append(tidegate.Row{}, row...))
	case !k.first:
		copy(k.rows[at], row)
	}
}

// loadKeyed makes a load by key one of rows that are merged with those of equal
// keys, which needs a table that merges by that key.
func (u *unit) loadKeyed(ctx context.Context, p *loadPlan, rows tidegate.RowReader) (int64, error) {
	k := keyed{at: map[string]int{}, first: p.KeepExisting}
	check := newChunk(p.columns) // finds values that do not fit before anything is done
	for n := int64(1); ; n++ {
		row, err := nextRow(ctx, p, rows, n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		if err := check.add(p, row, n); err != nil {
			return 0, err
		}
		id := check.key(p)
		check.clear()
		if k.add(id, row); len(k.rows) > keyedRows {
			return 0, &tidegate.Fault{
				Action: tidegate.Halt, Code: "warehouse.limit", Subject: "table " + p.Table.String(),
				Message: fmt.Sprintf("a load by key has more than %d keys", keyedRows), Hint: "split it into several loads",
			}
		}
	}
	if err := u.mergesBy(ctx, p); err != nil {
		return 0, err
	}
	if p.KeepExisting {
		if err := u.dropKnown(ctx, p, &k); err != nil {
			return 0, err
		}
	}
	c := newChunk(p.columns)
	for i, row := range k.rows {
		if err := c.add(p, row, int64(i+1)); err != nil {
			return 0, err
		}
		if c.full() {
			if err := u.add(ctx, p, c); err != nil {
				return 0, err
			}
		}
	}
	return int64(len(k.rows)), u.add(ctx, p, c)
}

// key is the key of the one row of c as bytes.
func (c *chunk) key(p *loadPlan) string {
	var b []byte
	for _, at := range p.keys {
		b = strconv.AppendInt(b, int64(len(c.columns[at].data)), 10)
		b = append(append(b, ':'), c.columns[at].data...)
	}
	return string(b)
}

// mergesBy makes sure that the table keeps one row per key of the load. A table of
// ours that does not yet is written anew, once.
func (u *unit) mergesBy(ctx context.Context, p *loadPlan) error {
	if p.into.merges(p.key) {
		return nil
	}
	lay, values, err := layoutFor(u.w.dialect, p.into, nil, p.key)
	if err != nil {
		return err
	}
	if err := u.w.rewrite(ctx, p.into, lay, values); err != nil {
		return fmt.Errorf("making the table one of keys: %w", err)
	}
	fresh, err := u.w.describe(ctx, p.Table)
	if err != nil {
		return err
	}
	for i, c := range p.columns { // the key takes no NULL any more
		if at := sqltext.IndexFold(schemaOf(fresh.columns), c.name); at >= 0 {
			p.columns[i] = fresh.columns[at]
		}
	}
	p.into = fresh
	return nil
}

// dropKnown takes the rows out of k whose keys are in the table.
func (u *unit) dropKnown(ctx context.Context, p *loadPlan, k *keyed) error {
	names, err := u.w.dialect.Idents(p.key)
	if err != nil {
		return err
	}
	name, err := u.w.dialect.Table(p.Table.Schema, p.Table.Name)
	if err != nil {
		return err
	}
	columns := sqltext.Join(names, ", ")
	check := newChunk(p.columns)
	there := map[string]bool{}
	const atOnce = 500
	for from := 0; from < len(k.rows); from += atOnce {
		var args []any
		var tuples []sqltext.Text
		for _, row := range k.rows[from:min(from+atOnce, len(k.rows))] {
			var marks []sqltext.Text
			for _, at := range p.keys {
				args = append(args, row[at])
				marks = append(marks, u.w.dialect.Placeholder(len(args)))
			}
			tuples = append(tuples, "tuple("+sqltext.Join(marks, ", ")+")")
		}
		found, err := u.w.rows(ctx, string("SELECT "+columns+" FROM "+name+" FINAL WHERE tuple("+columns+") IN ("+sqltext.Join(tuples, ", ")+")"), args...)
		if err != nil {
			return fmt.Errorf("looking for keys that are there: %w", err)
		}
		for _, row := range found {
			for i, at := range p.keys {
				if err := check.columns[at].append(row[i]); err != nil {
					return err
				}
			}
			there[check.key(p)] = true
			check.clear()
		}
	}
	kept := k.rows[:0]
	for _, row := range k.rows {
		for _, at := range p.keys {
			if err := check.columns[at].append(row[at]); err != nil {
				return err
			}
		}
		if !there[check.key(p)] {
			kept = append(kept, row)
		}
		check.clear()
	}
	k.rows = kept
	return nil
}

// tokenOf is the name under which the server remembers an insert.
func tokenOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// send inserts packed rows under a name, by which the server knows an insert that comes again.
func (w *Warehouse) send(ctx context.Context, insert, token string, data []byte) error {
	return w.exec(ctx, &call{sql: insert, data: data, repeat: true, settings: map[string]string{
		"insert_deduplicate": "1", "insert_deduplication_token": token, "input_format_null_as_default": "0", "max_partitions_per_insert_block": "1000",
	}})
}
