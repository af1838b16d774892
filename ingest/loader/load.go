package loader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
)

// load is what one part of a transaction writes.
type load struct {
	id        string // of its rows: the offset of the first event
	once      string // of its loads for the warehouse: never used before, because the cursor decides what is loaded
	at        time.Time
	next      tidegate.Offset
	sheets    []*sheet // in the order in which their tables first got a row
	byTable   map[*shape.Table]*sheet
	users     map[*shape.Table]*users
	missing   []missing
	met       []shape.Collision
	sheetsOut []rows
	prints    []fingerprint // of the loaded events
	tallies   map[sourceHour]*tally
	fates     []Fates
	hour      int64 // of the event at hand
	source    string
	rows      int64
	bytes     int64
	events    int  // made rows of
	limit     int  // rows of one table in the transaction
	last      bool // the transaction ends with it
	ddl       bool // a table or column had to be made
}

// missing is columns that a table needs before the rows come.
type missing struct {
	table   warehouse.Table
	columns tidegate.Schema
	origins []shape.Origin
}

// rows is what one table gets.
type rows struct {
	table  warehouse.Table
	record arrow.RecordBatch
	schema tidegate.Schema
}

// prepare makes the load of the first of events: of all, or of as many as it takes until
// a table of the transaction has limit rows.
func (l *Loader) prepare(ctx context.Context, ex examined, limit int) (*load, error) {
	events := ex.events
	ld := &load{
		id: events[0].Offset.String(), at: l.opts.Now().UTC().Truncate(time.Microsecond), limit: limit,
		byTable: make(map[*shape.Table]*sheet), users: make(map[*shape.Table]*users), tallies: make(map[sourceHour]*tally),
	}
	ld.once = fmt.Sprintf("load %s at %d", ld.id, ld.at.UnixMicro())
	if err := l.shapeAll(ctx, ld, ex); err != nil {
		return nil, err
	}
	for i := range events[:ld.events] {
		ld.bytes += int64(len(events[i].Body))
	}
	for _, s := range ld.sheets {
		ld.need(s.table)
		record, schema := s.record()
		ld.sheetsOut = append(ld.sheetsOut, rows{s.table.Name, record, schema})
	}
	for t, u := range ld.users {
		ld.need(t)
		u.columns = slices.Clone(t.Columns)
	}
	var err error
	ld.met, err = l.collisions(ctx)
	return ld, err
}

// need notes the columns of t that the warehouse has not been asked for yet.
func (ld *load) need(t *shape.Table) {
	if t.Known < len(t.Columns) {
		ld.missing = append(ld.missing, missing{t.Name, slices.Clone(t.Columns[t.Known:]), slices.Clone(t.Origins[t.Known:])})
		t.Known = len(t.Columns)
	}
}

// tables adds the tables that got rows to names.
func (ld *load) tables(names map[warehouse.Table]bool) {
	for t := range ld.byTable {
		names[t.Name] = true
	}
	for t := range ld.users {
		names[t.Name] = true
	}
}

// peeked is what the first pass over a batch finds out about an event.
type peeked struct {
	id    string
	kind  tidegate.EventType
	print fingerprint
	err   error
	count bool // the id decides whether the event is loaded
	again bool // and it came before
}

// shapeAll turns events into the rows of ld, until that is full.
func (l *Loader) shapeAll(ctx context.Context, ld *load, ex examined) error {
	batch := shape.Batch{LoadID: ld.id, LoadedAt: ld.at}
	full := false
	emit := func(row shape.Row) error {
		full = l.put(ld, row) || full
		return nil
	}
	var t *tally
	for i := range ex.events {
		if full {
			return nil
		}
		ld.events++
		ev := &ex.events[i]
		if hour := hourOf(ev.ReceivedAt); t == nil || ld.hour != hour || ld.source != ev.Source {
			ld.hour, ld.source = hour, ev.Source
			t = ld.tallyOf(sourceHour{ev.Source, hour})
		}
		if err := l.shapeJudged(ctx, ld, t, ev, &ex.found[i], ex.verdict(i), batch, emit); err != nil {
			return err
		}
	}
	return nil
}

// shapeJudged does with one event what is known and was decided about it, and counts that.
func (l *Loader) shapeJudged(ctx context.Context, ld *load, t *tally, ev *tidegate.Event, p *peeked, v judge.Verdict, batch shape.Batch, emit func(shape.Row) error) (err error) {
	var code, reason string
	switch {
	case ev.Refusal == judge.CodeSuppressed:
		t.suppressed++
		l.fate(ld, ev, Suppressed)
		return nil
	case ev.Refusal == tidegate.RefusedBot:
		t.dropped++
		l.fate(ld, ev, Dropped)
		return nil
	case ev.Refusal != "":
		code, reason = ev.Refusal, "refused on arrival"
	case p.err != nil:
		code, reason = shape.DeadCode(p.err), p.err.Error()
	case l.poison[ev.Offset] != "":
		code, reason = shape.CodeUnloadable, l.poison[ev.Offset]
	case p.again:
		t.duplicate++
		l.fate(ld, ev, Duplicate)
		return nil
	default:
		if len(v.Violations) > 0 {
			if err := l.shaper.Violations(ctx, ev, p.id, v.Violations, batch, emit); err != nil {
				return err
			}
		}
		switch v.Fate {
		case judge.Suppress:
			t.suppressed++
			l.fate(ld, ev, Suppressed)
			return nil
		case judge.Drop:
			t.dropped++
			l.fate(ld, ev, Dropped)
			return nil
		case judge.Dead:
			code, reason = v.Code, v.Reason
		case judge.Keep:
			if code, reason, err = l.shapeOne(ctx, judged(ev, v), p, batch, emit); err != nil {
				return err
			}
		}
	}
	if code == "" {
		t.loaded++
		ld.prints = append(ld.prints, p.print)
		l.fate(ld, ev, Loaded)
		return nil
	}
	t.dead++
	l.fate(ld, ev, Dead)
	return l.shaper.Dead(ctx, ev, p.id, code, reason, batch, emit)
}

// judged is ev as v leaves it.
func judged(ev *tidegate.Event, v judge.Verdict) *tidegate.Event {
	if v.Event == nil && v.Route == "" {
		return ev
	}
	changed := *ev
	if v.Event != nil {
		changed.Body, changed.Context, changed.Integrations = v.Event.Body, v.Event.Context, v.Event.Integrations
	}
	if v.Route != "" {
		changed.Source = v.Route
	}
	return &changed
}

// shapeOne makes the rows of one event. When the event itself is at fault, code
// and reason say why.
func (l *Loader) shapeOne(ctx context.Context, ev *tidegate.Event, p *peeked, batch shape.Batch, emit func(shape.Row) error) (code, reason string, err error) {
	defer func() {
		// Invariant 7: our own mistake about one stranger's event must not become
		// a process that dies of it at every start.
		if r := recover(); r != nil {
			code, reason, err = shape.CodeUndecodable, fmt.Sprintf("making its rows panicked: %v", r), nil
			l.opts.Log.Error("making the rows of an event panicked; it is a dead letter now", "offset", ev.Offset.String(), "panic", fmt.Sprint(r))
		}
	}()
	err = l.shaper.Shape(ctx, ev, p.id, p.kind, batch, emit)
	if code := shape.DeadCode(err); code != "" {
		return code, err.Error(), nil
	}
	return "", "", err
}

// put adds a row to its table's sheet, and says whether that fills the transaction; rows
// of users are merged first.
func (l *Loader) put(ld *load, row shape.Row) (full bool) {
	ld.rows++
	t := row.Table
	if t.Name.Name == shape.UsersTable {
		u := ld.users[t]
		if u == nil {
			u = newUsers(t)
			ld.users[t] = u
		}
		u.fold(row)
		return false
	}
	s := ld.byTable[t]
	if s == nil {
		s = l.spare.take(t)
		s.room = ld.limit - l.filling.rows[t]
		ld.byTable[t] = s
		ld.sheets = append(ld.sheets, s)
	}
	s.append(row)
	s.hourly.add(ld.source, ld.hour)
	return s.rows >= s.room
}

// forgetTables drops the pictures of the tables, so that they are read from the
// warehouse again.
func (l *Loader) forgetTables() {
	l.tables = make(map[warehouse.Table]*shape.Table)
	l.met = nil
	l.filling.clear()
	l.spare.clear()
	l.shaper = shape.New(l.opts.Shape, l.lookup)
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
