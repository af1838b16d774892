package redshift

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Load implements warehouse.Warehouse. Rows are brought into a temporary table first, so that the turn of
// loads is held only while that is moved.
func (w *Warehouse) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	n, err := w.load(ctx, l, rows)
	if err != nil {
		return 0, fmt.Errorf("loading into %s: %w", l.Table, err)
	}
	return n, nil
}

func (w *Warehouse) load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	m, err := w.markOf(l)
	if err != nil {
		return 0, err
	}
	release, err := w.turns.Alone(ctx, "load "+w.folderOf(l)) // two that write the same objects
	if err != nil {
		return 0, err
	}
	defer release()
	p, err := w.planOnce(ctx, l, m, rows.Schema())
	if p == nil || err != nil {
		return 0, err
	}
	st, err := w.stage(ctx, p, rows)
	defer w.remove(ctx, st)
	if err != nil {
		return 0, err
	}
	if g := p.short(st); g != nil {
		if err := w.grow(ctx, g); err != nil {
			return 0, err
		}
	}
	s, err := w.session(ctx, w.pools.Write)
	if err != nil {
		return 0, err
	}
	defer s.End()
	if st.rows > 0 {
		s.Dirty = true // the temporary table goes with its connection, unless it can be dropped
		if err := s.copyIn(ctx, p, st); err != nil {
			return 0, err
		}
	}
	t, err := s.begin(ctx, beginLoading)
	if err != nil {
		return 0, err
	}
	n, err := t.move(ctx, p, m, st.rows)
	if err == nil && st.rows > 0 {
		err = t.unstage(ctx, p)
		t.clean = true
	}
	if err != nil {
		return 0, errors.Join(err, t.Rollback())
	}
	if err := t.Commit(); err != nil {
		return 0, err
	}
	return n, nil
}

// planOnce matches the columns of a load, nil when the load has been done.
func (w *Warehouse) planOnce(ctx context.Context, l warehouse.Load, m mark, rows tidegate.Schema) (*loadPlan, error) {
	s, err := w.bookedSession(ctx)
	if err != nil {
		return nil, err
	}
	defer s.End()
	if there, err := s.there(ctx, m); there || err != nil {
		return nil, err
	}
	return s.plan(ctx, l, rows)
}

// unstage drops the temporary table. When the transaction does not commit the table stays, and goes with its connection.
func (t *tx) unstage(ctx context.Context, p *loadPlan) error {
	if err := t.s.control(ctx, "DROP TABLE "+p.staging); err != nil {
		return fmt.Errorf("unstaging: %w", err)
	}
	return nil
}

// Load brings rows in and remembers the load in one transaction (Invariant 3).
// After an error the transaction can only be rolled back.
func (t *tx) Load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	if err := t.Ready(t.reader != nil); err != nil {
		return 0, err
	}
	t.wrote = true
	n, err := t.load(ctx, l, rows)
	if err != nil {
		return 0, t.Fail(fmt.Errorf("loading into %s: %w", l.Table, err))
	}
	return n, nil
}

func (t *tx) load(ctx context.Context, l warehouse.Load, rows tidegate.RowReader) (int64, error) {
	m, err := t.w.markOf(l)
	if err != nil || t.known(m) {
		return 0, err
	}
	// First, so that behind an older snapshot it fails before rows are read.
	if err := t.takeTurn(ctx); err != nil {
		return 0, err
	}
	if there, err := t.s.there(ctx, m); there || err != nil {
		return 0, err
	}
	p, err := t.s.plan(ctx, l, rows.Schema())
	if err != nil {
		return 0, err
	}
	st, err := t.w.stage(ctx, p, rows)
	defer t.w.remove(ctx, st)
	if err != nil {
		return 0, err
	}
	if g := p.short(st); g != nil {
		t.growing = g
		return 0, &tidegate.Fault{
			Action: tidegate.Retry, Code: "warehouse.grows", Subject: "table " + l.Table.String(),
			Message: "a text column is too short and grows when the transaction has been rolled back; then the load fits",
		}
	}
	if st.rows > 0 {
		t.loads++
		p.staging += sqltext.Text("_" + strconv.Itoa(t.loads))
		if err := t.s.copyIn(ctx, p, st); err != nil {
			return 0, err
		}
	}
	n, err := t.move(ctx, p, m, st.rows)
	if err != nil || st.rows == 0 {
		return n, err
	}
	return n, t.unstage(ctx, p)
}

// markOf is what the books have of a load.
func (w *Warehouse) markOf(l warehouse.Load) (mark, error) {
	if err := l.CheckID(); err != nil {
		return mark{}, err
	}
	return mark{id: l.ID, schema: w.fold(l.Table.Schema), table: w.fold(l.Table.Name)}, nil
}

// takeTurn lets one transaction at a time write by loads: another that did so waits, and when it began
// before the other's end it is told to begin again.
func (t *tx) takeTurn(ctx context.Context) error {
	if t.turn {
		return nil
	}
	if _, err := t.s.Exec(ctx, "UPDATE _tidegate.turns SET loads = loads + 1"); err != nil {
		return fmt.Errorf("waiting for other loads: %w", err)
	}
	t.turn = true
	return nil
}

// loadPlan is a load with its names quoted and its columns matched.
type loadPlan struct {
	warehouse.Load
	table   sqltext.Text
	staging sqltext.Text   // the temporary table
	columns []column       // of the table that are written, in the reader's order
	quoted  []sqltext.Text // their names
	staged  []sqltext.Text // their names in the temporary table
	types   []sqltext.Text
	isKey   []bool // per written column
	keys    []int  // written columns that are the key
}

func (s *session) plan(ctx context.Context, l warehouse.Load, rows tidegate.Schema) (*loadPlan, error) {
	table, err := s.w.dialect.Table(l.Table.Schema, l.Table.Name)
	if err != nil {
		return nil, err
	}
	have, err := s.describe(ctx, l.Table)
	if err != nil {
		return nil, err
	}
	m, err := sqltext.Match(schemaOf(have), rows, l.Key)
	if err != nil {
		return nil, err
	}
	p := &loadPlan{Load: l, table: table, staging: "_tidegate_load", isKey: m.IsKey, keys: m.Keys}
	for i, at := range m.At {
		name, err := s.w.dialect.Ident(have[at].name)
		if err != nil {
			return nil, err
		}
		typ, err := s.w.declared(&have[at])
		if err != nil {
			return nil, err
		}
		if have[at].oid == oidVarchar { // grown or not
			typ = "VARCHAR(65535)"
		}
		p.columns, p.quoted, p.types = append(p.columns, have[at]), append(p.quoted, name), append(p.types, typ)
		p.staged = append(p.staged, sqltext.Staged(i))
	}
	return p, nil
}

// short are the text columns that are too short for what was staged; nil when none is.
func (p *loadPlan) short(st *staged) *growth {
	g := &growth{table: p.Table, bytes: map[string]int{}}
	for i, c := range p.columns {
		if c.oid == oidVarchar && c.length > 0 && st.longest[i] > c.length {
			g.bytes[c.name] = st.longest[i]
		}
	}
	if len(g.bytes) == 0 {
		return nil
	}
	return g
}

// copyIn makes the temporary table and lets Redshift read the staged objects into it.
func (s *session) copyIn(ctx context.Context, p *loadPlan, st *staged) error {
	defs := make([]sqltext.Text, 0, len(p.columns)+1)
	for i, name := range p.staged {
		defs = append(defs, name+" "+p.types[i])
	}
	defs = append(defs, "n BIGINT")
	if err := s.control(ctx, "CREATE TEMP TABLE "+p.staging+" ("+sqltext.Join(defs, ", ")+")"); err != nil {
		return fmt.Errorf("staging: %w", err)
	}
	pid, err := s.count(ctx, "SELECT pg_backend_pid()")
	if err != nil {
		return err
	}
	from, err := literal("prefix", st.bucket.uri(st.manifest))
	if err != nil {
		return err
	}
	region, err := literal("region", st.bucket.region)
	if err != nil {
		return err
	}
	// The statement may hold a key, so it is not shown in an error.
	_, err = s.PG.Exec(ctx, string("COPY "+p.staging+" FROM "+from+" "+st.bucket.access+" MANIFEST FORMAT AS JSON 'auto' GZIP REGION "+region+
		" DATEFORMAT 'auto' TIMEFORMAT 'auto' COMPUPDATE OFF STATUPDATE OFF")).ReadAll()
	if err != nil {
		return s.copyFault(ctx, err, p, st, pid)
	}
	n, err := s.count(ctx, string("SELECT count(*) FROM "+p.staging))
	if err != nil {
		return err
	}
	if n != st.rows {
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.storage", Message: fmt.Sprintf("COPY read %d rows of %d", n, st.rows), Hint: "look for who else writes below the prefix in the bucket"}
	}
	return nil
}

// move brings the staged rows into the table, remembers the load, and returns how many rows were written.
func (t *tx) move(ctx context.Context, p *loadPlan, m mark, rows int64) (n int64, err error) {
	t.wrote = true
	if err := t.takeTurn(ctx); err != nil {
		return 0, err
	}
	if there, err := t.s.there(ctx, m); there || err != nil {
		return 0, err
	}
	if rows > 0 {
		if n, err = t.merge(ctx, p); err != nil {
			return 0, err
		}
	}
	if err := t.s.remember(ctx, m, n); err != nil {
		return 0, err
	}
	t.marks = append(t.marks, m)
	return n, nil
}

// merge writes staged rows into the table: all of them, or one per key. The engine enforces no key, so
// rows of a key are deleted before, or left out when they are there.
func (t *tx) merge(ctx context.Context, p *loadPlan) (int64, error) {
	values := sqltext.Prefix("s.", p.staged)
	insert := "INSERT INTO " + p.table + " (" + sqltext.Join(p.quoted, ", ") + ") SELECT " + sqltext.Join(values, ", ") + " FROM "
	if len(p.keys) == 0 {
		return t.insert(ctx, insert+p.staging+" AS s ORDER BY s.n")
	}
	keys := make([]sqltext.Text, len(p.keys))
	matchNew := make([]sqltext.Text, len(p.keys))
	matchOld := make([]sqltext.Text, len(p.keys))
	target, err := t.w.dialect.Ident(p.Table.Name) // a DELETE has no other name for it
	if err != nil {
		return 0, err
	}
	for i, at := range p.keys {
		keys[i] = p.staged[at]
		matchNew[i] = "t." + p.quoted[at] + " = s." + p.staged[at]
		matchOld[i] = target + "." + p.quoted[at] + " = " + p.staging + "." + p.staged[at]
	}
	order := sqltext.Text(" DESC")
	if p.KeepExisting {
		order = ""
	}
	once := "(SELECT *, ROW_NUMBER() OVER (PARTITION BY " + sqltext.Join(keys, ", ") + " ORDER BY n" + order + ") AS turn FROM " + p.staging + ") AS s"
	if p.KeepExisting {
		return t.insert(ctx, insert+once+" WHERE s.turn = 1 AND NOT EXISTS (SELECT 1 FROM "+p.table+" AS t WHERE "+sqltext.Join(matchNew, " AND ")+") ORDER BY s.n")
	}
	if err := t.s.control(ctx, "DELETE FROM "+p.table+" USING "+p.staging+" WHERE "+sqltext.Join(matchOld, " AND ")); err != nil {
		return 0, fmt.Errorf("matching keys: %w", err)
	}
	return t.insert(ctx, insert+once+" WHERE s.turn = 1 ORDER BY s.n")
}

func (t *tx) insert(ctx context.Context, sql sqltext.Text) (int64, error) {
	result := t.s.PG.ExecParams(ctx, string(sql), nil, nil, nil, nil).Read()
	if result.Err != nil {
		return 0, fmt.Errorf("inserting: %w", t.s.loadFault(ctx, result.Err, string(sql)))
	}
	return result.CommandTag.RowsAffected(), nil
}
