package loader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// load is one transaction in the making.
type load struct {
	id       string // of its rows: the offset of the first event
	once     string // of its loads for the warehouse: never used before, because the cursor decides what is loaded
	at       time.Time
	next     tidegate.Offset
	sheets   []*sheet // in the order in which their tables first got a row
	byTable  map[*shape.Table]*sheet
	users    map[*shape.Table]*users
	prints   []fingerprint // of the loaded events
	tallies  map[string]*tally
	rows     int64
	newThing bool // a table or column had to be made
}

// loadHeld loads the held batch, halving it where the warehouse refuses data.
func (l *Loader) loadHeld(ctx context.Context) error {
	defer clear(l.poison)
	return l.loadEvents(ctx, l.held.events, l.held.next)
}

// loadEvents loads events, of which next follows the last. When the warehouse
// refuses the data, both halves are tried, down to the event at fault.
func (l *Loader) loadEvents(ctx context.Context, events []tidegate.Event, next tidegate.Offset) error {
	err := l.loadOnce(ctx, events, next)
	if err == nil || !refusesData(err) {
		return err
	}
	if len(events) == 1 {
		if _, tried := l.poison[events[0].Offset]; tried {
			return err // not even the dead letter gets in: this is not about the data
		}
		l.poison[events[0].Offset] = tidegate.FaultOf(err).Error()
		return l.loadOnce(ctx, events, next)
	}
	half := len(events) / 2
	if err := l.loadEvents(ctx, events[:half], events[half].Offset); err != nil {
		return err
	}
	return l.loadEvents(ctx, events[half:], next)
}

func refusesData(err error) bool {
	var f *tidegate.Fault
	return errors.As(err, &f) && f.Action == tidegate.Reject
}

// loadOnce loads events in one transaction.
func (l *Loader) loadOnce(ctx context.Context, events []tidegate.Event, next tidegate.Offset) error {
	ld := &load{
		id: events[0].Offset.String(), at: l.opts.Now().UTC().Truncate(time.Microsecond), next: next,
		byTable: make(map[*shape.Table]*sheet), users: make(map[*shape.Table]*users), tallies: make(map[string]*tally),
	}
	ld.once = fmt.Sprintf("load %s at %d", ld.id, ld.at.UnixMicro())
	if err := l.shapeAll(ctx, ld, events); err != nil {
		return err
	}
	if err := l.ensure(ctx, ld); err != nil {
		return err
	}
	tx, err := l.opts.Warehouse.Begin(ctx)
	if err != nil {
		return fmt.Errorf("beginning to load at %s: %w", ld.id, err)
	}
	if err := l.write(ctx, tx, ld); err != nil {
		return errors.Join(err, rollback(tx))
	}
	crashpoint.Hit(crashpoint.LoadAfterRows)
	if err := tx.Commit(); err != nil {
		return errors.Join(fmt.Errorf("committing the load at %s: %w", ld.id, err), rollback(tx))
	}
	crashpoint.Hit(crashpoint.LoadAfterCommit)
	l.committed(ld, events)
	return nil
}

func rollback(tx warehouse.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("rolling back: %w", err)
	}
	return nil
}

// committed makes the load known.
func (l *Loader) committed(ld *load, events []tidegate.Event) {
	for _, p := range ld.prints {
		l.filter = l.filter.add(p)
	}
	bytes := 0
	for i := range events {
		bytes += len(events[i].Body)
	}
	l.position = ld.next
	l.checkpoint.loaded(l.opts.Now(), bytes, ld.newThing)
	l.advance(func(s *Stats) {
		for _, t := range ld.tallies {
			s.Loaded += t.loaded
			s.Duplicate += t.duplicate
			s.Dead += t.dead
		}
		s.Rows += ld.rows
		s.Batches++
		s.LastLoad = ld.at
	})
	if l.opts.OnLoad != nil {
		l.opts.OnLoad(ld.tables())
	}
}

// tables returns the tables that got rows, sorted.
func (ld *load) tables() []warehouse.Table {
	var names []warehouse.Table
	for t := range ld.byTable {
		names = append(names, t.Name)
	}
	for t := range ld.users {
		names = append(names, t.Name)
	}
	slices.SortFunc(names, func(a, b warehouse.Table) int {
		return strings.Compare(a.Schema+"\x00"+a.Name, b.Schema+"\x00"+b.Name)
	})
	return names
}

// peeked is what the first pass over a batch finds out about an event.
type peeked struct {
	id    string
	kind  tidegate.EventType
	print fingerprint
	err   error
	again bool // the id came before
}

// shapeAll turns events into the rows of ld.
func (l *Loader) shapeAll(ctx context.Context, ld *load, events []tidegate.Event) error {
	found, err := l.peekAll(ctx, events)
	if err != nil {
		return err
	}
	batch := shape.Batch{LoadID: ld.id, LoadedAt: ld.at}
	emit := func(row shape.Row) error { ld.put(row); return nil }
	var t *tally
	var source string
	for i := range events {
		ev, p := &events[i], &found[i]
		if t == nil || source != ev.Source {
			source = ev.Source
			if t = ld.tallies[source]; t == nil {
				t = &tally{}
				ld.tallies[source] = t
			}
		}
		code, reason := "", ""
		switch {
		case ev.Refusal != "":
			code, reason = ev.Refusal, "refused on arrival"
		case p.err != nil:
			code, reason = shape.DeadCode(p.err), p.err.Error()
		case l.poison[ev.Offset] != "":
			code, reason = shape.CodeUnloadable, l.poison[ev.Offset]
		case p.again:
			t.duplicate++
			continue
		default:
			if code, reason, err = l.shapeOne(ev, p, batch, emit); err != nil {
				return err
			}
		}
		if code == "" {
			t.loaded++
			ld.prints = append(ld.prints, p.print)
			continue
		}
		t.dead++
		if err := l.shaper.Dead(ev, p.id, code, reason, batch, emit); err != nil {
			return err
		}
	}
	return nil
}

// shapeOne makes the rows of one event. When the event itself is at fault, code
// and reason say why.
func (l *Loader) shapeOne(ev *tidegate.Event, p *peeked, batch shape.Batch, emit func(shape.Row) error) (code, reason string, err error) {
	defer func() {
		// Invariant 7: our own mistake about one stranger's event must not become
		// a process that dies of it at every start.
		if r := recover(); r != nil {
			code, reason, err = shape.CodeUndecodable, fmt.Sprintf("making its rows panicked: %v", r), nil
			l.opts.Log.Error("making the rows of an event panicked; it is a dead letter now", "offset", ev.Offset.String(), "panic", fmt.Sprint(r))
		}
	}()
	err = l.shaper.Shape(ev, p.id, p.kind, batch, emit)
	if code := shape.DeadCode(err); code != "" {
		return code, err.Error(), nil
	}
	return "", "", err
}

// peekAll reads ids and marks the events whose id came before, in this batch or in
// any before it.
func (l *Loader) peekAll(ctx context.Context, events []tidegate.Event) ([]peeked, error) {
	found := make([]peeked, len(events))
	first := make(map[fingerprint]bool, len(events))
	var ask []fingerprint
	var buf []byte
	for i := range events {
		ev, p := &events[i], &found[i]
		p.id, p.kind, p.err = shape.Peek(ev)
		if p.err != nil || ev.Refusal != "" || l.poison[ev.Offset] != "" {
			continue
		}
		p.print, buf = fingerprintOf(buf, ev.Source, p.id)
		if first[p.print] {
			p.again = true
			continue
		}
		first[p.print] = true
		if l.filter.perhaps(p.print) {
			ask = append(ask, p.print)
		}
	}
	if len(ask) == 0 {
		return found, nil
	}
	known, err := l.known(ctx, ask)
	if err != nil {
		return nil, err
	}
	for i := range found {
		p := &found[i]
		p.again = p.again || known[p.print]
	}
	return found, nil
}

// put adds a row to its table's sheet; rows of users are merged first.
func (ld *load) put(row shape.Row) {
	ld.rows++
	t := row.Table
	if t.Name.Name == shape.UsersTable {
		u := ld.users[t]
		if u == nil {
			u = newUsers(t)
			ld.users[t] = u
		}
		u.fold(row)
		return
	}
	s := ld.byTable[t]
	if s == nil {
		s = &sheet{table: t}
		ld.byTable[t] = s
		ld.sheets = append(ld.sheets, s)
	}
	s.append(row)
}

// lookup returns the loader's picture of a table, read from the warehouse when it
// is first needed.
func (l *Loader) lookup(ctx context.Context, name warehouse.Table) (*shape.Table, error) {
	if t, ok := l.tables[name]; ok {
		return t, nil
	}
	existing, err := l.opts.Warehouse.Describe(ctx, name)
	if errors.Is(err, warehouse.ErrNoTable) {
		existing, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", name, err)
	}
	if existing == nil {
		if l.perSource[name.Schema] >= l.opts.MaxTables && !shape.Fixed(name.Name) {
			return nil, nil
		}
		l.perSource[name.Schema]++
	}
	t := shape.NewTable(name, existing)
	l.tables[name] = t
	return t, nil
}

// ensure makes the tables and columns that ld's rows need. It is additive and may
// be done twice, so it needs no transaction of its own with the rows.
func (l *Loader) ensure(ctx context.Context, ld *load) error {
	all := make([]*shape.Table, 0, len(ld.sheets)+len(ld.users))
	for _, s := range ld.sheets {
		all = append(all, s.table)
	}
	for t := range ld.users {
		all = append(all, t)
	}
	for _, t := range all {
		if t.Known == len(t.Columns) {
			continue
		}
		actual, err := l.opts.Warehouse.Ensure(ctx, t.Name, t.Columns[t.Known:])
		if err != nil {
			return fmt.Errorf("making sure of %s: %w", t.Name, err)
		}
		for _, c := range t.Columns[t.Known:] {
			i := slices.IndexFunc(actual, func(a tidegate.Column) bool { return strings.EqualFold(a.Name, c.Name) })
			if i < 0 || actual[i].Type != c.Type {
				return fmt.Errorf("making sure of column %s of %s: %w", c.Name, t.Name, errStale)
			}
		}
		t.Known = len(t.Columns)
		ld.newThing = true
	}
	if ld.newThing {
		crashpoint.Hit(crashpoint.LoadAfterDDL)
	}
	return nil
}

// write does everything of ld inside tx.
func (l *Loader) write(ctx context.Context, tx warehouse.Tx, ld *load) error {
	// First, so that a loader that lost its place stops before it writes rows.
	if err := l.moveCursor(ctx, tx, ld.next, ld.id, ld.at); err != nil {
		return err
	}
	for _, s := range ld.sheets {
		record, schema := s.record()
		err := l.writeRecord(ctx, tx, ld.once, s.table.Name, record, schema)
		record.Release()
		if err != nil {
			return err
		}
	}
	for t, u := range ld.users {
		if err := l.mergeUsers(ctx, tx, ld.once, t, u); err != nil {
			return fmt.Errorf("merging into %s: %w", t.Name, err)
		}
	}
	if len(ld.prints) > 0 {
		record := printsRecord(ld.prints)
		err := l.writeRecord(ctx, tx, ld.once, seenTable, record, seenSchema())
		record.Release()
		if err != nil {
			return err
		}
	}
	return l.count(ctx, tx, ld.tallies, ld.at)
}

func printsRecord(prints []fingerprint) arrow.RecordBatch {
	hi, lo := array.NewInt64Builder(memory.DefaultAllocator), array.NewInt64Builder(memory.DefaultAllocator)
	hi.Reserve(len(prints))
	lo.Reserve(len(prints))
	for _, p := range prints {
		hi.Append(p.hi)
		lo.Append(p.lo)
	}
	h, w := hi.NewArray(), lo.NewArray()
	defer h.Release()
	defer w.Release()
	fields := []arrow.Field{{Name: "hi", Type: h.DataType()}, {Name: "lo", Type: w.DataType()}}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), []arrow.Array{h, w}, int64(len(prints)))
}

// writeRecord appends the rows of record to a table: as a whole where the engine
// scans Arrow, otherwise row by row.
func (l *Loader) writeRecord(ctx context.Context, tx warehouse.Tx, id string, table warehouse.Table, record arrow.RecordBatch, schema tidegate.Schema) error {
	at, ok := tx.(warehouse.ArrowTx)
	if !ok {
		_, err := tx.Load(ctx, warehouse.Load{ID: id, Table: table}, &recordRows{record: record, schema: schema})
		if err != nil {
			return fmt.Errorf("loading rows into %s: %w", table, err)
		}
		return nil
	}
	insert, err := l.insertFrom("tidegate_rows", table, schema)
	if err != nil {
		return err
	}
	rdr, err := array.NewRecordReader(record.Schema(), []arrow.RecordBatch{record})
	if err != nil {
		return fmt.Errorf("reading rows for %s: %w", table, err)
	}
	defer rdr.Release()
	err = at.ScanArrow(ctx, "tidegate_rows", rdr, func(ctx context.Context) error {
		_, err := tx.Exec(ctx, string(insert))
		return err
	})
	if err != nil {
		return fmt.Errorf("inserting rows into %s: %w", table, err)
	}
	return nil
}

// insertFrom writes INSERT … SELECT for the columns of schema.
func (l *Loader) insertFrom(view sqltext.Text, table warehouse.Table, schema tidegate.Schema) (sqltext.Text, error) {
	names, err := l.dialect.Idents(schema.Names())
	if err != nil {
		return "", fmt.Errorf("naming the columns of %s: %w", table, err)
	}
	values := make([]sqltext.Text, len(names))
	for i, name := range names {
		values[i] = name
		if k := schema[i].Type.Kind; k == tidegate.Decimal || k == tidegate.JSON { // they travel as text
			typ, err := l.dialect.Type(schema[i].Type)
			if err != nil {
				return "", fmt.Errorf("naming the type of column %s of %s: %w", schema[i].Name, table, err)
			}
			values[i] = "CAST(" + name + " AS " + typ + ")"
		}
	}
	return "INSERT INTO " + l.table(table) + " (" + sqltext.Join(names, ", ") + ") SELECT " + sqltext.Join(values, ", ") + " FROM " + view, nil
}
