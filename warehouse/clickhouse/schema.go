package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// ours is how the comment of a table begins that this adapter made, and may make anew.
const ours = "Made by Tidegate."

// table is what the server says of a table.
type table struct {
	name    warehouse.Table
	columns []column
	sorted  []string // columns of the sorting key
	codecs  []string
	engine  string
	comment string
}

// Describe implements warehouse.Warehouse.
func (w *Warehouse) Describe(ctx context.Context, t warehouse.Table) (tidegate.Schema, error) {
	d, err := w.describe(ctx, t)
	if err != nil {
		return nil, err
	}
	return schemaOf(d.columns), nil
}

// describe returns a table as it is now, or an error that wraps warehouse.ErrNoTable.
func (w *Warehouse) describe(ctx context.Context, t warehouse.Table) (*table, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	defer w.door.Leave()
	schema := t.Schema
	if schema == "" {
		schema = w.writes.database
	}
	rows, err := w.rows(ctx, `SELECT c.name, c.type, c.is_in_sorting_key, c.compression_codec, c.default_kind, t.engine, t.comment
		FROM system.tables AS t LEFT JOIN system.columns AS c ON c.database = t.database AND c.table = t.name
		WHERE t.database = $1 AND t.name = $2 ORDER BY c.position`, schema, t.Name)
	if err != nil {
		return nil, fmt.Errorf("describing table %s: %w", t, err)
	}
	if len(rows) == 0 {
		return nil, warehouse.NoTable(t)
	}
	d := &table{name: t}
	for _, row := range rows {
		name, _ := row[0].(string)
		engine, _ := row[1].(string)
		d.engine, _ = row[5].(string)
		d.comment, _ = row[6].(string)
		if kind, _ := row[4].(string); kind == "MATERIALIZED" || kind == "ALIAS" || kind == "EPHEMERAL" || name == "" {
			continue // not part of SELECT *
		}
		codec, _ := row[3].(string)
		d.columns, d.codecs = append(d.columns, parseColumn(name, engine)), append(d.codecs, codec)
		if in, _ := row[2].(int64); in == 1 {
			d.sorted = append(d.sorted, name)
		}
	}
	return d, nil
}

// merges says whether the table keeps one row per key, as rows of one key are merged.
func (d *table) merges(key []string) bool {
	if !strings.HasSuffix(d.engine, "ReplacingMergeTree") || len(d.sorted) != len(key) {
		return false
	}
	for _, name := range d.sorted {
		found := false
		for _, k := range key {
			found = found || k == name
		}
		if !found {
			return false
		}
	}
	return true
}

// Ensure implements warehouse.Warehouse.
func (w *Warehouse) Ensure(ctx context.Context, t warehouse.Table, want tidegate.Schema) (tidegate.Schema, error) {
	if err := w.door.Enter(); err != nil {
		return nil, err
	}
	defer w.door.Leave()
	have, err := w.ensure(ctx, t, want)
	if err != nil {
		return nil, fmt.Errorf("ensuring table %s: %w", t, err)
	}
	return have, nil
}

// ensureRounds is how often a table is looked at again that others change at the same time.
const ensureRounds = 5

func (w *Warehouse) ensure(ctx context.Context, t warehouse.Table, want tidegate.Schema) (tidegate.Schema, error) {
	if err := sqltext.CheckDistinct(want); err != nil {
		return nil, err
	}
	if _, err := w.dialect.Table(t.Schema, t.Name); err != nil {
		return nil, err
	}
	d, err := w.describe(ctx, t)
	if err == nil {
		if change, err := w.change(d, want); err != nil || change.none() {
			return schemaOf(d.columns), err
		}
	} else if !errors.Is(err, warehouse.ErrNoTable) {
		return nil, err
	}
	if err := w.settle(ctx); err != nil { // a unit that waits for its end was made for the columns of its time
		return nil, err
	}
	done, err := w.tables.Alone(ctx, t)
	if err != nil {
		return nil, err
	}
	defer done()
	for range ensureRounds {
		if d, err = w.describe(ctx, t); errors.Is(err, warehouse.ErrNoTable) {
			if err = w.create(ctx, t, want); err == nil {
				d, err = w.describe(ctx, t)
			}
		}
		if err != nil {
			return nil, err
		}
		change, err := w.change(d, want)
		if err != nil || change.none() {
			return schemaOf(d.columns), err
		}
		if err := w.alter(ctx, d, change); err != nil {
			return nil, err
		}
	}
	return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.conflict", Subject: "table " + t.String(), Message: "others change the table at the same time"}
}

func (w *Warehouse) create(ctx context.Context, t warehouse.Table, s tidegate.Schema) error {
	if len(s) == 0 {
		return errors.New("creating a table: it has no columns")
	}
	if t.Schema != "" {
		schema, err := w.dialect.Ident(t.Schema)
		if err != nil {
			return err
		}
		if err := w.exec(ctx, &call{repeat: true, sql: string("CREATE DATABASE IF NOT EXISTS " + schema + w.onCluster())}); err != nil {
			return err
		}
	}
	lay, err := layoutOf(w.dialect, s)
	if err != nil {
		return err
	}
	return w.createAs(ctx, t, lay)
}

func (w *Warehouse) createAs(ctx context.Context, t warehouse.Table, lay *layout) error {
	name, err := w.dialect.Table(t.Schema, t.Name)
	if err != nil {
		return err
	}
	return w.exec(ctx, &call{repeat: true, sql: string("CREATE TABLE IF NOT EXISTS "+name+w.onCluster()+" ("+sqltext.Join(lay.defs, ", ")+") ENGINE = "+w.replicated()+lay.engine+
		" ORDER BY "+lay.order+" SETTINGS "+w.window()+lay.settings+" COMMENT '") + ours + "'"})
}

func (w *Warehouse) onCluster() sqltext.Text {
	if w.cluster == "" {
		return ""
	}
	name, err := w.dialect.Ident(w.cluster)
	if err != nil {
		return " ON CLUSTER ''" // refused by the server; open checks the name
	}
	return " ON CLUSTER " + name
}

// replicated begins the name of an engine on a cluster; path and replica are the server's defaults.
func (w *Warehouse) replicated() sqltext.Text {
	if w.cluster == "" {
		return ""
	}
	return "Replicated"
}

// window makes the server remember the names of the last inserts.
func (w *Warehouse) window() sqltext.Text {
	if w.cluster == "" {
		return "non_replicated_deduplication_window = 10000"
	}
	return "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800"
}

// change is what has to be done to a table.
type change struct {
	actions []sqltext.Text // of one ALTER TABLE
	// casts are the columns that only a rewrite can change: their place, and what they become.
	casts map[int]tidegate.Type
}

func (c change) none() bool { return len(c.actions) == 0 && len(c.casts) == 0 }

// change finds what gives a table room for want.
func (w *Warehouse) change(have *table, want tidegate.Schema) (change, error) {
	var c change
	schema := schemaOf(have.columns)
	for _, col := range want {
		at := sqltext.IndexFold(schema, col.Name)
		if at < 0 {
			def, err := definition(w.dialect, col, false)
			if err != nil {
				return change{}, err
			}
			c.actions = append(c.actions, "ADD COLUMN IF NOT EXISTS "+def)
			continue
		}
		old := have.columns[at]
		wide := warehouse.Widened(old.typ, col.Type)
		if wide == old.typ || !old.writable() {
			continue
		}
		name, err := w.dialect.Ident(old.name) // as it is written in the table
		if err != nil {
			return change{}, err
		}
		inKey := false
		for _, k := range have.sorted {
			inKey = inKey || k == old.name
		}
		if old.typ.Kind == tidegate.Bytes || inKey {
			if c.casts == nil {
				c.casts = map[int]tidegate.Type{}
			}
			c.casts[at] = wide
			continue
		}
		typ, err := w.dialect.Type(wide)
		if err != nil {
			return change{}, fmt.Errorf("column %q: %w", col.Name, err)
		}
		c.actions = append(c.actions, "MODIFY COLUMN "+name+" "+typ+codecOf(wide.Kind))
	}
	return c, nil
}

// alter changes a table in one statement; what that cannot do, by writing it anew.
func (w *Warehouse) alter(ctx context.Context, d *table, c change) error {
	name, err := w.dialect.Table(d.name.Schema, d.name.Name)
	if err != nil {
		return err
	}
	if len(c.actions) > 0 {
		if err := w.exec(ctx, &call{repeat: true, sql: string("ALTER TABLE " + name + w.onCluster() + " " + sqltext.Join(c.actions, ", "))}); err != nil {
			return err
		}
	}
	if len(c.casts) == 0 {
		return nil
	}
	if d, err = w.describe(ctx, d.name); err != nil {
		return err
	}
	lay, values, err := layoutFor(w.dialect, d, c.casts, d.sorted)
	if err != nil {
		return err
	}
	return w.rewrite(ctx, d, lay, values)
}

// rewrite writes a table anew and puts the new one in the old one's place in one step. Only
// tables of our own are rewritten. Its turn is held.
func (w *Warehouse) rewrite(ctx context.Context, d *table, lay *layout, values []sqltext.Text) error {
	if !strings.HasPrefix(d.comment, ours) {
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "warehouse.layout", Subject: "table " + d.name.String(),
			Message: "the table has to be written anew, which is only done with tables that Tidegate made",
			Hint:    "make it a ReplacingMergeTree whose ORDER BY is the key, with columns wide enough, or load into another table",
		}
	}
	fresh := warehouse.Table{Schema: d.name.Schema, Name: "_tidegate_rewrite_" + shortHash(d.name.String())}
	old, err := w.dialect.Table(d.name.Schema, d.name.Name)
	if err != nil {
		return err
	}
	name, err := w.dialect.Table(fresh.Schema, fresh.Name)
	if err != nil {
		return err
	}
	drop := &call{repeat: true, sql: string("DROP TABLE IF EXISTS " + name + w.onCluster() + " SYNC")}
	if err := w.exec(ctx, drop); err != nil {
		return fmt.Errorf("dropping what an earlier rewrite left: %w", err)
	}
	if err := w.createAs(ctx, fresh, lay); err != nil {
		return fmt.Errorf("making the new table: %w", err)
	}
	copied := &call{
		sql:      string("INSERT INTO " + name + " (" + sqltext.Join(lay.names, ", ") + ") SELECT " + sqltext.Join(values, ", ") + " FROM " + old + lay.final),
		settings: map[string]string{"insert_deduplicate": "0"},
	}
	err = w.exec(ctx, copied)
	if err == nil {
		err = w.exec(ctx, &call{sql: string("EXCHANGE TABLES " + old + " AND " + name + w.onCluster())})
	}
	if err != nil {
		return fmt.Errorf("rewriting the table: %w", err)
	}
	if err := w.exec(ctx, &call{repeat: true, sql: drop.sql}); err != nil {
		return fmt.Errorf("dropping the old table: %w", err)
	}
	return nil
}
